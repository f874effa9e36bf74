"""The quality gate: a challenge that wastes people's time pauses itself, and says why.

    share = false positives / (fixed + false positives)

It passes through as long as there are fewer than `maproulette.gate_verdicts` of these verdicts, or their share is at
most `maproulette.gate_share`. Counted is each challenge, and all challenges of one kind of claim together.

Our own reviews decide: they know which model made the claim, what was taken back, and which tasks we closed ourselves.
The server's own counts are asked for what we do not know: verdicts beyond those that were ever heard (after the ledger
was lost, say) count as well, as far as they were given since the challenge was last resumed.

Verdicts count for the newest model of the kind, that of the latest claim. A paused challenge goes on when somebody says
so (`mapgap maproulette resume`), or when claims appear by a model that had made none when it was paused; in both cases
the count begins anew.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import Database, query
from daemon.errors import MapRouletteError, MapRouletteInvalid
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.records import ChallengeRow, pause_challenge, read_challenges
from daemon.publish.maproulette.replies import Metrics
from daemon.sections.publish import MapRoulette

log = logging.getLogger(__name__)


class Counts(NamedTuple):
    """Verdicts on the claims of a challenge, or of all of one kind."""

    fixed: int = 0
    false: int = 0

    @property
    def total(self) -> int:
        return self.fixed + self.false

    @property
    def share(self) -> float:
        """Of false positives, 0..1."""
        return self.false / self.total if self.total else 0.0

    def plus(self, other: Counts) -> Counts:
        return Counts(self.fixed + other.fixed, self.false + other.false)

    def beyond(self, other: Counts) -> Counts:
        """What these have more than others, each at least 0."""
        return Counts(max(self.fixed - other.fixed, 0), max(self.false - other.false, 0))


class Gate:
    """Over all challenges that are known."""

    def __init__(self, client: Client, db: Database, knobs: MapRoulette):
        self._client = client
        self._db = db
        self._knobs = knobs
        self._asked: dict[int, tuple[Counts, Counts]] = {}

    def watch(self, now: datetime) -> None:
        """Pause what has to be, and let go on what a new model was found for.

        Raises:
            MapRouletteError: the server does not do so now; it is tried again with the next round.
        """
        with self._db.transaction() as cursor:
            rows = [row for row in read_challenges(cursor) if row.remote is not None and row.remote > 0]
            models = {row.id: _new_models(cursor, row) for row in rows if row.paused}
        renewed = [row for row in rows if row.paused and models[row.id]]
        for row in renewed:
            log.info("%s goes on: there are claims by %s now", row.name, ", ".join(models[row.id]))
            _go_on(self._client, self._db, row, now)
        running = [row for row in rows if not row.paused]
        counts = {row.id: self._counts(row) for row in running}
        of_kind: dict[tuple[str, str], Counts] = defaultdict(Counts)
        for row in running:
            kind = (row.group.detector, row.group.kind)
            of_kind[kind] = of_kind[kind].plus(counts[row.id])
        for row in running:
            reason = self._reason(counts[row.id], "")
            reason = reason or self._reason(of_kind[row.group.detector, row.group.kind], "all challenges of its kind: ")
            if reason:
                self._pause(row, reason, now)

    def _reason(self, counts: Counts, whose: str) -> str:
        """Why to pause; "" where there is no reason to."""
        if counts.total < self._knobs.gate_verdicts or counts.share <= self._knobs.gate_share:
            return ""
        return (
            f"{whose}{counts.false} of {counts.total} decided tasks were not an issue ({counts.share:.0%}, more than "
            f"maproulette.gate_share = {self._knobs.gate_share:.0%})"
        )

    def _counts(self, row: ChallengeRow) -> Counts:
        with self._db.transaction() as cursor:
            heard, ever, base = _heard(cursor, row)
        known = self._asked.get(row.id)
        if known is None or known[0] != ever:  # the server's counts are asked for as often as ours change
            known = self._asked[row.id] = (ever, _of(self._client.challenge(row.remote or 0).metrics))
        return heard.plus(known[1].beyond(ever).beyond(base))

    def _pause(self, row: ChallengeRow, reason: str, now: datetime) -> None:
        if row.remote is None:
            return
        with suppress(MapRouletteInvalid):  # a server that minds what it does not know
            self._client.update_challenge(row.remote, {"paused": True})
        if not self._client.dry_run and not self._client.challenge(row.remote).paused:  # before 2026-07
            self._client.update_challenge(row.remote, {"enabled": False})
        with self._db.transaction() as cursor:
            pause_challenge(cursor, row.id, reason, now)
        log.warning("%s is paused: %s; `mapgap maproulette resume` lets it go on", row.name, reason)


def resume(client: Client, db: Database, now: datetime, names: Sequence[str] = ()) -> list[str]:
    """Let paused challenges go on, by name, or all; returns their names. Their verdicts count anew from here.

    Raises:
        MapRouletteError: no paused challenge has such a name, or the server does not do so now.
    """
    with db.transaction() as cursor:
        paused = [row for row in read_challenges(cursor) if row.paused is not None]
    if unknown := sorted(set(names) - {row.name for row in paused}):
        raise MapRouletteError(
            f"no paused challenge is called {', '.join(map(repr, unknown))}; paused are: "
            f"{', '.join(repr(row.name) for row in paused) or 'none'}"
        )
    chosen = [row for row in paused if not names or row.name in names]
    for row in chosen:
        _go_on(client, db, row, now)
    return [row.name for row in chosen]


def _go_on(client: Client, db: Database, row: ChallengeRow, now: datetime) -> None:
    standing = Counts()
    if row.remote is not None:
        there = client.challenge(row.remote)
        client.update_challenge(row.remote, {"paused": False} if there.paused else {"enabled": True})
        standing = _of(there.metrics)
    with db.transaction() as cursor:
        _, ever, _ = _heard(cursor, row)
        unheard = standing.beyond(ever)
        cursor.execute(query("resume_challenge"), {
            "id": row.id, "now": now, "fixed": unheard.fixed, "false": unheard.false,
        })


def _heard(cursor: Cursor, row: ChallengeRow) -> tuple[Counts, Counts, Counts]:
    """Verdicts heard of a challenge that count, all that were ever heard, and those unheard when it was resumed."""
    cursor.execute(query("challenge_verdicts"), {
        "id": row.id, "remote": str(row.remote), "detector": row.group.detector, "kind": row.group.kind,
    })
    fixed, false, ever_fixed, ever_false, base_fixed, base_false = cursor.fetchone() or (0,) * 6
    return Counts(fixed, false), Counts(ever_fixed, ever_false), Counts(base_fixed, base_false)


def _new_models(cursor: Cursor, row: ChallengeRow) -> list[str]:
    """Models of live claims that had made none when the challenge was paused."""
    cursor.execute(query("models_since_pause"), {
        "id": row.id, "detector": row.group.detector, "kind": row.group.kind,
    })
    return [model for (model,) in cursor.fetchall()]


def _of(metrics: Metrics) -> Counts:
    return Counts(metrics.fixed, metrics.false_positive)
