"""A ledger that is served by Osmose's API, on a free port of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from claims import NOW, Ledger, ledger, one_ledger
from osmose_feed import TOKEN, Clock, Feed
from web_server import Served, backend_of, serving

__all__ = ["ledger", "one_ledger"]


@pytest.fixture(scope="package")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="package")
def served(one_ledger: Ledger, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    backend = backend_of(
        one_ledger.database, tmp_path_factory.mktemp("served"), token=TOKEN, clock=clock, open_verdicts=True,
        verdicts_per_hour=1e6, sections={"area": {"name": "banepa"}},
    )
    with serving(backend) as served:
        yield served


@pytest.fixture
def feed(served: Served, ledger: Ledger, clock: Clock) -> Feed:
    """The feed of an empty ledger."""
    clock.now = NOW
    return Feed(served, ledger, clock)
