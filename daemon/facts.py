"""What the running daemon writes down about itself, for `mapgap status`: one row a fact in daemon_state.

    daemon   {"worker", "pid", "host", "started", "stopped"}; its row's time is the heartbeat
    errors   {stage: {"stage", "time", "kind", "message", "transient", "failures"}}, without the stages that succeed
    imagery  {source: {"settings", "content", "zoom", "seen", "changed"}}: digests of what gives a source's pixels, when
             it was looked at (seconds since 1970), and when another was found
    server   {"sequence", "timestamp"}: the newest the replication server had; its row's time is when it was asked
    followed {"applied"}: change files of the last portion; its row's time is when following last ended well
    look     how the look stage spends its time, see `daemon.pace`; its row's time is when it last did anything
    waits    what change files wait for that may not be applied yet, in words; "" where none does
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor as Cursor

from daemon.db import query


@dataclass(frozen=True, slots=True)
class Fact:
    """A value as JSON gives it, and when it was written (UTC)."""

    value: Any
    updated: datetime


def write_fact(cursor: Cursor, name: str, value: Any) -> None:
    """Write a fact down, in place of the one before."""
    cursor.execute(query("write_fact"), {"name": name, "value": json.dumps(value)})


def read_facts(cursor: Cursor) -> dict[str, Fact]:
    """All facts by name."""
    cursor.execute(query("read_facts"))
    return {name: Fact(value, updated) for name, value, updated in cursor}
