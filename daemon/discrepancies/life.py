"""Every change of state of a discrepancy, in one place, each with its line in the history.

The states and steps are drawn in `model.py`. Whoever changes discrepancies holds the ledger's lock until the
transaction ends; it is taken after the locks on tiles (see daemon/tiling/queue.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.model import LIVE, ClosedAs, Discrepancy, Event, State, plain
from daemon.errors import DiscrepancyUnknown, TransitionIllegal


class Happening(NamedTuple):
    """One line of the history of a discrepancy."""

    at: datetime
    event: Event
    state: State
    """After the event."""
    closed_as: ClosedAs | None
    sequence: int | None
    """Of the change file that caused it."""
    detail: Mapping[str, Any]


def publish(
    cursor: Cursor, keys: Iterable[str], *, now: datetime, sequence: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> list[str]:
    """open -> published.

    Raises:
        DiscrepancyUnknown, TransitionIllegal: nothing was changed.
    """
    return _step(cursor, keys, Event.PUBLISHED, State.PUBLISHED, None, now, sequence, detail)


def close(
    cursor: Cursor, keys: Iterable[str], reason: ClosedAs | str, *, now: datetime, sequence: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> list[str]:
    """open | published -> closed(reason); as a false positive also from closed for another reason.

    Raises:
        DiscrepancyUnknown, TransitionIllegal: nothing was changed.
    """
    return _step(cursor, keys, Event.CLOSED, State.CLOSED, ClosedAs(reason), now, sequence, detail)


def reopen(
    cursor: Cursor, keys: Iterable[str], *, now: datetime, sequence: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> list[str]:
    """closed(fixed | withdrawn | stale) -> open. `reconcile` does so when it sees one again; this is for others.

    Raises:
        DiscrepancyUnknown, TransitionIllegal: nothing was changed.
    """
    return _step(cursor, keys, Event.REOPENED, State.OPEN, None, now, sequence, detail)


def take_back(
    cursor: Cursor, keys: Iterable[str], *, now: datetime, detail: Mapping[str, Any] | None = None
) -> list[str]:
    """closed(false_positive) -> open, because the people who said so, or who look after them, took it back.

    Raises:
        DiscrepancyUnknown, TransitionIllegal: nothing was changed.
    """
    return _step(cursor, keys, Event.REOPENED, State.OPEN, None, now, None, detail, undoes=ClosedAs.FALSE_POSITIVE)


def sweep_stale(cursor: Cursor, older_than: datetime, *, now: datetime) -> list[str]:
    """Close as stale what is open or published and was not seen since `older_than`; returns the keys."""
    lock_ledger(cursor)
    cursor.execute(query("stale_discrepancies"), {"older_than": older_than})
    return close(cursor, [key for (key,) in cursor.fetchall()], ClosedAs.STALE, now=now)


def sweep_hidden(cursor: Cursor, *, now: datetime) -> list[str]:
    """Show again what people said was fixed and the map does not show as fixed in time; returns the keys."""
    lock_ledger(cursor)
    cursor.execute(query("return_hidden_discrepancies"), {"now": now})
    keys = sorted(key for (key,) in cursor.fetchall())
    write_history(cursor, Event.RETURNED, keys, now=now, sequence=None)
    return keys


def find(cursor: Cursor, key: str) -> Discrepancy:
    """One discrepancy.

    Raises:
        DiscrepancyUnknown: there is none with this key.
    """
    cursor.execute(query("discrepancies_by_key"), {"keys": [key]})
    row = cursor.fetchone()
    if row is None:
        raise _unknown([key])
    return Discrepancy.of(row)


def history(cursor: Cursor, key: str) -> list[Happening]:
    """The life of one discrepancy from first sight on; empty for an unknown key."""
    cursor.execute(query("read_history"), {"key": key})
    return [
        Happening(at, Event(event), State(state), ClosedAs(closed_as) if closed_as else None, sequence, detail)
        for at, event, state, closed_as, sequence, detail in cursor.fetchall()
    ]


def count(cursor: Cursor) -> dict[tuple[str, str, State, ClosedAs | None], int]:
    """How many discrepancies there are of each (detector, kind, state, closed_as)."""
    cursor.execute(query("count_discrepancies"))
    return {
        (detector, kind, State(state), ClosedAs(closed_as) if closed_as else None): number
        for detector, kind, state, closed_as, number in cursor.fetchall()
    }


def lock_ledger(cursor: Cursor) -> None:
    """Be the only transaction that changes discrepancies until this one ends."""
    cursor.execute(query("lock_ledger"))


def write_history(
    cursor: Cursor, event: Event, keys: Sequence[str], *, now: datetime, sequence: int | None,
    details: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """One line of history for each key, with the state as it is now."""
    if keys:
        texts = [json.dumps(plain(detail), allow_nan=False) for detail in details or [{}] * len(keys)]
        cursor.execute(query("write_history"), {
            "keys": list(keys), "event": event, "now": now, "sequence": sequence, "details": texts,
        })


def _step(
    cursor: Cursor, keys: Iterable[str], event: Event, state: State, closed_as: ClosedAs | None, now: datetime,
    sequence: int | None, detail: Mapping[str, Any] | None, undoes: ClosedAs | None = None,
) -> list[str]:
    wanted = list(dict.fromkeys(keys))
    if not wanted:
        return []
    lock_ledger(cursor)
    cursor.execute(query("lock_discrepancies"), {"keys": wanted})
    found = {key: (State(was), ClosedAs(why) if why else None) for key, was, why in cursor.fetchall()}
    if missing := [key for key in wanted if key not in found]:
        raise _unknown(missing)
    for key in wanted:
        was, why = found[key]
        if not (_is_legal(was, why, state, closed_as) if undoes is None else why is undoes):
            raise TransitionIllegal(
                f"discrepancy {key} is {was}{f' ({why})' if why else ''} and cannot become {state}"
                f"{f' ({closed_as})' if closed_as else ''}; nothing was changed"
            )
    cursor.execute(query("set_discrepancy_state"), {
        "keys": wanted, "state": state, "closed_as": closed_as, "now": now, "sequence": sequence,
    })
    write_history(cursor, event, wanted, now=now, sequence=sequence, details=[detail or {}] * len(wanted))
    return wanted


def _is_legal(was: State, why: ClosedAs | None, state: State, closed_as: ClosedAs | None) -> bool:
    if was in LIVE:
        return state is State.CLOSED or (was is State.OPEN and state is State.PUBLISHED)
    if why is ClosedAs.FALSE_POSITIVE:
        return False
    return state is State.OPEN or closed_as is ClosedAs.FALSE_POSITIVE


def _unknown(keys: Sequence[str]) -> DiscrepancyUnknown:
    shown = ", ".join(repr(key) for key in keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
    return DiscrepancyUnknown(f"no discrepancy has the key {shown}; `mapgap export` lists the keys there are")
