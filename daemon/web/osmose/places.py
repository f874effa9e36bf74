"""Where issues lie on the Z-order curve by which the ledger keeps them (sql/0012_web.sql), and what a box is there.

A tile is one stretch of the curve. A box is covered by a few tiles, which are a few stretches, and whoever reads them
looks at each point's lon/lat once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from daemon.tiling.grid import Tile, fractional_tiles

Bbox = tuple[float, float, float, float]

#: Zoom of the finest tiles, whose numbers the curve interleaves.
DEEPEST = 31
#: All of the curve.
LAST_PLACE = (1 << 2 * DEEPEST) - 1
WORLD: Bbox = (-180.0, -90.0, 180.0, 90.0)
#: A box is covered by at most so many tiles: more fit it better, and each costs a search.
MOST_TILES = 12


class Stretch(NamedTuple):
    """A piece of the curve, and the box that a point on it must lie in."""

    low: int
    high: int
    box: Bbox


def stretch_of_tile(tile: Tile) -> Stretch | None:
    """The whole of a tile; None where there is no such tile."""
    if not 0 <= tile.z <= DEEPEST or not (0 <= tile.x < 1 << tile.z and 0 <= tile.y < 1 << tile.z):
        return None
    below = 2 * (DEEPEST - tile.z)
    first = place_of(tile) << below
    return Stretch(first, first + (1 << below) - 1, WORLD)


def stretches_of(boxes: Iterable[Bbox]) -> list[Stretch]:
    """What covers lon/lat boxes that do not overlap, in the order of the curve."""
    return sorted(stretch for box in boxes for stretch in _cover(box))


def place_of(tile: Tile) -> int:
    """2 z bits: those of the row and of the column in turn, the row's first."""
    return _spread(tile.x) | _spread(tile.y) << 1


def square_of(place: int) -> tuple[int, int]:
    """(x, y): the bits of a place, taken apart."""
    return _gather(place), _gather(place >> 1)


def _cover(box: Bbox) -> list[Stretch]:
    west, south, east, north = box
    if west <= -180 and east >= 180 and south <= -90 and north >= 90:
        return [Stretch(0, LAST_PLACE, box)]
    x, y = fractional_tiles(np.array([west, east]), np.array([north, south]), DEEPEST)
    last = (1 << DEEPEST) - 1
    left, right = (min(int(v), last) for v in x)
    top, bottom = (min(int(v), last) for v in y)
    shift = DEEPEST
    while shift and _tiles(left, right, top, bottom, shift - 1) <= MOST_TILES:
        shift -= 1
    pieces = sorted(
        place_of(Tile(DEEPEST - shift, column, row))
        for row in range(top >> shift, (bottom >> shift) + 1)
        for column in range(left >> shift, (right >> shift) + 1)
    )
    stretches: list[Stretch] = []
    for piece in pieces:
        low = piece << 2 * shift
        high = low + (1 << 2 * shift) - 1
        if stretches and stretches[-1].high == low - 1:
            stretches[-1] = Stretch(stretches[-1].low, high, box)
        else:
            stretches.append(Stretch(low, high, box))
    return stretches


def _tiles(left: int, right: int, top: int, bottom: int, shift: int) -> int:
    return ((right >> shift) - (left >> shift) + 1) * ((bottom >> shift) - (top >> shift) + 1)


def _spread(number: int) -> int:
    """A zero between the bits: 0b111 -> 0b10101."""
    return int("0".join(f"{number:b}"), 2)


def _gather(number: int) -> int:
    """Every second bit, the last one among them: 0b10101 -> 0b111."""
    return int(f"{number:b}"[::-2][::-1], 2)
