"""What an editor may take over from an issue: a drawn object for what is missing, as an OSM file.

Only what is missing has a fix. What is gone has none, since whether to delete, or to write that it was razed, is a
person's choice; what is misplaced has none either, since its nodes may belong to others, too, and the shift is only
measured: its outline is in the lists as a geometry, to be drawn along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

import shapely
from shapely.geometry import LinearRing, MultiPolygon, Polygon

from daemon import __version__
from daemon.discrepancies.model import Discrepancy
from daemon.publish.feed import DECIMALS

#: (detector, kind) -> tags of the object that is missing.
MISSING: Mapping[tuple[str, str], Mapping[str, str]] = {("building", "missing"): {"building": "yes"}}


def is_fixable(detector: str, kind: str) -> bool:
    """Whether issues of this kind come with a fix."""
    return (detector, kind) in MISSING


def fixes_of(discrepancy: Discrepancy) -> list[list[dict[str, Any]]] | None:
    """Alternatives, each a list of what to do to one object after the other; id 0 is a new one. None: no fix."""
    tags = _tags_of(discrepancy)
    if tags is None:
        return None
    kind = "R" if _needs_relation(discrepancy.geometry) else "W"
    return [[{"type": kind, "id": 0, "create": dict(tags), "modify": {}, "delete": []}]]


def osm_file(discrepancy: Discrepancy, number: int) -> str | None:
    """The fix as JOSM's file format, to be imported and looked over; None where there is no such fix.

    New objects have negative ids. An outline is a closed way; one with courtyards, or in parts, a multipolygon.
    """
    tags = _tags_of(discrepancy)
    if tags is None or number != 0:
        return None
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>', f'<osm version="0.6" generator="mapgap {__version__}">',
        *_Drawing(discrepancy.geometry, tags).lines(), "</osm>", "",
    ])


class _Drawing:
    """Nodes, ways and a relation for one geometry."""

    def __init__(self, geometry: Polygon | MultiPolygon, tags: Mapping[str, str]):
        self._last = 0
        self._nodes: list[str] = []
        self._ways: list[str] = []
        self._relations: list[str] = []
        if _needs_relation(geometry):
            members = [
                f'    <member type="way" ref="{self._way(ring, {})}" role="{role}"/>'
                for part in _parts(geometry) for role, ring in _rings(part)
            ]
            self._last -= 1
            self._relations += [
                f'  <relation id="{self._last}" action="modify" visible="true">', *members,
                *_tags({"type": "multipolygon", **tags}), "  </relation>",
            ]
        else:
            (part,) = _parts(geometry)
            self._way(part.exterior, tags)

    def lines(self) -> Iterator[str]:
        yield from self._nodes
        yield from self._ways
        yield from self._relations

    def _node(self, lon: float, lat: float) -> int:
        self._last -= 1
        place = f'lat="{lat:.{DECIMALS}f}" lon="{lon:.{DECIMALS}f}"'
        self._nodes.append(f'  <node id="{self._last}" action="modify" visible="true" {place}/>')
        return self._last

    def _way(self, ring: LinearRing, tags: Mapping[str, str]) -> int:
        points = [(round(x, DECIMALS), round(y, DECIMALS)) for x, y in shapely.get_coordinates(ring).tolist()]
        points = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
        refs = [self._node(*point) for point in points[:-1]]
        self._last -= 1
        self._ways += [
            f'  <way id="{self._last}" action="modify" visible="true">',
            *(f'    <nd ref="{ref}"/>' for ref in [*refs, refs[0]]), *_tags(tags), "  </way>",
        ]
        return self._last


def _tags_of(discrepancy: Discrepancy) -> Mapping[str, str] | None:
    """Of what is missing; None where nothing can be drawn."""
    drawable = isinstance(discrepancy.geometry, Polygon | MultiPolygon)
    return MISSING.get((discrepancy.detector, discrepancy.kind)) if drawable else None


def _needs_relation(geometry: Polygon | MultiPolygon) -> bool:
    parts = _parts(geometry)
    return len(parts) > 1 or any(len(part.interiors) for part in parts)


def _parts(geometry: Polygon | MultiPolygon) -> list[Polygon]:
    return list(geometry.geoms) if isinstance(geometry, MultiPolygon) else [geometry]


def _rings(part: Polygon) -> list[tuple[str, LinearRing]]:
    return [("outer", part.exterior), *(("inner", ring) for ring in part.interiors)]


def _tags(tags: Mapping[str, str]) -> list[str]:
    return [f"    <tag k={quoteattr(key)} v={quoteattr(value)}/>" for key, value in tags.items()]
