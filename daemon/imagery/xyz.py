"""Sources of tiles on the web-mercator grid: a directory, a server or service, an MBTiles file.

A 512 px image of zoom z covers the ground of tile z/x/y, so it is four 256 px tiles of zoom z + 1. Where the zoom that
is asked for is not there, the one above is enlarged to twice its size, or else the one below reduced to half: one
level, no more, for a network sees neither buildings of four times the size nor blur that it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import lru_cache

import numpy as np

from daemon.config import Imagery
from daemon.imagery.dates import MetadataService
from daemon.imagery.decode import decode, mask_nodata
from daemon.imagery.directory import DirectoryTiles
from daemon.imagery.documents import shown_place
from daemon.imagery.files import TileFiles
from daemon.imagery.layout import Layout
from daemon.imagery.source import (
    Content,
    Here,
    TileImage,
    children,
    enlarge,
    oldest,
    parent,
    quarter,
    reduce,
    resolution_at,
)
from daemon.tiling.grid import TILE_PX, Tile


class XyzSource:
    """Image files by tile as 256 px tiles. See `ImagerySource` for what its methods mean.

    Args:
        settings: the source as configured.
        tiles: where its files are.
        max_pixels: an image with more is refused before it is decoded.
        days: tells when a tile was taken where its file does not.
        warp: brings an image of another coordinate system to the tile that it was asked for.
    """

    def __init__(
        self, settings: Imagery, tiles: TileFiles, max_pixels: int, *, days: MetadataService | None = None,
        warp: Callable[[TileImage, Tile], TileImage] | None = None,
    ):
        self.name, self.licence, self.attribution = settings.name, settings.licence, settings.attribution
        self.acquired = settings.acquired
        self.min_zoom, self.max_zoom = settings.min_zoom, settings.max_zoom
        self.layout = Layout.of(settings)
        self._settings = settings
        self._tiles = tiles
        self._max_pixels = max_pixels
        self._shift = 1 if settings.tile_size == 512 else 0
        self._days = days
        self._warp = warp
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

    def here(self, tile: Tile) -> Here | None:
        finest = resolution_at(max(self.zooms(), default=0))
        near = self._nearest(tile.z)
        if near is None:
            return None
        if not self._settings.date_header:
            return Here(self._day(tile, None), finest)
        image = self.tile(tile)  # only the file itself tells
        return None if image is None else Here(image.acquired, finest)

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        near = self._nearest(zoom)
        if near is None:
            return set()
        found = self._tiles.tiles(near - self._shift, since)
        if found is None:
            return None
        for _ in range(self._shift):
            found = [child for tile in found for child in children(tile)]
        if near < zoom:
            found = (child for tile in found for child in children(tile))
        elif near > zoom:
            found = (parent(tile) for tile in found)
        return set(found)

    def content(self, zoom: int) -> Content:
        near = self._nearest(zoom)
        return Content(*self._tiles.state((zoom if near is None else near) - self._shift))

    def check(self) -> list[str]:
        problems = self._tiles.check()
        if not problems and not self.zooms():
            problems = [
                f"{shown_place(self._settings.url)}: no tiles of zoom {self.min_zoom} to {self.max_zoom} found"
                + ("; expected {z}/{x}/{y} with .png, .webp, .jpg or .jpeg, or a template"
                   if isinstance(self._tiles, DirectoryTiles) else "")
            ]
        return problems

    def zooms(self) -> set[int]:
        """Zooms at which 256 px tiles can be had without enlarging or reducing."""
        if not self._zooms:
            there = set(range(self.min_zoom, self.max_zoom + 1))
            own = self._tiles.zooms()
            self._zooms = {zoom + self._shift for zoom in (there if own is None else there & own)}
        return self._zooms

    def close(self) -> None:
        self._decode_shared.cache_clear()
        self._tiles.close()

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
        pixels = np.zeros((2 * TILE_PX, 2 * TILE_PX, len(self.layout.bands)), self.layout.dtype)
        valid = np.zeros((2 * TILE_PX, 2 * TILE_PX), bool)
        days = set()
        for child in children(tile):
            image = self._image(child)
            if image is not None:
                row, column = (child.y & 1) * TILE_PX, (child.x & 1) * TILE_PX
                pixels[row : row + TILE_PX, column : column + TILE_PX] = image.pixels
                valid[row : row + TILE_PX, column : column + TILE_PX] = image.valid
                days.add(image.acquired)
        return reduce(TileImage(pixels, valid, oldest(days))) if valid.any() else None

    def _image(self, tile: Tile, shared: bool = False) -> TileImage | None:
        """The image file of `tile` in its own size."""
        found = self._tiles.read(tile)
        if found is None:
            return None
        image = (self._decode_shared if shared else self._decode)(found.data, found.origin)
        if self._warp is not None:
            image = self._warp(image, tile)
        return replace(image, acquired=self._day(tile, found.acquired)) if image.valid.any() else None

    def _day(self, tile: Tile, told: date | None) -> date | None:
        """The day of a tile: what came with its file, what the service says, that of the source."""
        if told is None and self._days is not None:
            told = self._days.day(tile)
        return told or self.acquired

    def _decode(self, data: bytes, origin: str) -> TileImage:
        settings = self._settings
        image = decode(data, origin, max_pixels=self._max_pixels, size=settings.tile_size, layout=self.layout)
        return mask_nodata(image, settings.nodata, settings.mask_blank)
