"""Roof that nothing on the map explains, cut into single buildings along the walls that the network sees."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from shapely.geometry.base import BaseGeometry

from detectors.alignment import Seen
from detectors.vectorize.footprints import Footprint, outline_regions
from detectors.vectorize.raster import Grid

#: Footprint probability from which a pixel is roof.
ROOF_LEVEL = 0.5
#: How much surer of inside than of wall the network is in the core of a building. Higher levels cut flat roofs along
#: their parapets: at 0.3 twice as many missing buildings fell into pieces.
CORE_LEVEL = 0.0
#: Cores smaller than this are no building of their own, square metres.
MIN_CORE_M2 = 10.0
#: Roof this near to a mapped outline is explained by it: outlines are drawn to about a metre.
COVER_BUFFER_M = 0.9
#: Threads and spurs of roof narrower than this are cut off before anything is drawn, metres.
SPUR_M = 1.2


def cut_roofs(seen: Seen, cover: Sequence[BaseGeometry], grid: Grid) -> list[Footprint]:
    """The buildings under uncovered roof.

    Args:
        seen: what the network sees, on `grid`.
        cover: what the map explains, polygons in local metres.

    Returns:
        One footprint a building, in local metres.
    """
    free = open_roof(seen, grid, ~grid.cover([c.buffer(COVER_BUFFER_M, join_style="mitre") for c in cover]))
    return outline_regions(_grow(find_cores(seen, free, grid), free, seen.footprint), seen.footprint, grid)


def open_roof(seen: Seen, grid: Grid, where: np.ndarray | None = None) -> np.ndarray:
    """bool [H, W]: roof (where `where`, bool [H, W], allows it) without threads and spurs."""
    roof = seen.footprint >= ROOF_LEVEL
    if where is not None:
        roof &= where
    side = max(1, 2 * round(SPUR_M / grid.gsd / 2) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.morphologyEx(roof.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0


def find_cores(seen: Seen, roof: np.ndarray, grid: Grid) -> np.ndarray:
    """int32 [H, W]: the numbered cores of single buildings within `roof` (bool [H, W]), 0 elsewhere."""
    cores = ((seen.interior - seen.wall) >= CORE_LEVEL) & roof
    _, markers, stats, _ = cv2.connectedComponentsWithStats(cores.astype(np.uint8), connectivity=4)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < MIN_CORE_M2 / grid.gsd**2)
    markers[np.isin(markers, small[small > 0])] = 0
    return markers


def _grow(markers: np.ndarray, free: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Grow the cores over free roof, each pixel to the core that reaches it first (watershed on probability).

    Free roof without a core of its own still is something: each such component becomes one region.
    """
    count, parts = cv2.connectedComponents(free.astype(np.uint8), connectivity=4)
    with_core = np.zeros(count, bool)
    with_core[np.unique(parts[markers > 0])] = True
    first = int(markers.max()) + 1
    coreless = np.flatnonzero(~with_core)
    coreless = coreless[coreless > 0]
    numbering = np.zeros(count, np.int32)
    numbering[coreless] = first + np.arange(len(coreless))
    labels = np.where(numbering[parts] > 0, numbering[parts], markers).astype(np.int32)
    if (markers > 0).any():
        relief = (255 * (1 - np.clip(footprint, 0, 1))).astype(np.uint8)
        background = first + len(coreless)
        flooded = cv2.watershed(cv2.merge([relief] * 3), np.where(free, labels, background).astype(np.int32))
        labels = np.where(free & (flooded > 0) & (flooded != background), flooded, 0)
        # The watershed leaves a line where two fronts meet, also along the background: give it to a neighbour.
        for _ in range(2):
            grown = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
            labels = np.where(free & (labels == 0), grown, labels)
    return labels
