"""Verdicts that are taken back: a slip of the finger called something false, and that was for ever."""

from __future__ import annotations

from datetime import datetime

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.life import lock_ledger, write_history
from daemon.discrepancies.model import Event


def take_back(cursor: Cursor, key: str, *, came_by: str, now: datetime) -> bool:
    """Forget that something was called a false positive, and let it be asked of the map and shown again.

    For whoever keeps the installation, never for everybody. The history keeps what was said and that it was taken back.

    Returns:
        False where it is no false positive; nothing was changed.
    """
    lock_ledger(cursor)
    cursor.execute(query("restore_false_positive"), {"key": key, "now": now})
    if cursor.fetchone() is None:
        return False
    cursor.execute(query("forget_false_positives"), {"key": key})
    write_history(cursor, Event.REOPENED, [key], now=now, sequence=None, details=[{
        "was": "false_positive", "by": "verdict taken back", "came_by": came_by,
    }])
    return True
