"""Features: what detectors see of the store. Building them from raw objects, reading and writing their rows."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import shapely
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.osm.area import AreaOfInterest
from daemon.osm.elements import NodeTable, Relation, Way
from daemon.osm.geometry import assemble, build_ways
from daemon.osm.rows import array, encode_tags, escape
from detectors.base import OsmFeature

#: A feature's type and id, the key of its row.
Key = tuple[str, int]
TYPES = {"w": "way", "r": "relation"}
CODES = {name: code for code, name in TYPES.items()}


def build_features(
    ways: Sequence[Way],
    relations: Sequence[Relation],
    members: Mapping[int, Way],
    nodes: NodeTable,
    area: AreaOfInterest | None,
) -> dict[Key, OsmFeature]:
    """Features of raw objects: those with a geometry that touches the area.

    Args:
        ways: with tags.
        relations: area relations.
        members: the relations' ways, as far as they are known.
        nodes: where to look for the nodes of all these ways.
        area: None for the whole world.
    """
    way_geometries, way_changed = build_ways(ways, nodes)
    relation_geometries, relation_changed = assemble(relations, members, nodes)
    geometries = np.concatenate([way_geometries, relation_geometries])
    changed = np.concatenate([way_changed, relation_changed])
    there = ~shapely.is_missing(geometries) if area is None else area.touches(geometries)
    features: dict[Key, OsmFeature] = {}
    for i, (kind, element) in enumerate([*(("w", way) for way in ways), *(("r", relation) for relation in relations)]):
        if there[i]:
            features[kind, element.id] = OsmFeature(
                TYPES[kind], element.id, element.version, _moment(int(changed[i])), element.tags or {}, geometries[i]
            )
    return features


def key_of(feature: OsmFeature) -> Key:
    """The key of a feature's row."""
    return CODES[feature.type], feature.id


def same_thing(old: OsmFeature, new: OsmFeature) -> bool:
    """Whether two states of a feature agree in geometry (point by point), tags and version."""
    return (
        old.version == new.version
        and old.tags == new.tags
        and bool(shapely.equals_exact(old.geometry, new.geometry, tolerance=0))
    )


def fetch_features(cursor: Cursor, ways: Iterable[int], relations: Iterable[int]) -> dict[Key, OsmFeature]:
    """Features of the store by their ids."""
    wanted = {"ways": array(ways), "relations": array(relations)}
    if wanted["ways"] == wanted["relations"] == "{}":
        return {}
    cursor.execute(query("features_by_id"), wanted)
    return {key_of(feature): feature for feature in _features(cursor.fetchall())}


def fetch_in(cursor: Cursor, name: str, bbox: tuple[float, float, float, float]) -> list[OsmFeature]:
    """Features of the query `name` whose bounding box meets (west, south, east, north), ordered by type and id."""
    cursor.execute(query(name), dict(zip(("west", "south", "east", "north"), map(float, bbox), strict=True)))
    return _features(cursor.fetchall())


def put_features(cursor: Cursor, features: Sequence[OsmFeature]) -> None:
    """Insert features, or bring them up to date."""
    if not features:
        return
    geometries = np.array([feature.geometry for feature in features], dtype=object)
    bounds = shapely.bounds(geometries)
    cursor.execute(query("put_features"), {
        "type": array(CODES[feature.type] for feature in features),
        "id": array(feature.id for feature in features),
        "version": array(feature.version for feature in features),
        "changed": array(int(feature.timestamp.timestamp()) for feature in features),
        "tags": [encode_tags(feature.tags) for feature in features],
        "geometry": array(shapely.to_wkb(geometries, hex=True, byte_order=1)),
        **{side: array(bounds[:, i]) for i, side in enumerate(("west", "south", "east", "north"))},
    })


def load_features(cursor: Cursor, features: Iterable[OsmFeature]) -> int:
    """Copy features into the empty table; returns how many."""
    kept = list(features)
    if kept:
        geometries = np.array([feature.geometry for feature in kept], dtype=object)
        rows = zip(
            kept, shapely.to_wkb(geometries, hex=True, byte_order=1).tolist(), shapely.bounds(geometries).tolist(),
            strict=True,
        )
        text = "".join(
            f"{CODES[f.type]}\t{f.id}\t{f.version}\t{f.timestamp.isoformat()}\t{escape(encode_tags(f.tags))}\t"
            f"\\\\x{wkb}\t({west},{south}),({east},{north})\n"
            for f, wkb, (west, south, east, north) in rows
        )
        cursor.copy_expert(query("load_features"), io.BytesIO(text.encode()))
    return len(kept)


def drop_features(cursor: Cursor, removed: Mapping[Key, int]) -> None:
    """Take features out, and remember when (seconds since 1970) they left the map."""
    if removed:
        cursor.execute(query("drop_features"), {**_keys(removed), "removed": array(removed.values())})


def forget_removed(cursor: Cursor, features: Sequence[OsmFeature]) -> None:
    """These features are on the map again."""
    if features:
        cursor.execute(query("forget_removed"), _keys(key_of(feature) for feature in features))


def _keys(keys: Iterable[Key]) -> dict[str, str]:
    kept = list(keys)
    return {"type": array(kind for kind, _ in kept), "id": array(id_ for _, id_ in kept)}


def _features(rows: Sequence[tuple]) -> list[OsmFeature]:
    if not rows:
        return []
    geometries = shapely.from_wkb([bytes(row[5]) for row in rows])
    return [
        OsmFeature(TYPES[kind], id_, version, _moment(changed), tags, geometry)
        for (kind, id_, version, changed, tags, _), geometry in zip(rows, geometries, strict=True)
    ]


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
