"""A small rendered town, wrong maps of it, and pipelines that look at it through the shipped network.

What the network answered is kept for the whole run of the tests, so that the town is segmented once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from osm_world import Thing, node, way, write_changes
from shapely.geometry import Polygon

from daemon.backfill import queue_area
from daemon.config import Config
from daemon.db import Database
from daemon.demo.place import Place
from daemon.demo.scenario import write_scenario
from daemon.discrepancies.model import LIVE, Discrepancy
from daemon.pipeline import Applied, Pipeline
from daemon.publish.export import Filter, read_discrepancies
from daemon.replay import BASE, replay_config
from daemon.replication import ChangeFile
from daemon.tiling.grid import Tile
from daemon.tiling.queue import mark_dirty
from detectors.vectorize.matching import match_outlines

#: The shipped bundle; the tests ask for no more than that it sees roofs.
MODEL = "building"
SEED, COLUMNS, ROWS, MINUTES = 3, 4, 3, 8
#: Ids that the scenario does not use.
FIRST_ID = 97_000_000_001
LATER = datetime(2024, 7, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Town:
    """A scenario's directory, and where pipelines keep their caches."""

    directory: Path
    data_dir: Path

    def config(self, data_dir: Path | None = None, **tiling: Any) -> Config:
        """As `mapgap replay` has it, but with blocks of 2 x 2 tiles unless told otherwise."""
        config = replay_config(self.directory, data_dir or self.data_dir, MODEL)
        return config.model_copy(update={"tiling": config.tiling.model_copy(update={"block": 2, **tiling})})

    @contextmanager
    def pipeline(self, db: Database, config: Config | None = None) -> Iterator[Pipeline]:
        """A pipeline over a database in which the first map is."""
        with Pipeline(config or self.config(), db) as pipeline:
            with db.transaction() as cursor:
                position = pipeline.store.position(cursor)
            if position is None:
                pipeline.store.bootstrap(db, self.directory / BASE)
            yield pipeline


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """4 x 3 tiles of a rendered town and a few minutes of edits."""
    root = tmp_path_factory.mktemp("town")
    write_scenario(root / "scenario", SEED, MINUTES, columns=COLUMNS, rows=ROWS)
    return Town(root / "scenario", root / "kept")


def queue_all(pipeline: Pipeline) -> int:
    return queue_area(pipeline.config, pipeline.db, pipeline.imagery, None)


def look_at_all(pipeline: Pipeline) -> int:
    """Look until nothing is due; returns how many blocks were."""
    blocks = 0
    while pipeline.look():
        blocks += 1
    return blocks


def mark(pipeline: Pipeline, tiles: Sequence[Tile]) -> None:
    tiling = pipeline.config.tiling
    with pipeline.db.transaction() as cursor:
        mark_dirty(
            cursor, tiles, tiling.zoom, reason="change", sequence=None, now=datetime.now(UTC), config=tiling
        )


def tiles_of_town() -> list[Tile]:
    return sorted(Place(COLUMNS, ROWS).tiles)


def discrepancies(db: Database, *, closed: bool = False) -> list[Discrepancy]:
    with db.transaction() as cursor:
        return sorted(read_discrepancies(cursor, Filter(states=LIVE, include_closed=closed)), key=lambda d: d.key)


def ledger(db: Database) -> list[tuple[Any, ...]]:
    """All that a reader of the ledger can see, with its history, but no clock's time nor how often it was seen."""
    with db.transaction() as cursor:
        cursor.execute(
            "SELECT key, kind, state, closed_as, osm, confidence, geometry::text, evidence::text, "
            "ARRAY(SELECT (event, h.state, h.closed_as, h.sequence)::text FROM discrepancy_history h "
            "WHERE h.key = d.key ORDER BY id) FROM discrepancy d ORDER BY key"
        )
        return cursor.fetchall()


def queue_rows(db: Database) -> list[tuple[Any, ...]]:
    """(x, y, state, attempts, lost, worker, error) of all tiles in the queue."""
    with db.transaction() as cursor:
        cursor.execute("SELECT x, y, state::text, attempts, lost, worker, error FROM dirty_tile ORDER BY x, y")
        return cursor.fetchall()


def way_of(number: int) -> int:
    """The id of the way that `drawing` makes."""
    return FIRST_ID + number * 1000


def drawing(polygon: Polygon, number: int) -> list[Thing]:
    """A new building way along an outline, and its nodes."""
    points = list(polygon.exterior.coords)[:-1]
    first = way_of(number)
    changed = int(LATER.timestamp())
    nodes = [node(first + i, lon, lat, changed=changed) for i, (lon, lat) in enumerate(points)]
    refs = [n.id for n in nodes]
    return [*nodes, way(first, [*refs, refs[0]], changed=changed, tags={"building": "yes"})]


def apply(pipeline: Pipeline, folder: Path, *things: Thing, sequence: int | None = None) -> Applied:
    """Apply a change file that holds these objects."""
    with pipeline.db.transaction() as cursor:
        before = pipeline.store.position(cursor).sequence or 0
    number = before + 1 if sequence is None else sequence
    path = write_changes(folder / f"{number}.osc.gz", things)
    return pipeline.apply(ChangeFile(number, LATER, path))


def twins(found: Sequence[Discrepancy], most: float = 0.1) -> list[tuple[str, str, float]]:
    """Pairs of one kind that overlap by more than `most` (intersection over union)."""
    pairs = []
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            if one.kind == other.kind and one.geometry.intersects(other.geometry):
                shared = one.geometry.intersection(other.geometry).area
                iou = shared / (one.geometry.area + other.geometry.area - shared)
                if iou > most:
                    pairs.append((one.key, other.key, round(iou, 3)))
    return pairs


def unmatched(found: Sequence[Discrepancy], others: Sequence[Discrepancy], iou: float = 0.5) -> list[Discrepancy]:
    """What of both has no counterpart of its kind and object, in about the same place, in the other."""
    lonely: list[Discrepancy] = []
    for group in {(d.kind, d.osm) for d in (*found, *others)}:
        ours = [d for d in found if (d.kind, d.osm) == group]
        theirs = [d for d in others if (d.kind, d.osm) == group]
        pairs = match_outlines([d.geometry for d in ours], [d.geometry for d in theirs], iou)
        lonely += [d for i, d in enumerate(ours) if i not in pairs]
        lonely += [d for i, d in enumerate(theirs) if i not in pairs.values()]
    return lonely
