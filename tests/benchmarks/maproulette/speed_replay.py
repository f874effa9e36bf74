"""The whole replay of real edits lived through with the fake MapRoulette: are all statuses the truth's in the end?

The acceptance test of the same name lives through the first change files only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_maproulette import FakeMapRoulette
from mapped_stretch import MODEL, begin, check, touched

from daemon.db import Database
from daemon.fetch import Fetcher
from daemon.replay import replay_config
from daemon.scoring import Truth

pytestmark = pytest.mark.benchmark

NAMES = {0: "created", 1: "fixed", 2: "not an issue", 3: "skipped", 5: "already fixed", 6: "too hard", 9: "disabled"}


def test_the_whole_replay(
    replay_buildings: Path, database: Database, tmp_path: Path, show: Callable[..., None]
) -> None:
    truth = Truth.load(replay_buildings / "truth.json")
    last = max(truth.open_by_sequence)
    config = replay_config(replay_buildings, tmp_path, MODEL)
    tiles = touched(truth, config.tiling.zoom, last)
    with (
        FakeMapRoulette(now=datetime.now(UTC) + timedelta(hours=1)) as fake,
        closing(Fetcher("mapgap-bench", connections=1, rate=1e6, timeout=60.0, retries=0)) as fetcher,
    ):
        stretch = begin(config, database, fake, fetcher, truth)
        start = time.perf_counter()
        with stretch.pipeline:
            stretch.live(replay_buildings, tiles, last)
            seconds = time.perf_counter() - start
            counts = check(stretch, last)
        assert fake.violations == []
        statuses = [(NAMES[status], count) for status, count in sorted(counts.items())]
        show(
            "The whole replay with MapRoulette", ("", "number"),
            [
                ("change files", last), ("tiles looked at first", len(tiles)), ("tasks", sum(counts.values())),
                *((f"  {name}", count) for name, count in statuses),
                ("dismissed, fixed, passed on by mappers", ", ".join(
                    str(len(keys)) for keys in (stretch.dismissed, stretch.fixed, stretch.passed)
                )),
                ("requests", len(fake.requests)), ("of them writes", len(fake.writes)), ("seconds", seconds),
            ],
        )
