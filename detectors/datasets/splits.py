"""Which ground is for training and which for testing: whole blocks, chosen by position and seed alone.

Neighbours look alike, and imagery and labels go on across borders: a test next door to the training flatters the model.
So a sample of the training that touches ground of a test block is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import shapely

#: Where two splits touch, the one further back gives way.
RANKS = ("train", "validation", "test")


def draw_split(seed: int, column: int, row: int, shares: Mapping[str, float]) -> str:
    """The split of a block: a function of seed and position, so that data sets which grow keep their splits.

    Args:
        shares: of all blocks, by split: {"test": 0.2}; the rest is "train".

    Raises:
        ValueError: unknown splits, or shares that leave nothing for the training.
    """
    unknown = set(shares) - set(RANKS[1:])
    if unknown or not all(share >= 0 for share in shares.values()) or not sum(shares.values()) < 1:
        raise ValueError(f"shares {dict(shares)}: expected {', '.join(RANKS[1:])} with a sum below 1")
    digest = hashlib.sha256(f"{seed}/{column}/{row}".encode()).digest()
    drawn = int.from_bytes(digest[:8], "big") / 2**64
    for name in reversed(RANKS[1:]):
        drawn -= shares.get(name, 0.0)
        if drawn < 0:
            return name
    return RANKS[0]


def split_of_tile(x: int, y: int, side: int, seed: int, shares: Mapping[str, float]) -> str | None:
    """The split of a tile in blocks of `side` x `side` tiles; None for one that touches a split it gives way to.

    Looks at positions only, not at which tiles there are. No two tiles of different splits touch, not even at corners.
    """
    own = draw_split(seed, x // side, y // side, shares)
    around = {
        (column // side, row // side) for column in (x - 1, x, x + 1) for row in (y - 1, y, y + 1)
    }
    ranks = [RANKS.index(draw_split(seed, *block, shares)) for block in around]
    return own if max(ranks) <= RANKS.index(own) else None


def split_boxes(
    boxes: np.ndarray, block: float, seed: int, shares: Mapping[str, float], gap: float = 0.0
) -> Sequence[str | None]:
    """The splits of boxes that lie anywhere, by the block of their centre.

    Args:
        boxes: float [N, 4], (minx, miny, maxx, maxy) in metres.
        block: side of the blocks, metres.
        gap: what comes nearer than this to a split it gives way to is left out, metres.

    Returns:
        N splits; None for boxes that touch one of a split they give way to. Boxes of different splits never touch.
    """
    if not block > 0:
        raise ValueError(f"block = {block}: expected metres above 0")
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    drawn = [draw_split(seed, int(column), int(row), shares) for column, row in np.floor(centres / block)]
    ranks = np.array([RANKS.index(name) for name in drawn], dtype=int)
    if not len(boxes):
        return []
    shapes = shapely.box(*boxes.T)
    tree = shapely.STRtree(shapes)
    ours, theirs = tree.query(shapes, predicate="dwithin", distance=gap) if gap else tree.query(shapes, "intersects")
    gives_way = np.zeros(len(boxes), dtype=bool)
    gives_way[ours[ranks[ours] < ranks[theirs]]] = True
    return [None if gone else name for gone, name in zip(gives_way, drawn, strict=True)]
