"""Geometry of ways and area relations from node locations. Bootstrap and change files build with the same code.

Closed ways become Polygons (built here, vectorised), other ways LineStrings; relations become what osmium's area
assembler makes of them (https://osmcode.org/libosmium/manual.html#areas). Coordinates are lon/lat degrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import osmium
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.osm.elements import NodeTable, Relation, Way, flatten, most_of

#: A closed way with one of these is a line that meets itself, not an area, unless it says so.
LINE_KEYS = ("highway", "barrier", "railway", "waterway", "power", "route", "aerialway")
#: Locations are stored in this fraction of a degree.
PRECISION = 1e7


def is_area(tags: Mapping[str, str], refs: Sequence[int]) -> bool:
    """Whether a way is an area: closed, at least four references, and not tagged as a line. Buildings always are."""
    if len(refs) < 4 or refs[0] != refs[-1]:
        return False
    if any(key in tags for key in ("building", "building:part")):
        return True
    if "area" in tags:
        return tags["area"] != "no"
    return not any(key in tags for key in LINE_KEYS)


def build_ways(ways: Sequence[Way], nodes: NodeTable) -> tuple[np.ndarray, np.ndarray]:
    """Geometries of ways.

    A reference to an unknown node is skipped, as osm2pgsql does, and so is a point that repeats the one before.

    Args:
        ways: with tags; `is_area` decides between polygon and line.
        nodes: where to look for their nodes.

    Returns:
        Geometry of each way (object [N]; None where fewer than 2 different points remain for a line, or where nothing
        of an area remains), and the newest edit of the way and its nodes (int64 [N], seconds).
    """
    geometries = np.full(len(ways), None, dtype=object)
    refs, offsets = flatten(way.refs for way in ways)
    known, rows = nodes.lookup(refs)
    owner = np.repeat(np.arange(len(ways)), np.diff(offsets))[known]
    rows = rows[known]
    starts = np.searchsorted(owner, np.arange(len(ways) + 1))
    changed = most_of(rows["changed"], starts, np.array([way.changed for way in ways], np.int64))
    fresh = np.ones(len(rows), bool)
    fresh[1:] = owner[1:] != owner[:-1]
    for axis in ("lon", "lat"):
        fresh[1:] |= rows[axis][1:] != rows[axis][:-1]
    owner, rows = owner[fresh], rows[fresh]
    points = np.column_stack([rows["lon"] / PRECISION, rows["lat"] / PRECISION])
    counts = np.bincount(owner, minlength=len(ways))
    areas = np.fromiter((way.tags is not None and is_area(way.tags, way.refs) for way in ways), bool, len(ways))

    lines = ~areas & (counts >= 2)
    chosen = lines[owner]
    geometries[lines] = shapely.linestrings(points[chosen], indices=_renumber(owner[chosen]))

    first = np.searchsorted(owner, np.arange(len(ways)))
    closed = np.zeros(len(ways), bool)
    filled = areas & (counts > 0)
    closed[filled] = (points[first[filled]] == points[first[filled] + counts[filled] - 1]).all(axis=1)
    rings = areas & (counts - closed >= 3)
    chosen = rings[owner]
    polygons = shapely.polygons(shapely.linearrings(points[chosen], indices=_renumber(owner[chosen])))
    geometries[rings] = sound(polygons)
    return geometries, changed


def assemble(relations: Sequence[Relation], ways: Mapping[int, Way], nodes: NodeTable) -> tuple[np.ndarray, np.ndarray]:
    """Geometries of area relations.

    Args:
        relations: of type multipolygon or boundary.
        ways: their member ways, as far as they are known. A relation with an unknown one has no geometry.
        nodes: where to look for the nodes of those ways. A relation with an unknown one has no geometry.

    Returns:
        Polygon or MultiPolygon of each relation (object [N], None where osmium can make no area of it), and the newest
        edit of the relation, its ways and their nodes (int64 [N], seconds).
    """
    geometries = np.full(len(relations), None, dtype=object)
    members = [[ways[ref] for ref in relation.way_refs if ref in ways] for relation in relations]
    used = sorted({way.id: way for some in members for way in some}.items())
    refs, offsets = flatten(way.refs for _, way in used)
    known, rows = nodes.lookup(refs)
    newest_of_way = most_of(
        np.where(known, rows["changed"], 0), offsets, np.array([way.changed for _, way in used], np.int64)
    )
    newest = {id_: int(moment) for (id_, _), moment in zip(used, newest_of_way, strict=True)}
    changed = np.array([relation.changed for relation in relations], np.int64)
    for i, some in enumerate(members):
        changed[i] = max(changed[i], *(newest[way.id] for way in some)) if some else changed[i]
    if used:
        position = {relation.id: i for i, relation in enumerate(relations)}
        text = _opl(relations, used, refs[known], rows[known])
        factory = osmium.geom.WKBFactory()
        for area in osmium.FileProcessor(osmium.io.FileBuffer(text.encode(), "opl")).with_areas():
            # An area without rings is what osmium hands out where it could not close one.
            if area.is_area() and not area.from_way() and area.num_rings()[0]:
                found = shapely.from_wkb(factory.create_multipolygon(area))
                geometries[position[area.orig_id()]] = found.geoms[0] if len(found.geoms) == 1 else found
    return geometries, changed


def _opl(
    relations: Sequence[Relation], ways: Sequence[tuple[int, Way]], ids: np.ndarray, rows: np.ndarray
) -> str:
    """The objects in OPL (https://osmcode.org/opl-file-format/), as far as the area assembler looks at them."""
    _, first = np.unique(ids, return_index=True)
    rows = rows[first]
    lines = [
        f"n{id_} x{lon / PRECISION:.7f} y{lat / PRECISION:.7f}"
        for id_, lon, lat in zip(rows["id"].tolist(), rows["lon"].tolist(), rows["lat"].tolist(), strict=True)
    ]
    lines += [f"w{id_} N{','.join(f'n{ref}' for ref in way.refs)}" for id_, way in ways]
    for relation in sorted(relations, key=lambda r: r.id):
        members = ",".join(f"w{ref}@{_role(role)}" for kind, ref, role in relation.members if kind == "w")
        lines.append(f"r{relation.id} Ttype={relation.tags['type']} M{members}")
    return "\n".join(lines) + "\n"


def _role(role: str) -> str:
    """osmium tells inner, outer, none and others apart; what others are called, it does not ask."""
    return role if role in ("inner", "outer", "") else "other"


def sound(polygons: np.ndarray) -> np.ndarray:
    """Polygons as they are, or the areas of those that cross themselves: a badly drawn building is on the map too.

    Where they cross becomes a point, in the precision of all others: else rounding would make areas of no width.
    """
    for i in np.flatnonzero(~shapely.is_valid(polygons)):
        polygons[i] = _areas_of(shapely.set_precision(shapely.make_valid(polygons[i]), 1 / PRECISION))
    return polygons


def _areas_of(geometry: BaseGeometry) -> BaseGeometry | None:
    parts = [
        part
        for piece in shapely.get_parts(geometry)
        for part in shapely.get_parts(piece)
        if part.geom_type == "Polygon" and part.area > 0
    ]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def _renumber(owner: np.ndarray) -> np.ndarray:
    """Sorted numbers with gaps -> 0, 0, 1, 1, 1, 2, ..."""
    if not len(owner):
        return owner
    return np.cumsum(np.concatenate([[0], owner[1:] != owner[:-1]]))
