"""Lines and boundaries of many geometries as one table of straight pieces, in tile coordinates.

Lines are straight in web mercator, as OSM draws them. A step of more than half the world between two points goes the
short way, across the antimeridian. What lies north or south of 85.05 degrees is clipped to the last row of tiles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely

from daemon.tiling.grid import fractional_tiles


class Segments(NamedTuple):
    """Pieces of lines and boundaries in tile coordinates, x unwrapped; arrays of equal length.

    `owner` is the number of what they belong to, `ring` whether they belong to the boundary of a polygon. Pieces with
    the same `run` hang together.
    """

    owner: np.ndarray
    run: np.ndarray
    ring: np.ndarray
    x0: np.ndarray
    y0: np.ndarray
    x1: np.ndarray
    y1: np.ndarray

    def pick(self, chosen: np.ndarray | slice) -> Segments:
        return Segments(*(column[chosen] for column in self))

    @classmethod
    def join(cls, *tables: Segments) -> Segments:
        """One table of several; no two of them share a run."""
        shifts = np.cumsum([0, *(int(table.run.max()) + 1 if len(table.run) else 0 for table in tables)])
        tables = tuple(table._replace(run=table.run + shift) for table, shift in zip(tables, shifts, strict=False))
        return cls(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


class Places(NamedTuple):
    """Where segments begin and end: numbers of places, so that equal places have equal numbers."""

    start: np.ndarray
    end: np.ndarray


def segments_of(
    geometries: np.ndarray, owner: np.ndarray, placed: np.ndarray, zoom: int
) -> tuple[Segments, np.ndarray, Places]:
    """All segments of lines and rings; a point becomes a segment without length.

    Args:
        geometries: object [N], lon/lat, none of them missing.
        owner: int [N]; geometries of one owner are unwrapped together.
        placed: bool [N]; whether the places of a geometry are asked for.

    Returns:
        The segments, one run a curve; the geometry that each belongs to, as an index into `geometries`; the ends of
        those segments whose geometry is `placed`.
    """
    parts, at = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_type_id(parts) > 3).any():  # collections in collections
        parts, within = shapely.get_parts(parts, return_index=True)
        at = at[within]
    polygons = shapely.get_type_id(parts) == 3
    rings, within = shapely.get_rings(parts[polygons], return_index=True)
    curves = np.concatenate([parts[~polygons], rings])
    ring = np.arange(len(curves)) >= len(curves) - len(rings)
    at = np.concatenate([at[~polygons], at[polygons][within]])
    points, curve = shapely.get_coordinates(curves, return_index=True)
    x, y = fractional_tiles(points[:, 0], points[:, 1], zoom)
    joined = curve[1:] == curve[:-1]
    x = _unwrap(x, curve, owner[at], 1 << zoom)
    alone = np.ones(len(curve), bool)  # points: first of a curve without a second
    alone[1:] &= ~joined
    alone[:-1] &= ~joined
    start = np.concatenate([np.flatnonzero(joined), np.flatnonzero(alone)])
    end = np.concatenate([np.flatnonzero(joined) + 1, np.flatnonzero(alone)])
    run = curve[start]
    segments = Segments(owner[at[run]], run, ring[run], x[start], y[start], x[end], y[end])
    wanted = placed[at[run]]
    return segments, at[run], _places(points, start[wanted], end[wanted])


def _places(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> Places:
    """Where segments begin and end, of lon/lat points [N, 2]; both sides of the antimeridian are one place."""
    used = np.zeros(len(points), bool)
    used[start] = used[end] = True
    number = np.zeros(len(points), np.int64)
    lon, lat = points[used].T
    number[used] = np.unique(np.where(lon == 180.0, -180.0, lon) + 1j * lat, return_inverse=True)[1]
    return Places(number[start], number[end])


def _unwrap(x: np.ndarray, curve: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
    """Columns without jumps of more than half the world: each curve goes on beyond the antimeridian.

    Args:
        x: of each point.
        curve: that each point belongs to, ascending.
        owner: of each curve; its curves are brought to the same side of the world as the first of them.
    """
    joined = curve[1:] == curve[:-1]
    step = np.diff(x)
    turns = np.where(joined & (np.abs(step) > n / 2), -np.sign(step), 0.0)
    if not turns.any():
        return x
    first = np.concatenate([[0], np.flatnonzero(~joined) + 1])
    lengths = np.diff(np.concatenate([first, [len(x)]]))
    turned = np.concatenate([[0.0], np.cumsum(turns)])
    turned -= np.repeat(turned[first], lengths)
    whole = x + n * turned
    middle = (np.minimum.reduceat(whole, first) + np.maximum.reduceat(whole, first)) / 2
    owner = owner[curve[first]]
    _, leader, follows = np.unique(owner, return_index=True, return_inverse=True)
    aside = np.round((middle[leader][follows] - middle) / n)
    return x + n * (turned + np.repeat(aside, lengths))
