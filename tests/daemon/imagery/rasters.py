"""GeoTIFFs of the picture, in all the ways that people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from ground import ORIGIN
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from daemon.tiling.grid import HALF_WORLD_M

Z, X, Y = ORIGIN
TILE_M = 2 * HALF_WORLD_M / (1 << Z)
PIXEL_M = TILE_M / 256
MERCATOR = from_origin(X * TILE_M - HALF_WORLD_M, HALF_WORLD_M - Y * TILE_M, PIXEL_M, PIXEL_M)


def write(path: Path, bands: np.ndarray, transform: Affine = MERCATOR, crs: str | None = "EPSG:3857", mask=None,
          overviews=(), interp=None, colormap=None, scales=None, offsets=None, **profile) -> Path:
    """A GeoTIFF of bands [B, H, W]."""
    count, height, width = bands.shape
    shape = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype}
    place = {"transform": transform} | ({"crs": crs} if crs else {})
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **shape, **place, **profile) as file:
        file.write(bands)
        if interp:
            file.colorinterp = interp
        if colormap:
            file.write_colormap(1, colormap)
        if mask is not None:
            file.write_mask(mask)
        if scales is not None:
            file.scales, file.offsets = scales, offsets
        if overviews:
            file.build_overviews(overviews, Resampling.average)
    return path


def bands(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def expected(picture: np.ndarray, x: int, y: int) -> np.ndarray:
    return picture[y * 256 : (y + 1) * 256, x * 256 : (x + 1) * 256]


def place(column: int, row: int) -> Affine:
    """Where a part of the picture lies that begins at a tile of it."""
    return MERCATOR @ Affine.translation(column * 256, row * 256)
