"""A server over a ledger that each test fills as it likes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from claims import NOW, Ledger, ledger, one_ledger
from web_server import TOKEN, Served, backend_of, serving

__all__ = ["ledger", "one_ledger"]


@pytest.fixture(scope="session")
def one_server(one_ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that leave it as it is."""
    directory = tmp_path_factory.mktemp("served")
    backend = backend_of(one_ledger.database, directory, token=TOKEN, clock=lambda: NOW, verdicts_per_hour=1e6)
    with serving(backend) as served:
        yield served


@pytest.fixture
def served(one_server: Served, ledger: Ledger) -> Served:
    """The server over an empty ledger."""
    return one_server
