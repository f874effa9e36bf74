"""A mapper's hands: edits a small map as an OSM editor would, and remembers every version that went to the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from daemon.demo.osm_files import Element, Node, Way

#: Ids far above those in use, so that nobody takes them for real objects.
FIRST_ID = 95_000_000_001


class MapEditor:
    """The current map, and what changed since `begin`.

    Attributes:
        nodes, ways: newest version of everything, deleted objects included.
        versions: versions made since `begin`, in the order of the edits.
        touched: lon/lat geometries of buildings before and after each edit since `begin`.
    """

    def __init__(self, now: datetime):
        self.nodes: dict[int, Node] = {}
        self.ways: dict[int, Way] = {}
        self._next = {"node": FIRST_ID, "way": FIRST_ID}
        self.begin(now)

    def begin(self, now: datetime) -> None:
        """Start the next minute."""
        self.now = now
        self.versions: list[Element] = []
        self.touched: list[BaseGeometry] = []

    def current(self) -> list[Element]:
        """Everything that is not deleted."""
        return [e for e in (*self.nodes.values(), *self.ways.values()) if e.visible]

    def geometry(self, way_id: int) -> BaseGeometry:
        """The way as it is now, lon/lat: a polygon where closed, else a line."""
        points = [self.nodes[ref].lonlat for ref in self.ways[way_id].refs]
        return Polygon(points) if points[0] == points[-1] else LineString(points)

    def draw(self, geometry: Polygon | LineString, tags: Mapping[str, str]) -> int:
        """A new way with nodes of its own; returns its id."""
        way_id = self._new_id("way")
        self._save(Way(way_id, 1, self.now, self._draw_nodes(geometry), tags=dict(tags)))
        self._touch(way_id)
        return way_id

    def move(self, way_id: int, to: Polygon) -> None:
        """Drag the nodes of a way to a shape with as many corners; the way itself gets no new version."""
        self._touch(way_id)
        refs = self.ways[way_id].refs[:-1]
        for node, lonlat in zip([self.nodes[ref] for ref in refs], _corners(to), strict=True):
            if node.lonlat != lonlat:
                self._save(replace(node, version=node.version + 1, lonlat=lonlat, timestamp=self.now))
        self._touch(way_id)

    def reshape(self, way_id: int, to: Polygon) -> None:
        """Give a way other nodes; the old ones are deleted."""
        self._touch(way_id)
        old = set(self.ways[way_id].refs)
        self._new_version(way_id, refs=self._draw_nodes(to))
        self._delete_nodes(old)
        self._touch(way_id)

    def tag(self, way_id: int, tags: Mapping[str, str]) -> None:
        self._touch(way_id)
        self._new_version(way_id, tags={**self.ways[way_id].tags, **tags})
        self._touch(way_id)

    def delete(self, way_id: int) -> None:
        """Delete a way and its nodes."""
        self._touch(way_id)
        self._new_version(way_id, visible=False)
        self._delete_nodes(set(self.ways[way_id].refs))

    def restore(self, way_id: int) -> None:
        """Undo a deletion, as a revert does: same ids, next versions."""
        for ref in dict.fromkeys(self.ways[way_id].refs):
            node = self.nodes[ref]
            self._save(replace(node, version=node.version + 1, visible=True, timestamp=self.now))
        self._new_version(way_id, visible=True)
        self._touch(way_id)

    def _new_id(self, kind: str) -> int:
        self._next[kind] += 1
        return self._next[kind] - 1

    def _save(self, element: Element) -> None:
        (self.nodes if isinstance(element, Node) else self.ways)[element.id] = element
        self.versions.append(element)

    def _new_version(self, way_id: int, **changes: object) -> None:
        way = self.ways[way_id]
        self._save(replace(way, version=way.version + 1, timestamp=self.now, **changes))

    def _draw_nodes(self, geometry: Polygon | LineString) -> tuple[int, ...]:
        closed = isinstance(geometry, Polygon)
        refs = []
        for lonlat in _corners(geometry) if closed else [tuple(p) for p in geometry.coords]:
            node = Node(self._new_id("node"), 1, self.now, lonlat)
            self._save(node)
            refs.append(node.id)
        return tuple([*refs, refs[0]] if closed else refs)

    def _delete_nodes(self, ids: set[int]) -> None:
        for ref in sorted(ids):
            self._save(replace(self.nodes[ref], version=self.nodes[ref].version + 1, visible=False, timestamp=self.now))

    def _touch(self, way_id: int) -> None:
        if "building" in self.ways[way_id].tags:
            self.touched.append(self.geometry(way_id))


def _corners(polygon: Polygon) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in shapely.get_coordinates(polygon.exterior)[:-1]]
