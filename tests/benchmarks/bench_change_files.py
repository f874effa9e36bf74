"""Seconds for one change file, beside pyosmium merely reading the same files.

What is measured is all of `Pipeline.apply`: store, geometry, dirty tiles, asking the open discrepancies, commit.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import osmium
import pytest
from osm_world import node, way, write_changes, write_extract

from daemon.config import Config, Replication
from daemon.db import Database
from daemon.pipeline import Pipeline
from daemon.replication import ChangeFile
from daemon.replication.state import parse_state

pytestmark = pytest.mark.benchmark

#: A busy minute of the planet: so many new buildings, moved nodes and retagged ways.
CREATED, MOVED, TAGGED = 400, 2000, 400
LATER = datetime(2021, 1, 1, tzinfo=UTC)


def read(path: Path) -> int:
    """All elements of a file, as pyosmium gives them."""
    return sum(1 for _ in osmium.FileProcessor(str(path)))


def measure(db: Database, folder: Path, base: Path, files: list[ChangeFile]) -> list[object]:
    config = Config(data_dir=folder, replication=Replication(url=folder.resolve().as_uri()))
    reads, applies, features = [], [], 0
    with Pipeline(config, db) as pipeline:
        pipeline.store.bootstrap(db, base)
        with db.transaction() as cursor:
            cursor.execute("UPDATE replication_state SET sequence = %s", (files[0].sequence - 1,))
        for file in files:
            begun = time.perf_counter()
            elements = read(file.path)
            reads.append(((time.perf_counter() - begun), elements))
            begun = time.perf_counter()
            features += len(pipeline.apply(file).delta.changes)
            applies.append(time.perf_counter() - begun)
    reading = sum(seconds for seconds, _ in reads)
    return [
        len(files), sum(count for _, count in reads), features, 1e3 * reading / len(files),
        1e3 * float(np.mean(applies)), 1e3 * float(np.quantile(applies, 0.95)), 1e3 * max(applies),
        sum(applies) / reading,
    ]


COLUMNS = (
    "files of", "files", "elements", "features", "read ms", "apply ms", "95 % ms", "most ms", "apply / read",
)


def test_change_files_of_real_countries(data: Path, server, tmp_path: Path, show) -> None:
    rows = []
    for place, base in (
        ("andorra_2018_2019", "base-2018-03-01.osm.pbf"), ("monaco_2012_2015", "base-2012-07-06.osm.pbf")
    ):
        folder = data / "osm" / place
        files = []
        for path in sorted((folder / "replication" / "day").glob("*/*/*.osc.gz")):
            state = path.with_name(path.name.replace(".osc.gz", ".state.txt"))
            sequence = int("".join(path.parts[-3:]).removesuffix(".osc.gz"))
            if not files or sequence == files[-1].sequence + 1:
                files.append(ChangeFile(sequence, parse_state(state.read_bytes(), str(state)).timestamp, path))
        db = Database(server.create())
        rows.append([place, *measure(db, tmp_path / place, folder / base, files)])
        db.close()
    show("change files, a day each", COLUMNS, rows)


def test_a_busy_minute(server, tmp_path: Path, show) -> None:
    """All objects of the minute lie in the area, unlike in a real one: the worst case."""
    count = MOVED + TAGGED

    def corners(i: int) -> list[tuple[float, float]]:
        lon, lat = 9.0 + i % 100 * 0.0005, 47.0 + i // 100 * 0.0005
        return [(lon, lat), (lon + 0.0001, lat), (lon + 0.0001, lat + 0.0001), (lon, lat + 0.0001)]

    def house(i: int) -> list:
        refs = [4 * i + k + 1 for k in range(4)]
        points = [node(ref, *corner) for ref, corner in zip(refs, corners(i), strict=True)]
        return [*points, way(i + 1, [*refs, refs[0]], tags={"building": "yes"})]

    houses = [house(i) for i in range(count)]
    base = write_extract(tmp_path / "base.osm.pbf", [thing for one in houses for thing in one])
    moved = [houses[i][0].next(location=(corners(i)[0][0] - 1e-5, corners(i)[0][1])) for i in range(MOVED)]
    tagged = [houses[i][-1].next(tags={"building": "house"}) for i in range(MOVED, count)]
    created = [thing for i in range(count, count + CREATED) for thing in house(i)]
    path = write_changes(tmp_path / "1.osc.gz", sorted([*moved, *tagged, *created], key=lambda t: "nw".index(t.kind)))
    db = Database(server.create())
    row = measure(db, tmp_path / "minute", base, [ChangeFile(1, LATER, path)])
    db.close()
    show(f"a minute with {CREATED} new, {MOVED} moved and {TAGGED} retagged buildings", COLUMNS, [["made up", *row]])
