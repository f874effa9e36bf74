"""Web-mercator tiles (XYZ, row 0 in the north) and the aligned blocks that are processed together.

Formulas: OGC 17-083r2 "Two Dimensional Tile Matrix Set", WebMercatorQuad; latitudes are clipped to +-85.0511 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.base import EARTH_RADIUS_M

#: Half the side of the web-mercator world in metres.
HALF_WORLD_M = math.pi * EARTH_RADIUS_M
#: Latitude where the web-mercator square ends, in degrees.
MAX_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
#: Pixels along one side of a tile.
TILE_PX = 256


class Tile(NamedTuple):
    """One tile of the pyramid."""

    z: int
    x: int
    y: int

    def __str__(self) -> str:
        return f"{self.z}/{self.x}/{self.y}"


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """An aligned square of `side` x `side` tiles of zoom `z`, judged as one image.

    Attributes:
        z: zoom of the tiles.
        bx, by: column and row of the block: its first tile is (bx * side, by * side).
        side: tiles along one side.
    """

    z: int
    bx: int
    by: int
    side: int

    @classmethod
    def of(cls, tile: Tile, side: int) -> Block:
        """The block that holds `tile`."""
        return cls(tile.z, tile.x // side, tile.y // side, side)

    def tiles(self) -> Iterator[Tile]:
        """Its tiles, row by row; tiles beyond the edge of the world are left out."""
        n = 1 << self.z
        for y in range(self.by * self.side, min((self.by + 1) * self.side, n)):
            for x in range(self.bx * self.side, min((self.bx + 1) * self.side, n)):
                yield Tile(self.z, x, y)

    def mercator(self, margin_px: int = 0) -> tuple[float, float, float, float]:
        """(minx, miny, maxx, maxy) in EPSG:3857 metres, widened by `margin_px` pixels on each side."""
        size = 2 * HALF_WORLD_M / (1 << self.z)
        margin = size * margin_px / TILE_PX
        minx = self.bx * self.side * size - HALF_WORLD_M
        maxy = HALF_WORLD_M - self.by * self.side * size
        extent = self.side * size
        return minx - margin, maxy - extent - margin, minx + extent + margin, maxy + margin

    def lonlat(self, margin_px: int = 0) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees, widened by `margin_px` pixels on each side."""
        minx, miny, maxx, maxy = self.mercator(margin_px)
        west, south = mercator_to_lonlat(minx, miny)
        east, north = mercator_to_lonlat(maxx, maxy)
        return west, south, east, north

    def __str__(self) -> str:
        return f"{self.z}/{self.bx * self.side}/{self.by * self.side}+{self.side}"


def blocks_of(tiles: Iterable[Tile], side: int) -> dict[Block, list[Tile]]:
    """Group tiles by the block that holds them, in the order in which blocks first appear."""
    grouped: dict[Block, list[Tile]] = {}
    for tile in tiles:
        grouped.setdefault(Block.of(tile, side), []).append(tile)
    return grouped


def mercator_to_lonlat(x: float, y: float) -> tuple[float, float]:
    """EPSG:3857 metres -> degrees."""
    return math.degrees(x / EARTH_RADIUS_M), math.degrees(math.atan(math.sinh(y / EARTH_RADIUS_M)))


def lonlat_to_mercator(lon: float, lat: float) -> tuple[float, float]:
    """Degrees -> EPSG:3857 metres; the latitude is clipped to the mercator square."""
    lat = max(-MAX_LATITUDE, min(MAX_LATITUDE, lat))
    return math.radians(lon) * EARTH_RADIUS_M, math.asinh(math.tan(math.radians(lat))) * EARTH_RADIUS_M


def fractional_tiles(lon: np.ndarray, lat: np.ndarray, z: int) -> tuple[np.ndarray, np.ndarray]:
    """Degrees [N] -> tile coordinates with fraction, float64 [N], clipped to 0 .. 2**z."""
    n = float(1 << z)
    lat = np.radians(np.clip(lat, -MAX_LATITUDE, MAX_LATITUDE))
    x = (np.asarray(lon, dtype=np.float64) + 180.0) / 360.0 * n
    y = (1.0 - np.arcsinh(np.tan(lat)) / math.pi) / 2.0 * n
    return np.clip(x, 0, n), np.clip(y, 0, n)


def tile_at(lon: float, lat: float, z: int) -> Tile:
    """The tile that holds a point; the eastern and southern edge of the world belong to the last tile."""
    x, y = fractional_tiles(np.array([lon]), np.array([lat]), z)
    last = (1 << z) - 1
    return Tile(z, min(int(x[0]), last), min(int(y[0]), last))


def ground_sample_distance(zoom: int, lat: float) -> float:
    """True metres that one pixel of a 256 px tile covers at a latitude in degrees."""
    return 2 * HALF_WORLD_M / (1 << zoom) / TILE_PX * math.cos(math.radians(lat))
