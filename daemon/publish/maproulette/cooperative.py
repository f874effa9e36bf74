"""Change files that a mapper opens in JOSM beside a task: drawn for him already, his to correct and to upload.

Only two kinds of change are ever offered: to create a building as one closed way, and to move the nodes of one that
lies off its place. Nothing is ever deleted. The same claim and the same map give the same bytes.

Formats: osmChange 0.6 (https://wiki.openstreetmap.org/wiki/OsmChange), and MapRoulette's cooperative work of version 2
and type 2, which holds it in base64 (RFC 4648).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor
from shapely.geometry import Polygon

from daemon.db import query
from daemon.discrepancies.model import Discrepancy
from daemon.osm.elements import Way
from daemon.osm.rows import fetch_nodes, fetch_ways
from daemon.publish.feed import fact, geometry_json
from daemon.publish.markup import attribute_of
from detectors.base import EARTH_RADIUS_M

#: MapRoulette's number of this way of cooperating.
CHANGE_FILE = 2
#: What is missing -> the tags that it is drawn with.
DRAWN_AS: Mapping[tuple[str, str], Mapping[str, str]] = {("building", "missing"): {"building": "yes"}}
#: What lies off its place and may be moved as a whole.
MOVED = frozenset({("building", "misplaced")})
#: Longest value of a tag that OSM takes, characters.
TAG_LENGTH = 255
#: OSM keeps places in steps of so many degrees.
STEP = 1e-7


class MapNode(NamedTuple):
    """A node as the map has it; lon and lat in whole 1e-7 degrees."""

    id: int
    version: int
    lon: int
    lat: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """An OSM way as it is on the map now, for an outline that is to be moved.

    Attributes:
        nodes: of the way, each once, in their order.
    """

    way: Way
    nodes: tuple[MapNode, ...]

    @property
    def elements(self) -> dict[str, int]:
        """"way/1" -> its version, and the same of its nodes."""
        return {f"way/{self.way.id}": self.way.version} | {f"node/{node.id}": node.version for node in self.nodes}


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """A change file, and the versions of the elements in it that are on the map ({} where it only creates)."""

    osc: bytes
    elements: Mapping[str, int] = field(default_factory=dict)

    @property
    def work(self) -> dict[str, Any]:
        """As MapRoulette takes it."""
        content = base64.b64encode(self.osc).decode("ascii")
        return {
            "meta": {"version": 2, "type": CHANGE_FILE},
            "file": {"type": "xml", "format": "osc", "encoding": "base64", "content": content},
        }


def can_be_drawn(discrepancy: Discrepancy) -> bool:
    """Whether it is something missing that one closed way can draw: an area in one piece and without a hole."""
    geometry = discrepancy.geometry
    known = (discrepancy.detector, discrepancy.kind) in DRAWN_AS and discrepancy.osm is None
    return known and isinstance(geometry, Polygon) and not geometry.interiors


def is_shifted(discrepancy: Discrepancy) -> bool:
    """Whether the whole of a mapped thing is said to lie off its place; a bad outline is for a mapper to draw."""
    known = (discrepancy.detector, discrepancy.kind) in MOVED and discrepancy.shift_m is not None
    return known and "iou" not in discrepancy.evidence


def create(discrepancy: Discrepancy) -> ChangeFile:
    """The closed way of something missing, and its nodes, with negative ids."""
    tags = tags_of(discrepancy)
    ring = geometry_json(discrepancy.geometry)["coordinates"][0][:-1]
    lines = [
        f'  <node id="{-number}" lat="{lat:.7f}" lon="{lon:.7f}"/>' for number, (lon, lat) in enumerate(ring, start=1)
    ]
    way = -len(ring) - 1
    refs = [*range(-1, way, -1), -1]
    return ChangeFile(_change("create", [*lines, *_way_lines(f'id="{way}"', refs, tags)]))


def move(drawing: Drawing, shift_m: tuple[float, float]) -> ChangeFile:
    """A mapped way's nodes, moved by (east, north) metres; the way itself is as it was and not in it.

    Nodes carry no tags here: the store does not know them, so that whoever offers this says so.
    """
    lat = math.radians(sum(node.lat for node in drawing.nodes) / len(drawing.nodes) * STEP)
    up = math.degrees(shift_m[1] / EARTH_RADIUS_M) / STEP
    right = math.degrees(shift_m[0] / (EARTH_RADIUS_M * math.cos(lat))) / STEP
    lines = [
        f'  <node id="{node.id}" version="{node.version}" lat="{round(node.lat + up) * STEP:.7f}" '
        f'lon="{round(node.lon + right) * STEP:.7f}"/>'
        for node in sorted(drawing.nodes)
    ]
    return ChangeFile(_change("modify", lines), drawing.elements)


def tags_of(discrepancy: Discrepancy) -> dict[str, str]:
    """Tags of a thing that is missing: what it is, and from which imagery of which day it was drawn."""
    tags = dict(DRAWN_AS[discrepancy.detector, discrepancy.kind])
    if imagery := fact(discrepancy.evidence, "imagery"):
        tags["source"] = imagery[:TAG_LENGTH]
    if acquired := fact(discrepancy.evidence, "acquired"):
        tags["source:date"] = acquired[:TAG_LENGTH]
    return tags


def read_drawings(cursor: Cursor, refs: Iterable[str]) -> dict[str, Drawing]:
    """The ways among these OSM objects ("way/1"), as far as the store has them whole."""
    ids = {int(ref.partition("/")[2]): ref for ref in refs if ref.startswith("way/")}
    ways = fetch_ways(cursor, ids)
    wanted = sorted({ref for way in ways.values() for ref in way.refs})
    rows = {int(row["id"]): row for row in fetch_nodes(cursor, wanted)}
    drawings = {}
    for id_, way in ways.items():
        refs_once = list(dict.fromkeys(way.refs))
        if all(ref in rows for ref in refs_once):
            nodes = tuple(
                MapNode(ref, int(rows[ref]["version"]), int(rows[ref]["lon"]), int(rows[ref]["lat"]))
                for ref in refs_once
            )
            drawings[ids[id_]] = Drawing(way, nodes)
    return drawings


def can_be_moved(cursor: Cursor, drawings: Sequence[Drawing]) -> set[int]:
    """Ids of the ways that may be moved alone: all versions are known, and no other way holds any of their nodes."""
    known = [d for d in drawings if all(d.elements.values())]
    nodes = sorted({node.id for drawing in known for node in drawing.nodes})
    cursor.execute(query("nodes_of_several_ways"), {"ids": nodes})
    shared = {id_ for (id_,) in cursor.fetchall()}
    return {d.way.id for d in known if shared.isdisjoint(node.id for node in d.nodes)}


def _change(action: str, lines: Sequence[str]) -> bytes:
    head = ['<?xml version="1.0" encoding="UTF-8"?>', '<osmChange version="0.6" generator="mapgap">', f" <{action}>"]
    return "\n".join([*head, *lines, f" </{action}>", "</osmChange>", ""]).encode()


def _way_lines(attributes: str, refs: Iterable[int], tags: Mapping[str, str]) -> list[str]:
    return [
        f"  <way {attributes}>",
        *(f'   <nd ref="{ref}"/>' for ref in refs),
        *(f"   <tag k={attribute_of(name)} v={attribute_of(value)}/>" for name, value in sorted(tags.items())),
        "  </way>",
    ]
