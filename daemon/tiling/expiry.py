"""From changed features to dirty tiles, in the words of osm2pgsql's tile expiry (boundary_only, full_area, hybrid).

Dirty is the ground that a change made another. Where a feature is new or gone, or became another in a tag that matters
to a look, that is all of its old and new geometry; where only its geometry changed, it is the symmetric difference of
both (osm2pgsql's diff expiry), so that a forest of which one node moved expires around that node. A tile is dirty when
its square, widened by `buffer` tile widths on all four sides, meets that ground:

    lines          the parts that lie in only one of both, in any mode
    areas          full_area: what lies in only one of both, with the border of it; boundary_only: the parts of their
                   boundaries that lie in only one; hybrid: full_area, but boundary_only where the bounding box of old
                   or new is longer than full_area_limit

Exact to the tile, with borders counted in. All work is done on arrays, for all changed features at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.config import Tiling
from daemon.tiling.cells import touching
from daemon.tiling.difference import difference
from daemon.tiling.grid import HALF_WORLD_M, fractional_tiles
from daemon.tiling.segments import Segments, segments_of
from detectors.base import EARTH_RADIUS_M, SHAPES, OsmFeature, Shape

#: Pairs of a segment and a column that are worked on at once: bounds memory to some hundred megabytes.
PAIRS_AT_ONCE = 1_000_000
#: What of an object with these tags and of this shape matters to a look; None where nothing does. Objects with equal
#: answers look the same but for their geometry.
Relevance = Callable[[Mapping[str, str], Shape], object]


class ChangedFeature(Protocol):
    """A feature before and after; None where it was not or is no more."""

    @property
    def old(self) -> OsmFeature | None: ...

    @property
    def new(self) -> OsmFeature | None: ...


@dataclass(frozen=True, slots=True)
class Capped:
    """Ground that would have expired too many tiles.

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
        capped: ground that met `max_tiles_geometry`; worth a line in the log each.
    """

    tiles: np.ndarray
    capped: list[Capped]

    def within(self, area: BaseGeometry, zoom: int) -> Expired:
        """Without the tiles that do not touch an area (lon/lat): a long line may reach far out of it."""
        return replace(self, tiles=self.tiles[touching(self.tiles, zoom, area)]) if len(self.tiles) else self


class _Ground(NamedTuple):
    """Geometries to be expired, in the order of their owner: a whole one, or the old and new state of one.

    `refs` are of the owners; `differs` says which geometries are one of two states, `new` which of them it is.
    """

    geometries: np.ndarray
    owner: np.ndarray
    differs: np.ndarray
    new: np.ndarray
    refs: list[str]


def all_tags(tags: Mapping[str, str], shape: Shape) -> object:
    """The `Relevance` of whom every tag and shape matters to."""
    return tags


def expire(changes: Sequence[ChangedFeature], tiling: Tiling, relevant: Relevance = all_tags) -> Expired:
    """Tiles at `tiling.zoom` where changed features are no longer what they were.

    Args:
        changes: changed features, lon/lat.
        tiling: the section of the configuration; zoom, mode, full_area_limit (metres), buffer (tile widths) and
            max_tiles_geometry (tiles, of the difference where there is one) matter here.
        relevant: what of a feature matters to a look.
    """
    ground = _ground(changes, relevant)
    if not ground.refs:
        return Expired(np.zeros((0, 2), np.int32), [])
    segments, at, places = segments_of(ground.geometries, ground.owner, ground.differs, tiling.zoom)
    two = ground.differs[at]
    if two.any():
        apart = difference(segments.pick(two), ground.new[at[two]], places)
        segments = Segments.join(segments.pick(~two), apart)
    longest = np.zeros(len(ground.refs))
    np.maximum.at(longest, ground.owner, _longest_side(ground.geometries))
    return _expire(segments, longest, ground.refs, tiling)


def _ground(changes: Sequence[ChangedFeature], relevant: Relevance) -> _Ground:
    """What of the changes has to be looked at; states that look the same are left out."""
    states = np.array([state and state.geometry for c in changes for state in (c.old, c.new)], dtype=object)
    dimensions = shapely.get_dimensions(states)
    there = (dimensions >= 0) & ~shapely.is_empty(states)
    matter: list[object] = [None] * len(states)
    for i in np.flatnonzero(there).tolist():
        change = changes[i // 2]
        state = change.new if i % 2 else change.old
        if i % 2 and there[i - 1] and dimensions[i] == dimensions[i - 1] and state.tags == change.old.tags:
            matter[i] = matter[i - 1]
        else:
            matter[i] = relevant(state.tags, SHAPES[dimensions[i]])
    there &= np.fromiter((one is not None for one in matter), bool, len(matter))
    old, new = there[::2], there[1::2]
    differs = np.zeros(len(old), bool)
    for i in np.flatnonzero(old & new).tolist():
        differs[i] = matter[2 * i] == matter[2 * i + 1] and dimensions[2 * i] == dimensions[2 * i + 1]
    both = np.flatnonzero(old & new)
    equal = both[shapely.equals_exact(states[2 * both], states[2 * both + 1], tolerance=0)]
    there[2 * equal + 1] = False  # once is enough
    there[2 * equal] &= ~differs[equal]
    differs[equal] = False

    kept = np.flatnonzero(there)
    change, second = kept // 2, kept % 2 == 1
    begins = ~(second & differs[change])
    owner = np.cumsum(begins) - 1
    refs = [(changes[i // 2].new if i % 2 else changes[i // 2].old).ref for i in kept[begins].tolist()]
    return _Ground(states[kept], owner, differs[change], second, refs)


def _expire(segments: Segments, longest: np.ndarray, refs: list[str], tiling: Tiling) -> Expired:
    """Args: longest: metres, the longer side of what each owner's ground is a part of."""
    n, most, count = 1 << tiling.zoom, tiling.max_tiles_geometry, len(refs)
    at_least = _at_least(segments, count, tiling.buffer)
    fits = at_least <= most
    boundary = _boundary_tiles(segments.pick(fits[segments.owner]), n, tiling.buffer, most)
    boundary_count = np.where(fits, np.bincount(boundary[0], minlength=count), at_least)

    filled = fits & (boundary_count <= most)
    if tiling.mode == "boundary_only":
        filled[:] = False
    elif tiling.mode == "hybrid":
        filled &= longest <= tiling.full_area_limit
    rows = _interior_rows(segments.pick(filled[segments.owner] & segments.ring))
    # Tiles whose centre is inside; with those of the boundary, an upper limit of all tiles, and exact enough for a cap.
    inner_count = np.bincount(rows[0], rows[3] - rows[2] + 1, minlength=count).astype(np.int64)
    heavy = inner_count > most
    inner = _fill(*(column[~heavy[rows[0]]] for column in rows), n)

    both = _unique(*(np.concatenate(columns) for columns in zip(boundary, inner, strict=True)))
    total = np.maximum(np.bincount(both[0], minlength=count), inner_count)
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


def _at_least(segments: Segments, count: int, buffer: float) -> np.ndarray:
    """How many tiles the ground of each owner has at least, int64 [count]: what hangs together has a tile in every
    column and row between its ends."""
    most = np.zeros(count, np.int64)
    if not len(segments.run):
        return most
    runs = int(segments.run.max()) + 1
    owner = np.zeros(runs, np.int64)
    owner[segments.run] = segments.owner
    for a, b in ((segments.x0, segments.x1), (segments.y0, segments.y1)):
        low, high = np.full(runs, np.inf), np.full(runs, -np.inf)
        np.minimum.at(low, segments.run, np.minimum(a, b))
        np.maximum.at(high, segments.run, np.maximum(a, b))
        there = np.isfinite(low)
        span = np.floor(high[there] + buffer) - np.ceil(low[there] - 1 - buffer) + 1
        np.maximum.at(most, owner[there], span.astype(np.int64))
    return most


def _boundary_tiles(segments: Segments, n: int, buffer: float, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    segments: Segments, columns: np.ndarray, n: int, buffer: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column by column: cut the segment at the column's widened borders; the rows it has there are touched."""
    segment, step = _spread(columns)
    owner, _, _, x0, y0, x1, y1 = segments.pick(segment)
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


def _interior_rows(segments: Segments) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(owner, row, first column, last column) of runs of tiles whose centre is inside, by the even-odd rule."""
    top, bottom = np.minimum(segments.y0, segments.y1), np.maximum(segments.y0, segments.y1)
    first = np.ceil(top - 0.5).astype(np.int64)  # a centre on the upper end counts, on the lower end it does not
    rows = np.maximum(np.ceil(bottom - 0.5).astype(np.int64) - first, 0)
    segment, step = _spread(rows)
    owner, _, _, x0, y0, x1, y1 = segments.pick(segment)
    row = first[segment] + step
    cross = x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0) if len(row) else np.zeros(0)
    order = np.lexsort((cross, row, owner))
    owner, row, cross = owner[order], row[order], cross[order]
    runs = np.flatnonzero(np.concatenate([[True], (np.diff(owner) != 0) | (np.diff(row) != 0)])[: len(row)])
    odd = np.repeat(lengths := np.diff(np.append(runs, len(row))), lengths) % 2 == 1
    if odd.any():  # a ring around a pole does not close in this plane: nothing is inside of it
        owner, row, cross = owner[~odd], row[~odd], cross[~odd]
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
