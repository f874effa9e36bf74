"""Shapes in local metres -> pixels of a chip's grid.

GDAL's scanline rule (a pixel belongs to the shape that holds its centre) keeps areas unbiased, unlike OpenCV's
polygon filling, which takes every touched pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from detectors.base import Frame


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels laid over local metres.

    Attributes:
        transform: (column, row) of a pixel's upper left corner -> (east, north).
        shape: (height, width) in pixels.
    """

    transform: Affine
    shape: tuple[int, int]

    @classmethod
    def of(cls, frame: Frame) -> Grid:
        """The grid of a whole chip."""
        height, width = frame.shape
        gsd = frame.gsd
        return cls(Affine(gsd, 0, -width / 2 * gsd, 0, -gsd, height / 2 * gsd), frame.shape)

    @property
    def gsd(self) -> float:
        """Metres for one pixel."""
        return self.transform.a

    def window(self, column: int, row: int, shape: tuple[int, int]) -> Grid:
        """The part of the grid whose upper left pixel is (column, row)."""
        return Grid(self.transform @ Affine.translation(column, row), shape)

    def to_pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, columns) of the pixels that hold points [N, 2] in local metres; not clipped to the grid."""
        columns, rows = ~self.transform @ (points[:, 0], points[:, 1])
        return np.floor(rows).astype(int), np.floor(columns).astype(int)

    def burn(self, shapes: Sequence[BaseGeometry]) -> np.ndarray:
        """Number the pixels by the shape that covers them.

        Args:
            shapes: geometries in local metres; where they overlap the later one wins.

        Returns:
            int32 [H, W]: 0 where nothing is, i + 1 where shapes[i] is.
        """
        numbered = [(shape, i + 1) for i, shape in enumerate(shapes) if not shape.is_empty]
        if not numbered:
            return np.zeros(self.shape, np.int32)
        return rasterize(numbered, out_shape=self.shape, transform=self.transform, dtype="int32")

    def cover(self, shapes: Sequence[BaseGeometry]) -> np.ndarray:
        """bool [H, W]: True where any of the shapes (local metres) is."""
        return self.burn(shapes) > 0
