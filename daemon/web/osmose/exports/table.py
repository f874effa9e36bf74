"""Lists as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.feed import Issue
from daemon.web.osmose.parameters import SOURCE
from daemon.web.osmose.shapes import degrees, element_of, kind_of, point, subtitle_of, timestamp

COLUMNS = (
    "uuid", "source", "item", "class", "level", "title", "subtitle", "country", "analyser", "timestamp", "username",
    "lat", "lon", "elems",
)


def write_csv(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """A line each, of 14 fields; no text holds a line break, for clients split at those."""
    yield _line(COLUMNS)
    for issue in issues:
        discrepancy = issue.discrepancy
        kind, element = kind_of(discrepancy, head.kinds), element_of(discrepancy)
        lon, lat = point(discrepancy)
        yield _line((
            issue.uuid, SOURCE, kind.item, kind.number, kind.level, kind.words(*head.languages).title,
            subtitle_of(discrepancy, head.kinds, head.languages), head.country, head.analyser,
            timestamp(discrepancy.updated), [], degrees(lat), degrees(lon),
            f"{element[0]}{element[1]}" if element else "",
        ))


def _line(fields: Iterable[object]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([" ".join(field.split()) if isinstance(field, str) else field for field in fields])
    return out.getvalue().encode("utf-8", "replace")
