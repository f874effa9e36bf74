"""The one way in for verdicts, wherever they come from: MapRoulette, Osmose, the own API, the command line.

Who says "fixed" or "already fixed" is believed as far as the map bears it out: the map is asked at once, and where it
does not show the correction yet (its change file is on the way), nobody else is asked for `reviews.believe_fixed` days.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from psycopg2.extensions import cursor as Cursor

from daemon.discrepancies.life import find, lock_ledger
from daemon.discrepancies.model import LIVE, Discrepancy
from daemon.reviews.verdicts import Review, Verdict, record_review
from daemon.sections.publish import Reviews

#: Verdicts that the map has to bear out.
BORNE_OUT = (Verdict.FIXED, Verdict.ALREADY_FIXED)


class AskedMap(Protocol):
    """What is asked of `daemon.current_map.CurrentMap`."""

    def still_holds(self, cursor: Cursor, discrepancy: Discrepancy) -> bool | None: ...


def take_verdict(
    cursor: Cursor, current_map: AskedMap, reviews_config: Reviews, key: str, verdict: Verdict | str,
    who: str | None, reason: str | None, came_by: str, at: datetime, detail: Mapping[str, Any] | None = None, *,
    now: datetime | None = None,
) -> Review:
    """Keep a verdict once, ask the map about it, and let it act; all in the caller's transaction.

    Args:
        who: name of the mapper, as `came_by` knows it.
        came_by: the way it came: "command line", "maproulette", "osmose", ...
        at: when it was given, with a time zone. The same verdict of the same person and moment counts once. A moment
            that is still to come (a clock that goes wrong) hides nothing for longer than one of now.
        detail: what else came with it; JSON-able, no secrets.
        now: when it reached this program; the current time by default.

    Raises:
        DiscrepancyUnknown: no discrepancy has this key.
        ValueError: there is no such verdict, or `at` has no time zone.
    """
    verdict, now = Verdict(verdict), now or datetime.now(UTC)
    if at.tzinfo is None:
        raise ValueError(f"a verdict on {key} of {at}, without a time zone")
    lock_ledger(cursor)
    discrepancy = find(cursor, key)
    still_holds, hide_until = None, None
    if verdict in BORNE_OUT and discrepancy.state in LIVE:
        still_holds = current_map.still_holds(cursor, discrepancy)
        until = min(at, now) + timedelta(days=reviews_config.believe_fixed)
        hide_until = until if until > now else None
    return record_review(
        cursor, key, verdict, who=who, reason=reason, came_by=came_by, now=at, heard=now, still_holds=still_holds,
        hide_until=hide_until, detail=detail,
    )
