"""`mapgap replay` as a stranger runs it: on a rendered town, and on real imagery where that is present."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import shape
from town import MINUTES, Town

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = {"missing", "gone", "misplaced"}
#: Change files of the real replay that are lived through here.
LAST = 5


@dataclass(frozen=True)
class Ran:
    """What a replay said and wrote, and the truth it was held against."""

    report: dict[str, Any]
    export: dict[str, Any]
    truth: dict[str, Any]


def mapgap(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, arguments)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def run(directory: Path, out: Path) -> Ran:
    export = out / "found.geojson"
    done = mapgap("replay", directory, "--truth", directory / "truth.json", "--json", "--export", export)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    truth = json.loads((directory / "truth.json").read_text())
    return Ran(json.loads(done.stdout), json.loads(export.read_text()), truth)


@pytest.fixture(scope="module")
def rendered(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(town.directory, tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def real(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    if not (data / "replay_buildings").is_dir():
        pytest.skip(f"no replay_buildings in {data}")
    return run(first_of(data / "replay_buildings", tmp_path_factory.mktemp("first")), tmp_path_factory.mktemp("real"))


def first_of(directory: Path, out: Path, last: int = LAST) -> Path:
    """The same folder with its change files up to `last` only: all of it takes minutes, and finds nothing else."""
    for name in ("base.osm.pbf", "imagery"):
        (out / name).symlink_to(directory / name)
    minute = out / "replication/minute"
    minute.mkdir(parents=True)
    for part in (directory / "replication/minute").iterdir():
        if part.is_dir():
            (minute / part.name).symlink_to(part)
    state = directory / f"replication/minute/000/000/{last:03}.state.txt"
    (minute / "state.txt").write_bytes(state.read_bytes())
    truth = json.loads((directory / "truth.json").read_text())
    truth["sequences"] = [s for s in truth["sequences"] if s["sequence"] <= last]
    (out / "truth.json").write_text(json.dumps(truth))
    return out


def check_tiles(ran: Ran) -> None:
    """Every tile that the truth says is touched is dirty, and at most as many again."""
    zoom = str(ran.report["zoom"])
    touched = {s["sequence"]: len(s["tiles_touched"][zoom]) for s in ran.truth["sequences"]}
    minutes = [m for m in ran.report["minutes"] if m["sequence"] is not None]
    assert [m["sequence"] for m in minutes] == sorted(touched)
    for minute in minutes:
        assert minute["missed_tiles"] == 0, minute
        assert minute["tiles"] <= 2 * touched[minute["sequence"]], minute
        assert minute["unexpected_tiles"] == minute["tiles"] - touched[minute["sequence"]]


def check_export(ran: Ran) -> None:
    """Every Feature says what a reader needs, and no two of a kind are the same thing."""
    features = ran.export["features"]
    assert ran.export["type"] == "FeatureCollection"
    for feature in features:
        says, outline = feature["properties"], shape(feature["geometry"])
        assert {
            "key", "detector", "kind", "state", "confidence", "osm", "shift_m", "evidence", "opened", "updated",
        } <= says.keys()
        assert (says["detector"], says["state"]) == ("building", "open") and says["kind"] in KINDS
        assert outline.is_valid and outline.area > 0
        assert 0 <= says["confidence"] <= 1
        assert (says["osm"] is None) == (says["kind"] == "missing")
        assert says["osm"] is None or re.fullmatch(r"(way|relation)/\d+", says["osm"])
        assert (says["shift_m"] is not None) == (says["kind"] == "misplaced")
        assert says["shift_m"] is None or len(says["shift_m"]) == 2
        assert {"area_m2", "imagery", "model", "block_shift_m"} <= says["evidence"].keys()
        assert says["opened"] <= says["updated"]
    assert len({f["properties"]["key"] for f in features}) == len(features)
    last = ran.report["minutes"][-1]
    assert last["open"] == {
        kind: count for kind in KINDS if (count := sum(f["properties"]["kind"] == kind for f in features))
    }
    assert overlapping(features) == []


def overlapping(features: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Pairs of one kind whose outlines overlap by more than 0.1 (intersection over union)."""
    outlines = [(f["properties"]["kind"], f["properties"]["key"], shape(f["geometry"])) for f in features]
    pairs = []
    for i, (kind, key, outline) in enumerate(outlines):
        for other_kind, other_key, other in outlines[i + 1 :]:
            if kind == other_kind and outline.intersects(other):
                shared = outline.intersection(other).area
                iou = shared / (outline.area + other.area - shared)
                if iou > 0.1:
                    pairs.append((key, other_key, round(iou, 3)))
    return pairs


def test_the_report_of_a_replay_tells_each_minute_and_what_it_cost(rendered: Ran, town: Town) -> None:
    report = rendered.report
    assert set(report) == {
        "directory", "detector", "model", "zoom", "seconds", "bootstrap_s", "seconds_per_change_file",
        "seconds_per_block", "peak_memory_mb", "paths", "minutes",
    }
    assert (report["directory"], report["zoom"]) == (str(town.directory), 19)
    assert report["peak_memory_mb"] > 50
    first, *minutes = report["minutes"]
    assert first["sequence"] is None and first["blocks"] >= 1
    assert [m["sequence"] for m in minutes] == list(range(1, MINUTES + 1))
    for minute in report["minutes"]:
        assert set(minute) == {
            "sequence", "tiles", "fixed", "open", "apply_s", "look_s", "blocks", "missed_tiles", "unexpected_tiles",
            "scores",
        }
        assert set(minute["open"]) <= KINDS
        assert set(minute["scores"]) == {"rendered"}
        for kind, counts in minute["scores"]["rendered"].items():
            assert kind in KINDS
            assert set(counts) == {"tp", "fp", "fn", "unscored", "precision", "recall", "f1"}
            assert counts["tp"] + counts["fp"] + counts["unscored"] == minute["open"].get(kind, 0)


def test_a_rendered_town_s_dirty_tiles_are_the_touched_ones_and_few_more(rendered: Ran) -> None:
    check_tiles(rendered)


def test_the_export_of_a_rendered_town_says_all_that_is_promised_and_has_no_twins(rendered: Ran) -> None:
    check_export(rendered)


def test_without_a_back_fill_only_changed_ground_is_looked_at(town: Town) -> None:
    done = mapgap("replay", town.directory, "--json", "--no-backfill")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [m["sequence"] for m in report["minutes"]] == list(range(1, MINUTES + 1))
    assert all(m["scores"] is None and m["missed_tiles"] is None for m in report["minutes"])
    assert all((m["blocks"] > 0) == (m["tiles"] > 0) for m in report["minutes"])


@pytest.mark.parametrize("part", ["base.osm.pbf", "replication", "imagery"])
def test_a_folder_that_lacks_a_part_is_refused_by_name(town: Town, tmp_path: Path, part: str) -> None:
    for name in {"base.osm.pbf", "replication", "imagery"} - {part}:
        (tmp_path / name).symlink_to(town.directory / name)
    done = mapgap("replay", tmp_path)
    assert done.returncode != 0
    assert f"no {part} in it" in done.stderr and "Traceback" not in done.stderr


def test_a_truth_that_is_none_is_refused_before_anything_is_done(town: Town, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text("[]")
    done = mapgap("replay", town.directory, "--truth", truth)
    assert done.returncode != 0
    assert f"{truth}: not a truth file" in done.stderr and "Traceback" not in done.stderr


def test_real_imagery_is_replayed_with_all_touched_tiles_dirty(real: Ran) -> None:
    check_tiles(real)
    assert set(real.report["minutes"][-1]["scores"]) == set(real.truth["areas"])


def test_real_imagery_brings_an_export_without_twins(real: Ran) -> None:
    check_export(real)
