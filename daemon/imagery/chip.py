"""Tiles put together to the chip of a block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import cv2
import numpy as np

from daemon.imagery.layout import Layout
from daemon.imagery.source import oldest
from daemon.tiling.grid import TILE_PX, Block, Tile
from detectors.base import Chip


@dataclass(frozen=True, slots=True)
class Patch:
    """Where a tile goes.

    Attributes:
        tile: the tile to ask for.
        row, column: its place in tiles from the block's upper left tile; negative, or `side` and above, in the margin.
    """

    tile: Tile
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What one source gives for a tile.

    Attributes:
        pixels: uint8 or uint16 [256, 256, C].
        valid: bool [256, 256]: where to take them.
        acquired: the oldest day on which they were taken, None where that is not known.
    """

    source: str
    pixels: np.ndarray
    valid: np.ndarray
    acquired: date | None


def assemble(
    block: Block,
    margin_px: int,
    patches: Iterable[Patch],
    pieces: Mapping[Tile, Sequence[Piece]],
    layout: Layout,
) -> Chip:
    """The chip of a block, cut to its margin.

    Args:
        patches: the block's tiles and those that its margin touches.
        pieces: what there is for each tile; valid areas of one tile's pieces do not overlap.
        layout: how many bands of which depth all pieces have.
    """
    side = block.side * TILE_PX + 2 * margin_px
    pixels = np.zeros((side, side, len(layout.bands)), layout.dtype)
    valid = np.zeros((side, side), bool)
    given: Counter[str] = Counter()
    days: set[date | None] = set()
    for patch in patches:
        top, left = patch.row * TILE_PX + margin_px, patch.column * TILE_PX + margin_px
        first_row, first_column = max(0, -top), max(0, -left)
        rows, columns = min(TILE_PX, side - top), min(TILE_PX, side - left)
        inner = np.s_[first_row:rows, first_column:columns]
        outer = np.s_[top + first_row : top + rows, left + first_column : left + columns]
        for piece in pieces.get(patch.tile, ()):
            take = piece.valid[inner]
            count = int(np.count_nonzero(take))
            if count == 0:
                continue
            given[piece.source] += count
            days.add(piece.acquired)
            if count == take.size:
                pixels[outer], valid[outer] = piece.pixels[inner], True
            else:
                pixels[outer][take] = piece.pixels[inner][take]
                valid[outer] |= take
    fill_invalid(pixels, valid)
    source = given.most_common(1)[0][0] if given else ""
    return Chip(pixels, valid, block.mercator(margin_px), oldest(days), source)


def fill_invalid(pixels: np.ndarray, valid: np.ndarray) -> None:
    """Give every invalid pixel, in place, the colour of the nearest valid one.

    Networks take a black edge for an object's; going on with what is there disturbs them least.
    """
    if valid.all() or not valid.any():
        return
    invalid = (~valid).view(np.uint8)
    # Each valid pixel has a label of its own, and each invalid one the label of the valid pixel nearest to it.
    _, labels = cv2.distanceTransformWithLabels(invalid, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((int(labels.max()) + 1, pixels.shape[2]), pixels.dtype)
    colours[labels[valid]] = pixels[valid]
    pixels[~valid] = colours[labels[~valid]]
