"""Whether one can drive the same ways: an average path length similarity of lines found and lines real.

After APLS (Van Etten, Lindenbaum & Bacastow, arXiv:1807.01232, 2018): control points every 50 m and where lines end or
meet; of each pair that is connected in one graph, how much longer or shorter is the way in the other, capped at 1,
which is also the price of a way or a point that is not there; one minus the mean; both directions; harmonic mean.

It differs from the original: both graphs are skeletons of rasters, not vectors that somebody drew; of many control
points at most 100, evenly spread, are used a place; pairs of all places weigh the same, where the original takes the
mean over pictures. Figures are therefore comparable among themselves, not with published ones.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
from shapely.geometry import Point

from detectors.vectorize.network_graph import LineGraph, place_along, route, trace_skeleton
from detectors.vectorize.thinning import thin

#: Distance of control points along lines, metres.
SPACING_M = 50.0
#: Control points and lines of the other graph belong together within this many metres, or pixels where that is more.
SNAP_M, SNAP_PX = 4.0, 3.0
#: Shorter ways are not compared, metres.
SHORTEST_M = 10.0
#: Control points a place and direction at most.
MOST_POINTS = 100


@dataclass(frozen=True, slots=True)
class PathCounts:
    """Pairs of control points, and the sum of what their ways lost; of real ways sought among the found and back."""

    real_pairs: int = 0
    real_loss: float = 0.0
    found_pairs: int = 0
    found_loss: float = 0.0

    def __add__(self, other: PathCounts) -> PathCounts:
        return PathCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def completeness(self) -> float:
        """1 where all real ways exist among the found; NaN where there is no real way."""
        return 1 - self.real_loss / self.real_pairs if self.real_pairs else math.nan

    @property
    def correctness(self) -> float:
        """1 where all found ways are real; NaN where no way was found."""
        return 1 - self.found_loss / self.found_pairs if self.found_pairs else math.nan

    @property
    def score(self) -> float:
        """Harmonic mean of both; 0 where only one side has ways, NaN where neither has."""
        if not self.real_pairs and not self.found_pairs:
            return math.nan
        if not self.real_pairs or not self.found_pairs or self.completeness + self.correctness <= 0:
            return 0.0
        return 2 * self.completeness * self.correctness / (self.completeness + self.correctness)


def compare_paths(found: np.ndarray, real: np.ndarray, gsd: float) -> PathCounts:
    """Compare the ways of two rasters.

    Args:
        found, real: bool [H, W], lines of any width.
        gsd: true metres a pixel.
    """
    ours, theirs = (trace_skeleton(thin(mask), gsd) for mask in (found, real))
    reach = max(SNAP_M, SNAP_PX * gsd)
    return PathCounts(*_lose(theirs, ours, reach), *_lose(ours, theirs, reach))


def _lose(graph: LineGraph, other: LineGraph, reach: float) -> tuple[int, float]:
    """(pairs of control points connected in `graph`, what their ways lose in `other`)"""
    points = _thinned(place_along(graph, SPACING_M))
    here, there = route(graph, points, reach), route(other, points, reach)
    pairs, loss = 0, 0.0
    for i, start in enumerate(here.stops):
        if start is None:
            continue
        ways = here.distances(start, {stop for stop in here.stops if stop is not None})
        begin = there.stops[i]
        detours = {} if begin is None else there.distances(begin, {stop for stop in there.stops if stop is not None})
        for j in range(i + 1, len(points)):
            way = ways.get(here.stops[j], math.inf)
            if not SHORTEST_M <= way < math.inf:
                continue
            detour = detours.get(there.stops[j], math.inf) if there.stops[j] is not None else math.inf
            pairs += 1
            loss += min(1.0, abs(way - detour) / way)
    return pairs, loss


def _thinned(points: list[Point]) -> list[Point]:
    if len(points) <= MOST_POINTS:
        return points
    return [points[i] for i in np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)]
