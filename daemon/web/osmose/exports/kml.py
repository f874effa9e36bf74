"""Lists as KML 2.2, for globes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.publish.markup import attribute_of, encode_xml, text_of
from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.exports.phrasing import link_of, name_of, story_of
from daemon.web.osmose.feed import Issue
from daemon.web.osmose.shapes import degrees, kind_of, point


def write_kml(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """KML 2.2: a placemark each, with the marker of its item."""
    yield encode_xml(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:atom="http://www.w3.org/2005/Atom">\n<Document>\n'
        f"<name>{text_of(head.title)}</name>\n<atom:link href={attribute_of(f'{head.base}/')}/>\n"
        f"<description>{text_of(head.credit)}</description>\n"
    )
    for item in sorted({kind.item for kind in head.kinds.values()}):
        icon = f"{head.base}/api/0.3/assets/markers/marker-b-{item}.png"
        yield encode_xml(
            f'<Style id="item-{item}"><IconStyle><Icon><href>{text_of(icon)}</href></Icon></IconStyle></Style>\n'
        )
    for issue in issues:
        lon, lat = point(issue.discrepancy)
        yield encode_xml(
            f"<Placemark><name>{text_of(name_of(issue, head))}</name>"
            f"<atom:link href={attribute_of(link_of(issue, head))}/>"
            f"<description>{text_of(story_of(issue, head))}</description>"
            f"<styleUrl>#item-{kind_of(issue.discrepancy, head.kinds).item}</styleUrl>"
            f"<Point><coordinates>{degrees(lon)},{degrees(lat)}</coordinates></Point></Placemark>\n"
        )
    yield b"</Document>\n</kml>\n"
