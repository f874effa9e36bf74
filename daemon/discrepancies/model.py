"""A discrepancy: one thing for its whole life.

    open -> published -> closed(fixed | false_positive | withdrawn | stale)
    open -> closed(...)
    closed(fixed | withdrawn | stale) -> open            only with new evidence: it was seen again
    closed(fixed | withdrawn | stale) -> closed(false_positive)    a person's verdict holds, even if it comes late
    closed(false_positive)                               for ever, whatever any model says
    closed(false_positive) -> open                       only when people take that verdict back: it stood by mistake
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.errors import ClaimInvalid
from detectors.base import Claim


class State(StrEnum):
    OPEN = "open"            # -> published, closed
    PUBLISHED = "published"  # -> closed
    CLOSED = "closed"        # -> open, unless closed as a false positive


class ClosedAs(StrEnum):
    FIXED = "fixed"                    # the map no longer shows what was claimed; reopens when it does again
    FALSE_POSITIVE = "false_positive"  # a person said so; never reopens, and silences every later claim like it
    WITHDRAWN = "withdrawn"            # looked again at valid imagery and not seen; reopens when seen again
    STALE = "stale"                    # not seen for long; reopens when seen again


class Event(StrEnum):
    OPENED = "opened"
    SEEN = "seen"            # kept in history only when the confidence changed noticeably
    MOVED = "moved"          # geometry, shift or OSM object changed noticeably
    PUBLISHED = "published"
    CLOSED = "closed"
    REOPENED = "reopened"
    REVIEWED = "reviewed"
    RETURNED = "returned"    # a person said it was fixed, and the map did not show it in time: people are asked again


#: States in which a discrepancy waits for somebody.
LIVE = (State.OPEN, State.PUBLISHED)
#: "way/123": how an OSM object is named.
OSM_REF = re.compile(r"(node|way|relation)/[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One row of the ledger.

    Attributes:
        key: stable name; part of every feed.
        osm: "way/123" of the object it is about, None for what is not on the map.
        closed_sequence: of the change file that closed it.
        shift_m: (east, north) metres from the mapped to the right place, for "misplaced".
        geometry: lon/lat.
        point: (lon, lat) of the representative point, which decides the block that owns it.
        updated: last change that a reader of an export can see; `last_seen`: last look that saw it.
        missed: looks in a row that did not see it although it lies at the border to a block that might.
        hidden_until: a person said that it was fixed; until then, or until the map shows it, nobody is asked again.
    """

    key: str
    detector: str
    kind: str
    state: State
    closed_as: ClosedAs | None
    osm: str | None
    confidence: float
    shift_m: tuple[float, float] | None
    geometry: BaseGeometry
    point: tuple[float, float]
    evidence: Mapping[str, Any]
    opened: datetime
    updated: datetime
    last_seen: datetime
    closed: datetime | None
    closed_sequence: int | None
    times_seen: int
    missed: int
    hidden_until: datetime | None = None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Discrepancy:
        """From a row of the view `discrepancy_record`."""
        return cls.of_all([row])[0]

    @classmethod
    def of_all(cls, rows: Sequence[Sequence[Any]]) -> list[Discrepancy]:
        """From rows of that view: their geometries are read in one go, which is most of the work."""
        geometries = shapely.from_wkb([bytes(row[9]) for row in rows])
        return [cls._of(row, geometry) for row, geometry in zip(rows, geometries, strict=True)]

    @classmethod
    def _of(cls, row: Sequence[Any], geometry: BaseGeometry) -> Discrepancy:
        (key, detector, kind, state, closed_as, osm, confidence, east, north, _, lon, lat, evidence, opened, updated,
         last_seen, closed, closed_sequence, times_seen, missed, _, hidden_until) = row
        return cls(
            key, detector, kind, State(state), ClosedAs(closed_as) if closed_as else None, osm, confidence,
            None if east is None else (east, north), geometry, (lon, lat), evidence, opened,
            updated, last_seen, closed, closed_sequence, times_seen, missed, hidden_until,
        )

    @property
    def claim(self) -> Claim:
        """What is claimed, as a detector would say it."""
        return Claim(self.detector, self.kind, self.geometry, self.osm, self.confidence, self.shift_m, self.evidence)


def check_claim(claim: Claim) -> None:
    """See that a claim can be kept.

    Raises:
        ClaimInvalid: no geometry, endless, or out of the world; confidence beyond 0..1; an OSM object that is none.
    """
    geometry = claim.geometry
    if geometry is None or geometry.is_empty:
        raise ClaimInvalid(f"{claim.detector}: a claim {claim.kind!r} about {claim.osm} has no geometry")
    bounds = geometry.bounds
    in_world = min(bounds[0], 2 * bounds[1]) >= -180 and max(bounds[2], 2 * bounds[3]) <= 180
    if not in_world or not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise ClaimInvalid(f"{claim.detector}: a claim {claim.kind!r} lies out of the world: {bounds}")
    if not 0 <= claim.confidence <= 1:
        raise ClaimInvalid(f"{claim.detector}: a claim {claim.kind!r} has confidence {claim.confidence}, expected 0..1")
    if claim.osm is not None and not OSM_REF.fullmatch(claim.osm):
        raise ClaimInvalid(f"{claim.detector}: a claim {claim.kind!r} is about {claim.osm!r}, expected e.g. 'way/123'")
    if claim.shift_m is not None and not all(math.isfinite(s) for s in claim.shift_m):
        raise ClaimInvalid(f"{claim.detector}: a claim {claim.kind!r} about {claim.osm} has shift {claim.shift_m}")


def point_of(geometry: BaseGeometry) -> tuple[float, float]:
    """(lon, lat) of a geometry's representative point."""
    point = geometry.representative_point()
    return point.x, point.y


def key_of(claim: Claim, key_prefix: str, salt: int = 0) -> str:
    """The key of a claim seen for the first time; another `salt` gives another key to the same claim."""
    lon, lat = point_of(claim.geometry)
    facts = [claim.detector, claim.kind, str(round(lon * 1e7)), str(round(lat * 1e7)), claim.osm or ""]
    if salt:
        facts.append(str(salt))
    return f"{key_prefix}-{hashlib.sha256(chr(31).join(facts).encode()).hexdigest()[:16]}"


def plain(value: Any) -> Any:
    """Evidence as JSON and PostgreSQL can hold it: NaN and infinities become None, NumPy's scalars Python's; no NUL."""
    if isinstance(value, Mapping):
        return {plain(str(name)): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value).replace("\x00", "").encode("utf-8", "replace").decode()


def utc(moment: datetime) -> str:
    """2026-11-22T05:08:49Z; ValueError for a moment without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
