"""A georeferenced raster of any coordinate system, warped to the tile grid as it is read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # what GDAL says goes through unwrapped in places, and has no other name
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from daemon.errors import ImageInvalid
from daemon.imagery.layout import Layout
from daemon.imagery.raster_file import RasterFile
from daemon.imagery.raster_view import Bands, Extent, View
from daemon.imagery.source import TileImage, resolution_at
from daemon.tiling.grid import HALF_WORLD_M, TILE_PX, Tile

#: A file is enlarged to the next zoom above its own resolution at most; half a level is the rounding of "its own".
ENLARGE_MOST = 2**1.5
#: Pixels along a tile's side at which the mask is looked at for coverage.
COVERAGE_PX = 8
#: A file that spans more tiles than this does not tell its coverage.
COVERAGE_MOST = 4_000_000
#: A file's own block may hold so many bytes unpacked; honest ones have a megabyte.
BLOCK_MOST = 256 * 1024**2


class Raster:
    """Tiles of one file. Safe to share between threads.

    No imagery is what nodata, an alpha band or a mask say, and what lies outside of the file. Palettes come as red,
    green and blue, and so does CMYK, which GDAL itself reads so.

    Args:
        file: how it is opened.
        system: its coordinate system where it does not say.

    Raises:
        ImageInvalid: not a raster that can be read, or it does not say where it lies.
        ImageryUnavailable: disk or server failing.
    """

    def __init__(self, file: RasterFile, system: CRS | None = None):
        self.file = file
        self._system = system
        self._lock = threading.Lock()  # a dataset must not be read by two threads at once
        self._views: dict[int, View] = {}
        self._closed = False
        with self._naming_errors():
            self.extent, self.bands = file.run(self._look)

    def require(self, layout: Layout) -> None:
        """Whether a layout can be had of it.

        Raises:
            ImageInvalid: it cannot; says what to set.
        """
        layout.choose(self.bands.count, self.file.origin)
        layout.require(self.bands.dtype, self.file.origin, scaled=self.bands.scaled)

    def tile(self, tile: Tile, layout: Layout) -> TileImage | None:
        """A tile's pixels, None where the file has nothing.

        Raises:
            ImageInvalid, ImageryUnavailable: the file is damaged, gone, or cannot be read now.
        """
        self.require(layout)
        found = self.values(tile, layout.choose(self.bands.count, self.file.origin))
        if found is None:
            return None
        return TileImage(layout.convert(found[0], self.file.origin), found[1])

    def values(self, tile: Tile, bands: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray] | None:
        """A tile's values [256, 256, N] as the file means them, and where they are valid; None where nothing is.

        Args:
            bands: of the colours, counted from 0; None for all.

        Raises:
            ImageInvalid, ImageryUnavailable: as `tile`.
        """
        wanted = list(range(self.bands.count)) if bands is None else list(bands)
        with self._lock, self._naming_errors():
            found = self.file.run(lambda: self._read(tile, wanted))
            if self._closed:
                self.file.close()
        return found if found is not None and found[1].any() else None

    def coverage(self, zoom: int) -> set[Tile] | None:
        """Tiles of a zoom with any valid pixel, None where that is too much to look through."""
        if not self.file.near and not self.extent.overviews:
            return None
        with self._lock, self._naming_errors():
            return self.file.run(lambda: self._covered(zoom))

    def offers(self, zoom: int) -> bool:
        """Whether tiles of a zoom are made of it: not of pixels blown up too far."""
        return self.extent.resolution <= ENLARGE_MOST * resolution_at(zoom)

    def reaches(self, tile: Tile) -> bool:
        """Whether its bounds touch a tile."""
        side = 2 * HALF_WORLD_M / (1 << tile.z)
        west, north = tile.x * side - HALF_WORLD_M, HALF_WORLD_M - tile.y * side
        minx, miny, maxx, maxy = self.extent.bounds
        return minx < west + side and maxx > west and miny < north and maxy > north - side

    def close(self) -> None:
        """Let go of the file. A thread that reads meanwhile still gets its tile, and leaves nothing open."""
        with self._lock:
            self._closed = True
            self.file.run(self._close_views)
            self.file.close()

    def _close_views(self) -> None:
        for view in self._views.values():
            view.close()
        self._views.clear()

    def _read(self, tile: Tile, bands: list[int]) -> tuple[np.ndarray, np.ndarray] | None:
        if tile.z not in self._views:
            self._views[tile.z] = View(self.file, self.bands, self.extent, tile.z, TILE_PX)
        try:
            return self._views[tile.z].read(tile, bands)
        finally:
            if self._closed:
                self._close_views()

    def _covered(self, zoom: int) -> set[Tile] | None:
        covered: set[Tile] = set()
        view = View(self.file, self.bands, self.extent, zoom, COVERAGE_PX)
        try:
            if view.rows * view.columns > COVERAGE_MOST:
                return None
            for y in range(view.row, view.row + view.rows):
                valid = view.valid_row(y).reshape(COVERAGE_PX, view.columns, COVERAGE_PX).any(axis=(0, 2))
                covered.update(Tile(zoom, view.column + int(x), y) for x in np.flatnonzero(valid))
        finally:
            view.close()
        return covered

    def _look(self) -> tuple[Extent, Bands]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with self.file.open() as dataset:
                system = dataset.crs if _is_of_the_earth(dataset.crs) else self._system
                self._require_readable(dataset, system)
                return Extent(dataset, system, self.file.origin), Bands(dataset)

    def _require_readable(self, dataset: rasterio.DatasetReader, system: CRS | None) -> None:
        origin = self.file.origin
        if dataset.gcps[0] and dataset.transform.is_identity:
            raise ImageInvalid(f"{origin}: has ground control points only; warp it by them, e.g. gdalwarp FROM TO")
        if system is None or dataset.transform.is_identity:
            raise ImageInvalid(
                f"{origin}: does not say where it lies (no coordinate system or no position); set crs, or "
                "write that into the file, e.g. gdal_edit.py -a_srs EPSG:4326 -a_ullr WEST NORTH EAST SOUTH"
            )
        unpacked = max(rows * columns * np.dtype(dtype).itemsize
                       for (rows, columns), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True))
        if unpacked > BLOCK_MOST:
            raise ImageInvalid(f"{origin}: one of its blocks unpacks to {unpacked} bytes, more than {BLOCK_MOST}; "
                               "write it in tiles, e.g. gdal_translate -co TILED=YES")

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except (RasterioError, CRSError, CPLE_BaseError, MemoryError) as error:
            failure = self.file.failure()
            if failure is not None:
                raise failure from None
            reason = " ".join(str(error.__cause__ or error).split())
            raise ImageInvalid(f"{self.file.origin}: not {self.file.kind} that can be read: {reason}") from None


def _is_of_the_earth(system: CRS | None) -> bool:
    """Whether a file's coordinate system says where it lies; some are local ones that are tied to no place."""
    return system is not None and (system.is_geographic or system.is_projected)
