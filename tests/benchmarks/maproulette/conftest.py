"""A ledger, a desk that publishes it into the fake server, and a stretch of edits: those of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path += [str(TESTS / path) for path in ("daemon", "daemon/publish/maproulette", "acceptance")]

from claims import ledger, one_ledger  # noqa: E402

__all__ = ["ledger", "one_ledger"]
