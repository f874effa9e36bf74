"""Which objects of a change file say something new.

An object is *stale* when the store has, or had when it left, a higher version: an older file must not undo a newer one.
An equal version is accepted and compared by content, because extracts hand an object out again unchanged when it comes
back into their area, and because deletions in derived change files carry the version they delete. Version 0 is unknown
and always accepted. Hence a file applied twice in a row changes nothing the second time, and files read again in order
from any earlier one end in the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.osm.elements import NODE, Relation, Way
from daemon.osm.rows import array

#: Objects that left the store are remembered for so long.
MEMORY = timedelta(days=90)

Row = TypeVar("Row", Way, Relation)


def news_of_nodes(nodes: np.ndarray, stored: np.ndarray, gone: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """The nodes of a change file that differ from the store.

    Args:
        nodes: NODE, sorted by id.
        stored: those of them that the store has, NODE, sorted by id.
        gone: version in which some of the others left the store.

    Returns:
        The news, NODE; whether the store has each of them, bool; how many were stale.
    """
    before = np.zeros(len(nodes), NODE)
    have = np.zeros(len(nodes), bool)
    if len(stored):
        at = np.minimum(np.searchsorted(stored["id"], nodes["id"]), len(stored) - 1)
        have = stored["id"][at] == nodes["id"]
        before[have] = stored[at[have]]
    floor = before["version"].astype(np.int64)
    if gone:
        floor[~have] = [gone.get(id_, 0) for id_ in nodes["id"][~have].tolist()]
    stale = (nodes["version"] > 0) & (nodes["version"] < floor)
    same = have & nodes["present"]
    for name in ("changed", "lon", "lat", "version"):
        same &= before[name] == nodes[name]
    news = ~(stale | same | (~have & ~nodes["present"]))
    return nodes[news], have[news], int(np.count_nonzero(stale))


def news_of(rows: Mapping[int, Row], stored: Mapping[int, Row], gone: Mapping[int, int]) -> tuple[dict[int, Row], int]:
    """The ways or relations of a change file that differ from the store, and how many were stale."""
    news: dict[int, Row] = {}
    stale = 0
    for id_, row in rows.items():
        before = stored.get(id_)
        floor = gone.get(id_, 0) if before is None else before.version
        if 0 < row.version < floor:
            stale += 1
        elif row.visible if before is None else not _same(row, before):
            news[id_] = row
    return news, stale


def fetch_gone(cursor: Cursor, kind: str, ids: np.ndarray | list[int]) -> dict[int, int]:
    """In what version objects of a type ("n", "w", "r") left the store; those that never did are missing."""
    if not len(ids):
        return {}
    cursor.execute(query("gone_versions"), {"type": kind, "ids": array(ids)})
    return dict(cursor.fetchall())


def remember_gone(
    cursor: Cursor, kind: str, left: Mapping[int, int], back: set[int], timestamp: datetime
) -> None:
    """Keep the memory of what left the store: `left` gives versions by id, `back` are ids that are stored again."""
    if left:
        values = {"type": kind, "ids": array(left), "versions": array(left.values()), "gone": timestamp}
        cursor.execute(query("put_gone"), values)
    if back:
        cursor.execute(query("forget_gone"), {"type": kind, "ids": array(back)})


def forget_old(cursor: Cursor, timestamp: datetime) -> None:
    """Drop memories that are older than anyone reads change files again."""
    cursor.execute(query("forget_old_gone"), {"before": timestamp - MEMORY})


def _same(row: Way | Relation, before: Way | Relation) -> bool:
    if not row.visible or row.version != before.version or row.changed != before.changed or row.tags != before.tags:
        return False
    if isinstance(row, Way):
        return list(row.refs) == list(before.refs)
    return [tuple(member) for member in row.members] == [tuple(member) for member in before.members]
