"""What waits in the outbox for MapRoulette, with all that is needed to tell it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.model import Discrepancy
from daemon.publish.feed import ExportContext
from daemon.publish.maproulette.records import ChallengeRow, TaskRow, read_tasks
from daemon.publish.maproulette.tasks import Content, contents_of
from daemon.publish.outbox import Due

#: Name of the channel in the outbox.
CHANNEL = "maproulette"
#: Rest after the first failure, of which at least half is kept; it doubles with each further one, up to the longest.
FIRST_REST = timedelta(minutes=1)
LONGEST_REST = timedelta(hours=6)


class Waiting(NamedTuple):
    """One discrepancy that has a task, or is about to have one."""

    due: Due
    discrepancy: Discrepancy
    row: TaskRow
    content: Content


def read_waiting(
    cursor: Cursor, dues: Sequence[Due], challenges: Sequence[ChallengeRow], context: ExportContext, *, move_nodes: bool
) -> list[Waiting]:
    """Those of what is due that have a task, or are to have one."""
    rows = read_tasks(cursor, [due.key for due in dues])
    ways = {challenge.id: challenge.group.way for challenge in challenges}
    discrepancies = read_discrepancies(cursor, rows)
    contents = contents_of(
        cursor, [(d, ways[rows[key].challenge]) for key, d in discrepancies.items()], context, move_nodes=move_nodes
    )
    return [
        Waiting(due, discrepancies[due.key], rows[due.key], contents[due.key]) for due in dues if due.key in contents
    ]


def read_discrepancies(cursor: Cursor, keys: Sequence[str] | dict[str, TaskRow]) -> dict[str, Discrepancy]:
    """Discrepancies by key."""
    cursor.execute(query("discrepancies_by_key"), {"keys": list(keys)})
    return {d.key: d for d in map(Discrepancy.of, cursor.fetchall())}


def rest_until(due: Due, now: datetime) -> datetime:
    """When what failed is tried again: not all of it at the same moment, and each discrepancy's share is its own."""
    rest = min(FIRST_REST * 2 ** min(due.attempts, 20), LONGEST_REST)
    return now + rest * (0.5 + zlib.crc32(f"{due.key} {due.attempts}".encode()) / 2**33)
