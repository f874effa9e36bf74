"""How fast a daemon that was away comes back: minutely files from a web server, followed by the real follower."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from bench import MIDDLE, Bench, timed
from http_server import Web
from minutes import moment
from report import Report, verdict

from daemon.replication.source import RATE
from daemon.replication.state import sequence_path

pytestmark = pytest.mark.benchmark

#: Set it to anything to follow a whole week.
VARIABLE = "MAPGAP_BENCH_WEEK"
WEEK, SOME = 7 * 24 * 60, 1000
#: A change file and its state file; the follower asks a server for no more than `RATE` files a second.
REQUESTS = 2
#: Times real time that catching up must reach.
BAR = 60
#: The largest few files are as large as the real ones, the others a part of that: (share of files, share of the size).
PARTS = ((0.70, 0.02), (0.25, 0.1), (0.05, 1.0))


def test_catching_up(bench: Bench, report: Report, web: Web) -> None:
    """Sizes are those of the real minutely files, drawn by chance and mostly cut down to a small part."""
    count = WEEK if os.environ.get(VARIABLE) else SOME
    store = bench.store(bench.copies(0, MIDDLE), "building")
    with timed(f"making {count:,} minutely files"):
        objects = [_put(bench, web, store.after + i, size) for i, size in enumerate(_sizes(bench, count), 1)]
    web.put("/minute/state.txt", _state(store.after + count))
    with timed(f"mapgap follows {count:,} files"):
        found = bench.job("follow", f"catching up with {count:,} files", dsn=store.dsn, url=web.url("/minute"),
                          after=store.after)
    assert found["files"] == count
    store.after += count
    speed = 60 * count / found["seconds"]
    tiny = sum(1 for number in objects if number < 100)
    report.table(
        "catching-up-week" if count == WEEK else "catching-up",
        f"Catching up over HTTP, a store of {MIDDLE * len(bench.world.ways):,} ways",
        ["minutely files", "of under 100 objects", "objects", "s", "files/s", "allowed files/s",
         "times real time", "bar", "verdict"],
        [[count, tiny, sum(objects), found["seconds"], count / found["seconds"],
          RATE / REQUESTS, speed, f">= {BAR}",
          verdict(speed, BAR, most=False)]],
    )


def _sizes(bench: Bench, count: int) -> Iterator[dict[str, int]]:
    """Nodes, ways and relations of each file."""
    chance = random.Random(7)
    shares, parts = zip(*PARTS, strict=True)
    for _ in range(count):
        real, (part,) = chance.choice(bench.real_sizes), chance.choices(parts, shares)
        yield {kind: round(number * part) for kind, number in real.items()}


def _put(bench: Bench, web: Web, sequence: int, size: dict[str, int]) -> int:
    """Make a change file and its state file, and have them served."""
    path = bench.minutes(MIDDLE).write(bench.place("minute.osc.gz"), size)
    web.put(f"/minute/{sequence_path(sequence)}.osc.gz", path.read_bytes())
    web.put(f"/minute/{sequence_path(sequence)}.state.txt", _state(sequence))
    return sum(size.values())


def _state(sequence: int) -> bytes:
    time = moment(sequence).strftime("%Y-%m-%dT%H\\:%M\\:%SZ")
    return f"#made for a benchmark\nsequenceNumber={sequence}\ntimestamp={time}\n".encode()
