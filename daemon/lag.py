"""How far the store is behind, all of it in one place: what `mapgap status` tells and gauges show.

The names are meant to last: a gauge of a figure is called mapgap_replication_<name>.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg2.extensions import cursor as Cursor

from daemon.config import Replication
from daemon.db import query
from daemon.facts import Fact


@dataclass(frozen=True, slots=True)
class Lag:
    """Where the store stands, and where the replication server stood when it was last asked. Times are UTC.

    Attributes:
        source: whose `sequence` it is, as `config.server_of` names it: replication.url's, or while catching up one of
            replication.coarse.
        sequence: of the last change file applied; None before the first, where the extract does not say.
        timestamp: of the data in the store: all edits before it are there. None where it is not known yet.
        server_sequence, server_timestamp: the newest that replication.url's server had; None before it was first asked.
        server_asked: when that was.
        lag_seconds: now - timestamp.
        behind_seconds: server_timestamp - timestamp, at least 0: what could be applied at once. None where not known.
        files_behind: server_sequence - sequence, at least 0; None on another server's sequences, and where not known.
        last_success: when following last ended well, with or without anything new; None if it never did.
    """

    source: str
    sequence: int | None
    timestamp: datetime | None
    server_sequence: int | None
    server_timestamp: datetime | None
    server_asked: datetime | None
    lag_seconds: float | None
    behind_seconds: float | None
    files_behind: int | None
    last_success: datetime | None


def read_lag(cursor: Cursor, facts: dict[str, Fact], config: Replication, now: datetime) -> Lag | None:
    """The lag by what the database says; None where nothing was bootstrapped.

    Args:
        facts: as `read_facts` gives them.
        config: names the server that is followed.
        now: aware.
    """
    cursor.execute(query("status_position"))
    row = cursor.fetchone()
    if row is None:
        return None
    sequence, timestamp, named = row
    source = named or config.server
    server, followed = facts.get("server"), facts.get("followed")
    server_sequence = server_timestamp = behind = files = None
    if server is not None:
        server_sequence = server.value["sequence"]
        server_timestamp = datetime.fromisoformat(server.value["timestamp"])
        if timestamp is not None:
            behind = max(0.0, (server_timestamp - timestamp).total_seconds())
        if sequence is not None and source == config.server:
            files = max(0, server_sequence - sequence)
    return Lag(
        source=source,
        sequence=sequence,
        timestamp=timestamp.astimezone(UTC) if timestamp else None,
        server_sequence=server_sequence,
        server_timestamp=server_timestamp,
        server_asked=server.updated if server else None,
        lag_seconds=round((now - timestamp).total_seconds(), 1) if timestamp else None,
        behind_seconds=behind,
        files_behind=files,
        last_success=followed.updated if followed else None,
    )
