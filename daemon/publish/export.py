"""Exports of the ledger, streamed: what is in memory is a few hundred discrepancies, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from psycopg2.extensions import cursor as Cursor

from daemon.db import Database, query
from daemon.discrepancies.model import LIVE, Discrepancy, State
from daemon.publish import geojson, osmose
from daemon.publish.feed import ExportContext, ImageryCredit
from daemon.publish.maproulette import geojsonl

__all__ = ["FORMATS", "ExportContext", "Filter", "ImageryCredit", "export", "read_discrepancies", "write_export"]

#: Rows that one round trip to the server brings.
ROWS_AT_ONCE = 500

Writer = Callable[[Iterable[Discrepancy], BinaryIO, ExportContext, "Filter"], int]


@dataclass(frozen=True, slots=True)
class Filter:
    """What an export holds; None lets everything pass.

    Attributes:
        bbox: lon/lat (west, south, east, north) that the geometry's own box must touch.
        kinds, detectors: names, e.g. ("missing", "gone"), ("building",).
        states: by default what waits for somebody; `include_closed` adds what does not.
        closed_as: of the closed ones only those closed for these reasons; live ones pass.
        min_confidence: 0..1.
        since: only what changed at this moment or later.
        shown_at: leave out what at this moment is hidden, because a person said that it was fixed.
    """

    bbox: tuple[float, float, float, float] | None = None
    kinds: tuple[str, ...] | None = None
    states: tuple[State | str, ...] = LIVE
    detectors: tuple[str, ...] | None = None
    min_confidence: float = 0.0
    include_closed: bool = False
    closed_as: tuple[str, ...] | None = None
    since: datetime | None = None
    shown_at: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """For the query `export_discrepancies`."""
        states = {State(state) for state in self.states} | ({State.CLOSED} if self.include_closed else set())
        west, south, east, north = self.bbox or (None, None, None, None)
        return {
            "states": sorted(states), "kinds": _names(self.kinds), "detectors": _names(self.detectors),
            "closed_as": _names(self.closed_as), "since": self.since, "shown_at": self.shown_at,
            "min_confidence": self.min_confidence,
            "west": west, "south": south, "east": east, "north": north,
        }

    def passes(self, discrepancy: Discrepancy) -> bool:
        """The box once more, exactly: the database's own test is a little generous."""
        if self.bbox is None:
            return True
        west, south, east, north = discrepancy.geometry.bounds
        return west <= self.bbox[2] and east >= self.bbox[0] and south <= self.bbox[3] and north >= self.bbox[1]


#: Format -> what writes it.
FORMATS: dict[str, Writer] = {
    "geojson": lambda rows, out, context, _: geojson.write(rows, out, context),
    "maproulette": lambda rows, out, context, _: geojsonl.write(rows, out, context),
    "osmose": lambda rows, out, context, chosen: osmose.write(rows, out, context, kinds=chosen.kinds),
}


def export(db: Database, fmt: str, out: BinaryIO, filters: Filter, context: ExportContext) -> int:
    """Write an export of the ledger as it is at this moment; returns how many discrepancies it holds.

    Args:
        fmt: "geojson", "maproulette" (line-delimited, RFC 7464) or "osmose" (analyser XML).

    Raises:
        ValueError: unknown format.
        DatabaseUnavailable: the server went away; what was written is incomplete.
    """
    with db.transaction() as cursor:
        return write_export(cursor, fmt, out, filters, context)


def write_export(cursor: Cursor, fmt: str, out: BinaryIO, filters: Filter, context: ExportContext) -> int:
    """As `export`, within the caller's transaction."""
    if fmt not in FORMATS:
        raise ValueError(f"unknown export format {fmt!r}; there are {', '.join(FORMATS)}")
    return FORMATS[fmt](read_discrepancies(cursor, filters), out, context, filters)


def read_discrepancies(cursor: Cursor, filters: Filter) -> Iterator[Discrepancy]:
    """What passes the filter, streamed; valid within the caller's transaction."""
    return filter(filters.passes, stream_discrepancies(cursor, "export_discrepancies", filters.parameters()))


def stream_discrepancies(cursor: Cursor, name: str, parameters: Mapping[str, Any]) -> Iterator[Discrepancy]:
    """What a named query of `discrepancy_record` finds, streamed; valid within the caller's transaction."""
    with cursor.connection.cursor(name="mapgap_export") as server_side:
        server_side.itersize = ROWS_AT_ONCE
        server_side.execute(query(name), parameters)
        yield from map(Discrepancy.of, server_side)


def _names(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)
