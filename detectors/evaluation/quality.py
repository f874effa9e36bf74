"""QoD, "quality of data" of a tile: how far answer and map agree, the more urgent the more ground they speak of.

Neat-EO.pink, neat_eo/metrics/QoD.py:

    ratio = 100 * max(|answer|, |map|) / (W * H)
    QoD   = (100 - (1 - IoU) * ln(ratio + 1) * 100 / ln 100) / 100,  at least 0

By its definition it belongs to one tile; of many tiles a histogram is kept, which adds up, never a mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Tiles below are worth a look (the default of Neat-EO.pink's `compare`).
LOOK_BELOW = 0.8
#: Side of the tiles, pixels.
TILE_PX = 256
BINS = 20


def quality_of(hit: float, found: float, real: float, area: float) -> float:
    """QoD, 0..1, from pixels (or any measure) of foreground.

    Args:
        hit: found and real; found, real: each alone; area: all known pixels of the tile.
    """
    union = found + real - hit
    if not union or not area:
        return 1.0
    ratio = 100 * max(found, real) / area
    return max(0.0, (100 - (1 - hit / union) * math.log(ratio + 1) * 100 / math.log(100)) / 100)


@dataclass(frozen=True, slots=True)
class QualityCounts:
    """Tiles by their QoD: int64 [BINS] of equal width, the last with 1.0; adds up."""

    tiles: np.ndarray

    @classmethod
    def of(cls, values: list[float]) -> QualityCounts:
        # The bounds are multiples of 0.05; a value right on one belongs above it in spite of rounding.
        bins = np.minimum((np.asarray(values, dtype=np.float64) * BINS + 1e-9).astype(int), BINS - 1)
        return cls(np.bincount(bins, minlength=BINS))

    def __add__(self, other: QualityCounts) -> QualityCounts:
        return QualityCounts(self.tiles + other.tiles)

    @property
    def low_share(self) -> float:
        """Share of the tiles below LOOK_BELOW; NaN where there is none."""
        total = int(self.tiles.sum())
        return float(self.tiles[: round(LOOK_BELOW * BINS)].sum() / total) if total else math.nan
