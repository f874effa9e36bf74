"""The ledger that the tests of this room work on."""

from claims import ledger, one_ledger

__all__ = ["ledger", "one_ledger"]
