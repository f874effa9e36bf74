"""Where random tiles lie, and rasters laid onto them pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from detectors.errors import DatasetInvalid
from detectors.training.geoiter.raster_wkb import Raster

#: How far, in pixels, a raster's grid may be off the tile's: rounding, not resampling.
TOLERANCE_PX = 0.01
MOST_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of ground.

    Attributes:
        number: counted from 0 within an epoch.
        bounds: (xmin, ymin, xmax, ymax) in the grid's coordinate system.
    """

    number: int
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Random tiles of one size in an extent.

    A tile starts on a whole native pixel, counted from the upper left corner of the extent: imagery on that grid comes
    out unblurred where native and resampled resolution are the same.

    Attributes:
        extent: (xmin, ymin, xmax, ymax) in `srid`.
        size: (width, height) of a tile in pixels.
        resolution: (native, resampled): width of a pixel of the imagery and of a tile, in units of `srid` (metres).
    """

    extent: tuple[float, float, float, float]
    srid: int
    size: tuple[int, int]
    resolution: tuple[float, float]

    @classmethod
    def of(cls, extent: Sequence[float], srid: int, size: int | Sequence[int], resolution: Sequence[float]) -> TileGrid:
        """The grid that GeoIter's arguments describe; `size` is that of a square, or (width, height).

        Raises:
            DatasetInvalid: an argument makes no sense, or a tile is larger than the extent.
        """
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if len(sides) != 2 or not all(isinstance(s, int) and 1 <= s <= MOST_SIDE for s in sides):
            raise DatasetInvalid(f"size {size!r}: pixels, one number or (width, height), each 1..{MOST_SIDE}")
        if len(resolution) != 2 or not all(math.isfinite(r) and r > 0 for r in resolution):
            raise DatasetInvalid(f"resolution {resolution!r}: (native, resampled) in metres, both above 0")
        if len(extent) != 4 or not all(map(math.isfinite, extent)) or extent[0] >= extent[2] or extent[1] >= extent[3]:
            raise DatasetInvalid(f"extent {extent!r}: (xmin, ymin, xmax, ymax), in this order")
        grid = cls(tuple(map(float, extent)), int(srid), sides, tuple(map(float, resolution)))
        if min(grid._room()) < 0:
            width, height = grid.ground
            raise DatasetInvalid(
                f"a tile of {sides[0]} x {sides[1]} px covers {width:g} x {height:g} m, more than the extent with "
                f"{extent[2] - extent[0]:g} x {extent[3] - extent[1]:g}: take a smaller size, or a larger extent"
            )
        return grid

    @property
    def ground(self) -> tuple[float, float]:
        """Width and height of a tile in units of `srid`."""
        return self.size[0] * self.resolution[1], self.size[1] * self.resolution[1]

    @property
    def native_size(self) -> tuple[int, int]:
        """(width, height) in native pixels of what covers a tile."""
        native = self.resolution[0]
        return tuple(math.ceil(side / native - TOLERANCE_PX) for side in self.ground)

    def tile(self, seed: int, epoch: int, number: int) -> Tile:
        """Tile `number` of an epoch: always the same, whatever was drawn before it."""
        random = np.random.default_rng([seed, epoch, number])
        across, down = (int(random.integers(room + 1)) for room in self._room())
        west = self.extent[0] + across * self.resolution[0]
        north = self.extent[3] - down * self.resolution[0]
        return Tile(number, (west, north - self.ground[1], west + self.ground[0], north))

    def lay(self, rasters: Sequence[Raster], tile: Tile, fits: Callable[[str], str]) -> tuple[np.ndarray, np.ndarray]:
        """Rasters on a tile's pixels: (values [H, W, C], bool [H, W], False where no band has data).

        Where several have data, the last one's counts. What sticks out is cut off, what is missing is 0 and not known.

        Args:
            rasters: at least one.
            fits: makes a whole message of what is wrong.

        Raises:
            DatasetInvalid: a raster is on another grid, or bands are of different types or numbers.
        """
        types = {band.values.dtype for raster in rasters for band in raster.bands}
        counts = {len(raster.bands) for raster in rasters}
        if len(types) != 1 or len(counts) != 1:
            raise DatasetInvalid(fits(f"the rasters have {' and '.join(map(str, sorted(counts)))} bands of "
                                      f"{' and '.join(sorted(map(str, types)))}, expected one number and type"))
        width, height = self.size
        values = np.zeros((height, width, counts.pop()), dtype=types.pop())
        known = np.zeros((height, width), dtype=bool)
        for raster in rasters:
            row, column = self._offset(raster, tile, fits)
            top, left = max(0, row), max(0, column)
            bottom, right = min(height, row + raster.shape[0]), min(width, column + raster.shape[1])
            if top >= bottom or left >= right:
                continue
            part = np.s_[top - row : bottom - row, left - column : right - column]
            for number, band in enumerate(raster.bands):
                there = band.known(part)
                np.copyto(values[top:bottom, left:right, number], band.values[part], where=there)
                known[top:bottom, left:right] |= there
        return values, known

    def _offset(self, raster: Raster, tile: Tile, fits: Callable[[str], str]) -> tuple[int, int]:
        """Row and column of a raster's first pixel on the tile."""
        pixel = self.resolution[1]
        advice = "; resample onto the tile: ST_Resample(rast, (SELECT rast FROM tile_rast))"
        if raster.srid != self.srid:
            raise DatasetInvalid(fits(f"the raster has SRID {raster.srid}, the tiles {self.srid}; use "
                                      "ST_Transform(rast, (SELECT rast FROM tile_rast))"))
        # A scale that is off moves the far edge of the raster.
        drift = max(abs(raster.scale[0] - pixel) * raster.shape[1], abs(raster.scale[1] + pixel) * raster.shape[0])
        if any(raster.skew) or drift > TOLERANCE_PX * pixel:
            raise DatasetInvalid(fits(f"pixels of {raster.scale[0]:g} x {raster.scale[1]:g} (skew {raster.skew[0]:g}, "
                                      f"{raster.skew[1]:g}), the tile's are {pixel:g} x {-pixel:g}{advice}"))
        column = (raster.upper_left[0] - tile.bounds[0]) / pixel
        row = (tile.bounds[3] - raster.upper_left[1]) / pixel
        if max(abs(column - round(column)), abs(row - round(row))) > TOLERANCE_PX:
            raise DatasetInvalid(fits(f"the raster starts {column:.3f} pixels right of and {row:.3f} below the tile's "
                                      f"corner, not on a whole one{advice}"))
        return round(row), round(column)

    def _room(self) -> tuple[int, int]:
        """By how many native pixels a tile may be moved right and down; negative where it does not fit."""
        xmin, ymin, xmax, ymax = self.extent
        spare = xmax - xmin - self.ground[0], ymax - ymin - self.ground[1]
        return tuple(math.floor(side / self.resolution[0] + TOLERANCE_PX) for side in spare)
