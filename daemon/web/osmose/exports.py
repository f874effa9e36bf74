"""Lists of issues in every format that the Osmose server writes, piece by piece.

Feeds for readers (RSS, GPX, KML) have no links that give a verdict, as those of the Osmose server do: programs follow
links by themselves, and a false positive is for ever.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from psycopg2.extensions import cursor as Cursor

from daemon.web.osmose.feed import Issue, Spot, read_issues
from daemon.web.osmose.parameters import SOURCE, Kinds
from daemon.web.osmose.shapes import (
    AROUND,
    LETTERS,
    brief,
    element_of,
    encode_json,
    feature_properties,
    full,
    kind_of,
    menu,
    point,
    subtitle_of,
    timestamp,
)

COLUMNS = (
    "uuid", "source", "item", "class", "level", "title", "subtitle", "country", "analyser", "timestamp", "username",
    "lat", "lon", "elems",
)
RECORD_SEPARATOR = b"\x1e"
_NOT_XML = re.compile("[^\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What stands around the issues.

    Attributes:
        country, analyser: where they come from.
        base: URL of this server, without a slash at the end.
        query: of the request.
        attributions: whom to name.
        generated: when the list is made.
    """

    kinds: Kinds
    languages: tuple[str, ...]
    country: str
    analyser: str
    base: str
    query: str
    attributions: tuple[str, ...]
    generated: datetime

    @property
    def title(self) -> str:
        return f"Osmose - {self.country}"

    @property
    def credit(self) -> str:
        return "; ".join(self.attributions)


class Format(NamedTuple):
    """How a list is written.

    Attributes:
        read: what is to be known of each issue.
        write: writes what was read, piece by piece.
    """

    media_type: str
    read: Callable[[Cursor, Sequence[Spot]], Sequence[Any]]
    write: Callable[[Iterable[Any], Letterhead], Iterator[bytes]]


def write_brief(spots: Iterable[Spot], head: Letterhead) -> Iterator[bytes]:
    """{"issues": [...]}, where each is and which item it belongs to."""
    yield b'{"issues":['
    for i, spot in enumerate(spots):
        yield (b"," if i else b"") + encode_json(brief(spot, head.kinds))
    yield b"]}"


def write_json(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """{"issues": [...]}: nothing else at the root."""
    yield b'{"issues":['
    for i, issue in enumerate(issues):
        yield (b"," if i else b"") + encode_json(full(issue, head.kinds, head.languages))
    yield b"]}"


def write_geojson(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """A FeatureCollection of points, with whom to name as a foreign member."""
    yield b'{"type":"FeatureCollection","attribution":' + encode_json(head.attributions) + b',"features":['
    for i, issue in enumerate(issues):
        properties = feature_properties(issue, head.kinds, head.languages, head.country, head.analyser)
        feature = {"type": "Feature", "geometry": _point(issue), "properties": properties}
        yield (b",\n" if i else b"\n") + encode_json(feature)
    yield b"\n]}\n"


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
            timestamp(discrepancy.updated), [], lat, lon,
            f"{element[0]}{element[1]}" if element else "",
        ))


def write_rss(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """RSS 2.0; the guid is the issue's uuid."""
    yield _xml(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom">\n<channel>\n'
        f'<atom:link href={_quote(f"{head.base}/api/0.3/issues.rss?{head.query}")} rel="self" '
        f'type="application/rss+xml"/>\n<title>{_text(head.title)}</title>\n'
        f"<description>{_text(head.query)}</description>\n<copyright>{_text(head.credit)}</copyright>\n"
        f"<lastBuildDate>{format_datetime(head.generated.astimezone(UTC))}</lastBuildDate>\n"
        f"<link>{_text(head.base)}/</link>\n"
    )
    for issue in issues:
        item = kind_of(issue.discrepancy, head.kinds).item
        yield _xml(
            f"<item><title>{_text(_name(issue, head))}</title><description>{_text(_story(issue, head))}</description>"
            f"<category>{item}</category><link>{_text(_link(issue, head))}</link>"
            f'<guid isPermaLink="false">{issue.uuid}</guid></item>\n'
        )
    yield b"</channel>\n</rss>\n"


def write_gpx(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """GPX 1.0: a waypoint each."""
    yield _xml(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gpx version="1.0" creator="mapgap" xmlns="http://www.topografix.com/GPX/1/0">\n'
        f"<name>{_text(head.title)}</name>\n<desc>{_text(head.credit)}</desc>\n"
        f"<url>{_text(head.base)}/</url>\n<time>{head.generated.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</time>\n"
    )
    for issue in issues:
        lon, lat = point(issue.discrepancy)
        yield _xml(
            f'<wpt lat="{lat}" lon="{lon}"><name>{_text(_name(issue, head))}</name>'
            f"<desc>{_text(_story(issue, head))}</desc><url>{_text(_link(issue, head))}</url></wpt>\n"
        )
    yield b"</gpx>\n"


def write_kml(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """KML 2.2: a placemark each, with the marker of its item."""
    yield _xml(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:atom="http://www.w3.org/2005/Atom">\n<Document>\n'
        f"<name>{_text(head.title)}</name>\n<atom:link href={_quote(f'{head.base}/')}/>\n"
        f"<description>{_text(head.credit)}</description>\n"
    )
    for item in sorted({kind.item for kind in head.kinds.values()}):
        icon = f"{head.base}/api/0.3/assets/markers/marker-b-{item}.png"
        yield _xml(f'<Style id="item-{item}"><IconStyle><Icon><href>{_text(icon)}</href></Icon></IconStyle></Style>\n')
    for issue in issues:
        lon, lat = point(issue.discrepancy)
        yield _xml(
            f"<Placemark><name>{_text(_name(issue, head))}</name><atom:link href={_quote(_link(issue, head))}/>"
            f"<description>{_text(_story(issue, head))}</description>"
            f"<styleUrl>#item-{kind_of(issue.discrepancy, head.kinds).item}</styleUrl>"
            f"<Point><coordinates>{lon},{lat}</coordinates></Point></Placemark>\n"
        )
    yield b"</Document>\n</kml>\n"


def write_maproulette(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """RFC 7464: a FeatureCollection with one point each. No fix of ours changes an object, so none is offered."""
    for issue in issues:
        title = kind_of(issue.discrepancy, head.kinds).words(*head.languages).title
        properties = {
            "title": title, "subtitle": subtitle_of(issue.discrepancy, head.kinds, head.languages),
            "timestamp": timestamp(issue.discrepancy.updated),
        }
        feature = {"type": "Feature", "geometry": _point(issue), "properties": properties}
        yield RECORD_SEPARATOR + encode_json({"type": "FeatureCollection", "features": [feature]}) + b"\n"


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


def josm_link(issues: Iterable[Issue]) -> str:
    """Where JOSM, on the machine of who asks, loads the objects of these issues; the ground, where they have none."""
    objects, points = {}, []
    for issue in issues:
        points.append(point(issue.discrepancy))
        if element := element_of(issue.discrepancy):
            objects[f"{LETTERS[element[0]].lower()}{element[1]}"] = None
    if objects or not points:
        return f"http://localhost:8111/load_object?objects={','.join(objects)}"
    lons, lats = zip(*points, strict=True)
    return (
        f"http://localhost:8111/load_and_zoom?left={min(lons) - AROUND:.6f}&bottom={min(lats) - AROUND:.6f}"
        f"&right={max(lons) + AROUND:.6f}&top={max(lats) + AROUND:.6f}"
    )


def _name(issue: Issue, head: Letterhead) -> str:
    return f"{menu(issue.discrepancy.detector)} - {subtitle_of(issue.discrepancy, head.kinds, head.languages)}"


def _story(issue: Issue, head: Letterhead) -> str:
    kind, element = kind_of(issue.discrepancy, head.kinds), element_of(issue.discrepancy)
    about = f"; {element[0]} {element[1]}" if element else ""
    title, updated = kind.words(*head.languages).title, timestamp(issue.discrepancy.updated)
    return f"{kind.item}({kind.level})/{kind.number} {issue.uuid}: {title}{about}; {updated}"


def _link(issue: Issue, head: Letterhead) -> str:
    return f"{head.base}/api/0.3/issue/{issue.uuid}"


def _point(issue: Issue) -> dict[str, object]:
    return {"type": "Point", "coordinates": list(point(issue.discrepancy))}


def _line(fields: Iterable[object]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([" ".join(field.split()) if isinstance(field, str) else field for field in fields])
    return out.getvalue().encode("utf-8", "replace")


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("", text))


def _quote(text: str) -> str:
    return quoteattr(_NOT_XML.sub("", text))


def _xml(text: str) -> bytes:
    return text.encode("utf-8", "replace")
