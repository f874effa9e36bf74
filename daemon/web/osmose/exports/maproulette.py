"""Lists as MapRoulette takes them by hand: a line for each (RFC 8142)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.feed import Issue
from daemon.web.osmose.shapes import encode_json, kind_of, point_json, subtitle_of, timestamp

RECORD_SEPARATOR = b"\x1e"


def write_maproulette(issues: Iterable[Issue], head: Letterhead) -> Iterator[bytes]:
    """A FeatureCollection with one point each. No fix of ours changes an object, so none is offered."""
    for issue in issues:
        title = kind_of(issue.discrepancy, head.kinds).words(*head.languages).title
        properties = {
            "title": title, "subtitle": subtitle_of(issue.discrepancy, head.kinds, head.languages),
            "timestamp": timestamp(issue.discrepancy.updated),
        }
        feature = {"type": "Feature", "geometry": point_json(issue), "properties": properties}
        yield RECORD_SEPARATOR + encode_json({"type": "FeatureCollection", "features": [feature]}) + b"\n"
