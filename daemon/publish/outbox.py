"""What a channel has still to be told.

Rows come from `daemon.discrepancies.life.write_history`, in the transaction that changed the discrepancy. A channel
reads what is due, tells it, and takes it out; what changed in the meantime stays in, because its generation is another.
So a kill anywhere tells something twice at worst, and a channel must bear that. Whoever writes here holds the ledger's
lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.life import lock_ledger


class Due(NamedTuple):
    """One discrepancy that a channel is to be told of."""

    key: str
    generation: int
    """Changes of it so far; see `told`."""
    attempts: int
    """Failures since its last change."""


class Backlog(NamedTuple):
    """How much waits in a channel."""

    waiting: int
    failing: int
    """Of those, how many could not be told."""
    error: str | None
    """One reason."""


def open_channel(cursor: Cursor, channel: str, now: datetime) -> bool:
    """Note what changes from now on, and once what is shown already. Returns whether the channel is new."""
    lock_ledger(cursor)
    cursor.execute(query("open_channel"), {"channel": channel, "now": now})
    if cursor.fetchone() is None:
        return False
    cursor.execute(query("fill_outbox"), {"channel": channel, "now": now})
    return True


def due(cursor: Cursor, channel: str, now: datetime, limit: int) -> list[Due]:
    """What is to be told now, the longest waiting first."""
    cursor.execute(query("read_outbox"), {"channel": channel, "now": now, "limit": limit})
    return [Due(*row) for row in cursor.fetchall()]


def note(cursor: Cursor, channel: str, keys: Iterable[str], now: datetime) -> None:
    """Let a channel be told of discrepancies though nothing about them changed."""
    lock_ledger(cursor)
    cursor.execute(query("note_in_outbox"), {"channel": channel, "keys": sorted(set(keys)), "not_before": now})


def told(cursor: Cursor, channel: str, rows: Sequence[Due]) -> None:
    """Take out what was told; a row that changed since it was read stays."""
    lock_ledger(cursor)
    cursor.execute(query("told"), {"channel": channel, **_columns(rows)})


def postpone(cursor: Cursor, channel: str, rows: Sequence[Due], error: str, until: datetime) -> None:
    """Let rest what could not be told. `error` says why, without secrets."""
    lock_ledger(cursor)
    cursor.execute(query("postpone"), {"channel": channel, "error": error, "not_before": until, **_columns(rows)})


def backlogs(cursor: Cursor) -> dict[str, Backlog]:
    """How much waits, by channel; channels in which nothing does are left out."""
    cursor.execute(query("count_outbox"))
    return {channel: Backlog(*rest) for channel, *rest in cursor.fetchall()}


def _columns(rows: Sequence[Due]) -> dict[str, list[object]]:
    return {"keys": [row.key for row in rows], "generations": [row.generation for row in rows]}
