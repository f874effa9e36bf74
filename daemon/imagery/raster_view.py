"""A raster as the tile grid sees it: what its bands hold, where it lies, and itself warped to the grid of one zoom.

A warped dataset reads the file in full resolution, whatever size is asked for. So the overview is chosen here, before
warping: the coarsest that is still at least as fine as the tiles. What remains is GDAL's bilinear kernel, which widens
when it reduces.
"""

from __future__ import annotations

import math

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from daemon.errors import ImageInvalid
from daemon.imagery.raster_file import RasterFile
from daemon.imagery.warp import MERCATOR
from daemon.tiling.grid import HALF_WORLD_M, Tile


class Bands:
    """What a file's bands hold.

    Attributes:
        colours: bands that are no alpha, counted from 1, as they are read.
        alpha: the alpha band, None where there is none.
        palette: uint8 [N, 4], red, green, blue, alpha of each value; None where it has none.
        count: bands that come out.
    """

    def __init__(self, dataset: rasterio.DatasetReader):
        kinds = dataset.colorinterp
        self.alpha = next((i + 1 for i, kind in enumerate(kinds) if kind == ColorInterp.alpha), None)
        self.colours = [i + 1 for i, kind in enumerate(kinds) if kind != ColorInterp.alpha]
        self.dtype = np.result_type(*(dataset.dtypes[i - 1] for i in self.colours))
        self.palette = None
        if kinds[0] == ColorInterp.palette:
            table = dataset.colormap(1)
            self.palette = np.zeros((max(table) + 1, 4), np.uint8)
            for value, colour in table.items():
                self.palette[value] = colour
        self.count = len(self.colours) if self.palette is None else 3
        self.scales = np.array([dataset.scales[i - 1] for i in self.colours])
        self.offsets = np.array([dataset.offsets[i - 1] for i in self.colours])
        #: The file says by what its values are to be scaled.
        self.scaled = bool((self.scales != 1).any() or (self.offsets != 0).any())
        if self.palette is not None:
            self.dtype, self.scaled = np.dtype(np.uint8), False


class Extent:
    """Where a file lies and how fine it is.

    Attributes:
        bounds: (minx, miny, maxx, maxy) in mercator metres, within the mercator square.
        resolution: mercator metres for one pixel in its middle.
        overviews: factors by which its overviews are smaller, ascending.
    """

    def __init__(self, dataset: rasterio.DatasetReader, system: CRS, origin: str):
        self.system = system
        self.overviews = dataset.overviews(1)
        west, south, east, north = _bounds(dataset)
        if system.is_geographic:  # mercator has no poles
            south, north = max(south, -85.06), min(north, 85.06)
        box = transform_bounds(system, MERCATOR, west, south, east, north, densify_pts=21)
        self.bounds = tuple(min(max(edge, -HALF_WORLD_M), HALF_WORLD_M) for edge in box)
        if not all(map(math.isfinite, box)) or self.bounds[0] >= self.bounds[2] or self.bounds[1] >= self.bounds[3]:
            raise ImageInvalid(f"{origin}: lies outside of the web-mercator world, or its position makes no sense: "
                               f"{box}")
        self.resolution = _resolution(dataset, system, ((west + east) / 2, (south + north) / 2))

    def overview(self, pixel: float) -> int | None:
        """Index of the coarsest overview that is still as fine as `pixel` mercator metres; None: the file itself."""
        fitting = [i for i, factor in enumerate(self.overviews) if self.resolution * factor <= 1.01 * pixel]
        return fitting[-1] if fitting else None


def _bounds(dataset: rasterio.DatasetReader) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a file in its own system, however its pixels lie."""
    corners = [dataset.transform @ (column, row) for column in (0, dataset.width) for row in (0, dataset.height)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _resolution(dataset: rasterio.DatasetReader, system: CRS, middle: tuple[float, float]) -> float:
    """Side in mercator metres of a square as large as the pixel at a point, however the pixels lie."""
    affine = dataset.transform
    (x, y), (a, d), (b, e) = middle, (affine.a, affine.d), (affine.b, affine.e)
    xs, ys = transform(system, MERCATOR, [x, x + a, x + b], [y, y + d, y + e])
    area = abs((xs[1] - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (ys[1] - ys[0]))
    return math.sqrt(area)


class View:
    """A file warped to the tile grid of one zoom.

    Args:
        file, bands, extent: what is warped, and what it holds where.
        cell: pixels along the side of a tile.

    Attributes:
        column, row: the first tile that the file touches; columns, rows: how many there are.
    """

    def __init__(self, file: RasterFile, bands: Bands, extent: Extent, zoom: int, cell: int):
        side = 2 * HALF_WORLD_M / (1 << zoom)
        minx, miny, maxx, maxy = extent.bounds
        last = (1 << zoom) - 1
        self.column = min(last, math.floor((minx + HALF_WORLD_M) / side))
        self.row = min(last, math.floor((HALF_WORLD_M - maxy) / side))
        self.columns = min(last + 1, math.ceil((maxx + HALF_WORLD_M) / side)) - self.column
        self.rows = min(last + 1, math.ceil((HALF_WORLD_M - miny) / side)) - self.row
        self._cell = cell
        self._bands = bands
        pixel = side / cell
        level = extent.overview(pixel)
        self._source = file.open(**({} if level is None else {"OVERVIEW_LEVEL": level}))
        flags = set(self._source.mask_flag_enums[0])
        self._own_mask = MaskFlags.nodata in flags or bands.alpha is not None
        origin = self.column * side - HALF_WORLD_M, HALF_WORLD_M - self.row * side
        self._warped = WarpedVRT(
            self._source,
            src_crs=extent.system,
            crs=MERCATOR,
            transform=from_origin(*origin, pixel, pixel),
            width=self.columns * cell,
            height=self.rows * cell,
            resampling=Resampling.bilinear if bands.palette is None else Resampling.nearest,
            add_alpha=not self._own_mask,
        )
        self._alpha = bands.alpha or (None if self._own_mask else self._warped.count)

    def read(self, tile: Tile, bands: list[int]) -> tuple[np.ndarray, np.ndarray] | None:
        """A tile's values [cell, cell, N] and where they are valid; None where the file does not reach."""
        if not (0 <= tile.x - self.column < self.columns and 0 <= tile.y - self.row < self.rows):
            return None
        window = self._window(tile.x, tile.y, 1)
        valid = self._valid(window)
        if self._bands.palette is not None:
            index = np.minimum(self._warped.read(1, window=window), len(self._bands.palette) - 1)
            colours = self._bands.palette[index]
            return np.ascontiguousarray(colours[:, :, bands]), valid & (colours[:, :, 3] >= 128)
        values = self._warped.read([self._bands.colours[band] for band in bands], window=window)
        if self._bands.scaled:
            scale, offset = self._bands.scales[bands], self._bands.offsets[bands]
            values = (values * scale[:, None, None] + offset[:, None, None]).astype(np.float32)
        if values.dtype.kind == "f":  # writers of floats leave out what they do not know, and often do not say so
            valid = valid & ~np.isnan(values).any(axis=0)
        return np.ascontiguousarray(values.transpose(1, 2, 0)), valid

    def valid_row(self, y: int) -> np.ndarray:
        """Validity of a whole row of tiles, bool [cell, columns * cell]."""
        return self._valid(self._window(self.column, y, self.columns))

    def close(self) -> None:
        self._warped.close()
        self._source.close()

    def _valid(self, window: Window) -> np.ndarray:
        if self._alpha is None:
            return self._warped.dataset_mask(window=window) >= 128
        alpha = self._warped.read(self._alpha, window=window)
        # GDAL's largest alpha is that of the type for integers of 8 and 16 bits, and 255 for all others.
        most = np.iinfo(alpha.dtype).max if alpha.dtype in (np.uint8, np.uint16, np.int16) else 255
        return alpha > most // 2

    def _window(self, x: int, y: int, columns: int) -> Window:
        cell = self._cell
        return Window((x - self.column) * cell, (y - self.row) * cell, columns * cell, cell)
