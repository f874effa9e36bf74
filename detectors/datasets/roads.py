"""How wide roads are, where only their centre lines are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from detectors.datasets.targets import draw_mask
from detectors.road_tags import WIDTHS_M, road_width

LINES = ("LineString", "MultiLineString")


def is_road(tags: Mapping[str, str]) -> bool:
    """Whether an OSM object with these tags is a road on the surface that traffic drives on."""
    return (
        tags.get("highway") in WIDTHS_M and tags.get("area") != "yes" and tags.get("tunnel", "no") == "no"
        and not tags.get("layer", "0").startswith("-")
    )


def draw_roads(
    features: Iterable[tuple[Mapping[str, Any], BaseGeometry]], onto: Callable[[BaseGeometry], BaseGeometry],
    shape: tuple[int, int], gsd_m: float, default_m: float,
) -> np.ndarray:
    """Roads of (properties, geometry), uint8 [H, W] of 0 and 1: centre lines widened, surfaces as they are.

    Args:
        onto: from the geometries' coordinates to pixels.
        default_m: width of lines that do not say, metres.
    """
    moved = [(properties, onto(geometry)) for properties, geometry in features]
    lines = [(line, road_width(properties, default_m)) for properties, line in moved if line.geom_type in LINES]
    surfaces = [area for _, area in moved if area.geom_type in ("Polygon", "MultiPolygon") and not area.is_empty]
    polygons = np.concatenate([widen(lines, gsd_m), np.array(surfaces, dtype=object)])
    return draw_mask(polygons, shape).astype(np.uint8)


def widen(lines: Iterable[tuple[BaseGeometry, float]], gsd_m: float) -> np.ndarray:
    """Centre lines in pixel coordinates with their widths in metres -> the surfaces, polygons in pixels."""
    pairs = [(line, width / gsd_m / 2) for line, width in lines if not line.is_empty]
    if not pairs:
        return np.array([], dtype=object)
    return shapely.buffer(np.array([line for line, _ in pairs], dtype=object), [half for _, half in pairs],
                          cap_style="flat", quad_segs=4)
