"""A ledger, a frontend and the channel between them, on a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from claims import Ledger
from osmose_frontend import Frontend
from osmose_rig import Rig

from daemon.fetch import Fetcher


@pytest.fixture
def rig(ledger: Ledger) -> Iterator[Rig]:
    ledger.all("TRUNCATE osmose_frontend, osmose_source CASCADE; SELECT 1")
    fetcher = Fetcher("mapgap-test", connections=1, rate=1e6, timeout=10.0, retries=0)
    rig = Rig(ledger, Frontend(), fetcher)
    rig.frontend.state.clock = rig.clock
    yield rig
    rig.frontend.close()
    fetcher.close()
    assert rig.frontend.faults == [], "the frontend was sent what no frontend should be"
