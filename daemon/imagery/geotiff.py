"""Imagery in a GeoTIFF or COG of any coordinate system, warped to the tile grid as it is read.

A warped dataset reads the file in full resolution, whatever size is asked for. So the overview is chosen here, before
warping: the coarsest that is still at least as fine as the tiles. What remains is GDAL's bilinear kernel, which widens
when it reduces.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform, transform_bounds
from rasterio.windows import Window

from daemon.config import Imagery
from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.decode import OPAQUE, mask_nodata
from daemon.imagery.directory import local_path
from daemon.imagery.source import Content, TileImage
from daemon.tiling.grid import HALF_WORLD_M, TILE_PX, Tile

MERCATOR = CRS.from_epsg(3857)
#: A file is enlarged to the next zoom above its own resolution at most; half a level is the rounding of "its own".
ENLARGE_MOST = 2**1.5
#: Pixels along a tile's side at which the mask is looked at for coverage.
COVERAGE_PX = 8
#: A file that spans more tiles than this does not tell its coverage.
COVERAGE_MOST = 4_000_000


class GeotiffSource:
    """One file. See `ImagerySource` for what its methods mean.

    The first three bands are red, green and blue; a file of one or two is grey. 8 bits a band. No imagery is what
    nodata, an alpha band or a mask say, and what lies outside of the file.

    Raises:
        ImageInvalid: the file is missing, no GeoTIFF, does not say where it lies, or is of a kind that is not read.
    """

    def __init__(self, settings: Imagery):
        self.name, self.licence, self.attribution = settings.name, settings.licence, settings.attribution
        self.acquired = settings.acquired
        self.min_zoom, self.max_zoom = settings.min_zoom, settings.max_zoom
        self._settings = settings
        self._path = local_path(settings.url)
        self._lock = threading.Lock()  # a dataset must not be read by two threads at once
        self._views: dict[int, _View] = {}
        if not Path(self._path).is_file():
            raise ImageInvalid(f"{self._path}: no such file")
        with self._naming_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(self._path, driver="GTiff") as dataset:
                self._require_readable(dataset)
                self._extent = _Extent(dataset, self._path)

    def tile(self, tile: Tile) -> TileImage | None:
        if not self._offers(tile.z):
            return None
        with self._lock, self._naming_errors():
            if tile.z not in self._views:
                self._views[tile.z] = _View(self._extent, tile.z, TILE_PX)
            image = self._views[tile.z].read(tile)
        if image is None or not image.valid.any():
            return None
        image = mask_nodata(image, self._settings.nodata, self._settings.mask_blank)
        return image if image.valid.any() else None

    def content(self, zoom: int) -> Content:
        try:
            status = Path(self._path).stat()
        except OSError as error:
            raise ImageryUnavailable(f"{self._path}: {error.strerror}; is its disk mounted?") from None
        return Content(f"{status.st_size} {status.st_mtime_ns}", max(status.st_mtime, status.st_ctime))

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        if not self._offers(zoom) or (since is not None and (self.content(zoom).newest or 0.0) <= since):
            return set()
        covered = set()
        with self._lock, self._naming_errors():
            view = _View(self._extent, zoom, COVERAGE_PX)
            try:
                if view.rows * view.columns > COVERAGE_MOST:
                    return None
                for y in range(view.row, view.row + view.rows):
                    valid = view.valid_row(y).reshape(COVERAGE_PX, view.columns, COVERAGE_PX).any(axis=(0, 2))
                    covered.update(Tile(zoom, view.column + int(x), y) for x in np.flatnonzero(valid))
            finally:
                view.close()
        return covered

    def zooms(self) -> set[int]:
        """Zooms at which tiles are made."""
        return {zoom for zoom in range(25) if self._offers(zoom)}

    def check(self) -> list[str]:
        return [] if Path(self._path).is_file() else [f"{self._path}: the file is gone"]

    def close(self) -> None:
        with self._lock:
            for view in self._views.values():
                view.close()
            self._views.clear()

    def _offers(self, zoom: int) -> bool:
        """Whether tiles of `zoom` are made: within the source's zooms, and not of pixels blown up too far."""
        pixel = 2 * HALF_WORLD_M / TILE_PX / (1 << zoom)
        return self.min_zoom <= zoom <= self.max_zoom and self._extent.resolution <= ENLARGE_MOST * pixel

    def _require_readable(self, dataset: rasterio.DatasetReader) -> None:
        if dataset.crs is None or dataset.transform.is_identity:
            raise ImageInvalid(
                f"{self._path}: does not say where it lies (no coordinate system or no position); "
                "write that into the file, e.g. gdal_edit.py -a_srs EPSG:4326 -a_ullr WEST NORTH EAST SOUTH"
            )
        kinds = sorted(set(dataset.dtypes))
        if kinds != ["uint8"]:
            raise ImageInvalid(
                f"{self._path}: bands of {', '.join(kinds)}, but 8 bits a band (uint8) are read; "
                "scale it, e.g. gdal_translate -ot Byte -scale"
            )
        if dataset.colorinterp[0] == ColorInterp.palette:
            raise ImageInvalid(f"{self._path}: has a palette; write it as RGB, e.g. gdal_translate -expand rgb")

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except (RasterioError, CRSError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            if not Path(self._path).is_file():
                raise ImageryUnavailable(f"{self._path}: the file is gone; is its disk mounted?") from None
            raise ImageInvalid(f"{self._path}: not a GeoTIFF that can be read: {reason}") from None


class _Extent:
    """Where a file lies and how fine it is.

    Attributes:
        bounds: (minx, miny, maxx, maxy) in mercator metres, within the mercator square.
        resolution: mercator metres for one pixel.
        overviews: factors by which its overviews are smaller, ascending.
    """

    def __init__(self, dataset: rasterio.DatasetReader, path: str):
        self.path = path
        self.overviews = dataset.overviews(1)
        west, south, east, north = dataset.bounds
        if dataset.crs.is_geographic:  # mercator has no poles
            south, north = max(south, -85.06), min(north, 85.06)
        box = transform_bounds(dataset.crs, MERCATOR, west, south, east, north, densify_pts=21)
        self.bounds = tuple(min(max(edge, -HALF_WORLD_M), HALF_WORLD_M) for edge in box)
        if not all(map(math.isfinite, box)) or self.bounds[0] >= self.bounds[2] or self.bounds[1] >= self.bounds[3]:
            raise ImageInvalid(f"{path}: lies outside of the web-mercator world, or its position makes no sense: {box}")
        height = dataset.height * (north - south) / (dataset.bounds.top - dataset.bounds.bottom)
        transform, _, _ = calculate_default_transform(
            dataset.crs, MERCATOR, dataset.width, max(1, round(abs(height))), west, south, east, north
        )
        self.resolution = transform.a

    def overview(self, pixel: float) -> int | None:
        """Index of the coarsest overview that is still as fine as `pixel` mercator metres; None: the file itself."""
        fitting = [i for i, factor in enumerate(self.overviews) if self.resolution * factor <= 1.01 * pixel]
        return fitting[-1] if fitting else None


class _View:
    """A file warped to the tile grid of one zoom.

    Args:
        cell: pixels along the side of a tile.

    Attributes:
        column, row: the first tile that the file touches; columns, rows: how many there are.
    """

    def __init__(self, extent: _Extent, zoom: int, cell: int):
        side = 2 * HALF_WORLD_M / (1 << zoom)
        minx, miny, maxx, maxy = extent.bounds
        last = (1 << zoom) - 1
        self.column = min(last, math.floor((minx + HALF_WORLD_M) / side))
        self.row = min(last, math.floor((HALF_WORLD_M - maxy) / side))
        self.columns = min(last + 1, math.ceil((maxx + HALF_WORLD_M) / side)) - self.column
        self.rows = min(last + 1, math.ceil((HALF_WORLD_M - miny) / side)) - self.row
        self._cell = cell
        pixel = side / cell
        level = extent.overview(pixel)
        options = {} if level is None else {"OVERVIEW_LEVEL": level}
        self._source = rasterio.open(extent.path, driver="GTiff", **options)
        has_own = {MaskFlags.alpha, MaskFlags.nodata} & set(self._source.mask_flag_enums[0])
        origin = self.column * side - HALF_WORLD_M, HALF_WORLD_M - self.row * side
        self._warped = WarpedVRT(
            self._source,
            crs=MERCATOR,
            transform=from_origin(*origin, pixel, pixel),
            width=self.columns * cell,
            height=self.rows * cell,
            resampling=Resampling.bilinear,
            add_alpha=not has_own,
        )
        colours = [i + 1 for i, c in enumerate(self._source.colorinterp) if c != ColorInterp.alpha]
        self._bands = colours[:3] if len(colours) >= 3 else colours[:1] * 3

    def read(self, tile: Tile) -> TileImage | None:
        """A tile's pixels at `cell` x `cell`; None where the file does not reach."""
        if not (0 <= tile.x - self.column < self.columns and 0 <= tile.y - self.row < self.rows):
            return None
        window = self._window(tile.x, tile.y, 1)
        pixels = self._warped.read(self._bands, window=window)
        valid = self._warped.dataset_mask(window=window) >= OPAQUE
        return TileImage(np.ascontiguousarray(pixels.transpose(1, 2, 0)), valid)

    def valid_row(self, y: int) -> np.ndarray:
        """Validity of a whole row of tiles, bool [cell, columns * cell]."""
        return self._warped.dataset_mask(window=self._window(self.column, y, self.columns)) >= OPAQUE

    def close(self) -> None:
        self._warped.close()
        self._source.close()

    def _window(self, x: int, y: int, columns: int) -> Window:
        cell = self._cell
        return Window((x - self.column) * cell, (y - self.row) * cell, columns * cell, cell)
