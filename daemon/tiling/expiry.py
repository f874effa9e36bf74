"""From changed features to dirty tiles, in the words of osm2pgsql's tile expiry (boundary_only, full_area, hybrid).

A tile is dirty when its square, widened by `buffer` tile widths on all four sides, meets the old or the new geometry:
its lines and boundaries in any mode, the inside of polygons too where the mode says so. Exact to the tile, with borders
counted in. All work is done on arrays, for all changed features at once.

Lines are straight in web mercator, as OSM draws them. A step of more than half the world between two points goes the
short way, across the antimeridian. What lies north or south of 85.05 degrees is clipped to the last row of tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.config import Tiling
from daemon.tiling.grid import HALF_WORLD_M, fractional_tiles
from detectors.base import EARTH_RADIUS_M, OsmFeature

#: Pairs of a segment and a column that are worked on at once: bounds memory to some hundred megabytes.
PAIRS_AT_ONCE = 1_000_000


class ChangedFeature(Protocol):
    """A feature before and after; None where it was not or is no more."""

    @property
    def old(self) -> OsmFeature | None: ...

    @property
    def new(self) -> OsmFeature | None: ...


@dataclass(frozen=True, slots=True)
class Capped:
    """A geometry that would have expired too many tiles.

    Attributes:
        ref: the feature, "way/123".
        tiles: how many tiles it has, or at least has.
        kept: "boundary": only the tiles of its boundary were expired; "nothing": these were too many as well.
    """

    ref: str
    tiles: int
    kept: str


@dataclass(frozen=True, slots=True)
class Expired:
    """Dirty tiles of one change file.

    Attributes:
        tiles: int32 [N, 2], x and y at the configured zoom, unique, ordered by row and column.
        capped: geometries that met `max_tiles_geometry`; worth a line in the log each.
    """

    tiles: np.ndarray
    capped: list[Capped]


class _Segments(NamedTuple):
    """Pieces of lines and boundaries in tile coordinates, x unwrapped.

    `owner` is the index of their geometry, `ring` whether they belong to the boundary of a polygon.
    """

    owner: np.ndarray
    x0: np.ndarray
    y0: np.ndarray
    x1: np.ndarray
    y1: np.ndarray
    ring: np.ndarray

    def pick(self, chosen: np.ndarray | slice) -> _Segments:
        return _Segments(*(column[chosen] for column in self))


def expire(changes: Sequence[ChangedFeature], tiling: Tiling) -> Expired:
    """Tiles at `tiling.zoom` that the old and new geometries of changed features touch.

    Args:
        changes: changed features, lon/lat; where both geometries are the same, they are looked at once.
        tiling: the section of the configuration; zoom, mode, full_area_limit (metres), buffer (tile widths) and
            max_tiles_geometry (tiles) matter here.
    """
    geometries: list[BaseGeometry] = []
    refs: list[str] = []
    for change in changes:
        states = [state for state in (change.old, change.new) if state is not None and not state.geometry.is_empty]
        if len(states) == 2 and shapely.equals_exact(states[0].geometry, states[1].geometry, tolerance=0):
            states.pop()
        geometries += [state.geometry for state in states]
        refs += [state.ref for state in states]
    if not geometries:
        return Expired(np.zeros((0, 2), np.int32), [])
    return _expire(np.array(geometries, dtype=object), refs, tiling)


def _expire(geometries: np.ndarray, refs: list[str], tiling: Tiling) -> Expired:
    n, most = 1 << tiling.zoom, tiling.max_tiles_geometry
    segments = _segments(geometries, tiling.zoom)
    spans = _spans(segments, len(geometries), tiling.buffer)
    fits = spans.max(axis=1) <= most
    boundary = _boundary_tiles(segments.pick(fits[segments.owner]), n, tiling.buffer, most)
    boundary_count = np.where(fits, np.bincount(boundary[0], minlength=len(geometries)), spans.max(axis=1))

    filled = fits & (boundary_count <= most) & (shapely.get_dimensions(geometries) == 2)
    if tiling.mode == "boundary_only":
        filled[:] = False
    elif tiling.mode == "hybrid":
        filled &= _longest_side(geometries) <= tiling.full_area_limit
    rows = _interior_rows(segments.pick(filled[segments.owner] & segments.ring))
    # Tiles whose centre is inside; with those of the boundary, an upper limit of all tiles, and exact enough for a cap.
    inner_count = np.bincount(rows[0], rows[3] - rows[2] + 1, minlength=len(geometries)).astype(np.int64)
    heavy = inner_count > most
    inner = _fill(*(column[~heavy[rows[0]]] for column in rows), n)

    both = _unique(*(np.concatenate(columns) for columns in zip(boundary, inner, strict=True)))
    total = np.maximum(np.bincount(both[0], minlength=len(geometries)), inner_count)
    kept_all = (boundary_count <= most) & (total <= most)
    kept_boundary = (boundary_count <= most) & ~kept_all
    x = np.concatenate([both[1][kept_all[both[0]]], boundary[1][kept_boundary[boundary[0]]]])
    y = np.concatenate([both[2][kept_all[both[0]]], boundary[2][kept_boundary[boundary[0]]]])
    _, y, x = _unique(np.zeros_like(x), y, x)
    capped = [
        Capped(refs[i], int(max(total[i], boundary_count[i])), "boundary" if kept_boundary[i] else "nothing")
        for i in np.flatnonzero(~kept_all)
    ]
    return Expired(np.column_stack([x, y]).astype(np.int32), capped)


def _segments(geometries: np.ndarray, zoom: int) -> _Segments:
    """All segments of lines and rings; a point becomes a segment without length."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_type_id(parts) > 3).any():  # collections in collections
        parts, at = shapely.get_parts(parts, return_index=True)
        owner = owner[at]
    polygons = shapely.get_type_id(parts) == 3
    rings, at = shapely.get_rings(parts[polygons], return_index=True)
    curves = np.concatenate([parts[~polygons], rings])
    ring = np.arange(len(curves)) >= len(curves) - len(rings)
    owner = np.concatenate([owner[~polygons], owner[polygons][at]])
    points, curve = shapely.get_coordinates(curves, return_index=True)
    x, y = fractional_tiles(points[:, 0], points[:, 1], zoom)
    joined = curve[1:] == curve[:-1]
    x = _unwrap(x, joined, 1 << zoom)
    alone = np.ones(len(curve), bool)  # points: first of a curve without a second
    alone[1:] &= ~joined
    alone[:-1] &= ~joined
    start = np.concatenate([np.flatnonzero(joined), np.flatnonzero(alone)])
    end = np.concatenate([np.flatnonzero(joined) + 1, np.flatnonzero(alone)])
    return _Segments(owner[curve[start]], x[start], y[start], x[end], y[end], ring[curve[start]])


def _unwrap(x: np.ndarray, joined: np.ndarray, n: int) -> np.ndarray:
    """Columns without jumps of more than half the world: each curve goes on beyond the antimeridian."""
    step = np.diff(x)
    turns = np.where(joined & (np.abs(step) > n / 2), -np.sign(step), 0.0)
    if not turns.any():
        return x
    turned = np.concatenate([[0.0], np.cumsum(turns)])
    first = np.concatenate([[0], np.flatnonzero(~joined) + 1])
    lengths = np.diff(np.concatenate([first, [len(x)]]))
    return x + n * (turned - np.repeat(turned[first], lengths))


def _spans(segments: _Segments, count: int, buffer: float) -> np.ndarray:
    """Tiles that each geometry spans in x and in y, int64 [count, 2]: its boundary has at least so many."""
    spans = np.zeros((count, 2), np.int64)
    for axis, (a, b) in enumerate(((segments.x0, segments.x1), (segments.y0, segments.y1))):
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(low, segments.owner, np.minimum(a, b))
        np.maximum.at(high, segments.owner, np.maximum(a, b))
        there = np.isfinite(low)
        spans[there, axis] = np.floor(high[there] + buffer) - np.ceil(low[there] - 1 - buffer) + 1
    return spans


def _boundary_tiles(segments: _Segments, n: int, buffer: float, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(owner, x, y) of the tiles that segments touch, unique. A geometry is given up once it has more than `most`."""
    west = np.minimum(segments.x0, segments.x1)
    east = np.maximum(segments.x0, segments.x1)
    columns = (np.floor(east + buffer) - np.ceil(west - 1 - buffer)).astype(np.int64) + 1
    height = (np.abs(segments.y1 - segments.y0)).astype(np.int64) + 3
    # A segment meets at most so many tiles: two more a column than it rises in it.
    chunk = np.cumsum(columns * 3 + height) // PAIRS_AT_ONCE
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    full = np.zeros(int(segments.owner.max()) + 1 if len(chunk) else 0, bool)
    for number in np.unique(chunk):
        some = np.flatnonzero((chunk == number) & ~full[segments.owner])
        found.append(_touched(segments.pick(some), columns[some], n, buffer))
        if number < chunk[-1]:
            found = [_unique(*(np.concatenate(column) for column in zip(*found, strict=True)))]
            full |= np.bincount(found[0][0], minlength=len(full)) > most
    if not found:
        return _unique(*(np.zeros(0, np.int64) for _ in range(3)))
    return _unique(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _touched(
    segments: _Segments, columns: np.ndarray, n: int, buffer: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column by column: cut the segment at the column's widened borders; the rows it has there are touched."""
    segment, step = _spread(columns)
    owner, x0, y0, x1, y1, _ = segments.pick(segment)
    column = np.ceil(np.minimum(x0, x1) - 1 - buffer).astype(np.int64) + step
    dx = x1 - x0
    with np.errstate(divide="ignore", invalid="ignore"):
        enter = np.where(dx == 0, 0.0, np.clip((column - buffer - x0) / dx, 0, 1))
        leave = np.where(dx == 0, 1.0, np.clip((column + 1 + buffer - x0) / dx, 0, 1))
    ya, yb = y0 + enter * (y1 - y0), y0 + leave * (y1 - y0)
    top = np.ceil(np.minimum(ya, yb) - 1 - buffer).astype(np.int64)
    bottom = np.floor(np.maximum(ya, yb) + buffer).astype(np.int64)
    top, bottom = np.clip(top, 0, n - 1), np.clip(bottom, 0, n - 1)
    pair, down = _spread(bottom - top + 1)
    return owner[pair], column[pair] % n, top[pair] + down


def _interior_rows(segments: _Segments) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(owner, row, first column, last column) of runs of tiles whose centre is inside, by the even-odd rule."""
    top, bottom = np.minimum(segments.y0, segments.y1), np.maximum(segments.y0, segments.y1)
    first = np.ceil(top - 0.5).astype(np.int64)  # a centre on the upper end counts, on the lower end it does not
    rows = np.maximum(np.ceil(bottom - 0.5).astype(np.int64) - first, 0)
    segment, step = _spread(rows)
    owner, x0, y0, x1, y1, _ = segments.pick(segment)
    row = first[segment] + step
    cross = x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0) if len(row) else np.zeros(0)
    order = np.lexsort((cross, row, owner))
    owner, row, cross = owner[order], row[order], cross[order]
    if len(cross) % 2:  # a ring around a pole does not close in this plane: nothing is inside of it
        odd = np.bincount(owner) % 2 == 1
        owner, row, cross = owner[~odd[owner]], row[~odd[owner]], cross[~odd[owner]]
    owner, row, enter, leave = owner[::2], row[::2], cross[::2], cross[1::2]
    left, right = np.ceil(enter - 0.5).astype(np.int64), np.ceil(leave - 0.5).astype(np.int64) - 1
    some = right >= left
    return owner[some], row[some], left[some], right[some]


def _fill(
    owner: np.ndarray, row: np.ndarray, left: np.ndarray, right: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs -> (owner, x, y) of their tiles."""
    run, step = _spread(right - left + 1)
    return owner[run], (left[run] + step) % n, row[run]


def _longest_side(geometries: np.ndarray) -> np.ndarray:
    """Longer side of each bounding box in true metres [N]: mercator metres by the cosine of its middle latitude."""
    west, south, east, north = shapely.bounds(geometries).T
    width = east - west
    width = np.where(width > 180, 360 - width, width)  # across the antimeridian
    _, top = fractional_tiles(west, north, 0)
    _, bottom = fractional_tiles(west, south, 0)
    scale = np.cos(np.radians((south + north) / 2))
    return np.maximum(np.radians(width) * EARTH_RADIUS_M, (bottom - top) * 2 * HALF_WORLD_M) * scale


def _spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[2, 0, 3] -> [0, 0, 2, 2, 2] and [0, 1, 0, 1, 2]."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)


def _unique(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different triples, sorted."""
    order = np.lexsort((c, b, a))
    a, b, c = a[order].astype(np.int64), b[order].astype(np.int64), c[order].astype(np.int64)
    fresh = np.ones(len(a), bool)
    fresh[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1]) | (c[1:] != c[:-1])
    return a[fresh], b[fresh], c[fresh]
