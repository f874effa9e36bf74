"""How far two columns of numbers go together, with intervals.

Pearson's r with Fisher's interval: tanh(atanh r +- q / sqrt(n - 3)). Spearman's rho is Pearson's r of the ranks, ties
sharing the mean of theirs, with the standard error of Bonett & Wright (2000), "Sample size requirements for estimating
Pearson, Kendall and Spearman correlations", Psychometrika 65: sqrt((1 + rho^2 / 2) / (n - 3)) on the same scale.

Cells of a map are neighbours, so that they tell less than as many independent ones would: the true intervals are wider.
`sql/queries/reports.sql` computes the same in the database.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

#: Rows without which no interval can be given.
LEAST = 4


@dataclass(frozen=True, slots=True)
class Correlation:
    """One coefficient.

    Attributes:
        value: -1..1; None where it means nothing: fewer than two rows, or a column in which all are equal.
        low, high: the interval; None with fewer than `LEAST` rows.
        rows: how many rows had both numbers.
    """

    value: float | None
    low: float | None
    high: float | None
    rows: int


def pearson(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Correlation:
    """Pearson's r of two columns float [N]; rows with a NaN or infinity are left out."""
    first, second = _paired(first, second)
    value = _coefficient(first, second)
    return _with_interval(value, len(first), 1.0, level)


def spearman(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Correlation:
    """Spearman's rho of two columns float [N]; rows with a NaN or infinity are left out."""
    first, second = _paired(first, second)
    value = _coefficient(ranks(first), ranks(second))
    return _with_interval(value, len(first), 1.0 if value is None else 1 + value**2 / 2, level)


def ranks(values: np.ndarray) -> np.ndarray:
    """Places from 1 in rising order, float64 [N]; equal values share the mean of theirs."""
    _, group, number = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(number)
    return (last - (number - 1) / 2)[group]


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    return first[both], second[both]


def _coefficient(first: np.ndarray, second: np.ndarray) -> float | None:
    if len(first) < 2:
        return None
    first, second = first - first.mean(), second - second.mean()
    spread = math.sqrt(float(first @ first) * float(second @ second))
    if not spread > 0:
        return None
    return max(-1.0, min(1.0, float(first @ second) / spread))


def _with_interval(value: float | None, rows: int, variance: float, level: float) -> Correlation:
    if value is None or rows < LEAST:
        return Correlation(value, None, None, rows)
    if abs(value) == 1:
        return Correlation(value, value, value, rows)
    reach = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance / (rows - 3))
    return Correlation(value, math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach), rows)
