"""Sources of {z}/{x}/{y} tiles: a directory or an HTTP server.

A 512 px image of zoom z covers the ground of tile z/x/y, so it is four 256 px tiles of zoom z + 1. Where the zoom that
is asked for is not there, the one above is enlarged to twice its size, or else the one below reduced to half: one
level, no more, for a network sees neither buildings of four times the size nor blur that it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from daemon.config import Imagery
from daemon.errors import ImageInvalid
from daemon.imagery.decode import decode, mask_nodata
from daemon.imagery.directory import DirectoryTiles
from daemon.imagery.http import HttpTiles
from daemon.imagery.source import Content, TileImage, children, enlarge, parent, quarter, reduce
from daemon.tiling.grid import TILE_PX, Tile


class XyzSource:
    """Tiles of a directory or server as 256 px tiles. See `ImagerySource` for what its methods mean.

    Args:
        settings: the source as configured.
        tiles: where its files are.
        max_pixels: an image with more is refused before it is decoded.
    """

    def __init__(self, settings: Imagery, tiles: DirectoryTiles | HttpTiles, max_pixels: int):
        self.name, self.licence, self.attribution = settings.name, settings.licence, settings.attribution
        self.acquired = settings.acquired
        self.min_zoom, self.max_zoom = settings.min_zoom, settings.max_zoom
        self._settings = settings
        self._tiles = tiles
        self._max_pixels = max_pixels
        self._shift = 1 if settings.tile_size == 512 else 0
        self._zooms: set[int] = set()
        #: Only for images of which several tiles are made; keyed by content, so a file that changes is seen.
        self._decode_shared = lru_cache(maxsize=16)(self._decode)

    def tile(self, tile: Tile) -> TileImage | None:
        near = self._nearest(tile.z)
        if near is None:
            return None
        if near == tile.z:
            return self._whole(tile)
        if near > tile.z:
            return self._halved(tile)
        above = self._whole(parent(tile), shared=True)
        return None if above is None else quarter(enlarge(above), tile)

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        if isinstance(self._tiles, HttpTiles):
            return None
        near = self._nearest(zoom)
        if near is None:
            return set()
        found: Iterable[Tile] = self._tiles.tiles(near - self._shift, since)
        for _ in range(self._shift):
            found = [child for tile in found for child in children(tile)]
        if near < zoom:
            found = (child for tile in found for child in children(tile))
        elif near > zoom:
            found = (parent(tile) for tile in found)
        return set(found)

    def content(self, zoom: int) -> Content:
        if isinstance(self._tiles, HttpTiles):
            return Content()
        self._tiles.require_root()
        near = self._nearest(zoom)
        return Content() if near is None else Content(*self._tiles.state(near - self._shift))

    def check(self) -> list[str]:
        if self._tiles.problem:
            return [self._tiles.problem]
        if not self.zooms():
            return [
                f"{self._settings.url}: no tiles of zoom {self.min_zoom} to {self.max_zoom} found; "
                "expected {z}/{x}/{y} with .png, .webp, .jpg or .jpeg, or a template"
            ]
        return []

    def zooms(self) -> set[int]:
        """Zooms at which 256 px tiles can be had without enlarging or reducing."""
        if not self._zooms:
            there = set(range(self.min_zoom, self.max_zoom + 1))
            if isinstance(self._tiles, DirectoryTiles):
                there &= self._tiles.zooms()
            self._zooms = {zoom + self._shift for zoom in there}
        return self._zooms

    def close(self) -> None:
        self._decode_shared.cache_clear()

    def _nearest(self, zoom: int) -> int | None:
        """The zoom that tiles of `zoom` are made of."""
        zooms = self.zooms()
        return next((z for z in (zoom, zoom - 1, zoom + 1) if z in zooms), None)

    def _whole(self, tile: Tile, shared: bool = False) -> TileImage | None:
        """A 256 px tile of a zoom that is there."""
        if self._shift:
            image = self._image(parent(tile), shared=True)
            return None if image is None else quarter(image, tile)
        return self._image(tile, shared)

    def _halved(self, tile: Tile) -> TileImage | None:
        """A 256 px tile made of what is one zoom below."""
        if self._shift:
            image = self._image(tile)
            return None if image is None else reduce(image)
        pixels = np.zeros((2 * TILE_PX, 2 * TILE_PX, 3), np.uint8)
        valid = np.zeros((2 * TILE_PX, 2 * TILE_PX), bool)
        for child in children(tile):
            image = self._image(child)
            if image is not None:
                row, column = (child.y & 1) * TILE_PX, (child.x & 1) * TILE_PX
                pixels[row : row + TILE_PX, column : column + TILE_PX] = image.pixels
                valid[row : row + TILE_PX, column : column + TILE_PX] = image.valid
        return reduce(TileImage(pixels, valid)) if valid.any() else None

    def _image(self, tile: Tile, shared: bool = False) -> TileImage | None:
        """The image file of `tile` in its own size."""
        found = self._tiles.read(tile)
        if found is None:
            return None
        image = (self._decode_shared if shared else self._decode)(*found)
        return image if image.valid.any() else None

    def _decode(self, data: bytes, origin: str) -> TileImage:
        image = decode(data, origin, max_pixels=self._max_pixels, size=self._settings.tile_size)
        nodata = self._settings.nodata
        if nodata is not None and len(nodata) != 3:
            raise ImageInvalid(f"{self.name}: nodata must be [red, green, blue]")
        return mask_nodata(image, nodata, self._settings.mask_blank)
