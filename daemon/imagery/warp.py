"""Pixels of any coordinate system brought to a tile."""

from __future__ import annotations

import threading

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.warp import reproject

from daemon.imagery.source import TileImage
from daemon.tiling.grid import Block, Tile

MERCATOR = CRS.from_epsg(3857)
#: A pixel made of what is valid to this share (of 255) is valid.
VALID_FROM = 254
#: rasterio quietens a warning while it warps arrays, for all threads at once: two at a time would undo each other's.
_ONE_AT_A_TIME = threading.Lock()


def to_tile(image: TileImage, transform: Affine, crs: CRS, tile: Tile, size: int) -> TileImage:
    """An image warped to a tile of `size` pixels; what it does not cover is not valid.

    Args:
        transform: pixel (column, row) -> x, y in `crs`, x always the easting or longitude.
    """
    target = from_bounds(*Block(tile.z, tile.x, tile.y, 1).mercator(), size, size)
    where = {"src_transform": transform, "src_crs": crs, "dst_transform": target, "dst_crs": MERCATOR}
    bands = np.ascontiguousarray(image.pixels.transpose(2, 0, 1))
    pixels = np.zeros((len(bands), size, size), bands.dtype)
    valid = np.zeros((size, size), np.uint8)
    with _ONE_AT_A_TIME:
        reproject(bands, pixels, resampling=Resampling.bilinear, **where)
        reproject(image.valid.astype(np.uint8) * 255, valid, resampling=Resampling.bilinear, **where)
    return TileImage(np.ascontiguousarray(pixels.transpose(1, 2, 0)), valid >= VALID_FROM, image.acquired)
