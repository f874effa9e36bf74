"""Months of real changes of a country, replayed: the store ends as a fresh bootstrap of the end state, to the bit.

What is compared: every row and every column of osm_node, osm_way, osm_relation and osm_feature (ids, versions, times,
tags, node lists, members, geometry as WKB, bounding boxes), as text. What a fresh bootstrap cannot know is left out:
which features were removed and which objects are gone.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from osm_world import end_state, rows_of, wrote

from daemon.db import Database
from daemon.osm import OsmStore, set_position
from daemon.replication.state import parse_state

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
KILLS = 20

#: A daemon in small: applies the files after the stored sequence, one transaction each, and says so.
REPLAY = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[3]]  # where the tests are
from test_extract_replays import apply_one, change_files, store
from daemon.db import Database
db = Database(sys.argv[1])
for sequence, path in change_files(Path(sys.argv[2])):
    with db.transaction() as cursor:
        cursor.execute("SELECT coalesce(sequence, 0) FROM replication_state")
        if sequence > cursor.fetchone()[0]:
            apply_one(cursor, sequence, path)
    print(sequence, flush=True)
"""


def asked_for(tags: object) -> bool:
    return any(key in tags for key in ("building", "highway", "landuse"))


store = OsmStore(None, asked_for)


def change_files(replication: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(replication.glob("*/*/*.osc.gz")):
        yield int("".join(path.relative_to(replication).parts).removesuffix(".osc.gz")), path


def moment_of(path: Path) -> datetime:
    return parse_state(path.with_name(path.name.replace(".osc.gz", ".state.txt")).read_bytes(), str(path)).timestamp


def apply_one(cursor, sequence: int, path: Path) -> None:
    store.apply(cursor, path, sequence, moment_of(path))
    set_position(cursor, sequence, moment_of(path))


@pytest.fixture
def fresh(server) -> Iterator[Database]:
    db = Database(server.create())
    yield db
    db.close()
    server.drop(db.dsn)


@pytest.mark.parametrize(
    ("place", "base", "end"),
    [
        ("andorra_2018_2019", "base-2018-03-01.osm.pbf", None),
        ("monaco_2012_2015", "base-2012-07-06.osm.pbf", "extracts/monaco-2015-04-27.osm.pbf"),
    ],
)
def test_a_replay_ends_as_a_fresh_bootstrap_and_no_file_counts_twice(
    data: Path, database: Database, fresh: Database, tmp_path: Path, place: str, base: str, end: str | None
) -> None:
    folder = data / "osm" / place
    files = list(change_files(folder / "replication" / "day"))
    store.bootstrap(database, folder / base)
    for sequence, path in files:
        with database.transaction() as cursor:
            apply_one(cursor, sequence, path)
        with database.transaction() as cursor:
            assert store.apply(cursor, path, sequence, moment_of(path)).changes == []
            assert not wrote(cursor), f"file {sequence} applied twice"
    made = end_state(folder / base, [path for _, path in files], tmp_path / "end.osm.pbf")
    store.bootstrap(fresh, made)
    assert_same_store(database, fresh)
    if end is not None:
        store.bootstrap(fresh, data / "osm" / end, force=True)
        assert_same_store(database, fresh)


def test_kills_in_the_middle_of_a_replay_change_nothing_of_its_outcome(
    data: Path, database: Database, fresh: Database
) -> None:
    folder = data / "osm" / "monaco_2012_2015"
    files = list(change_files(folder / "replication" / "day"))
    store.bootstrap(database, folder / "base-2012-07-06.osm.pbf")
    rng = random.Random(20)
    stops = sorted(rng.sample(range(1, len(files)), KILLS))
    for stop in [*stops, None]:
        process = subprocess.Popen(
            [sys.executable, "-c", REPLAY, database.dsn, str(folder / "replication" / "day"), str(HERE)],
            stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=child_environment(),
        )
        with process:
            for line in process.stdout:
                if stop is not None and int(line) >= stop:
                    # It has begun with the next file by now: somewhere in reading, asking, writing or committing.
                    for _ in range(rng.randrange(400_000)):
                        pass
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == (0 if stop is None else -signal.SIGKILL)
    store.bootstrap(fresh, data / "osm" / "extracts" / "monaco-2015-04-27.osm.pbf")
    assert_same_store(database, fresh)


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}


def assert_same_store(one: Database, other: Database) -> None:
    ours, theirs = rows_of(one), rows_of(other)
    for table in theirs:
        missing, surplus = set(theirs[table]) - set(ours[table]), set(ours[table]) - set(theirs[table])
        assert (sorted(missing)[:3], sorted(surplus)[:3]) == ([], []), table
        assert len(ours[table]) == len(theirs[table])
