"""Ways and relations as an osm2pgsql database has them: tags from the slim tables, geometry from the output tables.

The slim tables hold all tags of an object, whatever the style made of them, so a detector sees the same tags as in
mapgap's own store; and so it is with what is an area and what a line, where a way is closed. Only which objects have
geometry at all, the style decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from psycopg2 import sql
from shapely.geometry.base import BaseGeometry

from daemon.osm.area import AreaOfInterest
from daemon.osm.elements import AREA_TYPES, Selects
from daemon.osm.features import Key
from daemon.osm.geometry import PRECISION, is_area, sound
from daemon.osm.osm2pgsql.snapshot import Snapshot
from daemon.osm.rows import array

#: What --extra-attributes adds to the tags in the legacy format of the slim tables.
ATTRIBUTES = ("osm_user", "osm_uid", "osm_version", "osm_timestamp", "osm_changeset")
#: Dimension of polygons.
AREA = 2


class Seen(NamedTuple):
    """An object with geometry. Version and newest edit (seconds since 1970) are 0 where the database does not say.

    The newest edit is that of the object, its ways and its nodes: where the times of nodes are not kept (the legacy
    format, --flat-nodes), the object's own time is too old to be told, since a corner may have been moved later.
    """

    tags: dict[str, str]
    version: int
    changed: int
    geometry: BaseGeometry


class View(NamedTuple):
    """What a snapshot says about some objects.

    Attributes:
        seen: those that a detector asks for and that have geometry in the area.
        known: those that are in the slim tables at all.
        shapeless: those that a detector asks for and that have no geometry anywhere.
    """

    seen: dict[Key, Seen]
    known: set[Key]
    shapeless: set[Key]


class _Object(NamedTuple):
    tags: dict[str, str]
    version: int
    changed: int


def view(snapshot: Snapshot, keys: Iterable[Key], selects: Selects, area: AreaOfInterest | None) -> View:
    """Read objects by type and id."""
    wanted = set(keys)
    known: set[Key] = set()
    asked: dict[Key, _Object] = {}
    for kind in ("w", "r"):
        for key, found in _read_objects(snapshot, kind, [id_ for k, id_ in wanted if k == kind]):
            known.add(key)
            if found.tags and (kind == "w" or found.tags.get("type") in AREA_TYPES) and selects(found.tags):
                asked[key] = found
    shapes = _read_shapes(snapshot, asked)
    found = list(shapes)
    if area is not None and found:
        inside = area.touches(np.array(list(shapes.values()), dtype=object))
        found = [key for key, flag in zip(found, inside.tolist(), strict=True) if flag]
    newest = _newest_parts(snapshot, found)
    seen = {
        key: Seen(
            asked[key].tags, asked[key].version, max(asked[key].changed, newest[key]) if key in newest else 0,
            shapes[key],
        )
        for key in found
    }
    return View(seen, known, asked.keys() - shapes.keys())


def _read_objects(snapshot: Snapshot, kind: str, ids: Sequence[int]) -> Iterator[tuple[Key, _Object]]:
    if not ids:
        return
    layout, cursor = snapshot.layout, snapshot.cursor
    columns = {
        name: sql.Identifier("o", name) if layout.attributes else sql.NULL for name in ("version", "created")
    }
    table = layout.names["ways" if kind == "w" else "rels"]
    cursor.execute(layout.sql("osm2pgsql_objects", table=table, **columns), {"ids": array(ids)})
    for id_, tags, version, changed in cursor:
        yield (kind, id_), _object(tags, version, changed)


def _object(tags: Any, version: int | None, changed: int | None) -> _Object:
    """From tags as a list k, v, k, v, ... (legacy) or as JSON."""
    plain = dict(zip(tags[::2], tags[1::2], strict=True)) if isinstance(tags, list) else dict(tags or {})
    extra = {name: plain.pop(name, "") for name in ATTRIBUTES} if "osm_version" in plain else {}
    if version is None:
        text = extra.get("osm_version", "")
        version = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    return _Object(plain, version, changed or 0)


def _read_shapes(snapshot: Snapshot, keys: Mapping[Key, _Object]) -> dict[Key, BaseGeometry]:
    """Geometries, lon/lat; an object of several rows or tables becomes one. Of a relation, only areas count."""
    owners: list[Key] = []
    shapes: list[bytes] = []
    for output in snapshot.layout.outputs:
        ids = output.ids_of(keys)
        if ids:
            select = snapshot.layout.sql("osm2pgsql_shapes", **output.names)
            snapshot.cursor.execute(select, {"ids": array(ids)})
            for type_, id_, shape in snapshot.cursor:
                key = output.key_of(type_, id_)
                if key in keys:
                    owners.append(key)
                    shapes.append(bytes(shape))
    if not shapes:
        return {}
    parts, owner = shapely.get_parts(shapely.from_wkb(shapes), return_index=True)
    while (shapely.get_type_id(parts) > 3).any():  # collections in collections
        parts, at = shapely.get_parts(parts, return_index=True)
        owner = owner[at]
    # OSM's locations are whole 1e-7 degrees: rounding undoes what the way through another projection did to them.
    parts = shapely.transform(parts, lambda lonlat: np.round(lonlat * PRECISION) / PRECISION)
    pieces: dict[Key, list[BaseGeometry]] = {}
    for i, part, dimension in zip(owner.tolist(), parts, shapely.get_dimensions(parts).tolist(), strict=True):
        key = owners[i]
        if dimension == AREA or (dimension == 1 and key[0] == "w"):
            pieces.setdefault(key, []).append(part)
    shapes = {key: some[0] if len(some) == 1 else _gather(some) for key, some in pieces.items()}
    drawn = {key: _redrawn(shape, keys[key].tags) if key[0] == "w" else shape for key, shape in shapes.items()}
    return {key: shape for key, shape in drawn.items() if shape is not None}


def _redrawn(shape: BaseGeometry, tags: Mapping[str, str]) -> BaseGeometry | None:
    """A closed way as an area or as a line, as its tags mean it and not as a style did; None where no area remains."""
    if shape.geom_type == "LineString" and is_area(tags, shape.coords):
        return sound(np.array([shapely.polygons(shape.coords)]))[0]
    if shape.geom_type == "Polygon" and not shape.interiors and not is_area(tags, shape.exterior.coords):
        return shapely.linestrings(shape.exterior.coords)
    return shape


def _gather(pieces: Sequence[BaseGeometry]) -> BaseGeometry:
    """Different pieces of one object in an order of their own; lines beside areas are left out."""
    largest = max(shapely.get_dimensions(piece) for piece in pieces)
    kept = {shapely.to_wkb(piece): piece for piece in pieces if shapely.get_dimensions(piece) == largest}
    ordered = [kept[name] for name in sorted(kept)]
    if len(ordered) == 1:
        return ordered[0]
    return shapely.multipolygons(ordered) if largest == AREA else shapely.multilinestrings(ordered)


def _newest_parts(snapshot: Snapshot, keys: Sequence[Key]) -> dict[Key, int]:
    """The newest edit of what objects are made of, where the database has such times."""
    newest: dict[Key, int] = {}
    if not (snapshot.layout.attributes and snapshot.layout.dated_nodes):
        return newest
    for kind, name in (("w", "osm2pgsql_newest_of_ways"), ("r", "osm2pgsql_newest_of_relations")):
        ids = [id_ for k, id_ in keys if k == kind]
        if ids:
            snapshot.cursor.execute(snapshot.layout.sql(name), {"ids": array(ids)})
            newest.update({(kind, id_): changed for id_, changed in snapshot.cursor if changed is not None})
    return newest
