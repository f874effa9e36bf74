"""Reading issues: what is published and not hidden, in one order for all lists, page by page.

An issue is a discrepancy under another name. What lists need of it is in one index (sql/0012_web.sql); the rest is
fetched by key, for those that are shown only. Long answers are read in portions, each a transaction of its own, so that
nobody who reads slowly holds a connection to the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from psycopg2.extensions import cursor as Cursor

from daemon.db import Database, query
from daemon.discrepancies.model import Discrepancy
from daemon.web.osmose.outlines import outlines
from daemon.web.osmose.parameters import After, Status, Wanted
from daemon.web.osmose.places import Bbox, Stretch, stretches_of

T = TypeVar("T")

#: Issues that one transaction reads of a long list; what phones ask for at once is no long list.
PORTION = 1000


class Spot(NamedTuple):
    """An issue as a list or a tile shows it; `uuid` as text, in lower case."""

    place: int
    uuid: str
    key: str
    lon: float
    lat: float
    detector: str
    kind: str


class Issue(NamedTuple):
    """An issue with all that is known of it; `outline` is its geometry as GeoJSON."""

    uuid: str
    discrepancy: Discrepancy
    outline: dict[str, Any]


class Changes(NamedTuple):
    """What happened after a line of the ledger's history.

    Attributes:
        sequence: of the last line that was read.
        more: whether there are further lines.
        shown: issues that changed, or are new.
        gone: names of those that are shown no more.
    """

    sequence: int
    more: bool
    shown: list[Issue]
    gone: list[str]


@contextmanager
def snapshot(db: Database) -> Iterator[Cursor]:
    """A transaction that changes nothing, and all of whose queries see the same moment."""
    with db.transaction() as cursor:
        cursor.execute(query("feed_snapshot"))
        yield cursor


def sequence_of(cursor: Cursor) -> int:
    """The newest line of the ledger's history; another one means that something may have changed."""
    cursor.execute(query("feed_sequence"))
    return cursor.fetchone()[0]


def read_spots(cursor: Cursor, wanted: Wanted, limit: int, stretches: Sequence[Stretch] | None = None) -> list[Spot]:
    """The first `limit` of what is wanted, after `wanted.after`.

    Args:
        stretches: where, instead of `wanted.boxes`.
    """
    if not wanted.kinds:
        return []
    where = _ahead(stretches_of(wanted.boxes) if stretches is None else stretches, wanted.after)
    if wanted.osm is not None:
        return _read_about(cursor, wanted, where)[wanted.offset:wanted.offset + limit]
    cursor.execute(query("feed_page"), {
        **_filter(wanted), **_where(where), "limit": limit, "offset": wanted.offset,
        "after_place": wanted.after.place, "after_uuid": wanted.after.uuid,
    })
    return [Spot(*row) for row in cursor.fetchall()]


def read_issues(cursor: Cursor, spots: Sequence[Spot]) -> list[Issue]:
    """All that is known of these, in their order."""
    return _with_discrepancies(cursor, [(spot.uuid, spot.key) for spot in spots])


def portions(
    db: Database, wanted: Wanted, limit: int, read: Callable[[Cursor, Sequence[Spot]], Sequence[T]]
) -> Iterator[Sequence[T]]:
    """The whole of a long list, a few hundred issues at a time.

    Args:
        read: what is to be known of each, e.g. `read_issues`.
    """
    while limit > 0:
        with snapshot(db) as cursor:
            spots = read_spots(cursor, wanted, min(limit, PORTION))
            portion = read(cursor, spots)
        yield portion
        if len(spots) < min(limit, PORTION):
            return
        limit -= len(spots)
        wanted = replace(wanted, after=After(spots[-1].place, spots[-1].uuid), offset=0)


def count_issues(cursor: Cursor, wanted: Wanted) -> int:
    """How many there are of what is wanted, whatever the limit."""
    if not wanted.kinds:
        return 0
    where = stretches_of(wanted.boxes)
    if wanted.osm is not None:
        return len(_read_about(cursor, wanted, where))
    cursor.execute(query("feed_count"), {**_filter(wanted), **_where(where)})
    return cursor.fetchone()[0]


def count_kinds(cursor: Cursor) -> dict[tuple[str, str], int]:
    """How many issues are shown of each (detector, kind)."""
    cursor.execute(query("feed_totals"))
    return {(detector, kind): number for detector, kind, number in cursor.fetchall()}


def count_squares(cursor: Cursor, wanted: Wanted, stretch: Stretch, shift: int) -> list[tuple[int, str, str, int]]:
    """(square, detector, kind, issues) of a tile; a square is what is left of a place without its last `shift` bits."""
    if not wanted.kinds:
        return []
    cursor.execute(query("feed_heat"), {
        "status": wanted.status, "kinds": _names(wanted), "low": stretch.low, "high": stretch.high, "shift": shift,
    })
    return cursor.fetchall()


def find_issue(cursor: Cursor, uuid: str, status: Status = "open") -> tuple[Issue, datetime] | None:
    """One issue, and the moment of its verdict, where it has this status now."""
    cursor.execute(query("feed_name"), {"status": status, "uuid": uuid})
    row = cursor.fetchone()
    if row is None:
        return None
    return _with_discrepancies(cursor, [(uuid, row[0])])[0], row[1]


def read_changes(cursor: Cursor, since: int, limit: int) -> Changes:
    """What happened in the next `limit` lines of the history, each discrepancy once, as it is now."""
    cursor.execute(query("feed_lines"), {"since": since, "limit": limit})
    sequence, lines, keys = cursor.fetchone()
    cursor.execute(query("feed_standing"), {"keys": keys})
    rows = cursor.fetchall()
    return Changes(
        sequence, lines == limit and sequence < sequence_of(cursor),
        _with_discrepancies(cursor, [(uuid, key) for uuid, key, shown in rows if shown]),
        [uuid for uuid, _, shown in rows if not shown],
    )


def _read_about(cursor: Cursor, wanted: Wanted, where: Sequence[Stretch]) -> list[Spot]:
    """What is about one object, which is never much."""
    cursor.execute(query("feed_about"), {**_filter(wanted), "osm": wanted.osm})
    spots = [Spot(*row) for row in cursor.fetchall()]
    return [
        spot for spot in spots
        if (spot.place, spot.uuid) > (wanted.after.place, wanted.after.uuid)
        and any(stretch.low <= spot.place <= stretch.high and _lies_in(spot, stretch.box) for stretch in where)
    ]


def _lies_in(spot: Spot, box: Bbox) -> bool:
    west, south, east, north = box
    return west <= spot.lon <= east and south <= spot.lat <= north


def _with_discrepancies(cursor: Cursor, named: Sequence[tuple[str, str]]) -> list[Issue]:
    if not named:
        return []
    cursor.execute(query("discrepancies_by_key"), {"keys": [key for _, key in named]})
    known = {discrepancy.key: discrepancy for discrepancy in Discrepancy.of_all(cursor.fetchall())}
    found = [known[key] for _, key in named]
    geometries = outlines([discrepancy.geometry for discrepancy in found])
    return [Issue(uuid, *rest) for (uuid, _), *rest in zip(named, found, geometries, strict=True)]


def _filter(wanted: Wanted) -> dict[str, object]:
    return {"status": wanted.status, "kinds": _names(wanted), "start": wanted.start, "end": wanted.end}


def _names(wanted: Wanted) -> list[str]:
    return [f"{detector}/{kind}" for detector, kind in wanted.kinds]


def _ahead(stretches: Sequence[Stretch], after: After) -> list[Stretch]:
    """What is left of the stretches from a place on."""
    left = [stretch for stretch in stretches if stretch.high >= after.place]
    return [stretch._replace(low=max(stretch.low, after.place)) for stretch in left]


def _where(stretches: Sequence[Stretch]) -> dict[str, list[float]]:
    west, south, east, north = zip(*(stretch.box for stretch in stretches), strict=True) if stretches else [()] * 4
    return {
        "low": [stretch.low for stretch in stretches], "high": [stretch.high for stretch in stretches],
        "west": list(west), "south": list(south), "east": list(east), "north": list(north),
    }
