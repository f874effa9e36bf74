"""Land cover from OSM's tags: which polygons show which class from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from detectors.datasets.place import UNKNOWN

CLASSES = ("water", "forest", "grass", "shrub", "cultivated", "built_up", "bare", "wetland")
#: (key, value) -> class. Uses of land that do not say what covers it (military, education) are none.
COVERS: Mapping[tuple[str, str], str] = {
    ("natural", "water"): "water", ("waterway", "riverbank"): "water", ("landuse", "reservoir"): "water",
    ("landuse", "basin"): "water",
    ("natural", "wood"): "forest", ("landuse", "forest"): "forest",
    ("natural", "grassland"): "grass", ("landuse", "meadow"): "grass", ("landuse", "grass"): "grass",
    ("natural", "scrub"): "shrub", ("natural", "heath"): "shrub",
    ("landuse", "farmland"): "cultivated", ("landuse", "orchard"): "cultivated", ("landuse", "vineyard"): "cultivated",
    ("landuse", "plant_nursery"): "cultivated",
    ("landuse", "residential"): "built_up", ("landuse", "commercial"): "built_up", ("landuse", "retail"): "built_up",
    ("landuse", "industrial"): "built_up",
    ("natural", "bare_rock"): "bare", ("natural", "sand"): "bare", ("natural", "scree"): "bare",
    ("natural", "shingle"): "bare", ("natural", "beach"): "bare", ("landuse", "quarry"): "bare",
    ("natural", "wetland"): "wetland",
}


def cover_of(tags: Mapping[str, str]) -> str | None:
    """The class of ground with these tags, None where they say nothing of its cover."""
    for key in ("natural", "waterway", "landuse"):
        if found := COVERS.get((key, tags.get(key, ""))):
            return found
    return None


def draw_cover(polygons: Sequence[tuple[BaseGeometry, str]], shape: tuple[int, int]) -> np.ndarray:
    """(polygon in pixel coordinates, class) -> uint8 mask [H, W]; small ones lie over large ones, unmapped ground is
    UNKNOWN."""
    ordered = sorted(polygons, key=lambda pair: -pair[0].area)
    if not ordered:
        return np.full(shape, UNKNOWN, dtype=np.uint8)
    return rasterize([(g, CLASSES.index(name)) for g, name in ordered], out_shape=shape, fill=UNKNOWN, dtype="uint8")
