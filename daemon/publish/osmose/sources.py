"""What is known of each source: what belongs to it, what the frontend was sent of it, and what it has taken.

A document is noted before it goes out (`Source.sent`), and once more when the frontend has answered (`Source.taken`).
Where the two differ nobody knows whether the frontend has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor

from daemon.config import Config
from daemon.db import query
from daemon.discrepancies.life import lock_ledger
from daemon.publish import outbox
from daemon.publish.osmose.regions import DEEPEST, country_of, region_of

#: The name of this channel in the outbox, and of its stage.
CHANNEL = "osmose"
#: Discrepancies that are placed in one go.
AT_ONCE = 5000
#: What one document must be later than another: frontends tell them apart by whole seconds.
STEP = timedelta(seconds=1)


class Plan(NamedTuple):
    """The frontend that is sent to, and how the ledger is cut into sources for it."""

    url: str
    analyser: str
    country: str
    zoom: int

    @classmethod
    def of(cls, config: Config) -> Plan:
        """As it is configured."""
        knobs = config.osmose
        return cls(knobs.url.rstrip("/"), knobs.analyser, config.osmose_country, knobs.region_zoom)


class Source(NamedTuple):
    """What a frontend knows as (analyser, country)."""

    country: str
    region: str
    divided: bool
    """Its issues went to four smaller sources."""
    due: bool
    """Something is to be told that is not in the outbox."""
    sent: datetime | None
    """Timestamp of the last document that may have reached the frontend."""
    digest: str | None
    """Of that document."""
    taken: datetime | None
    """Timestamp of the last document that it has taken for certain."""
    attempts: int
    """Failures since then."""
    not_before: datetime
    error: str | None

    @property
    def in_doubt(self) -> bool:
        """Whether the frontend may have a document, or may not."""
        return self.sent != self.taken

    def timestamp(self, now: datetime) -> datetime:
        """Of the next document: whole seconds, and later than all before, whatever the clock says."""
        whole = now.replace(microsecond=0)
        return whole if self.sent is None else max(whole, self.sent + STEP)


class Resting(NamedTuple):
    """Whether a source may be told of."""

    until: datetime
    """It rests until then, after a failure; long ago where there was none."""
    attempts: int
    """Failures in a row."""
    error: str | None
    """Of the last attempt."""


class Count(NamedTuple):
    """A source with how many issues belong to it, and how many the frontend is known to have."""

    source: Source
    issues: int
    taken: int


class Issue(NamedTuple):
    """An issue as a frontend gets it."""

    number: int
    """Of its class."""
    osm: str | None
    digest: bytes
    """Of its <error> element."""


def settle(cursor: Cursor, plan: Plan, now: datetime) -> None:
    """Open the channel, and see that what is noted speaks of this frontend and this cut.

    Another frontend knows nothing. Of another cut, what was sent is emptied source by source.
    """
    lock_ledger(cursor)
    cursor.execute(query("osmose_frontend"))
    row = cursor.fetchone()
    before = Plan(*row) if row else None
    if before != plan:
        if before is not None and before[:2] != plan[:2]:
            cursor.execute(query("forget_osmose_sources"))
        elif before is not None:
            cursor.execute(query("forget_osmose_places"))
        cursor.execute(query("set_osmose_frontend"), plan._asdict())
    outbox.open_channel(cursor, CHANNEL, now)


def place(cursor: Cursor, plan: Plan) -> int:
    """Let each published discrepancy that belongs to no source belong to one; returns how many did not."""
    placed = 0
    cursor.execute(query("divided_osmose_regions"))
    divided = {region for (region,) in cursor.fetchall()}
    while True:
        cursor.execute(query("placeless_osmose"), {"limit": AT_ONCE})
        if not (rows := cursor.fetchall()):
            return placed
        placed += len(rows)
        regions = {key: region_of(lon, lat, plan.zoom, divided) for key, lon, lat in rows}
        names = {region: country_of(plan.country, region) for region in sorted(set(regions.values()))}
        cursor.execute(query("add_osmose_sources"), {"countries": list(names.values()), "regions": list(names)})
        cursor.execute(query("place_osmose"), {
            "keys": list(regions), "countries": [names[region] for region in regions.values()],
        })


def divide(cursor: Cursor, plan: Plan, country: str) -> list[str]:
    """Let the issues of a source go to four smaller ones; returns the names of those that get any.

    Empty where the source is not there, was divided before, or is as small as one can be.
    """
    lock_ledger(cursor)
    source = find(cursor, country)
    if source is None or source.divided or len(source.region) >= DEEPEST:
        return []
    before = {count.source.country for count in read_all(cursor)}
    cursor.execute(query("divide_osmose_source"), {"country": country})
    cursor.execute(query("displace_osmose"), {"country": country})
    place(cursor, plan)
    return sorted({count.source.country for count in read_all(cursor)} - before)


def read_all(cursor: Cursor) -> list[Count]:
    """All sources by name."""
    cursor.execute(query("osmose_sources"))
    return [Count(Source(*row[:-2]), *row[-2:]) for row in cursor.fetchall()]


def find(cursor: Cursor, country: str) -> Source | None:
    """One source, held until the transaction ends."""
    cursor.execute(query("osmose_source"), {"country": country})
    row = cursor.fetchone()
    return Source(*row) if row else None


def countries_of(cursor: Cursor, keys: Iterable[str]) -> dict[str, str]:
    """Key of a discrepancy -> the source that it belongs to, where it belongs to any."""
    cursor.execute(query("osmose_countries"), {"keys": list(keys)})
    return dict(cursor.fetchall())


def due(
    cursor: Cursor, countries: Iterable[str], declarations: Mapping[int, bytes], *, stale: datetime, everything: bool
) -> dict[str, Resting]:
    """The sources to look at, those of the smallest regions first.

    Args:
        countries: those that the outbox speaks of.
        declarations: number -> <class> element; a source that was sent others is due.
        stale: a source whose last document is older is due.
        everything: all are.
    """
    classes = [declarations[number].decode() for number in sorted(declarations)]
    cursor.execute(query("due_osmose_sources"), {
        "countries": list(countries), "classes": classes or None, "stale": stale, "all": everything,
    })
    return {country: Resting(*rest) for country, *rest in cursor.fetchall()}


def waits_for_parts(cursor: Cursor, source: Source, now: datetime, detectors: Sequence[str]) -> bool:
    """Whether a divided source has to stand as it is, because a part that has something to say was not taken yet."""
    if not source.divided:
        return False
    cursor.execute(query("osmose_parts_wait"), {
        "region": source.region, "shown_at": now, "detectors": list(detectors),
    })
    return cursor.fetchone()[0]


def classes(cursor: Cursor, country: str) -> dict[int, bytes]:
    """Number -> <class> element of the classes that the frontend has from a source, or may have."""
    cursor.execute(query("osmose_classes"), {"country": country})
    return {number: declaration.encode() for number, declaration in cursor.fetchall()}


def taken(cursor: Cursor, country: str) -> dict[str, Issue]:
    """By key, the issues that the frontend is known to have from a source."""
    cursor.execute(query("osmose_taken"), {"country": country})
    return {key: Issue(number, osm, bytes(digest)) for key, number, osm, digest in cursor.fetchall()}


def note_found(cursor: Cursor, country: str, timestamp: datetime) -> None:
    """The frontend has a document of a source that nothing is known of here, so that all about it is in doubt."""
    cursor.execute(query("found_osmose"), {"country": country, "sent": timestamp})


def note_sent(cursor: Cursor, country: str, timestamp: datetime, digest: str, declared: Mapping[int, bytes]) -> None:
    """A document goes out: from now on the frontend may have it."""
    cursor.execute(query("send_osmose"), {"country": country, "sent": timestamp, "digest": digest})
    cursor.execute(query("may_have_osmose_classes"), {"country": country, **_declarations(declared)})


def note_taken(
    cursor: Cursor, country: str, *, declared: Mapping[int, bytes], emptied: Sequence[int],
    renewed: Mapping[str, Issue], removed: Sequence[str],
) -> None:
    """The frontend has the document that went out last.

    Args:
        declared: the classes in it that stay.
        emptied: numbers of the classes in it that are none of ours any more.
        renewed: by key, the issues in it that are new or other than before.
        removed: keys of those that it has no more.
    """
    cursor.execute(query("osmose_is_taken"), {"country": country})
    cursor.execute(query("has_osmose_classes"), {"country": country, **_declarations(declared)})
    cursor.execute(query("lost_osmose_classes"), {"country": country, "classes": list(emptied)})
    cursor.execute(query("has_osmose_issues"), {
        "country": country, "keys": list(renewed), "classes": [one.number for one in renewed.values()],
        "osm": [one.osm for one in renewed.values()],
        "digests": [psycopg2.Binary(one.digest) for one in renewed.values()],
    })
    cursor.execute(query("lost_osmose_issues"), {"country": country, "keys": list(removed)})


def note_even(cursor: Cursor, country: str) -> None:
    """There is nothing that the frontend does not know of a source."""
    cursor.execute(query("osmose_is_even"), {"country": country})


def note_failed(cursor: Cursor, country: str, error: str, not_before: datetime) -> None:
    """A document could not be sent, or was refused; the source rests."""
    cursor.execute(query("osmose_failed"), {"country": country, "error": error, "not_before": not_before})


def _declarations(declared: Mapping[int, bytes]) -> dict[str, list[object]]:
    return {"classes": list(declared), "declarations": [text.decode() for text in declared.values()]}
