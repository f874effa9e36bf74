"""Verdicts come in. A false positive is silent for ever; "fixed" is believed when the map agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.life import close, find, lock_ledger, write_history
from daemon.discrepancies.model import LIVE, ClosedAs, Event, State, plain


class Verdict(StrEnum):
    FIXED = "fixed"                    # the mapper corrected the map; closes when the map shows it
    FALSE_POSITIVE = "false_positive"  # there is no discrepancy; closes for ever
    ALREADY_FIXED = "already_fixed"    # somebody had corrected the map before; closes when the map shows it
    TOO_HARD = "too_hard"              # undecided; asked later than others like it
    SKIPPED = "skipped"                # undecided; asked later than others like it


@dataclass(frozen=True, slots=True)
class Review:
    """A verdict and what it led to.

    Attributes:
        state, closed_as: of the discrepancy, afterwards.
        recorded: False when the same verdict was told before; then nothing was changed.
    """

    key: str
    verdict: Verdict
    state: State
    closed_as: ClosedAs | None
    recorded: bool


def record_review(
    cursor: Cursor, key: str, verdict: Verdict | str, *, who: str | None, reason: str | None, came_by: str,
    now: datetime, still_holds: bool | None = None, hide_until: datetime | None = None,
    detail: Mapping[str, Any] | None = None, heard: datetime | None = None,
) -> Review:
    """Keep a verdict, and let it act.

    Args:
        who: name of the mapper, as `came_by` knows it.
        came_by: the way it came: "command line", "maproulette", "osmose".
        now: when it was given; the same verdict of the same moment counts once.
        still_holds: whether the current map still shows what was claimed; None when it was not asked. Needed for
            "fixed" and "already_fixed": without a False the discrepancy stays, and closes when a change file comes.
        hide_until: after "fixed" and "already_fixed", nobody is asked again until then, unless the map agrees earlier.
        detail: what else came with the verdict (tags, answers, comments, number of the task); JSON-able, no secrets.
        heard: when it reached this program, and so when the ledger changes; `now` by default.

    Raises:
        DiscrepancyUnknown: no discrepancy has this key.
        ValueError: there is no such verdict.
    """
    verdict, heard = Verdict(verdict), heard or now
    lock_ledger(cursor)
    discrepancy = find(cursor, key)
    cursor.execute(query("record_review"), {
        "key": key, "verdict": verdict, "reason": _text(reason), "who": _text(who), "at": now, "came_by": came_by,
        "detail": json.dumps(plain(detail or {}), allow_nan=False),
    })
    if cursor.fetchone() is None:
        return Review(key, verdict, discrepancy.state, discrepancy.closed_as, recorded=False)
    told = {"verdict": verdict, "who": who, "reason": reason, "came_by": came_by, "still_holds": still_holds}
    write_history(cursor, Event.REVIEWED, [key], now=heard, sequence=None, details=[told])
    if verdict is Verdict.FALSE_POSITIVE:
        if discrepancy.closed_as is not ClosedAs.FALSE_POSITIVE:
            close(cursor, [key], ClosedAs.FALSE_POSITIVE, now=heard, detail={"by": "review"})
    elif verdict in (Verdict.FIXED, Verdict.ALREADY_FIXED) and discrepancy.state in LIVE:
        if still_holds is False:
            close(cursor, [key], ClosedAs.FIXED, now=heard, detail={"by": "review"})
        elif hide_until is not None:
            cursor.execute(query("hide_discrepancy"), {"key": key, "until": hide_until, "now": heard})
    after = find(cursor, key)
    return Review(key, verdict, after.state, after.closed_as, recorded=True)


def _text(text: str | None) -> str | None:
    return None if text is None else text.replace("\x00", "")
