"""A stretch of edits lived through with MapRoulette: what is found is told, mappers act, and all tasks end up true."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_maproulette import FakeMapRoulette
from mapped_stretch import ALREADY_FIXED, MODEL, begin, check, touched

from daemon.db import Database
from daemon.fetch import Fetcher
from daemon.replay import replay_config
from daemon.scoring import Truth


@pytest.fixture
def fake() -> Iterator[FakeMapRoulette]:
    """Its clock is ahead of the pipeline's, so that what the pipeline did just now lies behind it."""
    with FakeMapRoulette(now=datetime.now(UTC) + timedelta(hours=1)) as fake:
        yield fake
    assert fake.violations == []


def test_a_rendered_towns_tasks_end_up_true(
    made_up_town: Path, database: Database, fake: FakeMapRoulette, tmp_path: Path
) -> None:
    truth = Truth.load(made_up_town / "truth.json")
    config = replay_config(made_up_town, tmp_path, MODEL)
    (tmp_path / "cache").symlink_to(made_up_town / "cache")
    last = max(truth.open_by_sequence)
    with closing(Fetcher("mapgap-test", connections=1, rate=1e6, timeout=10.0, retries=0)) as fetcher:
        stretch = begin(config, database, fake, fetcher, truth)
        with stretch.pipeline:
            stretch.live(made_up_town, touched(truth, config.tiling.zoom, last), last)
            counts = check(stretch, last)
            assert counts[ALREADY_FIXED] and stretch.dismissed | stretch.fixed
            fake.forget_requests()
            fake.clock.advance(days=15)
            while stretch.channel.cycle():
                pass
            assert [one.endpoint for one in fake.writes] == []


def test_real_ground_with_real_edits_ends_up_true(
    data: Path, database: Database, fake: FakeMapRoulette, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, last = data / "replay_buildings", 2
    if not directory.is_dir():
        pytest.skip(f"no replay_buildings in {data}")
    truth = Truth.load(directory / "truth.json")
    config = replay_config(directory, tmp_path, MODEL)
    with closing(Fetcher("mapgap-test", connections=1, rate=1e6, timeout=10.0, retries=0)) as fetcher:
        stretch = begin(config, database, fake, fetcher, truth)
        with stretch.pipeline:
            stretch.live(directory, touched(truth, config.tiling.zoom, last), last)
            counts = check(stretch, last)
    with capsys.disabled():
        print(f"\ntasks by status: {dict(sorted(counts.items()))}, {len(fake.requests)} requests")
    assert counts[ALREADY_FIXED] >= 2
