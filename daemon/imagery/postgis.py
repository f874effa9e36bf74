"""Imagery in a raster table of PostGIS, as raster2pgsql loads it.

Rasters on one grid are put together before they are warped, so that there is no seam where two of them meet. Smaller
copies (raster2pgsql -l) are used for the zooms that they are fine enough for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import psycopg2
import shapely
from affine import Affine
from psycopg2 import sql
from psycopg2.extensions import make_dsn
from rasterio.crs import CRS
from rasterio.errors import CRSError

from daemon.config import Imagery
from daemon.db import query
from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.fetch import shown
from daemon.imagery.dates import oldest_day
from daemon.imagery.decode import mask_nodata
from daemon.imagery.document import shorten
from daemon.imagery.footprint import tiles_touching
from daemon.imagery.key import Key
from daemon.imagery.layout import Layout
from daemon.imagery.raster import ENLARGE_MOST
from daemon.imagery.source import Content, Here, TileImage, oldest, resolution_at
from daemon.imagery.warp import MERCATOR, to_tile
from daemon.imagery.wms import crs_told
from daemon.tiling.grid import TILE_PX, Block, Tile
from detectors.training.geoiter.raster_wkb import Raster, RasterInvalid, read_raster

#: Rasters of one tile at most, and pixels of one raster.
MOST_RASTERS, MOST_PIXELS = 4_096, 4_096 * 4_096
#: Rasters whose places are looked at to tell a coverage.
MOST_HULLS = 50_000
#: Pixels around a tile that are read too, for the warp; what is read may have so many pixels a side.
RIM_PX, WIDEST_PX = 4, 8_192
#: How far a raster may be off another's grid to be put beside it, in pixels.
OFF_GRID_PX = 0.01


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of rasters. Attributes: factor: by how much its pixels are larger than the finest."""

    schema: str
    name: str
    column: str
    factor: int

    def names(self, day: str) -> dict[str, sql.Composable]:
        return {
            "table": sql.Identifier(self.schema, self.name), "raster": sql.Identifier(self.column),
            "day": sql.Identifier("r", day) if day and self.factor == 1 else sql.SQL("NULL::date"),
        }


@dataclass(frozen=True, slots=True)
class _About:
    """What a sample of each coordinate system tells.

    Attributes:
        tables: the finest last.
        systems: the coordinate systems of the rasters, by SRID.
        resolution: mercator metres of the finest pixels.
        bands: the fewest.
    """

    tables: tuple[_Table, ...]
    systems: dict[int, CRS]
    resolution: float
    bands: int


class _Found(NamedTuple):
    """A raster, its day, and the coordinate system that it lies in."""

    raster: Raster
    day: date | None
    srid: int


class PostgisSource:
    """Rasters of a table. See `ImagerySource` for what its methods mean.

    Raises:
        ImageInvalid: the url or the name of the table is none.
    """

    def __init__(self, settings: Imagery, key: Key, timeout: float):
        self.name, self.licence, self.attribution = settings.name, settings.licence, settings.attribution
        self.acquired = settings.acquired
        self.min_zoom, self.max_zoom = settings.min_zoom, settings.max_zoom
        self.layout = Layout.of(settings)
        self._settings, self._key, self._timeout = settings, key, timeout
        if not settings.url.lower().startswith(("postgresql://", "postgres://")):
            raise ImageInvalid(f"{shown(settings.url)}: expected postgresql://USER@HOST/DATABASE")
        schema, _, table = settings.layer.rpartition(".")
        if not table:
            raise ImageInvalid("layer is empty; name the table, e.g. public.orthophoto")
        self._finest = _Table(schema or "public", table, settings.column, 1)
        self._origin = f"{shown(settings.url)} {self._finest.schema}.{table}"
        self._lock = threading.Lock()
        self._connection: Any = None
        self._known: _About | None = None

    def tile(self, tile: Tile) -> TileImage | None:
        if not self._offers(tile.z):
            return None
        rasters = self._rasters(tile)
        systems = self._about.systems
        image = _mosaic(rasters, tile, systems, self.layout, self._origin, self.acquired) if rasters else None
        if image is None:
            return None
        image = mask_nodata(image, self._settings.nodata, self._settings.mask_blank)
        return image if image.valid.any() else None

    def here(self, tile: Tile) -> Here | None:
        if not self._offers(tile.z):
            return None
        if not self._settings.date_column:
            return Here(self.acquired, self._about.resolution)
        image = self.tile(tile)  # the days stand beside the pixels
        return None if image is None else Here(image.acquired, self._about.resolution)

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        if not self._offers(zoom):
            return set()
        rows = self._ask("raster_hulls", self._finest, {"rows": MOST_HULLS + 1, "told": self._told})
        covered: set[Tile] = set()
        if len(rows) > MOST_HULLS:
            return None
        for (hull,) in rows:
            found = tiles_touching(shapely.from_wkb(bytes(hull)), zoom)
            if found is None:
                return None
            covered |= found
        return covered

    def content(self, zoom: int) -> Content:
        return Content()

    def zooms(self) -> set[int]:
        return {zoom for zoom in range(self.min_zoom, self.max_zoom + 1) if self._offers(zoom)}

    def check(self) -> list[str]:
        """Whether there is such a table, with rasters in it that have the bands."""
        self.layout.choose(self._about.bands, self._origin)
        return []

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _offers(self, zoom: int) -> bool:
        within = self.min_zoom <= zoom <= self.max_zoom
        return within and self._about.resolution <= ENLARGE_MOST * resolution_at(zoom)

    @property
    def _about(self) -> _About:
        if self._known is None:
            names = {"schema": self._finest.schema, "table": self._finest.name, "column": self._finest.column}
            overviews = [_Table(*row) for row in self._ask("raster_overviews", None, names)]
            rows = self._ask("raster_sample", self._finest, {"told": self._told, "rows": MOST_HULLS})
            if not rows:
                raise ImageInvalid(f"{self._origin}: holds no raster; load some, e.g. raster2pgsql -I -C -t 256x256")
            systems: dict[int, CRS] = {}
            finest = []
            for srid, text, width, height, _, hull in rows:
                try:
                    systems[srid] = CRS.from_wkt(text or "")
                except CRSError:
                    raise ImageInvalid(f"{self._origin}: its rasters do not say where they lie (SRID {srid}); set crs, "
                                       "or load them with it, e.g. raster2pgsql -s 32645") from None
                finest.append(_resolution(systems[srid], width, height, shapely.from_wkb(bytes(hull)).centroid))
            fewest = min(bands for *_, bands, _ in rows)
            self._known = _About((*overviews, self._finest), systems, min(finest), fewest)
        return self._known

    @property
    def _told(self) -> int | None:
        """The SRID of rasters that have none, as configured."""
        told = crs_told(self._settings)
        return None if told is None else told.to_epsg()

    def _rasters(self, tile: Tile) -> list[_Found]:
        """What lies under a tile, the newest first."""
        about, pixel = self._about, resolution_at(tile.z)
        table = next((one for one in about.tables if about.resolution * one.factor <= 1.01 * pixel), self._finest)
        if TILE_PX * pixel / (about.resolution * table.factor) > WIDEST_PX:
            raise ImageInvalid(f"{self._origin}: too fine for zoom {tile.z}; make overviews, e.g. raster2pgsql "
                               "-l 2,4,8,16, or raise min_zoom")
        minx, miny, maxx, maxy = Block(tile.z, tile.x, tile.y, 1).mercator()
        rim = RIM_PX * max(pixel, about.resolution * table.factor)
        rows = self._ask("raster_tiles", table, {
            "minx": minx - rim, "miny": miny - rim, "maxx": maxx + rim, "maxy": maxy + rim,
            "srids": list(about.systems), "told": self._told, "most": MOST_PIXELS, "rows": MOST_RASTERS + 1,
        })
        if len(rows) > MOST_RASTERS:
            raise ImageInvalid(f"{self._origin}: more than {MOST_RASTERS} rasters under tile {tile}; make overviews")
        found = []
        for data, day, srid, width, height in rows:
            if data is None:
                raise ImageInvalid(f"{self._origin}: a raster of {width} x {height} px; load it in parts, e.g. "
                                   "raster2pgsql -t 256x256")
            try:
                found.append(_Found(read_raster(data), oldest_day(day), srid))
            except RasterInvalid as error:
                raise ImageInvalid(f"{self._origin}: {error}") from None
        return found

    def _ask(self, name: str, table: _Table | None, values: Mapping[str, Any]) -> list[tuple]:
        names = table.names(self._settings.date_column) if table else {}
        with self._lock, self._naming_errors():
            for attempt in (1, 2):  # a connection that was idle may be gone
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = self._connect()
                    with self._connection, self._connection.cursor() as cursor:
                        cursor.execute(sql.SQL(query(name)).format(**names), values)
                        return cursor.fetchall()
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    if attempt == 2 or self._connection is None or not self._connection.closed:
                        raise
        raise AssertionError("the second attempt returns or raises")

    def _connect(self) -> Any:
        secret = {"password": self._key.value} if self._key.value else {}
        limits = {"connect_timeout": "10", "application_name": "mapgap imagery"}
        limits["options"] = f"-c statement_timeout={int(self._timeout * 1000)} -c default_transaction_read_only=on"
        return psycopg2.connect(make_dsn(self._settings.url, **secret, **limits))

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg2.Error as error:
            said = self._key.hide(shorten(getattr(error.diag, "message_primary", None) or str(error)))
            if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)):
                hint = f"; is {self._settings.key_env} right?" if "password" in said else ""
                raise ImageryUnavailable(f"{self._origin}: {said}{hint}") from None
            raise ImageInvalid(f"{self._origin}: {said}; layer is the table, column its raster column, and the "
                               "database needs the extensions postgis and postgis_raster") from None


def _resolution(crs: CRS, width: float, height: float, middle: shapely.Point) -> float:
    """Mercator metres of a pixel of a size in units of its own system, at a place in lon/lat."""
    stretch = float(np.cosh(np.arcsinh(np.tan(np.radians(middle.y)))))
    if crs.is_geographic:
        return float(np.sqrt(width * height * stretch)) * resolution_at(0) * TILE_PX / 360
    return float(np.sqrt(width * height)) * (1.0 if crs == MERCATOR else stretch * (crs.linear_units_factor[1] or 1.0))


def _mosaic(
    rasters: Sequence[_Found], tile: Tile, systems: Mapping[int, CRS], layout: Layout, origin: str,
    otherwise: date | None,
) -> TileImage | None:
    """The tile that rasters make, the first on top; its day is the oldest of those that give a pixel."""
    pixels = valid = None
    days: set[date | None] = set()
    waiting = list(rasters)
    while waiting:  # those on one grid and of one day together
        first, day, srid = waiting[0]
        group = [found.raster for found in waiting if found.day == day and _on_grid(found.raster, first)]
        waiting = [found for found in waiting if not any(found.raster is raster for raster in group)]
        image = to_tile(*_paste(group, layout, origin), systems[srid], tile, TILE_PX)
        gives = image.valid if valid is None else image.valid & ~valid
        if not gives.any():
            continue
        days.add(day or otherwise)
        if pixels is None or valid is None:
            pixels, valid = image.pixels, image.valid
        else:
            pixels[gives] = image.pixels[gives]
            valid = valid | gives
    return None if pixels is None or valid is None else TileImage(pixels, valid, oldest(days))


def _affine(raster: Raster) -> Affine:
    return Affine(raster.scale[0], raster.skew[0], raster.upper_left[0],
                  raster.skew[1], raster.scale[1], raster.upper_left[1])


def _on_grid(raster: Raster, other: Raster) -> bool:
    if (raster.scale, raster.skew, raster.srid) != (other.scale, other.skew, other.srid):
        return False
    column, row = ~_affine(other) @ raster.upper_left
    return max(abs(column - round(column)), abs(row - round(row))) <= OFF_GRID_PX


def _paste(rasters: Sequence[Raster], layout: Layout, origin: str) -> tuple[TileImage, Affine]:
    """Rasters of one grid side by side, and where the result lies."""
    affine = _affine(rasters[0])
    places = [tuple(round(v) for v in ~affine @ raster.upper_left) for raster in rasters]
    left, top = min(column for column, _ in places), min(row for _, row in places)
    right = max(column + raster.shape[1] for (column, _), raster in zip(places, rasters, strict=True))
    bottom = max(row + raster.shape[0] for (_, row), raster in zip(places, rasters, strict=True))
    if (right - left) * (bottom - top) > WIDEST_PX**2:
        raise ImageInvalid(f"{origin}: its rasters are too large to be put together; load them in parts, e.g. "
                           "raster2pgsql -t 256x256")
    pixels = np.zeros((bottom - top, right - left, len(layout.bands)), layout.dtype)
    valid = np.zeros(pixels.shape[:2], bool)
    for (column, row), raster in zip(places, rasters, strict=True):
        bands = [raster.bands[i] for i in layout.choose(len(raster.bands), origin)]
        values = layout.convert(np.stack([band.values for band in bands], axis=2), origin)
        known = np.logical_or.reduce([band.known() for band in bands])
        part = np.s_[row - top : row - top + raster.shape[0], column - left : column - left + raster.shape[1]]
        gives = known & ~valid[part]
        pixels[part][gives] = values[gives]
        valid[part] |= gives
    return TileImage(pixels, valid), affine @ Affine.translation(left, top)
