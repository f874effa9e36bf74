"""Where each mapped building fits the ground best, knowing the ground that the others explain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from shapely.geometry import Polygon

from detectors.alignment import Seen, Surface, surface
from detectors.base import OsmFeature
from detectors.vectorize.raster import Grid

#: A building that covers no roof, with roof so near that nobody else's building explains, is not claimed gone, metres.
NEARBY_M = 4.0


@dataclass(frozen=True, slots=True)
class Mapped:
    """One OSM object of the block, in local metres, with what is allowed to be said of it."""

    feature: OsmFeature
    polygon: Polygon
    judged: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A judged building and how it fits the ground.

    Attributes:
        shift: metres (east, north) from where the map has it, with the common shift taken out, to where it fits best.
        here: mean footprint probability where the map has it.
        there: the same at `shift`.
        nearby: highest mean footprint probability at a shift of `NEARBY_M` at most.
        gain: how much better the score is at `shift`.

    `here`, `there`, `nearby`, `gain` and `distance` are measures of `detectors.confidence`. Those of a missing building
    are `seen` (mean footprint probability) and `fit` (walls along the outline, less roof in the ring outside).
    """

    mapped: Mapped
    shift: tuple[float, float]
    here: float
    there: float
    nearby: float
    gain: float

    @property
    def distance(self) -> float:
        return math.hypot(*self.shift)


def place_buildings(moved: Sequence[Mapped], seen: Seen, grid: Grid, max_shift: float) -> list[Placed]:
    """Fit every judged building that lies on the chip.

    Args:
        moved: all objects of the block, with the common shift taken out.
        max_shift: metres.
    """
    owner = grid.burn([m.polygon for m in moved])
    count = np.bincount(owner.ravel(), minlength=len(moved) + 1)
    total = np.bincount(owner.ravel(), weights=seen.footprint.ravel(), minlength=len(moved) + 1)
    fits = total >= 0.5 * np.maximum(count, 1)
    fits[0] = False
    placed = []
    for number, m in enumerate(moved, start=1):
        if not m.judged:
            continue
        taken = _taken(owner, fits, number)
        # Where a large building leaves no room to be moved on the chip, it is judged where it is.
        scores = surface(m.polygon, seen, grid, max_shift, taken) or surface(m.polygon, seen, grid, 0.0, taken)
        if scores is not None:
            placed.append(_placed(m, scores, max_shift))
    return placed


def _placed(m: Mapped, scores: Surface, max_shift: float) -> Placed:
    here = (0.0, 0.0)
    shift, best = scores.best(here, max_shift)
    return Placed(
        mapped=m,
        shift=shift,
        here=scores.at(here, scores.inside),
        there=scores.at(shift, scores.inside),
        nearby=scores.highest_inside(NEARBY_M),
        gain=best - scores.at(here),
    )


def _taken(owner: np.ndarray, fits: np.ndarray, number: int) -> Callable[[tuple[slice, slice]], np.ndarray]:
    """Ground under other buildings that fit where they are, for windows of the grid.

    Args:
        owner: int32 [H, W], number of the building drawn there, 0 for none.
        fits: bool by number.
        number: the building that asks.
    """

    def within(window: tuple[slice, slice]) -> np.ndarray:
        there = owner[window]
        return fits[there] & (there != number)

    return within
