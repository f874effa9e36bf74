"""A georeferenced raster of any coordinate system, warped to the tile grid as it is read.

A warped dataset reads the file in full resolution, whatever size is asked for. So the overview is chosen here, before
warping: the coarsest that is still at least as fine as the tiles. What remains is GDAL's bilinear kernel, which widens
when it reduces.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.layout import Layout
from daemon.imagery.source import Content, TileImage, resolution_at
from daemon.imagery.warp import MERCATOR
from daemon.tiling.grid import HALF_WORLD_M, TILE_PX, Tile

#: A file is enlarged to the next zoom above its own resolution at most; half a level is the rounding of "its own".
ENLARGE_MOST = 2**1.5
#: Pixels along a tile's side at which the mask is looked at for coverage.
COVERAGE_PX = 8
#: A file that spans more tiles than this does not tell its coverage.
COVERAGE_MOST = 4_000_000
#: A file's own block may hold so many bytes unpacked; honest ones have a megabyte.
BLOCK_MOST = 256 * 1024**2


Done = TypeVar("Done")


class RasterFile(Protocol):
    """How a raster is opened."""

    #: Its path, or URL without secrets, and what it should be, for messages.
    origin: str
    kind: str
    #: It lies on this machine, so that all of it may be read.
    near: bool

    def open(self, **options: Any) -> rasterio.DatasetReader:
        """Another dataset of the file.

        Args:
            options: GDAL's open options.
        """
        ...

    def run(self, work: Callable[[], Done]) -> Done:
        """Do something with its datasets, where that can be done."""
        ...

    def content(self) -> Content:
        """The state of the file.

        Raises:
            ImageryUnavailable: it is gone.
        """
        ...

    def failure(self) -> Exception | None:
        """Why reading failed, where the file knows better than GDAL; told once."""
        ...

    def close(self) -> None:
        """Called when no dataset of it is open any more."""
        ...


class LocalRaster:
    """What rasters of this machine have in common. See `RasterFile`."""

    near = True

    def run(self, work: Callable[[], Done]) -> Done:
        return work()

    def close(self) -> None:
        """Nothing is kept open."""


class LocalTiff(LocalRaster):
    """A GeoTIFF on this machine. See `RasterFile`.

    Raises:
        ImageInvalid: there is no such file.
    """

    kind = "a GeoTIFF"

    def __init__(self, path: str):
        self.origin = path
        if not Path(path).is_file():
            raise ImageInvalid(f"{path}: no such file")

    def open(self, **options: Any) -> rasterio.DatasetReader:
        return rasterio.open(self.origin, driver="GTiff", **options)

    def content(self) -> Content:
        return content_of(Path(self.origin))

    def failure(self) -> Exception | None:
        if Path(self.origin).is_file():
            return None
        return ImageryUnavailable(f"{self.origin}: the file is gone; is its disk mounted?")


def content_of(path: Path) -> Content:
    """The state of a file, by size and time.

    Raises:
        ImageryUnavailable: it is gone.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ImageryUnavailable(f"{path}: {error.strerror}; is its disk mounted?") from None
    return Content(f"{status.st_size} {status.st_mtime_ns}", max(status.st_mtime, status.st_ctime))


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
        self._views: dict[int, _View] = {}
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
            self._views[tile.z] = _View(self, tile.z, TILE_PX)
        try:
            return self._views[tile.z].read(tile, bands)
        finally:
            if self._closed:
                self._close_views()

    def _covered(self, zoom: int) -> set[Tile] | None:
        covered: set[Tile] = set()
        view = _View(self, zoom, COVERAGE_PX)
        try:
            if view.rows * view.columns > COVERAGE_MOST:
                return None
            for y in range(view.row, view.row + view.rows):
                valid = view.valid_row(y).reshape(COVERAGE_PX, view.columns, COVERAGE_PX).any(axis=(0, 2))
                covered.update(Tile(zoom, view.column + int(x), y) for x in np.flatnonzero(valid))
        finally:
            view.close()
        return covered

    def _look(self) -> tuple[_Extent, _Bands]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with self.file.open() as dataset:
                self._require_readable(dataset)
                return _Extent(dataset, dataset.crs or self._system, self.file.origin), _Bands(dataset)

    def _require_readable(self, dataset: rasterio.DatasetReader) -> None:
        origin = self.file.origin
        if (dataset.crs is None and self._system is None) or dataset.transform.is_identity:
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
        except (RasterioError, CRSError, MemoryError) as error:
            failure = self.file.failure()
            if failure is not None:
                raise failure from None
            reason = " ".join(str(error.__cause__ or error).split())
            raise ImageInvalid(f"{self.file.origin}: not {self.file.kind} that can be read: {reason}") from None


class _Bands:
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


class _Extent:
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


class _View:
    """A file warped to the tile grid of one zoom.

    Args:
        cell: pixels along the side of a tile.

    Attributes:
        column, row: the first tile that the file touches; columns, rows: how many there are.
    """

    def __init__(self, raster: Raster, zoom: int, cell: int):
        side = 2 * HALF_WORLD_M / (1 << zoom)
        minx, miny, maxx, maxy = raster.extent.bounds
        last = (1 << zoom) - 1
        self.column = min(last, math.floor((minx + HALF_WORLD_M) / side))
        self.row = min(last, math.floor((HALF_WORLD_M - maxy) / side))
        self.columns = min(last + 1, math.ceil((maxx + HALF_WORLD_M) / side)) - self.column
        self.rows = min(last + 1, math.ceil((HALF_WORLD_M - miny) / side)) - self.row
        self._cell = cell
        self._bands = raster.bands
        pixel = side / cell
        level = raster.extent.overview(pixel)
        self._source = raster.file.open(**({} if level is None else {"OVERVIEW_LEVEL": level}))
        flags = set(self._source.mask_flag_enums[0])
        self._own_mask = MaskFlags.nodata in flags or raster.bands.alpha is not None
        origin = self.column * side - HALF_WORLD_M, HALF_WORLD_M - self.row * side
        self._warped = WarpedVRT(
            self._source,
            src_crs=raster.extent.system,
            crs=MERCATOR,
            transform=from_origin(*origin, pixel, pixel),
            width=self.columns * cell,
            height=self.rows * cell,
            resampling=Resampling.bilinear if raster.bands.palette is None else Resampling.nearest,
            add_alpha=not self._own_mask,
        )
        self._alpha = raster.bands.alpha or (None if self._own_mask else self._warped.count)

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
