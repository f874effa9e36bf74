"""Commands for making models: train, evaluate and qualify."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from tqdm import tqdm

from daemon.cli import main
from daemon.config import Log
from daemon.log import set_up_log
from daemon.workbench import DIRECTORY, FILE, WIDTH


@main.command()
@click.argument("config", type=FILE)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Directory of the bundle; training.jsonl and training.png are written there, too.")
@click.option("--data", type=DIRECTORY, envvar="MAPGAP_DATA", help="Where the training data lies.  [env: MAPGAP_DATA]")
@click.option("--fold", type=int, help="Train only this spatial fold, and score it on the ground it has not seen.")
@click.option(
    "--folds",
    type=click.Path(path_type=Path, file_okay=False),
    help="Train all folds into this directory first; their scores go into the bundle's card.",
)
@click.option("--steps", type=click.IntRange(min=1), help="In place of the config's optimiser.steps.")
@click.option("--gpus", default="", metavar="0,1,...", help="GPUs that share a batch; else the first one, or the CPU.")
@click.option("--resume/--restart", default=None,
              help="Go on from the checkpoint in --out, which must be there; or begin anew. Neither: go on if there "
                   "is a checkpoint of the same config.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True,
              help="Workers on this machine, each with optimiser.batch crops a step.")
@click.option("--servers", type=click.IntRange(min=1), default=1, show_default=True, help="Servers beside --workers.")
@click.option("--role", type=click.Choice(["worker", "server", "scheduler"]),
              help="Be one process of a team on several machines: DMLC_PS_ROOT_URI and DMLC_PS_ROOT_PORT (address of "
                   "the scheduler), DMLC_NUM_WORKER and DMLC_NUM_SERVER must be set alike for all; --out must be "
                   "shared.")
@click.option("--deadline", type=click.FloatRange(min=1), default=300.0, show_default=True, metavar="SECONDS",
              help="With several workers: one whose step takes longer ends itself, for others have died.")
def train(config: Path, out: Path | None, data: Path | None, fold: int | None, folds: Path | None, steps: int | None,
          gpus: str, resume: bool | None, workers: int, servers: int, role: str | None, deadline: float) -> None:
    """Train a network as CONFIG says, and write it as a bundle with its card.

    Progress is shown on stderr; --out gets training.jsonl (loss, rate, held-out F1), training.png (their curve) and,
    as long as the training lasts, a checkpoint: a training that was cut off goes on where it stood when it is started
    again. Out of memory, a batch is done in parts.

    \b
    mapgap train building.toml --out models/building --data /data
    mapgap train building.toml --out models/fold1 --fold 1
    mapgap train building.toml --out models/building --workers 2 --servers 1
    """
    from detectors.training import cross_validate
    from detectors.training import train as train_bundle
    from detectors.training.launch import train_locally
    from detectors.training.team import join, serve

    set_up_log(Log())
    if role in ("server", "scheduler"):
        serve(role, deadline)
        return
    if not out or not data:
        raise click.UsageError("--out and --data (or MAPGAP_DATA) are needed")
    if folds and (role or workers > 1 or fold is not None):
        raise click.UsageError("--folds trains one fold after the other: leave --fold, --workers and --role out")
    if role and workers > 1:
        raise click.UsageError("--role takes part in a team that DMLC_NUM_WORKER counts: leave --workers out")
    settings = {"data": data, "out": out, "steps": steps, "gpus": _numbers(gpus), "resume": resume}
    one_fold = -1 if fold is None else fold
    if folds:
        bundle = cross_validate(config, folds_dir=folds, **settings)
    elif role:
        bundle = train_bundle(config, fold=one_fold, team=join(deadline), **settings)
    elif workers > 1:
        bundle = train_locally(config, workers=workers, servers=servers, deadline_s=deadline, fold=one_fold, **settings)
    else:
        bundle = train_bundle(config, fold=one_fold, **settings)
    if bundle:
        click.echo(json.dumps(bundle.card.metrics, indent=1))


@main.command()
@click.argument("bundle", type=DIRECTORY)
@click.option("--data", type=DIRECTORY, envvar="MAPGAP_DATA", required=True,
              help="Where the data lies that its card names.  [env: MAPGAP_DATA]")
def qualify(bundle: Path, data: Path) -> None:
    """Measure BUNDLE (a directory) anew on this machine: scores, thresholds, and what bf16 and int8 lose.

    A bundle without an 8-bit form gets one. A precision that loses too much is refused from then on; the card says
    what was measured. The network itself stays as it is.
    """
    from detectors.segmentation import Bundle
    from detectors.training.finishing import qualify as measure

    set_up_log(Log())
    click.echo(json.dumps(measure(Bundle.load(bundle), data).card.precisions, indent=1))


def _numbers(text: str) -> tuple[int, ...]:
    """ "0,1" -> (0, 1)."""
    try:
        return tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r}: numbers of GPUs, such as 0,1", param_hint="--gpus") from None


@main.command()
@click.argument("bundle")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--data", type=DIRECTORY, envvar="MAPGAP_DATA", help="Where the data lies.")
@click.option("--reader", help="The format of DATASET, as in a training config; tiles unless the card knows it.")
@click.option("--zoom", type=click.IntRange(0, 24), help="For tiles: which zoom.")
@click.option("--bands", type=click.IntRange(1, 64), help="How many bands to take; as many as the model has.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Another key of a config's [[sources]], such as gsd_m=0.5 or band_order=[4,1,2]; may be repeated.")
@click.option("--fold", type=click.IntRange(0), help="Score these held-out columns instead of those of the card.")
@click.option("--osm", type=FILE, help="The map of the same ground: GeoJSON, GeoPackage or OSM data.")
@click.option("--engine", default="auto", show_default=True, help="What runs the model.")
@click.option("--precision", help="What the engine computes in: f32, bf16 or int8; the card's by default.")
@click.option("--augment", is_flag=True, help="Ask several times, turned and mirrored, and take the mean.")
@click.option("--page", type=click.Path(path_type=Path), help="Write an HTML page here: tables, curves, tiles.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def evaluate(bundle: str, datasets: tuple[str, ...], data: Path | None, reader: str | None, zoom: int | None,
             bands: int | None, settings: tuple[str, ...], fold: int | None, osm: Path | None, engine: str,
             precision: str | None, augment: bool, page: Path | None, as_json: bool) -> None:
    """Measure BUNDLE (a shipped one's name, or a directory) on labelled ground, beside "all background" and OSM.

    DATASET is a directory below --data, or anywhere. Without one, it is the ground that the bundle's card names: the
    held-out columns of its training places, and all of its test places.
    """
    from daemon.scorecard import print_report
    from detectors.evaluation.ground import asked_ground, card_ground
    from detectors.evaluation.page import write_page
    from detectors.evaluation.report import examine
    from detectors.segmentation import Bundle, open_engine

    set_up_log(Log(level="warning"))
    model = Bundle.load(bundle)
    if datasets:
        further = dict(reader=reader, zoom=zoom, bands=bands, **_pairs(settings))
        grounds = asked_ground(model, data, datasets, fold=fold, **further)
    elif data is None:
        raise click.UsageError("name a DATASET, or say with --data (or MAPGAP_DATA) where that of the card lies")
    else:
        grounds = card_ground(model, data, fold)
    options = {"augment": True} if augment else {}
    opened = open_engine(model, engine, precision=precision or (model.card.precision if engine == "auto" else None))
    progress = tqdm(grounds, desc="places", unit="place", disable=not sys.stderr.isatty(), leave=False)
    report = examine(model, opened, progress, osm=osm, pictures=page is not None, **options)
    if as_json:
        click.echo(json.dumps(report.record(), indent=1))
    else:
        print_report(report, Console(width=None if sys.stdout.isatty() else WIDTH))
    if page is not None:
        click.echo(f"wrote {write_page(report, page)}", err=as_json)


def _pairs(settings: Iterable[str]) -> dict[str, object]:
    """KEY=VALUE; a value that begins like a list or an object is JSON."""
    pairs: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{setting!r} is not KEY=VALUE", param_hint="--set")
        try:
            pairs[key.strip()] = json.loads(value) if value.lstrip()[:1] in ("[", "{") else value.strip()
        except ValueError as error:
            raise click.BadParameter(f"{setting!r}: {error}", param_hint="--set") from error
    return pairs
