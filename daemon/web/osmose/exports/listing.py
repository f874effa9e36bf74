"""Lists as Osmose's own JSON, in brief and in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.web.osmose.exports.letterhead import Letterhead
from daemon.web.osmose.feed import Issue, Spot
from daemon.web.osmose.shapes import brief, encode_json, full


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
