"""Lists as GPX 1.0, for devices with a map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC

from daemon.publish.markup import encode_xml, text_of
from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.exports.phrasing import link_of, name_of, story_of
from daemon.web.osmose.feed import Issue
from daemon.web.osmose.shapes import degrees, point


def write_gpx(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """GPX 1.0: a waypoint each."""
    yield encode_xml(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gpx version="1.0" creator="mapgap" xmlns="http://www.topografix.com/GPX/1/0">\n'
        f"<name>{text_of(head.title)}</name>\n<desc>{text_of(head.credit)}</desc>\n"
        f"<url>{text_of(head.base)}/</url>\n<time>{head.generated.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</time>\n"
    )
    for issue in issues:
        lon, lat = point(issue.discrepancy)
        yield encode_xml(
            f'<wpt lat="{degrees(lat)}" lon="{degrees(lon)}"><name>{text_of(name_of(issue, head))}</name>'
            f"<desc>{text_of(story_of(issue, head))}</desc><url>{text_of(link_of(issue, head))}</url></wpt>\n"
        )
    yield b"</gpx>\n"
