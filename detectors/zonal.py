"""What a raster says of an area: every pixel counts by the part of it that lies inside.

Areas and pixels may be of any size beside each other: a village within one pixel of a night-light image gets that
pixel's value. Compare exactextractr's coverage fractions (https://isciences.gitlab.io/exactextract/).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import transform_geom
from rasterio.windows import Window
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from detectors.errors import DatasetInvalid

Measure = Literal["mean", "sum"]
#: Pixels of one area that are read at once.
MOST_PIXELS = 4_000_000
#: Points between which an edge is drawn straight in the raster's own coordinates, per edge of an area.
DENSE = 8


class Witness:
    """A raster file that is asked about areas; to be closed."""

    def __init__(self, path: Path, band: int = 1):
        """Open it.

        Raises:
            DatasetInvalid: not readable, without that band, without coordinates, or rotated.
        """
        self.path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said below, as an error
                self._file = rasterio.open(path)
        except (RasterioError, OSError) as error:
            raise DatasetInvalid(f"{path}: cannot be read as a raster: {error}") from None
        problem = None
        if not 1 <= band <= self._file.count:
            problem = f"has {self._file.count} band(s), no band {band}"
        elif self._file.crs is None:
            problem = "does not say where it lies (no coordinate reference system); write one into it with gdal_edit.py"
        elif self._file.transform.b or self._file.transform.d:
            problem = "is rotated; straighten it with gdalwarp first"
        if problem:
            self._file.close()
            raise DatasetInvalid(f"{path}: {problem}")
        self._band = band

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def ask(self, areas: Sequence[BaseGeometry], measure: Measure = "mean") -> np.ndarray:
        """One number an area, float64 [N]; NaN where the raster has nothing.

        Args:
            areas: lon/lat polygons.
            measure: "mean" of the pixels for what is a density (radiance), "sum" for what is counted (people): a pixel
                that lies half inside gives half of its people.

        Raises:
            DatasetInvalid: an area has more than `MOST_PIXELS` pixels, or the file is damaged.
        """
        try:
            return np.array([self._ask(area, measure) for area in areas], dtype=np.float64)
        except RasterioError as error:
            raise DatasetInvalid(f"{self.path}: damaged: {error}") from None

    def _ask(self, area: BaseGeometry, measure: Measure) -> float:
        there = self._to_raster(area)
        if there.is_empty:
            return np.nan
        west, south, east, north = there.bounds
        inverse = ~self._file.transform
        columns, rows = zip(*(inverse @ corner for corner in ((west, north), (east, south))), strict=True)
        c0, c1 = max(int(np.floor(min(columns))), 0), min(int(np.ceil(max(columns))), self._file.width)
        r0, r1 = max(int(np.floor(min(rows))), 0), min(int(np.ceil(max(rows))), self._file.height)
        if c1 <= c0 or r1 <= r0:
            return np.nan
        if (c1 - c0) * (r1 - r0) > MOST_PIXELS:
            raise DatasetInvalid(
                f"{self.path}: an area covers {(c1 - c0) * (r1 - r0)} of its pixels, more than {MOST_PIXELS}; ask "
                "about smaller areas, or use a coarser raster"
            )
        values = self._file.read(self._band, window=Window(c0, r0, c1 - c0, r1 - r0), masked=True)
        values = np.ma.filled(values.astype(np.float64), np.nan)
        share = self._shares(there, c0, r0, values.shape)
        known = np.isfinite(values) & (share > 0)
        if not known.any():
            return np.nan
        total = float((values[known] * share[known]).sum())
        if measure == "sum":
            return total
        # No mean lies beyond what it is made of: else rounding would tell areas apart on ground that is all alike.
        return float(np.clip(total / float(share[known].sum()), values[known].min(), values[known].max()))

    def _to_raster(self, area: BaseGeometry) -> BaseGeometry:
        if self._file.crs.to_epsg() == 4326:
            return area
        west, south, east, north = area.bounds
        step = max(east - west, north - south) / DENSE
        dense = shapely.segmentize(area, step) if step > 0 else area
        return shape(transform_geom("EPSG:4326", self._file.crs, mapping(dense)))

    def _shares(self, area: BaseGeometry, c0: int, r0: int, size: tuple[int, int]) -> np.ndarray:
        """The part of each pixel of a window that lies inside, float64 [H, W]."""
        transform = self._file.transform
        columns = transform.c + transform.a * (c0 + np.arange(size[1] + 1))
        rows = transform.f + transform.e * (r0 + np.arange(size[0] + 1))
        left, top = np.meshgrid(columns[:-1], rows[:-1])
        right, bottom = np.meshgrid(columns[1:], rows[1:])
        pixels = shapely.box(left, np.minimum(top, bottom), right, np.maximum(top, bottom))
        shapely.prepare(area)
        shares = shapely.covers(area, pixels).astype(np.float64)
        border = (shares == 0) & shapely.intersects(area, pixels)
        shares[border] = shapely.area(shapely.intersection(pixels[border], area)) / abs(transform.a * transform.e)
        return shares
