"""Which node ids the store may have, or miss, at all: told in memory, without a question to the database.

Node ids are given out in the order in which nodes are made, and what is made at one place at one time stands together.
So the nodes of a country fill few of the pages of 1024 ids, and most nodes of a minute of the planet are on none of
them. Pages are only ever added; their token in the database changes with each addition, in the same transaction, so
that whoever holds them in memory knows whether they are all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.osm.rows import array

#: A page has 2 ** PAGE_BITS ids.
PAGE_BITS = 10


@dataclass(frozen=True, slots=True)
class NodePages:
    """Pages of node ids, int64, sorted, and the token that says which state of them this is."""

    pages: np.ndarray
    token: str

    @classmethod
    def load(cls, cursor: Cursor, known: NodePages | None) -> NodePages:
        """The pages as they are now; `known` where that still is their state."""
        cursor.execute(query("node_pages_token"))
        (token,) = cursor.fetchone()
        if known is not None and known.token == token:
            return known
        cursor.execute(query("node_pages"))
        return cls(np.array([page for (page,) in cursor], np.int64), token)

    def may_hold(self, ids: np.ndarray) -> np.ndarray:
        """Which of the ids are on one of the pages, bool [N]."""
        if not len(self.pages):
            return np.zeros(len(ids), bool)
        wanted = ids >> PAGE_BITS
        return self.pages[np.minimum(np.searchsorted(self.pages, wanted), len(self.pages) - 1)] == wanted

    def grown(self, cursor: Cursor, ids: np.ndarray) -> NodePages:
        """With the pages of these ids, which are stored or missing now. Written in the caller's transaction."""
        fresh = np.unique(ids[~self.may_hold(ids)] >> PAGE_BITS)
        if not len(fresh):
            return self
        cursor.execute(query("add_node_pages"), {"pages": array(fresh)})
        cursor.execute(query("renew_node_pages_token"))
        return NodePages(np.union1d(self.pages, fresh), cursor.fetchone()[0])
