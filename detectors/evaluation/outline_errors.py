"""How well the outlines of found objects are drawn, measured on the pairs that were matched.

* Rotation: angle between the longer sides of the minimum rotated rectangles, 0..45 degrees (modulo a quarter turn), as
  "dominant angle rotation error" of Microsoft's building footprints (github.com/microsoft/GlobalMLBuildingFootprints).
* Shape: the turning distance of Arkin et al., "An efficiently computable metric for comparing polygonal shapes" (1991),
  which those footprints are measured with: the least root mean square difference of direction along both outlines,
  scaled to length 1, over all starting points and rotations; radians.
* PoLiS (Avbelj, Müller & Bamler 2015): mean distance of the corners of each outline from the other, metres.
* Hausdorff distance: the farthest that one outline lies from the other, metres.
* Offset and area: mean shift of the centroid, and how much larger the found areas are than the real ones together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, slots=True)
class OutlineErrors:
    """Sums over matched pairs; adds up. Degrees, radians, metres, square metres."""

    pairs: int = 0
    rotation_sum: float = 0.0
    turning_sum: float = 0.0
    polis_sum: float = 0.0
    hausdorff_sum: float = 0.0
    iou_sum: float = 0.0
    east_sum: float = 0.0
    north_sum: float = 0.0
    found_area: float = 0.0
    real_area: float = 0.0

    def __add__(self, other: OutlineErrors) -> OutlineErrors:
        return OutlineErrors(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def means(self) -> dict[str, float]:
        """Means over the pairs, and the ratio of the areas; NaN where there is no pair."""
        names = {"rotation_deg": "rotation_sum", "turning_rad": "turning_sum", "polis_m": "polis_sum",
                 "hausdorff_m": "hausdorff_sum", "iou": "iou_sum", "east_m": "east_sum", "north_m": "north_sum"}
        means = {name: getattr(self, of) / self.pairs if self.pairs else math.nan for name, of in names.items()}
        return {**means, "area_ratio": self.found_area / self.real_area if self.real_area else math.nan}


def measure_outlines(pairs: Iterable[tuple[BaseGeometry, BaseGeometry]]) -> OutlineErrors:
    """Measure (found, real) polygons in local metres."""
    total = OutlineErrors()
    for found, real in pairs:
        ours, theirs = _largest(found), _largest(real)
        shared = found.intersection(real).area
        total += OutlineErrors(
            1, rotation_error(ours, theirs), turning_distance(ours, theirs), polis(ours, theirs),
            shapely.hausdorff_distance(ours.exterior, theirs.exterior, densify=0.25),
            shared / (found.area + real.area - shared), found.centroid.x - real.centroid.x,
            found.centroid.y - real.centroid.y, found.area, real.area,
        )
    return total


def rotation_error(one: Polygon, other: Polygon) -> float:
    """Degrees, 0..45."""
    turn = abs(_direction(one) - _direction(other)) % 90
    return min(turn, 90 - turn)


def polis(one: Polygon, other: Polygon) -> float:
    """Metres: half the mean distance of one's corners from the other's outline, and the same the other way."""
    halves = []
    for a, b in ((one, other), (other, one)):
        corners = shapely.points(np.asarray(a.exterior.coords)[:-1])
        halves.append(shapely.distance(corners, b.exterior).mean() / 2)
    return float(sum(halves))


def turning_distance(one: Polygon, other: Polygon) -> float:
    """Radians; the minimum is taken where a corner of each lies at the same place, where it must be (Arkin et al.)."""
    (s, a), (t, b) = _turning(one), _turning(other)
    best = math.inf
    for shift in {round(float((x - y) % 1), 12) for x in s for y in t}:
        breaks = np.unique(np.concatenate([s, (t + shift) % 1, [0.0]]))
        widths = np.diff(np.append(breaks, 1.0))
        middles = breaks + widths / 2
        difference = _read(s, a, middles) - _read(t, b, middles - shift)
        mean = (difference * widths).sum()
        best = min(best, float((difference**2 * widths).sum() - mean**2))
    return math.sqrt(max(0.0, best))


def _turning(polygon: Polygon) -> tuple[np.ndarray, np.ndarray]:
    """(where each edge begins, share of the length 0..1; its direction, unwrapped), counter-clockwise."""
    ring = np.asarray(shapely.geometry.polygon.orient(polygon).exterior.coords)
    edges = np.diff(ring, axis=0)
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    edges, lengths = edges[lengths > 0], lengths[lengths > 0]
    directions = np.arctan2(edges[:, 1], edges[:, 0])
    turns = (np.diff(directions) + np.pi) % (2 * np.pi) - np.pi
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]]) / lengths.sum()
    return starts, directions[0] + np.concatenate([[0.0], np.cumsum(turns)])


def _read(starts: np.ndarray, directions: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The turning function; each whole way around adds a full turn."""
    around = np.floor(at)
    edge = np.searchsorted(starts, at - around, side="right") - 1
    return directions[edge] + 2 * np.pi * around


def _direction(polygon: Polygon) -> float:
    """Degrees: that of the longer side of the minimum rotated rectangle."""
    rectangle = polygon.minimum_rotated_rectangle
    if not isinstance(rectangle, Polygon):
        return 0.0
    sides = np.diff(np.asarray(rectangle.exterior.coords), axis=0)[:2]
    dx, dy = sides[np.argmax(np.hypot(sides[:, 0], sides[:, 1]))]
    return math.degrees(math.atan2(dy, dx))


def _largest(geometry: BaseGeometry) -> Polygon:
    polygons = [part for part in shapely.get_parts(geometry) if isinstance(part, Polygon)]
    return max(polygons, key=lambda part: part.area)
