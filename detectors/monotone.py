"""What is to be expected where a witness says so much: a fit that only rises, and that outliers do not move.

Isotonic regression in the sense of least absolute deviations: blocks of neighbours that fall are pooled, and each block
stands for the median of its members (Robertson, Wright & Dykstra, "Order Restricted Statistical Inference", 1988, the
pool-adjacent-violators algorithm). A median does not care how far off a badly mapped cell is, nor on what scale the
numbers are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class MonotoneFit:
    """A rising step function.

    Attributes:
        starts: float64 [K], witness values at which the steps begin, rising.
        levels: float64 [K], what is expected from there on, never falling.
    """

    starts: np.ndarray
    levels: np.ndarray

    def expected(self, witness: np.ndarray) -> np.ndarray:
        """What is to be expected, float64 [N]; below the first step as at the first step; NaN stays NaN."""
        witness = np.asarray(witness, dtype=np.float64)
        place = np.clip(np.searchsorted(self.starts, witness, side="right") - 1, 0, None)
        return np.where(np.isfinite(witness), self.levels[place], np.nan)


def fit_monotone(witness: np.ndarray, mapped: np.ndarray) -> MonotoneFit:
    """Fit `mapped` over `witness`, both float [N]; rows with a NaN or infinity are left out.

    Raises:
        ValueError: no row has both numbers.
    """
    witness, mapped = np.asarray(witness, dtype=np.float64), np.asarray(mapped, dtype=np.float64)
    both = np.isfinite(witness) & np.isfinite(mapped)
    if not both.any():
        raise ValueError("no cell has both a witness and something that could be mapped")
    order = np.argsort(witness[both], kind="stable")
    witness, mapped = witness[both][order], mapped[both][order]
    starts, first = np.unique(witness, return_index=True)
    blocks: list[tuple[float, np.ndarray, float]] = []
    for start, members in zip(starts, np.split(mapped, first[1:]), strict=True):
        begin, pooled = float(start), np.sort(members)
        level = float(np.median(pooled))
        while blocks and blocks[-1][2] >= level:
            begin, before, _ = blocks.pop()
            pooled = np.sort(np.concatenate([before, pooled]), kind="stable")
            level = float(np.median(pooled))
        blocks.append((begin, pooled, level))
    return MonotoneFit(np.array([b[0] for b in blocks]), np.array([b[2] for b in blocks]))
