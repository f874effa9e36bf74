"""`mapgap demo`: a scenario from start to end, scored, with a picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from daemon.demo.page import write_replay_page
from daemon.demo.scenario import write_scenario
from daemon.errors import MapgapError
from daemon.replay import Report, replay, replay_pipeline
from daemon.scoring import Truth

#: Where sample data holds its replay.
SAMPLE = "replay_buildings"
SCENARIO = "scenario"


def run_demo(out: Path, seed: int, data: Path | None, model: str = "building") -> Report:
    """Replay the sample data's scenario, or without it that of a rendered town, and draw the end.

    Args:
        out: index.html and picture.png go here, and `scenario/` with the rendered town.
        data: directory with `replay_buildings` in it, or None.

    Raises:
        MapgapError: `out` holds a `scenario` that this command did not write.
    """
    sample = data / SAMPLE if data else None
    if sample is None or not sample.is_dir():
        click.echo(f"drawing a town (seed {seed}): its imagery is rendered and shows no real place")
        directory = write_scenario(_cleared(out / SCENARIO), seed)
    else:
        click.echo(f"using the real imagery of {sample}")
        directory = sample
    with replay_pipeline(directory, model, None) as pipeline:
        report = replay(pipeline, directory, truth=Truth.load(directory / "truth.json"))
        written = write_replay_page(pipeline, out, report)
    click.echo("\n".join(f"wrote {path}" for path in written))
    return report


def _cleared(directory: Path) -> Path:
    """The directory without the scenario of an earlier run."""
    truth = directory / "truth.json"
    if directory.exists() and any(directory.iterdir()):
        if not (truth.is_file() and "mapgap demo" in truth.read_text(encoding="utf-8")[:400]):
            raise MapgapError(f"{directory} holds something that `mapgap demo` did not write: name another --out")
        shutil.rmtree(directory)
    return directory
