"""`kill -9` and lost answers anywhere: no task twice, none lost, no verdict forgotten, no lock left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from claims import missing
from desk import ALREADY_FIXED, CREATED, FALSE_POSITIVE, Desk
from fake_maproulette import Fault
from mortal import Killed, Life, MortalDatabase, MortalFetcher

from daemon.discrepancies.model import ClosedAs, State
from daemon.errors import MapRouletteError
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[2]
#: What goes wrong on the way, and where: reads that fail only end a round, before anything could be made twice.
WRITES = r"^/task$|^/task/\d+|addFileTasks|^/challenge$|^/project$"
LOST = (Fault.ERROR, Fault.PROXY, Fault.LATE_PROXY, Fault.REFUSED, Fault.LOST_REPLY)

CHILD = """
import os, signal, sys
from pathlib import Path
from desk import child
from daemon.fetch import Fetcher

left, after = int(sys.argv[1]), sys.argv[2] == "after"
send = Fetcher.send

def mortal(self, *args, **more):
    global left
    left -= 1
    if left == 0 and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    answer = send(self, *args, **more)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

Fetcher.send = mortal
child(*sys.argv[3:])
"""


def live(desk: Desk, life: Life) -> None:
    """A new process, which works until it is done or dead."""
    database = MortalDatabase(desk.ledger.database, life)
    client = Client(Exchange(
        desk.fake.url, desk.fake.owner.key, MortalFetcher(desk.fetcher, life), upload_timeout=5.0
    ))
    channel = desk.restart(client=client, database=database)
    try:
        while channel.cycle():
            pass
    except Killed:
        assert life.died
    except MapRouletteError:
        pass


def check(desk: Desk, keys: list[str], fixed: set[str], false: set[str]) -> None:
    """All that was published has one task, in the status that map and mappers gave it; nobody has any open."""
    tasks = Counter(task.name for task in desk.fake.tasks())
    assert set(tasks) <= set(keys) and set(tasks.values()) == {1}
    assert set(keys) - set(tasks) <= fixed, "only what was fixed before anybody was asked has none"
    for key, status in desk.statuses().items():
        assert status == (FALSE_POSITIVE if key in false else ALREADY_FIXED if key in fixed else CREATED), key
    for key in false:
        found = desk.ledger.find(key)
        assert (found.state, found.closed_as) == (State.CLOSED, ClosedAs.FALSE_POSITIVE)
    told = [key for (key,) in desk.ledger.all("SELECT key FROM review WHERE came_by = 'maproulette'")]
    assert Counter(told) == Counter(false)
    assert desk.fake.world.locks == {}
    for challenge in desk.fake.world.challenges.values():
        assert (challenge.status, challenge.fields["enabled"]) == (3, True), challenge.name
    assert desk.ledger.all("SELECT key FROM outbox") == []


@pytest.mark.parametrize("seed", [1])
def test_two_hundred_kills_and_lost_answers_make_no_task_twice_and_lose_nothing(desks, seed: int) -> None:
    """The server lacks its unique index, as the public one did: whatever is sent twice is there twice."""
    desk = desks(bulk=4, tasks_most=150, gate_share=1.0)
    rng = random.Random(seed)
    desk.fake.world.unique_index = False
    anna = desk.fake.mapper("anna")
    keys: list[str] = []
    fixed: set[str] = set()
    false: set[str] = set()
    killed = round_ = 0
    while killed + desk.fake.faults.happened.total() < 200:
        round_ += 1
        number = len(keys)
        if round_ % 2:
            keys += desk.show(*(missing(desk.outline(i)) for i in range(number, number + rng.choice([1, 2, 6]))))
        if round_ % 4 == 0 and (waiting := [key for key in keys if key not in fixed | false]):
            key = rng.choice(waiting)
            desk.apply(*desk.drawing(desk.outline(keys.index(key)), keys.index(key)))
            fixed.add(key)
        if round_ % 5 == 0 and (offered := [task.name for task in anna.available() if task.name not in fixed]):
            key = rng.choice(offered)
            anna.false_positive(key, responses={"reason": "no such object"})
            false.add(key)
        desk.fake.faults.at_random(rng.randrange(10**6), 0.3, LOST, WRITES)
        life = Life(rng, 50)
        live(desk, life)
        killed += life.died is not None
        desk.fake.faults.stop()
        desk.settle()
    assert killed > 50 and desk.fake.faults.happened.total() > 50
    for _ in range(3):
        desk.fake.clock.advance(hours=7)
        live(desk, Life())
    check(desk, keys, fixed, false)
    assert len(desk.fake.world.challenges) > 1


@pytest.mark.parametrize(("requests", "when"), [(6, "after"), (15, "before"), (18, "after")])
def test_a_process_that_is_really_killed_leaves_what_the_next_one_goes_on_with(
    desk: Desk, requests: int, when: str
) -> None:
    desk.fake.world.unique_index = False
    keys = desk.houses(4)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS, HERE.parents[1], HERE)))}
    ahead = (desk.now - datetime.now(UTC)).total_seconds() + 1
    arguments = [str(requests), when, desk.ledger.database.dsn, str(desk.directory), desk.fake.url, desk.fake.owner.key]
    arguments.append(str(ahead))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    desk.apply(*desk.drawing(desk.outline(0)))
    desk.fake.clock.advance(minutes=5)
    live(desk, Life())
    check(desk, keys, {keys[0]}, set())
