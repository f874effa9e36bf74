"""Where each mapped road fits the ground best, and how far all of them lie from it together.

The centre line of a mapped road is moved over the network's probabilities; the score of a shift is the mean
probability under it. A straight road says nothing of a shift along itself, so every metre costs a little and the
shortest of those that fit alike is taken. The sum over all roads has its summit at the block's common shift, which is
the imagery's (`detectors.alignment` says the same of buildings); what remains of one road is its mapper's.

Shifts are (east, north) in metres from the mapped place to the place seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from shapely.geometry import LineString

from detectors.base import OsmFeature
from detectors.conflation import along
from detectors.vectorize.raster import Grid

#: Points at which a road is looked at, metres apart.
STEP_M = 3.0
#: Probabilities are blurred by so much before lines are moved over them, metres: summits get slopes.
BLUR_M = 1.5
#: What a metre of shift costs against the mean probability.
SHIFT_COST = 0.006
#: What road counts for that another mapped road explains already.
TAKEN_SHARE = 0.2
#: A road lies as drawn if it is seen within so many metres of its line.
HERE_M = 3.0
#: Fewer roads, or metres of them, say nothing of a common shift.
MIN_ROADS, MIN_LENGTH_M = 4, 400.0
#: The imagery of a whole block is not off by more, metres.
MOST_COMMON_M = 8.0
#: The profile of offsets that goes into the evidence: metres either way, and from one to the next.
PROFILE_M, PROFILE_STEP_M = 18, 2


@dataclass(frozen=True, slots=True)
class MappedRoad:
    """One stretch of a mapped road within the chip.

    Attributes:
        line: local metres.
        width: metres, by tags.
        judged: whether anything may be said against it.
    """

    feature: OsmFeature
    line: LineString
    width: float
    judged: bool


@dataclass(frozen=True, slots=True)
class PlacedRoad:
    """A road and how it fits the ground.

    Attributes:
        shift: metres (east, north) from where the map has it, common shift taken out, to where it fits best.
        here: mean probability of road within `HERE_M` of the line.
        there: the same at `shift`.
        in_open: the same as `here`, of those points that are not under trees.
        open_share: share of such points.
        gain: how much better the score is at `shift`.
        steady: share of the road's points that see road at `shift`: a systematic offset holds for all of it.
        profile: mean probability of lines parallel to the road, `PROFILE_STEP_M` apart from -`PROFILE_M` (left) to
            `PROFILE_M` (right).
    """

    road: MappedRoad
    shift: tuple[float, float]
    here: float
    there: float
    in_open: float
    open_share: float
    gain: float
    steady: float
    profile: tuple[float, ...]

    @property
    def distance(self) -> float:
        return math.hypot(*self.shift)


def place_roads(
    roads: Sequence[MappedRoad], probability: np.ndarray, hidden: np.ndarray, grid: Grid, max_shift: float
) -> list[PlacedRoad]:
    """Fit every judged road.

    Args:
        roads: all of the chip, with the common shift taken out.
        probability: float32 [H, W], 0 where there is no imagery.
        hidden: bool [H, W], ground under trees.
        max_shift: metres.
    """
    blurred, near = _blur(probability, grid), _dilate(probability, grid)
    owner = grid.burn([road.line.buffer(road.width / 2 + HERE_M, cap_style="flat") for road in roads])
    count = np.bincount(owner.ravel(), minlength=len(roads) + 1)
    total = np.bincount(owner.ravel(), weights=near.ravel(), minlength=len(roads) + 1)
    fits = total >= 0.5 * np.maximum(count, 1)
    fits[0] = False
    moves = _Moves(max_shift, grid)
    plane, owners = moves.pad(blurred), moves.pad(owner)
    placed = []
    for number, road in enumerate(roads, start=1):
        if not road.judged:
            continue
        _, points, headings = along(road.line, STEP_M)
        seen = _at(near, grid.to_pixels(points))
        is_open = ~_at(hidden, grid.to_pixels(points))
        scores = moves.means(points, plane, (owners, fits, number))
        priced = scores - moves.costs
        best = int(np.argmax(priced))
        shift = tuple(map(float, moves.steps[best]))
        at_shift = _at(near, grid.to_pixels(points + moves.steps[best]))
        placed.append(PlacedRoad(
            road, shift, float(seen.mean()), float(at_shift.mean()),
            float(seen[is_open].mean()) if is_open.any() else 1.0, float(is_open.mean()),
            float(priced[best] - scores[moves.none]), float((at_shift >= 0.3).mean()),
            _profile(points, headings, blurred, grid),
        ))
    return placed


def common_shift(roads: Sequence[MappedRoad], probability: np.ndarray, grid: Grid) -> tuple[float, float]:
    """The shift that all roads share; (0, 0) where there are too few to say.

    Each road's scores are centred on their mean: what fits nowhere, or everywhere, has no say.
    """
    if len(roads) < MIN_ROADS or sum(road.line.length for road in roads) < MIN_LENGTH_M:
        return 0.0, 0.0
    moves = _Moves(MOST_COMMON_M, grid)
    plane = moves.pad(_blur(probability, grid))
    total, length = np.zeros(len(moves.steps)), 0.0
    for road in roads:
        scores = moves.means(along(road.line, STEP_M)[1], plane)
        total += road.line.length * (scores - scores.mean())
        length += road.line.length
    return tuple(map(float, moves.steps[int(np.argmax(total / length - moves.costs))]))


def _blur(probability: np.ndarray, grid: Grid) -> np.ndarray:
    return cv2.GaussianBlur(probability, (0, 0), BLUR_M / grid.gsd)


def _dilate(probability: np.ndarray, grid: Grid) -> np.ndarray:
    side = 2 * round(HERE_M / grid.gsd) + 1
    return cv2.dilate(probability, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


class _Moves:
    """All shifts up to a radius, a pixel apart, and the means of planes under points moved by them.

    Planes are padded by the radius, so that a moved point is one index further on in the flat plane, never outside.
    """

    def __init__(self, radius: float, grid: Grid):
        self.grid, self.reach = grid, math.ceil(radius / grid.gsd)
        offsets = np.arange(-self.reach, self.reach + 1)
        right, down = (part.ravel() for part in np.meshgrid(offsets, offsets))
        within = np.hypot(right, down) * grid.gsd <= radius + 1e-9
        right, down = right[within], down[within]
        self.steps = np.column_stack([right, -down]) * grid.gsd
        self.costs = SHIFT_COST * np.hypot(*self.steps.T)
        self.none = int(np.flatnonzero((right == 0) & (down == 0))[0])
        self._row = grid.shape[1] + 2 * self.reach
        self._moves = down * self._row + right

    def pad(self, plane: np.ndarray) -> np.ndarray:
        """A plane [H, W] as `means` takes it."""
        return np.pad(plane, self.reach).ravel()

    def means(
        self, points: np.ndarray, padded: np.ndarray, taken: tuple[np.ndarray, np.ndarray, int] | None = None
    ) -> np.ndarray:
        """Mean of a plane under points [N, 2] (local metres) at each shift [S].

        Args:
            taken: (padded numbers of the roads that pixels belong to, whether the road of a number fits, the own one).
        """
        rows, columns = self.grid.to_pixels(points)
        height, width = self.grid.shape
        at = (np.clip(rows, 0, height - 1) + self.reach) * self._row + np.clip(columns, 0, width - 1) + self.reach
        places = self._moves[:, None] + at[None]
        values = padded[places]
        if taken is not None:
            owner, fits, number = taken
            there = owner[places]
            values = np.where(fits[there] & (there != number), values * TAKEN_SHARE, values)
        return values.mean(axis=1)


def _profile(points: np.ndarray, headings: np.ndarray, plane: np.ndarray, grid: Grid) -> tuple[float, ...]:
    right = np.column_stack([np.sin(headings), -np.cos(headings)])
    offsets = range(-PROFILE_M, PROFILE_M + 1, PROFILE_STEP_M)
    return tuple(round(float(_at(plane, grid.to_pixels(points + right * offset)).mean()), 3) for offset in offsets)


def _at(plane: np.ndarray, pixels: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    height, width = plane.shape
    return plane[np.clip(pixels[0], 0, height - 1), np.clip(pixels[1], 0, width - 1)]
