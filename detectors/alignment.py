"""How far the map lies from the ground: for a whole block, and for one building.

The outline of a mapped building is moved over the network's probabilities; at each shift the score says how well it
fits: the mean footprint probability under it, plus how much of its outline runs along seen walls, minus how much roof
lies in a ring just outside. The sum of all buildings' scores has its summit at the block's common shift, which
belongs to the imagery (Vargas-Munoz et al. 2019 align rural buildings before judging them for the same reason); what
remains is the mapper's.

Shifts are (east, north) in metres from the mapped place to the place seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from detectors.vectorize.raster import Grid

#: Weight of the outline lying on seen walls, and of roof in the ring outside, against the mean probability inside.
WALL_WEIGHT = 1.0
RING_WEIGHT = 0.35
#: The band inside of an outline where walls are seen, metres.
WALL_BAND_M = 0.5
#: The ring outside of an outline that should hold no roof of the same building, metres from the outline.
RING_M = (0.6, 2.0)
#: What a metre of shift costs against the score.
SHIFT_COST = 0.04
#: What roof counts for that another building explains already.
TAKEN_SHARE = 0.3
#: Fewer buildings than this say nothing about a common shift.
MIN_BUILDINGS = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network sees of buildings, on the chip's grid; float32 [H, W] each, 0 where there is no imagery.

    Attributes:
        footprint: probability that a pixel is part of a building.
        interior: probability that it is inside of one, away from walls.
        wall: probability that it lies just inside of an outline, be it free or shared with a neighbour.
    """

    footprint: np.ndarray
    interior: np.ndarray
    wall: np.ndarray


@dataclass(frozen=True, slots=True)
class Surface:
    """Scores of one outline at all whole-pixel shifts within a radius.

    Attributes:
        total: float32 [2r + 1, 2r + 1], rows from north to south, columns from west to east; the middle is no shift.
        inside: the same, only the mean footprint probability under the outline.
        gsd: metres for one pixel.
    """

    total: np.ndarray
    inside: np.ndarray
    gsd: float

    @property
    def radius(self) -> int:
        return self.total.shape[0] // 2

    def at(self, shift: tuple[float, float], of: np.ndarray | None = None) -> float:
        """Score at a shift in metres (nearest pixel, clipped to the radius)."""
        row, column = self._index(shift)
        return float((self.total if of is None else of)[row, column])

    def best(self, around: tuple[float, float], within: float) -> tuple[tuple[float, float], float]:
        """The best shift (metres) at most `within` metres from `around`, and its score.

        A metre of shift costs `SHIFT_COST`: of two places that fit alike, the mapper meant the nearer one.
        """
        rows, columns = np.indices(self.total.shape) - self.radius
        distance = np.hypot(columns * self.gsd - around[0], -rows * self.gsd - around[1])
        masked = np.where(distance <= within, self.total - SHIFT_COST * distance, -np.inf)
        row, column = np.unravel_index(np.argmax(masked), masked.shape)
        offset = _summit(self.total, int(row), int(column))
        east, north = (column - self.radius + offset[1]) * self.gsd, -(row - self.radius + offset[0]) * self.gsd
        beyond = math.hypot(east - around[0], north - around[1]) / within if within else 0.0
        if beyond > 1:  # the summit's fraction of a pixel
            east, north = (a + (b - a) / beyond for a, b in zip(around, (east, north), strict=True))
        return (float(east), float(north)), float(masked[row, column])

    def highest_inside(self, within: float) -> float:
        """The highest mean footprint probability at any shift of at most `within` metres."""
        rows, columns = np.indices(self.inside.shape) - self.radius
        return float(self.inside[np.hypot(rows, columns) * self.gsd <= within].max())

    def _index(self, shift: tuple[float, float]) -> tuple[int, int]:
        r = self.radius
        column = int(np.clip(round(shift[0] / self.gsd) + r, 0, 2 * r))
        row = int(np.clip(round(-shift[1] / self.gsd) + r, 0, 2 * r))
        return row, column


def surface(
    shape: BaseGeometry,
    seen: Seen,
    grid: Grid,
    radius_m: float,
    taken: Callable[[tuple[slice, slice]], np.ndarray] | None = None,
) -> Surface | None:
    """Score an outline at every shift up to `radius_m`.

    Args:
        shape: polygon in local metres.
        taken: gives for a window of the grid bool [h, w]: ground that is already explained by other buildings; roof
            there hardly counts for this one.

    Returns:
        None where the outline with its ring and radius does not lie on the chip.
    """
    gsd = grid.gsd
    radius = int(np.ceil(radius_m / gsd))
    around = shape.buffer(RING_M[1], join_style="mitre")
    west, south, east, north = around.bounds
    c0, r0 = (int(np.floor(v)) for v in ~grid.transform @ (west, north))
    c1, r1 = (int(np.ceil(v)) for v in ~grid.transform @ (east, south))
    height, width = grid.shape
    if c0 < radius or r0 < radius or c1 + radius > width or r1 + radius > height:
        return None
    local = grid.window(c0, r0, (r1 - r0, c1 - c0))
    # One call draws all bands; where they overlap the later, inner one wins.
    gap, core = (shape.buffer(m, join_style="mitre") for m in (RING_M[0], -WALL_BAND_M))
    bands = local.burn([around, gap, shape, core])
    ring, walls, inside = bands == 1, bands == 3, bands >= 3
    if not inside.any():
        return None
    window = np.s_[r0 - radius : r1 + radius, c0 - radius : c1 + radius]
    footprint = seen.footprint[window]
    if taken is not None:
        footprint = np.where(taken(window), footprint * TAKEN_SHARE, footprint)
    mean_inside = _slide(footprint, inside)
    total = mean_inside
    if walls.any():
        total = total + WALL_WEIGHT * _slide(seen.wall[window], walls)
    if ring.any():
        total = total - RING_WEIGHT * _slide(seen.interior[window], ring)
    return Surface(total, mean_inside, gsd)


def common_shift(surfaces: Sequence[Surface], within: float) -> tuple[float, float] | None:
    """The shift that all buildings of a block share, None where there are too few to say.

    Each surface is centred on its mean, so that a building which fits nowhere has no say, and a large one no more than
    a small one.
    """
    if len(surfaces) < MIN_BUILDINGS:
        return None
    total = np.mean([s.total - s.total.mean() for s in surfaces], axis=0)
    joint = Surface(total, total, surfaces[0].gsd)
    shift, _ = joint.best((0.0, 0.0), within)
    return shift


def _slide(image: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Mean of `image` under `template` at each position, float32."""
    weights = template.astype(np.float32) / np.count_nonzero(template)
    return cv2.matchTemplate(np.ascontiguousarray(image, np.float32), weights, cv2.TM_CCORR)


def _summit(surface_: np.ndarray, row: int, column: int) -> tuple[float, float]:
    """Sub-pixel offset (row, column) of a summit by a parabola through its neighbours, within +-0.5."""
    offsets = []
    for line, i in ((surface_[:, column], row), (surface_[row, :], column)):
        if 0 < i < len(line) - 1:
            before, here, after = (float(v) for v in line[i - 1 : i + 2])
            curve = before - 2 * here + after
            offsets.append(float(np.clip((before - after) / (2 * curve), -0.5, 0.5)) if curve < 0 else 0.0)
        else:
            offsets.append(0.0)
    return offsets[0], offsets[1]


def polygon_of(shape: BaseGeometry) -> Polygon | None:
    """The largest polygon of a shape, None where it has no area."""
    parts = [p for p in shapely.get_parts(shapely.make_valid(shape)) if isinstance(p, Polygon)]
    return max(parts, key=lambda p: p.area, default=None)
