"""The confusion matrix of pixels, and the ratios that follow from it. Counts add up; ratios never do.

Ratios are those of Everingham et al., "The PASCAL Visual Object Classes Challenge" (2015: intersection over union),
Long et al., arXiv:1411.4038 (mean and frequency-weighted IoU, accuracy), Gorodkin, "Comparing two K-category
assignments by a K-category correlation coefficient" (2004: the correlation that Matthews' is for two classes), and
Cohen (1960: kappa).
A ratio whose denominator is empty is NaN: nothing was there to be measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from detectors.datasets import UNKNOWN
from detectors.errors import DatasetInvalid


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixels by what they are and what they were taken for.

    Attributes:
        classes: K names.
        counts: int64 [K, K]; rows are the truth, columns the answer.
    """

    classes: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def empty(cls, classes: tuple[str, ...]) -> Confusion:
        return cls(classes, np.zeros((len(classes),) * 2, dtype=np.int64))

    @classmethod
    def count(cls, classes: tuple[str, ...], truth: np.ndarray, answer: np.ndarray) -> Confusion:
        """Count the pixels of which the truth is known.

        Args:
            truth: uint8, any shape: index of a class, or UNKNOWN.
            answer: integers of the same shape: index of a class.

        Raises:
            DatasetInvalid: the shapes differ, or a number stands for no class.
        """
        if truth.shape != answer.shape:
            raise DatasetInvalid(f"truth has {list(truth.shape)} pixels, the answer {list(answer.shape)}: a mask must "
                                 "have the size of its imagery")
        known = truth != UNKNOWN
        real, said = truth[known].astype(np.int64), answer[known].astype(np.int64)
        number = len(classes)
        for name, values in (("truth", real), ("answer", said)):
            if values.size and not 0 <= values.min() <= values.max() < number:
                raise DatasetInvalid(f"class {values.max()} in the {name}, but there are only {number}: "
                                     f"{', '.join(classes)}")
        counts = np.bincount(real * number + said, minlength=number * number)
        return cls(classes, counts.reshape(number, number))

    def __add__(self, other: Confusion) -> Confusion:
        if self.classes != other.classes:
            raise ValueError(f"classes {self.classes} and {other.classes} do not add up")
        return Confusion(self.classes, self.counts + other.counts)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def hits(self) -> np.ndarray:
        """int64 [K]: pixels of each class that were taken for what they are."""
        return np.diag(self.counts)

    @property
    def precision(self) -> np.ndarray:
        """float64 [K]; NaN for a class that was never said."""
        return divide(self.hits, self.counts.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """float64 [K]; NaN for a class that never was."""
        return divide(self.hits, self.counts.sum(axis=1))

    @property
    def f1(self) -> np.ndarray:
        """float64 [K]; NaN for a class that neither was nor was said."""
        return divide(2 * self.hits, self.counts.sum(axis=0) + self.counts.sum(axis=1))

    @property
    def iou(self) -> np.ndarray:
        """float64 [K]; NaN for a class that neither was nor was said."""
        return divide(self.hits, self.counts.sum(axis=0) + self.counts.sum(axis=1) - self.hits)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that the truth has.

        A class that is only ever said costs those whose pixels it takes, and has no share of its own: data sets do not
        label all that a model knows.
        """
        return self._mean(self.iou)

    @property
    def mean_f1(self) -> float:
        """As `mean_iou`."""
        return self._mean(self.f1)

    def _mean(self, values: np.ndarray) -> float:
        there = values[self.counts.sum(axis=1) > 0]
        return float(there.mean()) if there.size else math.nan

    @property
    def weighted_iou(self) -> float:
        """IoU of the classes weighted by how many pixels they really have."""
        real = self.counts.sum(axis=1)
        return _ratio(float((np.nan_to_num(self.iou) * real).sum()), float(real.sum()))

    @property
    def accuracy(self) -> float:
        """Share of the pixels that were taken for what they are."""
        return _ratio(float(self.hits.sum()), float(self.total))

    @property
    def mcc(self) -> float:
        """Gorodkin's K-category correlation, -1..1; 0 where truth or answer is of one class only."""
        if not self.total:
            return math.nan
        # Python integers: squares of sums of pixels leave 64 bits behind soon.
        real, said = [int(n) for n in self.counts.sum(axis=1)], [int(n) for n in self.counts.sum(axis=0)]
        total, hits = self.total, int(self.hits.sum())
        covariance = hits * total - sum(r * s for r, s in zip(real, said, strict=True))
        spread = (total**2 - sum(s * s for s in said)) * (total**2 - sum(r * r for r in real))
        return covariance / math.sqrt(spread) if spread else 0.0

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance; NaN where chance alone explains all."""
        if not self.total:
            return math.nan
        chance = sum(int(a) * int(b) for a, b in zip(self.counts.sum(axis=1), self.counts.sum(axis=0), strict=True))
        total, hits = self.total, int(self.hits.sum())
        return _ratio(float(total * hits - chance), float(total * total - chance))


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """float64; NaN where there is nothing below."""
    below = np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan
