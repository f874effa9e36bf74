"""What every source of imagery is, and the pixels it gives.

"No imagery" is a state, not an error: it is told by None for a whole tile, and by `TileImage.valid` within one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import cv2
import numpy as np

from daemon.imagery.layout import Layout
from daemon.tiling.grid import HALF_WORLD_M, TILE_PX, Tile


@dataclass(frozen=True, slots=True)
class TileImage:
    """Pixels of one tile.

    Attributes:
        pixels: uint8 or uint16 [S, S, C] as the source's `layout` says; S is 256 for what its `tile` returns.
        valid: bool [S, S]; False where there is no imagery. The pixels there mean nothing.
        acquired: the oldest day on which any of it was taken, None where that is not known.
    """

    pixels: np.ndarray
    valid: np.ndarray
    acquired: date | None = None


@dataclass(frozen=True, slots=True)
class Here:
    """What is known of a source's imagery at one place without its pixels.

    Attributes:
        acquired: the oldest day on which it was taken, None where that is not known.
        resolution: mercator metres of one of its own pixels.
    """

    acquired: date | None
    resolution: float


@dataclass(frozen=True, slots=True)
class Content:
    """The state of a source's files.

    Attributes:
        digest: another one as soon as a file is another; "" where there are no files to look at.
        newest: when the newest file came (seconds since 1970), None where that is not known.
    """

    digest: str = ""
    newest: float | None = None


class ImagerySource(Protocol):
    """Where imagery comes from. Sources may be used by several threads at once."""

    name: str
    licence: str
    attribution: str
    #: Day the imagery was taken where nothing more is known of a place, None where that is not known either.
    acquired: date | None
    layout: Layout
    min_zoom: int
    max_zoom: int

    def tile(self, tile: Tile) -> TileImage | None:
        """The tile's pixels at 256 px, None where there is no imagery.

        Raises:
            ImageInvalid: there is a file, but it is not an image that can be used.
            ImageryUnavailable: server or disk failing; the same call may succeed later.
        """
        ...

    def here(self, tile: Tile) -> Here | None:
        """What is known of the imagery at a tile, None where it is known that there is none.

        Raises:
            ImageInvalid, ImageryUnavailable: as for `tile`.
        """
        ...

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        """Tiles of `zoom` that have imagery, None where the source cannot tell without asking for each.

        Args:
            since: only tiles that may have changed after this time (seconds since 1970).

        Raises:
            ImageryUnavailable: as for `tile`.
        """
        ...

    def content(self, zoom: int) -> Content:
        """What can be told of the imagery of `zoom` without reading it.

        Raises:
            ImageryUnavailable: as for `tile`.
        """
        ...

    def zooms(self) -> set[int]:
        """Zooms that the source has in its own resolution, for messages."""
        ...

    def check(self) -> list[str]:
        """What is wrong with the source as far as can be seen without asking for a tile; [] when all is well.

        Raises:
            ImageInvalid, ImageryUnavailable: a service does not describe itself.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def enlarge(image: TileImage) -> TileImage:
    """Twice the size, bilinear; validity is repeated, never interpolated."""
    height, width = image.valid.shape
    pixels = cv2.resize(image.pixels, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return TileImage(_banded(pixels), image.valid.repeat(2, axis=0).repeat(2, axis=1), image.acquired)


def reduce(image: TileImage) -> TileImage:
    """Half the size, each pixel the mean of four; valid only where all four are."""
    height, width = image.valid.shape
    pixels = cv2.resize(image.pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    valid = image.valid.reshape(height // 2, 2, width // 2, 2).all(axis=(1, 3))
    return TileImage(_banded(pixels), valid, image.acquired)


def quarter(image: TileImage, tile: Tile) -> TileImage:
    """The 256 px quarter of a 512 px image that `tile` is of its parent."""
    row, column = (tile.y & 1) * TILE_PX, (tile.x & 1) * TILE_PX
    part = np.s_[row : row + TILE_PX, column : column + TILE_PX]
    return TileImage(image.pixels[part], image.valid[part], image.acquired)


def _banded(pixels: np.ndarray) -> np.ndarray:
    """[H, W, C]: OpenCV drops the last axis of pictures of one band."""
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def oldest(days: Iterable[date | None]) -> date | None:
    """Of what is put together: its oldest day, None as soon as one is not known or there is nothing."""
    known = list(days)
    return None if not known or None in known else min(day for day in known if day is not None)


def resolution_at(zoom: int) -> float:
    """Mercator metres of a pixel of a 256 px tile."""
    return 2 * HALF_WORLD_M / TILE_PX / (1 << zoom)


def parent(tile: Tile) -> Tile:
    """The tile one zoom above that holds `tile`."""
    return Tile(tile.z - 1, tile.x >> 1, tile.y >> 1)


def children(tile: Tile) -> list[Tile]:
    """The four tiles one zoom below, row by row from the north-west."""
    return [Tile(tile.z + 1, 2 * tile.x + column, 2 * tile.y + row) for row in (0, 1) for column in (0, 1)]
