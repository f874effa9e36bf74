"""A labelled place: imagery of contiguous ground, and what each pixel of it should be.

The one value that everything about data gives or takes: readers, packing, cutting crops, scoring. What lies below a
pixel is known in one of two forms: as a raster of classes (`mask`), or as the outlines of single objects (`outlines`),
which are rasterised only after an image has been turned and scaled, so that walls stay sharp.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from detectors.base import Chip, Frame
from detectors.datasets.targets import draw_mask

#: Value of a mask where nobody knows what is there: neither learned from nor scored.
UNKNOWN = 255
#: Types of pixels that networks take.
DTYPES = ("uint8", "uint16")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Whose imagery and labels these are, and under which licence they may be used."""

    imagery: str
    imagery_licence: str
    labels: str
    labels_licence: str


@dataclass(frozen=True, slots=True)
class Place:
    """Imagery with labels.

    Attributes:
        name: unique within its data set.
        pixels: uint8 or uint16 [H, W, C].
        valid: bool [H, W]; False where there is no imagery.
        bounds: (minx, miny, maxx, maxy) in mercator metres. Imagery in another coordinate system has a box at the
            equator instead, (0, 0, W * gsd, H * gsd): there mercator metres are true metres.
        classes: what the values of `mask` mean, in order; places with outlines have ("background", NAME).
        mask: uint8 [H, W] of indices of `classes`, UNKNOWN where nobody knows; None for places with outlines.
        outlines: shapely Polygons of single objects in pixel coordinates (column right, row down); empty beside a mask.
        unsure: shapely Polygons, same coordinates, where nothing is learned or scored.
        columns: spatial folds hold out whole columns of the place; it has so many, of equal width.
        provenance: whose it is; None where the one who opened it says so elsewhere.
    """

    name: str
    pixels: np.ndarray
    valid: np.ndarray
    bounds: tuple[float, float, float, float]
    classes: tuple[str, ...] = ("background", "building")
    mask: np.ndarray | None = None
    outlines: np.ndarray = field(default_factory=lambda: np.array([], dtype=object))
    unsure: np.ndarray = field(default_factory=lambda: np.array([], dtype=object))
    columns: int = 1
    provenance: Provenance | None = None

    @property
    def gsd(self) -> float:
        """True metres a pixel."""
        return Frame(self.bounds, self.valid.shape).gsd

    def chip(self) -> Chip:
        return Chip(self.pixels, self.valid, self.bounds, None, self.name)

    def truth(self) -> np.ndarray:
        """uint8 [H, W]: index of `classes` of each pixel, UNKNOWN where there is no imagery or nobody is sure."""
        mask = draw_mask(self.outlines, self.valid.shape).astype(np.uint8) if self.mask is None else self.mask.copy()
        mask[~self.valid | draw_mask(self.unsure, self.valid.shape)] = UNKNOWN
        return mask

    def held_out(self, fold: int, columns: int) -> np.ndarray:
        """bool [H, W]: the columns that fold `fold` of `columns` columns each keeps apart; none for fold -1."""
        mask = np.zeros(self.valid.shape, dtype=bool)
        if fold >= 0:
            side = self.valid.shape[1] // self.columns
            mask[:, fold * columns * side : (fold + 1) * columns * side] = True
        return mask


def equator_bounds(shape: tuple[int, int], gsd_m: float) -> tuple[float, float, float, float]:
    """Bounds for imagery that is not in web mercator: (height, width) in pixels, true metres a pixel."""
    return 0.0, 0.0, shape[1] * gsd_m, shape[0] * gsd_m
