"""`kill -9` between any two statements of a stage loses nothing and repeats nothing.

A child process kills itself when it is about to make its n-th call to the database, n drawn from a seed: in the middle
of a transaction, before its commit, or just after it. The next child begins as a daemon does that finds tiles in the
hand of one that is gone.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from osm_world import rows_of
from town import Town, discrepancies, ledger, look_at_all, queue_all, queue_rows

from daemon.db import Database

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

CHILD = """
import os, signal, sys
from pathlib import Path
from town import Town
from daemon.db import Database
from daemon.tiling.queue import release_worker

CALLS = ("execute", "commit", "copy_expert")  # what of a cursor or connection reaches the database
dsn, directory, data_dir, stage, left = *sys.argv[1:5], int(sys.argv[5])
db, town = Database(dsn), Town(Path(directory), Path(data_dir))
with town.pipeline(db) as pipeline:
    pipeline.worker = "child"
    with db.transaction() as cursor:
        release_worker(cursor, "child", pipeline.config.tiling)

    def count(frame, event, called):
        global left
        if event == "c_call" and getattr(called, "__name__", None) in CALLS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    while pipeline.stages[stage]():
        pass
    sys.setprofile(None)
    print(-left)
"""


def run_killed(town: Town, db: Database, stage: str, rng: random.Random, kills: int) -> None:
    """Run a stage to its end in spite of kills."""
    for most in (*[40] * kills, None):
        left = 0 if most is None else rng.randint(3, most)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, db.dsn, str(town.directory), str(town.data_dir), stage, str(left)],
            capture_output=True, text=True, cwd=REPOSITORY, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, HERE.parent, HERE)))},
        )
        if most is None:
            assert done.returncode == 0, done.stderr
            assert int(done.stdout) > 0, "nothing was left to do: the kills came too late to prove anything"
        else:
            assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("seed", [1])
def test_kills_in_the_middle_of_looking_and_following_change_nothing(
    town: Town, database: Database, server, seed: int
) -> None:
    calm = Database(server.create())
    rng = random.Random(seed)
    with town.pipeline(calm) as pipeline:
        queue_all(pipeline)
        look_at_all(pipeline)
        with town.pipeline(database) as other:
            queue_all(other)
        run_killed(town, database, "look", rng, kills=3)
        assert ledger(database) == ledger(calm)
        while pipeline.follow():
            pass
        run_killed(town, database, "follow", rng, kills=3)
        assert rows_of(database) == rows_of(calm)
        assert [r[:2] for r in queue_rows(database)] == [r[:2] for r in queue_rows(calm)] != []
        assert ledger(database) == ledger(calm)
        look_at_all(pipeline)
        run_killed(town, database, "look", rng, kills=1)
    assert ledger(database) == ledger(calm)
    assert {d.key: d.times_seen for d in discrepancies(database)} == {
        d.key: d.times_seen for d in discrepancies(calm)
    }
    assert queue_rows(database) == []
    calm.close()
    server.drop(calm.dsn)
