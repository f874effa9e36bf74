"""Where a source has imagery at all: polygons in lon/lat, on the tile grid."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.imagery.layout import Layout
from daemon.imagery.source import Content, Here, ImagerySource, TileImage
from daemon.tiling.grid import TILE_PX, Block, Tile, fractional_tiles

#: Tiles that are looked at to tell a coverage; an area with more does not tell.
COVERAGE_MOST = 1_000_000
#: What of a tile's side counts as nothing.
HAIR = 1e-6
#: Fractional bits of coordinates given to OpenCV.
_BITS = 4


def tiles_touching(area: BaseGeometry, zoom: int) -> set[Tile] | None:
    """Tiles that an area touches, None where they are too many to go through."""
    west, south, east, north = area.bounds
    (first_x, last_x), (first_y, last_y) = fractional_tiles(np.array([west, east]), np.array([north, south]), zoom)
    last = (1 << zoom) - 1
    xs = np.arange(int(first_x), min(int(last_x), last) + 1)
    ys = np.arange(int(first_y), min(int(last_y), last) + 1)
    if len(xs) * len(ys) > COVERAGE_MOST:
        return None
    shapely.prepare(area)
    lons = np.append(xs, xs[-1] + 1) / (1 << zoom) * 360 - 180
    lats = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * np.append(ys, ys[-1] + 1) / (1 << zoom)))))
    found = set()
    for row, y in enumerate(ys):
        hair = HAIR * (lons[1] - lons[0])
        boxes = shapely.box(lons[:-1] + hair, lats[row + 1] + hair, lons[1:] - hair, lats[row] - hair)
        touched = shapely.intersects(area, boxes)
        found.update(Tile(zoom, int(x), int(y)) for x in xs[touched])
    return found


def touches(area: BaseGeometry, tile: Tile) -> bool:
    """Whether an area has a part of a tile; one that only shares its edge has none."""
    west, south, east, north = Block(tile.z, tile.x, tile.y, 1).lonlat()
    hair = HAIR * (east - west)
    return bool(shapely.intersects(area, shapely.box(west + hair, south + hair, east - hair, north - hair)))


def inside(area: BaseGeometry, tile: Tile) -> np.ndarray:
    """The pixels of a tile that lie in an area, bool [256, 256]."""
    box = shapely.box(*Block(tile.z, tile.x, tile.y, 1).lonlat())
    if shapely.covers(area, box):
        return np.ones((TILE_PX, TILE_PX), bool)
    drawn = np.zeros((TILE_PX, TILE_PX), np.uint8)
    for part in shapely.get_parts(shapely.intersection(area, box)):
        if part.geom_type == "Polygon":
            rings = [_pixels(ring, tile) for ring in (part.exterior, *part.interiors)]
            cv2.fillPoly(drawn, rings, 1, cv2.LINE_8, _BITS)
    return drawn.astype(bool)


def _pixels(ring: BaseGeometry, tile: Tile) -> np.ndarray:
    lonlat = shapely.get_coordinates(ring)
    x, y = fractional_tiles(lonlat[:, 0], lonlat[:, 1], tile.z)
    points = np.column_stack([(x - tile.x), (y - tile.y)]) * TILE_PX - 0.5
    return np.round(points * (1 << _BITS)).astype(np.int32)


class Within:
    """A source that has nothing outside of an area. See `ImagerySource` for what its methods mean."""

    def __init__(self, source: ImagerySource, area: BaseGeometry):
        self._source, self._area = source, area
        shapely.prepare(area)
        self.name, self.licence, self.attribution = source.name, source.licence, source.attribution
        self.acquired = source.acquired
        self.min_zoom, self.max_zoom = source.min_zoom, source.max_zoom
        self.layout: Layout = source.layout

    def tile(self, tile: Tile) -> TileImage | None:
        image = self._source.tile(tile) if touches(self._area, tile) else None
        if image is None:
            return None
        valid = image.valid & inside(self._area, tile)
        return replace(image, valid=valid) if valid.any() else None

    def here(self, tile: Tile) -> Here | None:
        return self._source.here(tile) if touches(self._area, tile) else None

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        found = self._source.coverage(zoom, since)
        return None if found is None else {tile for tile in found if touches(self._area, tile)}

    def content(self, zoom: int) -> Content:
        return self._source.content(zoom)

    def zooms(self) -> set[int]:
        return self._source.zooms()

    def check(self) -> list[str]:
        return self._source.check()

    def close(self) -> None:
        self._source.close()
