"""A server that lives today, and makers of desks that publish into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from claims import Ledger
from desk import Desk
from fake_maproulette import FakeMapRoulette

from daemon.fetch import Fetcher


@pytest.fixture
def fake() -> Iterator[FakeMapRoulette]:
    """A MapRoulette server of today; what breaks its contract fails the test in the end.

    Its clock is ahead of the pipeline's by so much that what the pipeline did just now lies behind it.
    """
    with FakeMapRoulette(now=datetime.now(UTC) + timedelta(minutes=10)) as fake:
        yield fake
    assert fake.violations == []


@pytest.fixture
def desks(
    ledger: Ledger, fake: FakeMapRoulette, fetchers: Callable[..., Fetcher], tmp_path: Path
) -> Iterator[Callable[..., Desk]]:
    """Makes a desk with these knobs of [maproulette]."""
    made = []

    def make(**knobs) -> Desk:
        made.append(Desk(ledger, fake, fetchers(), tmp_path, **knobs))
        return made[-1]

    yield make
    for desk in made:
        desk.pipeline.close()


@pytest.fixture
def desk(desks: Callable[..., Desk]) -> Desk:
    return desks()
