"""Lists as GeoJSON (RFC 7946)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.feed import Issue
from daemon.web.osmose.shapes import encode_json, feature_properties, point_json


def write_geojson(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """A FeatureCollection of points, with whom to name as a foreign member."""
    yield b'{"type":"FeatureCollection","attribution":' + encode_json(head.attributions) + b',"features":['
    for i, issue in enumerate(issues):
        properties = feature_properties(issue, head.kinds, head.languages, head.country, head.analyser)
        feature = {"type": "Feature", "geometry": point_json(issue), "properties": properties}
        yield (b",\n" if i else b"\n") + encode_json(feature)
    yield b"\n]}\n"
