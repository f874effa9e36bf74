"""Verdicts as they are kept, with what they judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import shapely
from psycopg2.extensions import cursor as Cursor
from shapely.geometry.base import BaseGeometry

from daemon.db import query
from daemon.discrepancies.model import ClosedAs, State
from daemon.reviews.verdicts import Verdict

#: Rows that one round trip to the server brings.
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """A verdict.

    Attributes:
        at, heard: when it was given, and when it reached this program.
        model, confidence: of the claim that was judged, as it was then.
        overturned, overturned_by: when and by whom it was taken back; None: it holds.
        detail: what else came with it.
        detector, kind, osm, state, closed_as, evidence, geometry: of the discrepancy, as it is now; lon/lat.
    """

    id: int
    key: str
    verdict: Verdict
    reason: str | None
    who: str | None
    at: datetime
    came_by: str
    heard: datetime
    model: str | None
    confidence: float | None
    overturned: datetime | None
    overturned_by: str | None
    detail: Mapping[str, Any]
    detector: str
    kind: str
    osm: str | None
    state: State
    closed_as: ClosedAs | None
    evidence: Mapping[str, Any]
    geometry: BaseGeometry

    def facts(self) -> dict[str, Any]:
        """All but number and geometry, for a file; times with their fractions, so that it can be read back."""
        return {
            "key": self.key, "verdict": self.verdict.value, "who": self.who, "reason": self.reason,
            "at": self.at.isoformat(), "came_by": self.came_by, "heard": self.heard.isoformat(),
            "overturned": self.overturned and self.overturned.isoformat(), "overturned_by": self.overturned_by,
            "detector": self.detector, "kind": self.kind, "osm": self.osm, "model": self.model,
            "confidence": self.confidence, "state": self.state.value,
            "closed_as": self.closed_as and self.closed_as.value, "evidence": dict(self.evidence),
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which verdicts; None lets everything pass."""

    keys: tuple[str, ...] | None = None
    verdicts: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    detectors: tuple[str, ...] | None = None
    who: str | None = None
    came_by: str | None = None
    since: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """For the query `read_reviews`."""
        lists = {"keys": self.keys, "verdicts": self.verdicts, "kinds": self.kinds, "detectors": self.detectors}
        return {name: list(values) if values else None for name, values in lists.items()} | {
            "who": self.who, "came_by": self.came_by, "since": self.since,
        }


def read_reviews(cursor: Cursor, chosen: Chosen) -> Iterator[Kept]:
    """The verdicts, the oldest first, streamed; valid within the caller's transaction."""
    with cursor.connection.cursor(name="mapgap_reviews") as server_side:
        server_side.itersize = ROWS_AT_ONCE
        server_side.execute(query("read_reviews"), chosen.parameters())
        for row in server_side:
            number, key, verdict, *middle, state, closed_as, evidence, wkb = row
            yield Kept(
                number, key, Verdict(verdict), *middle, State(state), ClosedAs(closed_as) if closed_as else None,
                evidence, shapely.from_wkb(bytes(wkb)),
            )
