"""Lists of issues in every format that the Osmose server writes, piece by piece.

letterhead   what stands around the issues
listing      Osmose's JSON; geojson, table (CSV), maproulette: the same for programs
phrasing     what people read; rss, gpx, kml: feeds for them
josm         a link that JOSM follows
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.web.osmose.exports.geojson import write_geojson
from daemon.web.osmose.exports.gpx import write_gpx
from daemon.web.osmose.exports.josm import josm_link
from daemon.web.osmose.exports.kml import write_kml
from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.exports.listing import write_brief, write_json
from daemon.web.osmose.exports.maproulette import write_maproulette
from daemon.web.osmose.exports.rss import write_rss
from daemon.web.osmose.exports.table import write_csv
from daemon.web.osmose.feed import Spot, read_issues

__all__ = ["BRIEF", "FORMATS", "FULL", "Format", "Letterhead", "josm_link"]


class Format(NamedTuple):
    """How a list is written.

    Attributes:
        read: what is to be known of each issue.
        write: writes what was read, piece by piece.
    """

    media_type: str
    read: Callable[[Cursor, Sequence[Spot]], Sequence[Any]]
    write: Callable[[Iterable[Any], Letterhead], Iterator[bytes]]


BRIEF = Format("application/json", lambda _, spots: spots, write_brief)
FULL = Format("application/json", read_issues, write_json)
#: By the ending of the path.
FORMATS: dict[str, Format] = {
    "geojson": Format("application/vnd.geo+json", read_issues, write_geojson),
    "csv": Format("text/csv; charset=utf-8", read_issues, write_csv),
    "rss": Format("application/rss+xml", read_issues, write_rss),
    "gpx": Format("application/gpx+xml", read_issues, write_gpx),
    "kml": Format("application/vnd.google-earth.kml+xml", read_issues, write_kml),
    "maproulette.geojson": Format("application/x-ndjson; charset=utf-8", read_issues, write_maproulette),
}
