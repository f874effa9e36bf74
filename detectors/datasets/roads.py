"""How wide roads are, where only their centre lines are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from detectors.datasets.targets import draw_mask

LINES = ("LineString", "MultiLineString")
#: Width of a lane where only their number is known, metres.
LANE_M = 3.5
#: Metres from kerb to kerb where no tag says: usual widths by highway class, both directions of a two-way road.
WIDTHS_M: Mapping[str, float] = {
    "motorway": 11.0, "trunk": 10.0, "primary": 9.0, "secondary": 8.0, "tertiary": 7.0, "unclassified": 6.0,
    "residential": 6.0, "living_street": 5.0, "service": 4.0, "road": 6.0, "busway": 5.0, "raceway": 8.0,
    "motorway_link": 6.0, "trunk_link": 6.0, "primary_link": 6.0, "secondary_link": 6.0, "tertiary_link": 6.0,
    "pedestrian": 5.0, "track": 3.0,
}
#: A width beyond these is a slip of the pen (a width in feet or centimetres).
NARROWEST_M, WIDEST_M = 1.0, 60.0
#: wiki.openstreetmap.org/wiki/Key:width: metres unless a unit is given.
_LENGTH = re.compile(r"^\s*(\d+(?:[.,]\d+)?)\s*(m|ft|')?\s*$")
_FEET_M = 0.3048


def is_road(tags: Mapping[str, str]) -> bool:
    """Whether an OSM object with these tags is a road on the surface that traffic drives on."""
    return (
        tags.get("highway") in WIDTHS_M and tags.get("area") != "yes" and tags.get("tunnel", "no") == "no"
        and not tags.get("layer", "0").startswith("-")
    )


def road_width(tags: Mapping[str, Any], default_m: float | None = None) -> float:
    """Width of a road in metres: `width`, else `est_width`, else `lanes` (SpaceNet: `lane_number`) times 3.5 m, else
    by highway class, else `default_m`."""
    for key in ("width", "est_width"):
        said = _LENGTH.match(str(tags.get(key, "")))
        if said:
            metres = float(said[1].replace(",", ".")) * (_FEET_M if said[2] in ("ft", "'") else 1)
            if NARROWEST_M <= metres <= WIDEST_M:
                return metres
    for key in ("lanes", "lane_number", "lane_numbe"):
        text = str(tags.get(key, ""))
        if text.isascii() and text.isdecimal() and 1 <= int(text) * LANE_M <= WIDEST_M:
            return int(text) * LANE_M
    fallback = WIDTHS_M["road"] if default_m is None else default_m
    return WIDTHS_M.get(str(tags.get("highway")), fallback)


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
