"""Where on earth the rendered town lies, and its imagery cut into tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from daemon.tiling.grid import TILE_PX, Block, Tile, tile_at
from detectors.base import EARTH_RADIUS_M, Frame

#: Zoom of the demo's imagery: 0.27 m a pixel at 27 degrees north.
ZOOM = 19
#: Upper left tile: open desert in the Thar, where no town stands.
ORIGIN = Tile(ZOOM, 365_000, 221_000)
#: Degrees that OSM can tell apart.
PRECISION = 7
JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Place:
    """`columns` x `rows` tiles of imagery from the tile `origin` to the east and south."""

    columns: int
    rows: int
    origin: Tile = ORIGIN

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rows * TILE_PX, self.columns * TILE_PX

    @property
    def mercator(self) -> tuple[float, float, float, float]:
        """(minx, miny, maxx, maxy) in EPSG:3857 metres."""
        first = Block(self.origin.z, self.origin.x, self.origin.y, 1).mercator()
        last = Block(self.origin.z, self.origin.x + self.columns - 1, self.origin.y + self.rows - 1, 1).mercator()
        return first[0], last[1], last[2], first[3]

    @property
    def gsd_m(self) -> float:
        """True metres for one pixel."""
        return Frame(self.mercator, self.shape).gsd

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        return tuple(round(float(v), PRECISION) for v in self.to_lonlat(box(0, 0, self.shape[1], self.shape[0])).bounds)

    @property
    def tiles(self) -> list[Tile]:
        return [
            Tile(self.origin.z, self.origin.x + column, self.origin.y + row)
            for row in range(self.rows) for column in range(self.columns)
        ]

    def to_lonlat(self, geometry: BaseGeometry) -> BaseGeometry:
        """Pixels of the whole picture -> degrees, rounded as OSM stores them."""
        minx, _, maxx, maxy = self.mercator
        step = (maxx - minx) / self.shape[1]

        def unproject(pixels: np.ndarray) -> np.ndarray:
            lon = np.degrees((minx + pixels[:, 0] * step) / EARTH_RADIUS_M)
            lat = np.degrees(np.arctan(np.sinh((maxy - pixels[:, 1] * step) / EARTH_RADIUS_M)))
            return np.round(np.column_stack([lon, lat]), PRECISION)

        return shapely.transform(geometry, unproject)

    def moved(self, geometry: BaseGeometry, east_m: float, north_m: float) -> BaseGeometry:
        """A geometry in pixels, moved by true metres."""
        return shapely.transform(geometry, lambda xy: xy + np.array([east_m, -north_m]) / self.gsd_m)

    def write_imagery(self, pixels: np.ndarray, directory: Path) -> None:
        """Cut uint8 [H, W, 3] RGB into `directory`/{z}/{x}/{y}.jpg."""
        for tile in self.tiles:
            row, column = (tile.y - self.origin.y) * TILE_PX, (tile.x - self.origin.x) * TILE_PX
            path = directory / str(tile.z) / str(tile.x) / f"{tile.y}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = pixels[row : row + TILE_PX, column : column + TILE_PX, ::-1]
            _, coded = cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            path.write_bytes(coded.tobytes())


def tiles_under(geometry: BaseGeometry, zoom: int) -> set[tuple[int, int]]:
    """Columns and rows of all tiles that a lon/lat geometry touches."""
    west, south, east, north = geometry.bounds
    first, last = tile_at(west, north, zoom), tile_at(east, south, zoom)
    shapely.prepare(geometry)
    return {
        (x, y)
        for x in range(first.x, last.x + 1) for y in range(first.y, last.y + 1)
        if geometry.intersects(box(*Block(zoom, x, y, 1).lonlat()))
    }


def area_m2(polygon: Polygon) -> float:
    """True area of a small lon/lat polygon."""
    north = math.cos(math.radians(polygon.centroid.y)) * EARTH_RADIUS_M**2 * math.radians(1) ** 2
    return polygon.area * north
