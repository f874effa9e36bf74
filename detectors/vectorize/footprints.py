"""Regions of pixels -> footprints: valid polygons in local metres, simplified and squared.

Roofs are mostly made of right angles. A region is drawn as its minimum rotated rectangle where that explains it, else
its outline is simplified and its edges are turned onto the main direction and its perpendicular where they are nearly
so already; what squaring would distort stays as simplified.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from rasterio.features import shapes
from shapely.geometry import MultiPolygon, Polygon, shape

from detectors.vectorize.matching import overlap
from detectors.vectorize.raster import Grid

#: A rectangle stands for a region that it matches at least so well (intersection over union).
RECTANGLE_IOU = 0.83
#: A squared outline stands for a region that it matches at least so well.
SQUARED_IOU = 0.80
#: Edges within this angle of the main direction (or its perpendicular) are turned onto it, in degrees.
SKEW_TOLERANCE_DEG = 22.5


@dataclass(frozen=True, slots=True)
class Footprint:
    """One object's outline.

    Attributes:
        polygon: valid polygon in local metres.
        confidence: mean probability of its pixels, 0..1.
        label: the number of its region.
    """

    polygon: Polygon
    confidence: float
    label: int


def outline_regions(labels: np.ndarray, probability: np.ndarray, grid: Grid) -> list[Footprint]:
    """Draw every numbered region.

    Args:
        labels: int32 [H, W], 0 = nothing. A region in several parts is drawn as its largest part.
        probability: float [H, W] in 0..1.
        grid: where both lie.

    Returns:
        A footprint a region, in the order of the labels.
    """
    parts: dict[int, Polygon] = {}
    for geometry, value in shapes(labels.astype(np.int32), mask=labels > 0, transform=grid.transform):
        polygon = shape(geometry)
        known = parts.get(int(value))
        if known is None or polygon.area > known.area:
            parts[int(value)] = polygon
    if not parts:
        return []
    count = np.bincount(labels.ravel())
    total = np.bincount(labels.ravel(), weights=probability.ravel())
    return [
        Footprint(square(parts[label], grid.gsd), float(total[label] / count[label]), label) for label in sorted(parts)
    ]


def square(polygon: Polygon, gsd: float) -> Polygon:
    """The footprint a mapper would draw for a pixel outline.

    Args:
        polygon: outline along pixel edges, local metres.
        gsd: metres for one pixel; sets how much detail is noise.

    Returns:
        A valid polygon without holes smaller than 4 m2, of about the same area.
    """
    holes = [ring for ring in polygon.interiors if Polygon(ring).area >= 4.0]
    region = _largest(shapely.make_valid(Polygon(polygon.exterior, holes)))
    rectangle = region.minimum_rotated_rectangle
    if not isinstance(rectangle, Polygon) or rectangle.area == 0:
        return region
    # The rectangle touches the outermost pixels; shrunk to the region's area it lies along its walls.
    factor = math.sqrt(region.area / rectangle.area)
    shrunk = shapely.affinity.scale(rectangle, factor, factor, origin=region.centroid)
    shrunk = shapely.affinity.translate(
        shrunk, region.centroid.x - shrunk.centroid.x, region.centroid.y - shrunk.centroid.y
    )
    if not holes and overlap(shrunk, region) >= RECTANGLE_IOU:
        return shapely.normalize(shrunk)
    simple = region.simplify(max(2.0 * gsd, 0.6))
    squared = _turn_edges(simple, _main_direction(rectangle))
    if squared is not None and overlap(squared, region) >= SQUARED_IOU:
        return shapely.normalize(squared)
    simple = _largest(shapely.make_valid(simple))
    return region if simple.is_empty else shapely.normalize(simple)


def width_of(polygon: Polygon) -> float:
    """About how wide a polygon is: twice its area over its length, metres."""
    perimeter = polygon.length
    return 4 * polygon.area / perimeter if perimeter else 0.0


def _main_direction(rectangle: Polygon) -> float:
    """Angle of the rectangle's longer side in radians."""
    xy = np.asarray(rectangle.exterior.coords)
    sides = np.diff(xy, axis=0)[:2]
    dx, dy = sides[np.argmax(np.hypot(sides[:, 0], sides[:, 1]))]
    return math.atan2(dy, dx)


def _turn_edges(polygon: Polygon, direction: float) -> Polygon | None:
    """Turn each nearly aligned edge onto `direction` or its perpendicular, and meet the edges anew."""
    rings = [_turn_ring(np.asarray(ring.coords)[:-1], direction) for ring in (polygon.exterior, *polygon.interiors)]
    if any(ring is None for ring in rings):
        return None
    turned = _largest(shapely.make_valid(Polygon(rings[0], rings[1:])))
    return turned if turned.area > 0 else None


def _turn_ring(points: np.ndarray, direction: float) -> np.ndarray | None:
    """Points [N, 2] -> points [M, 2]; None where fewer than four edges are left."""
    edges = np.roll(points, -1, axis=0) - points
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    angles = np.arctan2(edges[:, 1], edges[:, 0]) - direction
    quarter = np.round(angles / (math.pi / 2))
    skew = np.abs(angles - quarter * (math.pi / 2))
    turned = np.where(skew <= math.radians(SKEW_TOLERANCE_DEG), quarter * (math.pi / 2), angles) + direction
    middles = points + edges / 2
    # Neighbouring edges that became parallel are one edge through their weighted middle.
    lines: list[list[float]] = []
    for angle, middle, length in zip(turned, middles, lengths, strict=True):
        if lines and abs(math.sin(angle - lines[-1][0])) < 1e-6:
            weight = lines[-1][3] + length
            lines[-1][1:3] = (np.array(lines[-1][1:3]) * lines[-1][3] + middle * length) / weight
            lines[-1][3] = weight
        else:
            lines.append([angle, *middle, length])
    if len(lines) > 1 and abs(math.sin(lines[0][0] - lines[-1][0])) < 1e-6:
        last = lines.pop()
        weight = lines[0][3] + last[3]
        lines[0][1:3] = (np.array(lines[0][1:3]) * lines[0][3] + np.array(last[1:3]) * last[3]) / weight
        lines[0][3] = weight
    if len(lines) < 4:
        return None
    corners = []
    for (a, ax, ay, _), (b, bx, by, _) in zip(lines, lines[1:] + lines[:1], strict=True):
        cross = math.sin(b - a)
        t = ((bx - ax) * math.sin(b) - (by - ay) * math.cos(b)) / cross
        corners.append((ax + t * math.cos(a), ay + t * math.sin(a)))
    return np.array(corners)


def _largest(geometry) -> Polygon:
    """The largest polygon of a geometry; an empty polygon where it has none."""
    if isinstance(geometry, Polygon):
        return geometry
    polygons = [g for g in getattr(geometry, "geoms", []) if isinstance(g, Polygon | MultiPolygon)]
    polygons = [p for g in polygons for p in (g.geoms if isinstance(g, MultiPolygon) else [g])]
    return max(polygons, key=lambda p: p.area, default=Polygon())
