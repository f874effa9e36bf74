"""A false positive is taken back by whoever keeps the installation: a slip of the finger, and that was for ever."""

from __future__ import annotations

from datetime import datetime

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies import life
from daemon.discrepancies.model import ClosedAs
from daemon.reviews.verdicts import overturn


def take_back(cursor: Cursor, key: str, *, came_by: str, now: datetime) -> bool:
    """Let every verdict that calls something false count nowhere from now on, so that it may be shown again.

    The history keeps what was said and that it was taken back.

    Returns:
        False where it is no false positive; nothing was changed.

    Raises:
        DiscrepancyUnknown: no discrepancy has this key.
    """
    life.lock_ledger(cursor)
    if life.find(cursor, key).closed_as is not ClosedAs.FALSE_POSITIVE:
        return False
    cursor.execute(query("standing_false_positives"), {"key": key})
    for (review,) in cursor.fetchall():
        overturn(cursor, review, who=None, at=now, now=now, by=came_by)
    if life.find(cursor, key).closed_as is ClosedAs.FALSE_POSITIVE:  # closed without a verdict that is kept
        life.take_back(cursor, [key], now=now, detail={"by": came_by})
    return True
