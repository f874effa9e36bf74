"""Geometries as GeoJSON, many at a time: what `daemon.publish.feed.geometry_json` says, at a fifth of its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.publish.feed import DECIMALS, geometry_json


def outlines(geometries: Sequence[BaseGeometry]) -> list[dict[str, Any]]:
    """Each as RFC 7946 wants it. Polygons without holes, which is most of all there are, are turned in one go."""
    shapes = np.array(geometries, dtype=object)
    simple = np.flatnonzero(
        (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON)
        & (shapely.get_num_interior_rings(shapes) == 0) & ~shapely.is_empty(shapes)
    )
    told = dict(zip(simple.tolist(), _simple(shapes[simple]), strict=True)) if len(simple) else {}
    return [told.get(number) or geometry_json(geometry) for number, geometry in enumerate(geometries)]


def _simple(polygons: np.ndarray) -> Iterator[dict[str, Any] | None]:
    """Polygons [N] without holes; None for one whose corners fell together."""
    rings, owners = shapely.get_coordinates(shapely.get_exterior_ring(polygons), return_index=True)
    rings = np.round(rings, DECIMALS)
    rounded = shapely.linearrings(rings, indices=owners)
    valid, anticlockwise = shapely.is_valid(shapely.polygons(rounded)).tolist(), shapely.is_ccw(rounded).tolist()
    points, ends = rings.tolist(), np.searchsorted(owners, np.arange(len(polygons) + 1)).tolist()
    for number, (start, end) in enumerate(pairwise(ends)):
        ring = points[start:end] if anticlockwise[number] else points[start:end][::-1]
        yield {"type": "Polygon", "coordinates": [ring]} if valid[number] else None
