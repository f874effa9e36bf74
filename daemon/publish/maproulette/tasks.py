"""What a task holds: the line of the file export, and where it is wanted a change file beside it.

The server is told a task by its name, which is the discrepancy's key: told again it is brought up to date, never made
twice. No status is ever among what is told, because it would overwrite what a mapper decided.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from psycopg2.extensions import cursor as Cursor

from daemon.discrepancies.model import Discrepancy
from daemon.publish.feed import ExportContext
from daemon.publish.maproulette import cooperative, geojsonl
from daemon.publish.maproulette.cooperative import CHANGE_FILE, ChangeFile, Drawing

#: Facts of a task that change without anything about it having changed for those who look at it.
PASSING = frozenset({"state", "updated"})


@dataclass(frozen=True, slots=True)
class Content:
    """All that a task says.

    Attributes:
        key: its name.
        collection: the FeatureCollection with its attachments.
        work: the cooperative work, None where there is none.
        elements: versions of the OSM elements that the content was made from; {} where none.
    """

    key: str
    collection: Mapping[str, Any]
    work: Mapping[str, Any] | None
    elements: Mapping[str, int]

    @property
    def digest(self) -> str:
        """The same for two contents that say the same to whoever looks at the task."""
        return digest_of(self.collection, self.work)

    def body(self, challenge: int) -> dict[str, Any]:
        """For one task alone; `challenge` is the server's id."""
        body: dict[str, Any] = {"name": self.key, "parent": challenge, "geometries": self.collection}
        return body | ({"cooperativeWork": self.work} if self.work else {})

    def line(self) -> bytes:
        """For an upload of many tasks."""
        work = {"cooperativeWork": self.work} if self.work else {}
        return geojsonl.line({**self.collection, **work})


def digest_of(collection: Mapping[str, Any], work: Mapping[str, Any] | None) -> str:
    """Of a FeatureCollection and a cooperative work, as sent or as read from the server.

    What servers add to or leave out of what they were sent does not count: a geometry's coordinate system, and the ids
    of features, of which the first one's is the task's name.
    """
    features = [
        {
            "geometry": {k: v for k, v in (feature.get("geometry") or {}).items() if k != "crs"},
            "properties": {k: v for k, v in (feature.get("properties") or {}).items() if k not in PASSING},
        }
        for feature in collection.get("features") or []
    ]
    said = json.dumps([features, collection.get("attachments") or [], work or None], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def contents_of(
    cursor: Cursor, discrepancies: Sequence[tuple[Discrepancy, int]], context: ExportContext, *, move_nodes: bool
) -> dict[str, Content]:
    """What the tasks of discrepancies say, by key; each with the way of cooperating of its task's challenge.

    Args:
        move_nodes: whether change files may move the nodes of what is mapped.
    """
    drawings, movable = _drawings(cursor, [d for d, _ in discrepancies], move_nodes=move_nodes)
    return {
        d.key: content_of(d, context, way=way, drawing=drawings.get(d.osm or ""), movable=d.osm in movable)
        for d, way in discrepancies
    }


def ways_of(
    cursor: Cursor, discrepancies: Sequence[Discrepancy], *, change_files: float, move_nodes: bool
) -> dict[str, int]:
    """How new tasks are to cooperate, by key: 2 where a change file can be offered, else 0.

    Args:
        change_files: confidence from which something missing comes drawn already.
    """
    _, movable = _drawings(cursor, discrepancies, move_nodes=move_nodes)
    return {
        d.key: CHANGE_FILE
        if (d.confidence >= change_files and cooperative.can_be_drawn(d)) or d.osm in movable
        else 0
        for d in discrepancies
    }


def _drawings(
    cursor: Cursor, discrepancies: Sequence[Discrepancy], *, move_nodes: bool
) -> tuple[dict[str, Drawing], set[str]]:
    """The mapped ways that discrepancies of the wrong place are about, and those of them that may be moved."""
    misplaced = [d for d in discrepancies if d.osm and d.shift_m is not None]
    drawings = cooperative.read_drawings(cursor, [d.osm for d in misplaced if d.osm])
    shifted = {d.osm for d in misplaced if cooperative.is_shifted(d)}
    offered = {ref: drawing for ref, drawing in drawings.items() if move_nodes and ref in shifted}
    movable = cooperative.can_be_moved(cursor, list(offered.values())) if offered else set()
    return drawings, {ref for ref, drawing in offered.items() if drawing.way.id in movable}


def content_of(
    discrepancy: Discrepancy, context: ExportContext, *, way: int, drawing: Drawing | None = None, movable: bool = False
) -> Content:
    """What the task of a discrepancy says.

    Args:
        way: MapRoulette's number of the way of cooperating of the task's challenge.
        drawing: the way that the discrepancy is about, as the map has it now.
        movable: whether that way may be moved alone.
    """
    outline = None if drawing is None else _outline(drawing)
    collection = geojsonl.task(discrepancy, context, mapped=outline)
    file = change_file(discrepancy, drawing if movable else None) if way == CHANGE_FILE else None
    elements = dict(drawing.elements) if outline is not None or (file and file.elements) else {}
    return Content(discrepancy.key, collection, file.work if file else None, elements)


def change_file(discrepancy: Discrepancy, drawing: Drawing | None) -> ChangeFile | None:
    """The change that would put a discrepancy right, None where nothing safe can be offered.

    Args:
        drawing: the way that it is about, where that may be moved.
    """
    if cooperative.can_be_drawn(discrepancy):
        return cooperative.create(discrepancy)
    if drawing is not None and cooperative.is_shifted(discrepancy):
        return cooperative.move(drawing, discrepancy.shift_m)
    return None


def _outline(drawing: Drawing) -> shapely.LineString | None:
    places = {node.id: (node.lon * cooperative.STEP, node.lat * cooperative.STEP) for node in drawing.nodes}
    points = [places[ref] for ref in drawing.way.refs]
    return shapely.LineString(points) if len(places) > 1 else None
