"""A folder of base data, change files and imagery, lived through as fast as the machine can.

The folder holds `base.osm.pbf`, `replication/` (a directory in planet layout, or one with a single such directory in
it) and `imagery/{z}/{x}/{y}.jpg`. The replay bootstraps a database of its own, looks at everything once, and then
applies one change file after another, looking again at what each made dirty. With a truth file it says after each how
well found and known agree.
"""

from __future__ import annotations

import math
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import shapely

from daemon.backfill import queue_area
from daemon.config import Config, Detectors, Imagery, Replication, Tiling
from daemon.db import Database, hold_daemon_lock, open_database
from daemon.errors import MapgapError
from daemon.pipeline import Applied, Pipeline
from daemon.publish.export import Filter, read_discrepancies
from daemon.replication import follow
from daemon.scoring import BuildingTruth, Counts, Found, RoadTruth, Truth
from daemon.tiling.grid import Block, ground_sample_distance
from detectors.datasets import read_source
from detectors.registry import registry
from detectors.segmentation import Bundle, Card
from detectors.training.config import TrainingConfig

BASE = "base.osm.pbf"


class ReplayInvalid(MapgapError):
    """The folder is not one that can be replayed."""


@dataclass(frozen=True, slots=True)
class Minute:
    """What one step of the replay did; sequence None is the back-fill.

    Attributes:
        tiles: how many tiles became dirty.
        unexpected_tiles, missed_tiles: against the truth's touched tiles, None without a truth.
        scores: counts by place and kind, None without a truth.
        apply_s, look_s: seconds spent on the change file, and on the blocks.
    """

    sequence: int | None
    tiles: int
    fixed: int
    open: dict[str, int]
    apply_s: float
    look_s: float
    blocks: int
    missed_tiles: int | None = None
    unexpected_tiles: int | None = None
    scores: dict[str, dict[str, Counts]] | None = None

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.scores is not None:
            values["scores"] = {
                place: {kind: counts.as_dict() for kind, counts in kinds.items()}
                for place, kinds in self.scores.items()
            }
        return values


@dataclass(slots=True)
class Report:
    """A whole replay.

    Attributes:
        paths: of roads, place -> how well one can drive on the "map", and on the "corrected" one
            (`RoadTruth.paths`), at the end.
    """

    directory: str
    model: str
    zoom: int
    detector: str = "building"
    minutes: list[Minute] = field(default_factory=list)
    paths: dict[str, dict[str, float]] | None = None
    bootstrap_s: float = 0.0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        changes = [m for m in self.minutes if m.sequence is not None]
        looked = sum(m.blocks for m in self.minutes)
        return {
            "directory": self.directory,
            "detector": self.detector,
            "model": self.model,
            "zoom": self.zoom,
            "seconds": round(self.seconds, 3),
            "bootstrap_s": round(self.bootstrap_s, 3),
            "seconds_per_change_file": round(sum(m.apply_s for m in changes) / len(changes), 4) if changes else None,
            "seconds_per_block": round(sum(m.look_s for m in self.minutes) / looked, 4) if looked else None,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "paths": self.paths,
            "minutes": [m.as_dict() for m in self.minutes],
        }


def replay_config(
    directory: Path, data_dir: Path, model: str, detector: str = "building", zoom: int | None = None
) -> Config:
    """The configuration a folder is replayed with: nothing is published, and imagery without a date is trusted.

    Args:
        detector: the one that looks; no other does.
        zoom: of the tiles; None: the one that fits the model best.

    Raises:
        ReplayInvalid: a part of the folder is missing.
    """
    for part in (BASE, "replication", "imagery"):
        if not (directory / part).exists():
            raise ReplayInvalid(f"{directory}: no {part} in it; a replay needs {BASE}, replication/ and imagery/")
    card = Bundle.load(model).card
    zooms = _zooms(directory / "imagery")
    zoom = zoom or _best_zoom(zooms, card)
    return Config(
        data_dir=data_dir,
        replication=Replication(url=_replication(directory / "replication").resolve().as_uri(), catch_up=1),
        tiling=Tiling(zoom=zoom),
        imagery=(
            Imagery(
                name="replay",
                kind="xyz",
                url=str((directory / "imagery").resolve()),
                min_zoom=min(zooms),
                max_zoom=max(zooms),
                licence="as the provider of the folder states",
                attribution="as the provider of the folder states",
                osm_permission="replayed on this machine only; nothing is published",
            ),
        ),
        detectors=Detectors(unknown_date="trust_imagery").model_copy(
            update={
                name: getattr(Detectors(), name).model_copy(
                    update={"enabled": True, "model": model} if name == detector else {"enabled": False}
                )
                for name in registry().plugins
            }
        ),
    )


@contextmanager
def replay_pipeline(
    directory: Path, model: str, data_dir: Path | None, detector: str = "building", zoom: int | None = None
) -> Iterator[Pipeline]:
    """A pipeline over a bootstrapped database of the folder's own; without `data_dir` it is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="mapgap-replay-") as scratch:
        config = replay_config(directory, data_dir or Path(scratch), model, detector, zoom)
        with open_database(config) as db, hold_daemon_lock(db):
            pipeline = Pipeline(config, db)
            try:
                yield pipeline
            finally:
                pipeline.close()


def replay(
    pipeline: Pipeline,
    directory: Path,
    *,
    truth: Truth | None = None,
    tiles: frozenset[tuple[int, int]] | None = None,
    backfill: bool = True,
    on_minute: Callable[[Minute, int], None] = lambda minute, newest: None,
) -> Report:
    """Live through the folder.

    Args:
        tiles: score only these tiles (x, y), of zoom 19 for buildings and 17 for roads.
        on_minute: called after each step with what it did and the newest sequence of the folder.
    """
    config = pipeline.config
    ((detector, section),) = config.detectors.running.items()
    report = Report(str(directory), section.model, config.tiling.zoom, detector)
    with pipeline.db.transaction() as cursor:
        if pipeline.store.position(cursor) is not None:
            raise ReplayInvalid(f"{config.data_dir} holds an earlier replay; name an empty --data-dir, or none")
    started = time.perf_counter()
    bootstrapped = pipeline.store.bootstrap(pipeline.db, directory / BASE)
    report.bootstrap_s = time.perf_counter() - started
    newest = pipeline.source.newest().sequence
    after = bootstrapped.sequence
    if after is None:
        after = oldest(Path(url2pathname(urlsplit(config.replication.url).path))) - 1
    if backfill:
        queued = queue_area(config, pipeline.db, pipeline.imagery, None)
        minute = _look(pipeline, None, queued, 0.0, None, truth, after, tiles)
        report.minutes.append(minute)
        on_minute(minute, newest)
    with closing(follow(pipeline.source, after, newest - after, pipeline.stop)) as change_files:
        for change_file in change_files:
            begun = time.perf_counter()
            applied = pipeline.apply(change_file)
            apply_s = time.perf_counter() - begun
            sequence = change_file.sequence
            minute = _look(pipeline, sequence, len(applied.expired.tiles), apply_s, applied, truth, sequence, tiles)
            report.minutes.append(minute)
            on_minute(minute, newest)
    report.seconds = time.perf_counter() - started
    if isinstance(truth, RoadTruth):
        reach = shapely.union_all(list(truth.places.values())).bounds
        with pipeline.db.transaction() as cursor:
            features = pipeline.store.features_in(cursor, reach)
        report.paths = truth.paths(found_in(pipeline.db), features, tiles)
    return report


def replay_folds(
    directory: Path,
    folds: Sequence[Path],
    truth: BuildingTruth,
    on_minute: Callable[[Minute, int], None] = lambda minute, newest: None,
) -> Report:
    """Replay with one model after another, each scored on the ground it has not seen, and add up what they scored.

    Args:
        folds: bundles of spatial folds, as `mapgap train --folds` leaves them.

    Returns:
        The report of the first replay with the counts of all.
    """
    reports = []
    for fold in folds:
        card = Bundle.load(fold).card
        trained_on = [Path(source["path"]).name for source in card.data if source["use"] == "train"]
        tiles = truth.unseen_tiles(card.training, trained_on)
        with replay_pipeline(directory, str(fold), None) as pipeline:
            reports.append(replay(pipeline, directory, truth=truth, tiles=tiles, on_minute=on_minute))
    first = reports[0]
    first.model = ", ".join(report.model for report in reports)
    first.seconds = sum(report.seconds for report in reports)
    first.minutes = [
        replace(minutes[0], scores=_add_up([m.scores for m in minutes if m.scores]))
        for minutes in zip(*(report.minutes for report in reports), strict=True)
    ]
    return first


def unseen_tiles(truth: Truth, model: str, data: Path) -> frozenset[tuple[int, int]]:
    """The truth's tiles that a model was not trained on.

    Args:
        data: where the training data lies that the model's card names.

    Raises:
        DatasetInvalid: it does not lie there.
    """
    card = Bundle.load(model).card
    sources = TrainingConfig.model_validate(card.training["config"]).sources
    names = [place.name for source in sources if source.use == "train" for place in read_source(data, source)]
    return truth.unseen_tiles(card.training, names)


def _add_up(scores: Sequence[dict[str, dict[str, Counts]]]) -> dict[str, dict[str, Counts]]:
    return {
        place: {kind: sum((one[place][kind] for one in scores), Counts()) for kind in kinds}
        for place, kinds in scores[0].items()
    }


def _look(
    pipeline: Pipeline,
    sequence: int | None,
    tiles: int,
    apply_s: float,
    applied: Applied | None,
    truth: Truth | None,
    scored_at: int,
    scored_tiles: frozenset[tuple[int, int]] | None,
) -> Minute:
    begun = time.perf_counter()
    blocks = 0
    while pipeline.look():
        blocks += 1
    look_s = time.perf_counter() - begun
    found = found_in(pipeline.db)
    kinds: dict[str, int] = {}
    for one in found:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    minute = Minute(sequence, tiles, len(applied.fixed) if applied else 0, kinds, apply_s, look_s, blocks)
    if truth is None or scored_at not in truth.open_by_sequence:
        return minute
    touched = truth.tiles_by_sequence.get(sequence, {}).get(pipeline.config.tiling.zoom)
    dirty = {(int(x), int(y)) for x, y in applied.expired.tiles} if applied else set()
    return replace(
        minute,
        missed_tiles=None if touched is None else len(touched - dirty),
        unexpected_tiles=None if touched is None else len(dirty - touched),
        scores=truth.score(found, scored_at, scored_tiles),
    )


def found_in(db: Database) -> list[Found]:
    """What is open or published now, as scoring takes it."""
    with db.transaction() as cursor:
        return [Found(d.key, d.kind, d.geometry, d.osm) for d in read_discrepancies(cursor, Filter())]


def _replication(directory: Path) -> Path:
    """The directory that holds state.txt: this one, or the single one in it that does."""
    if (directory / "state.txt").exists():
        return directory
    inside = [d for d in sorted(directory.iterdir()) if (d / "state.txt").exists()]
    if len(inside) != 1:
        raise ReplayInvalid(
            f"{directory}: expected state.txt in it, or in exactly one directory in it; found {len(inside)}"
        )
    return inside[0]


def oldest(replication: Path) -> int:
    """The lowest sequence of the change files below a directory in planet layout."""
    return min(int("".join(path.parts[-3:]).removesuffix(".osc.gz")) for path in replication.glob("*/*/*.osc.gz"))


def _zooms(imagery: Path) -> dict[int, int]:
    """Zoom -> a row of tiles that it has."""
    rows = {}
    for directory in imagery.iterdir():
        if re.fullmatch(r"\d{1,2}", directory.name):
            first = next((f for f in directory.glob("*/*") if f.stem.isdigit()), None)
            if first is not None:
                rows[int(directory.name)] = int(first.stem)
    if not rows:
        raise ReplayInvalid(f"{imagery}: no tiles in it; expected imagery/{{z}}/{{x}}/{{y}}.jpg")
    return rows


def _best_zoom(zooms: Mapping[int, int], card: Card) -> int:
    """The zoom whose ground sample distance fits a model: one that the folder has, or else one level beside such a one.

    Args:
        zooms: zoom that the folder has -> a row of its tiles.
    """
    rows = dict(zooms)
    for zoom, row in zooms.items():
        rows.setdefault(zoom - 1, row // 2)
        rows.setdefault(zoom + 1, row * 2)
    low, high = card.gsd_range_m

    def misfit(zoom: int) -> tuple[bool, bool, float]:
        gsd = ground_sample_distance(zoom, Block(zoom, 0, rows[zoom], 1).lonlat()[1])
        return not low <= gsd <= high, zoom not in zooms, abs(math.log(gsd / card.gsd_m))

    return min(rows, key=misfit)
