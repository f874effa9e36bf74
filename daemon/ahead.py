"""The block that is next, seen while the one in hand is judged: its pixels are loaded, and the networks look at them.

Nothing is leased ahead: what is in hand is one block, as ever, and a kill loses no more than it did. The block that is
next is a guess; where it turns out to be another, that one is seen when it matters. All seeing is done in one thread of
its own: an engine belongs to one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.config import Tiling
from daemon.eyes import Eye
from daemon.imagery import Imagery
from daemon.pace import Pace
from daemon.tiling.grid import TILE_PX, Block, Tile
from daemon.tiling.queue import next_block
from detectors.base import Chip, Probabilities

#: What was seen longer ago than this many seconds is looked at again: the imagery may be another.
KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Sight:
    """A block's pixels, and what each eye sees in them (nothing where there is no imagery)."""

    chip: Chip
    answers: tuple[Probabilities, ...]


class Ahead:
    """Sees blocks, one ahead. To be used by one thread."""

    def __init__(self, imagery: Imagery, tiling: Tiling, eyes: Callable[[], Sequence[Eye]], pace: Pace):
        self._imagery = imagery
        self._tiling = tiling
        self._eyes = eyes
        self._pace = pace
        self._pool = ThreadPoolExecutor(1, "ahead")
        self._coming: tuple[Block, float, Future[Sight]] | None = None
        self._expected: Block | None = None

    def expect(self, cursor: Cursor, now: datetime) -> None:
        """Find out which block is next once the one just leased is done; in the transaction of that lease."""
        self._expected = next_block(cursor, side=self._tiling.block, now=now)

    def see(self, block: Block) -> Sight:
        """The block as it looks; the expected one begins to be looked at.

        Raises:
            MapgapError: as `Imagery.chip`.
            ModelError: as `Eye.look`. A failure to look ahead is none: it is tried again when it matters.
        """
        coming, self._coming = self._coming, None
        sight = None
        with self._pace.spend("wait"):
            if coming is not None and coming[0] == block and time.monotonic() - coming[1] < KEPT_S:
                sight = None if coming[2].exception() else coming[2].result()
            if sight is None:
                sight = self._pool.submit(self._see, block).result()
        if self._expected not in (None, block):
            self._coming = self._expected, time.monotonic(), self._pool.submit(self._see, self._expected)
        self._expected = None
        return sight

    def _see(self, block: Block) -> Sight:
        with self._pace.spend("imagery"):
            chip = self._imagery.chip(block, self._tiling.margin)
        if not tiles_with_imagery(chip.valid, block, self._tiling.margin):
            return Sight(chip, ())
        eyes = self._eyes()
        with self._pace.spend("engine"):
            return Sight(chip, tuple(eye.look(chip) for eye in eyes))

    def close(self) -> None:
        """Wait for what is being seen, and look at nothing more."""
        self._pool.shutdown(cancel_futures=True)


def tiles_with_imagery(valid: np.ndarray, block: Block, margin: int) -> frozenset[Tile]:
    """The tiles of a block that have any pixel of imagery.

    Args:
        valid: bool [H, W] of the block's chip with its margin.
        margin: pixels.
    """
    first = next(block.tiles())
    return frozenset(
        tile
        for tile in block.tiles()
        if valid[
            margin + (tile.y - first.y) * TILE_PX : margin + (tile.y - first.y + 1) * TILE_PX,
            margin + (tile.x - first.x) * TILE_PX : margin + (tile.x - first.x + 1) * TILE_PX,
        ].any()
    )
