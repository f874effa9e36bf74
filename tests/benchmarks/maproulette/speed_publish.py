"""Publishing missing buildings into MapRoulette: 10,000 as files, 1,000 one by one, and rounds where nothing changed.

The server is the fake one of the tests, in the same process; what it takes for itself is shown, as the real one will
take something else. Requests and bytes are those of the real one. The client is not slowed to its configured rate here:
the last column says how long that would make it wait.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from claims import Ledger, area, missing, nowhere
from desk import Desk
from fake_maproulette import FakeMapRoulette

from daemon.config import MapRoulette
from daemon.fetch import Fetcher
from daemon.publish.maproulette.channel import MapRouletteChannel
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange

pytestmark = pytest.mark.benchmark

MANY, SOME = 10_000, 1_000
#: Claims that are put into the ledger at once.
AT_ONCE = 500


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    fetcher = Fetcher("mapgap-bench", connections=1, rate=1e6, timeout=120.0, retries=0)
    yield fetcher
    fetcher.close()


def fill(desk: Desk, count: int) -> None:
    """So many missing houses that are shown."""
    keys: list[str] = []
    for first in range(0, count, AT_ONCE):
        claims = [missing(desk.outline(i), 0.95) for i in range(first, min(first + AT_ONCE, count))]
        keys += desk.ledger.look(*claims, owned=area(-100, -100, 400, 5000), judged=nowhere, now=desk.now).opened
    assert len(keys) == count
    desk.publish(keys)


def channel(desk: Desk, fetcher: Fetcher) -> MapRouletteChannel:
    """The desk's channel, with the patience of a daemon."""
    client = Client(Exchange(desk.fake.url, desk.fake.owner.key, fetcher, upload_timeout=MapRoulette().upload_timeout))
    return MapRouletteChannel(
        client, desk.ledger.database, desk.config, desk.pipeline.map, threading.Event(), clock=lambda: desk.now,
        rng=random.Random(1),
    )


def rounds(desk: Desk) -> tuple[float, float]:
    """Seconds until nothing more is to be told, and those of the CPU in this process."""
    start, cpu = time.perf_counter(), time.process_time()
    desk.cycle()
    return time.perf_counter() - start, time.process_time() - cpu


def test_publishing(ledger: Ledger, fetcher: Fetcher, tmp_path: Path, show: Callable[..., None]) -> None:
    logging.getLogger("daemon").setLevel(logging.WARNING)
    rows = []
    for count, how, knobs in (
        (MANY, "as files", {"bulk": 100}),
        (SOME, "one by one", {"bulk": MANY}),
        (MANY, "as files, with change files", {"bulk": 100, "change_files": 0.9}),
    ):
        ledger.clear()
        with FakeMapRoulette(checks=False) as fake:
            desk = Desk(ledger, fake, fetcher, tmp_path, open_per_area=MANY, new_per_day=MANY, **knobs)
            desk.channel = channel(desk, fetcher)
            fill(desk, count)
            for name in (f"{count:,} {how}", "  the same again, unchanged"):
                fake.forget_requests()
                busy = fake.busy
                seconds, cpu = rounds(desk)
                sent = sum(len(seen.body) for seen in fake.requests)
                rows.append((
                    name, seconds, cpu, fake.busy - busy, len(fake.requests), len(fake.writes), f"{sent / 1e6:.2f}",
                    f"{max((len(seen.body) for seen in fake.requests), default=0) / 1e6:.2f}",
                    len(fake.requests) / MapRoulette().rate,
                ))
            assert len(fake.tasks()) == count
            assert rows[-1][5] == 0, "nothing changed, and yet something was written"
            desk.pipeline.close()
    show(
        "Publishing into MapRoulette",
        ("", "seconds", "CPU s", "fake's s", "requests", "writes", "MB sent", "largest MB", "s at the default rate"),
        rows,
    )
