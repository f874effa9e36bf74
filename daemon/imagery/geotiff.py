"""Imagery in one raster: a GeoTIFF or COG, here or on a server, or a VRT that puts files together."""

from __future__ import annotations

import threading

from daemon.config import Imagery
from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.decode import mask_nodata
from daemon.imagery.layout import Layout
from daemon.imagery.raster import Raster
from daemon.imagery.raster_file import RasterFile
from daemon.imagery.source import Content, Here, TileImage
from daemon.imagery.wms import crs_told
from daemon.tiling.grid import Tile


class GeotiffSource:
    """One raster. See `ImagerySource` for what its methods mean.

    A file of this machine is opened at once, one of a server when it is first needed.

    Raises:
        ImageInvalid: the file is no raster, does not say where it lies, or has other bands than are asked for.
    """

    def __init__(self, settings: Imagery, file: RasterFile, at_once: bool = True):
        self.name, self.licence, self.attribution = settings.name, settings.licence, settings.attribution
        self.acquired = settings.acquired
        self.min_zoom, self.max_zoom = settings.min_zoom, settings.max_zoom
        self.layout = Layout.of(settings)
        self._settings = settings
        self._file = file
        self._lock = threading.Lock()
        self._opened: Raster | None = None
        if at_once:
            self._raster.require(self.layout)

    @property
    def _raster(self) -> Raster:
        with self._lock:
            if self._opened is None:
                self._opened = Raster(self._file, crs_told(self._settings))
            return self._opened

    def tile(self, tile: Tile) -> TileImage | None:
        if not self._offers(tile.z):
            return None
        image = self._raster.tile(tile, self.layout)
        if image is None:
            return None
        image = mask_nodata(image, self._settings.nodata, self._settings.mask_blank)
        return TileImage(image.pixels, image.valid, self.acquired) if image.valid.any() else None

    def here(self, tile: Tile) -> Here | None:
        if not self._offers(tile.z) or not self._raster.reaches(tile):
            return None
        return Here(self.acquired, self._raster.extent.resolution)

    def content(self, zoom: int) -> Content:
        return self._file.content()

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        if not self._offers(zoom):
            return set()
        if since is not None and (newest := self.content(zoom).newest) is not None and newest <= since:
            return set()
        return self._raster.coverage(zoom)

    def zooms(self) -> set[int]:
        """Zooms at which tiles are made."""
        return {zoom for zoom in range(25) if self._offers(zoom)}

    def check(self) -> list[str]:
        try:
            self._file.content()
            self._raster.require(self.layout)
        except (ImageInvalid, ImageryUnavailable) as error:
            return [str(error)]
        return []

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def _offers(self, zoom: int) -> bool:
        return self.min_zoom <= zoom <= self.max_zoom and self._raster.offers(zoom)
