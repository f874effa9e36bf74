"""What probabilities are worth: precision and recall at every threshold, and whether 0.8 means four out of five.

Everything comes from counts in bins of equal width, which add up over places.

* Average precision is the area below the stepped curve, sum of (R_i - R_(i-1)) P_i (as in scikit-learn; Zhu 2004).
* Expected calibration error: mean distance between said and true share, weighted by how often it was said (Naeini et
  al. 2015; Guo et al., arXiv:1706.04599), in 15 bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detectors.evaluation.confusion import divide

#: Bins of probability. Thresholds are multiples of 1/1024; what engines give, float16, is no finer above one half.
BINS = 1024
#: Bins in which a card keeps counts.
COARSER = 256
#: Bins of the reliability curve.
COARSE_BINS = 15
#: Precisions that a mapper may ask for.
TARGETS = (0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How often something was said with which probability, and was or was not so.

    Attributes:
        positive, negative: int64 [BINS].
        mass: float64 [BINS]: sum of the probabilities in each bin.
    """

    positive: np.ndarray
    negative: np.ndarray
    mass: np.ndarray

    @classmethod
    def empty(cls) -> ScoreHistogram:
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), np.zeros(BINS))

    @classmethod
    def count(cls, probability: np.ndarray, true: np.ndarray) -> ScoreHistogram:
        """
        Args:
            probability: float [N] in 0..1.
            true: bool [N].
        """
        probability = np.clip(np.asarray(probability, dtype=np.float32).ravel(), 0, 1)
        true = np.asarray(true, dtype=bool).ravel()
        which = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
        return cls(
            np.bincount(which[true], minlength=BINS), np.bincount(which[~true], minlength=BINS),
            np.bincount(which, weights=probability, minlength=BINS),
        )

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        return ScoreHistogram(self.positive + other.positive, self.negative + other.negative, self.mass + other.mass)

    def coarse(self) -> dict[str, list[int]]:
        """JSON-able: the counts in COARSER bins, enough for thresholds."""
        each = {"positive": self.positive, "negative": self.negative}
        return {name: counts.reshape(COARSER, -1).sum(axis=1).tolist() for name, counts in each.items()}

    @classmethod
    def of_coarse(cls, record: Mapping[str, Sequence[int]]) -> ScoreHistogram:
        """From `coarse()`: thresholds are multiples of 1 / COARSER then, and precision and recall at them are exact.

        What was said how surely within a bin is lost, so that `mass` and `reliability` mean nothing.
        """
        histogram = cls.empty()
        for name in ("positive", "negative"):
            # In the last fine bin of each coarse one: all thresholds within a coarse bin are that of its lower end.
            getattr(histogram, name)[BINS // COARSER - 1 :: BINS // COARSER] = record[name]
        return histogram

    @property
    def precisions(self) -> np.ndarray:
        """float64 [BINS]: precision of "p >= i / BINS"; NaN where nothing is that sure."""
        above = _from(self.positive)
        return divide(above, above + _from(self.negative))

    @property
    def recalls(self) -> np.ndarray:
        """float64 [BINS]: recall of "p >= i / BINS"; NaN where nothing is true."""
        return divide(_from(self.positive), np.full(BINS, self.positive.sum()))

    @property
    def average_precision(self) -> float:
        """Area below the stepped curve of precision over recall; NaN where nothing is true."""
        if not self.positive.sum():
            return math.nan
        recall = self.recalls[::-1]
        gained = np.diff(np.concatenate([[0.0], recall]))
        return float((gained * np.nan_to_num(self.precisions[::-1])).sum())

    def threshold_for(self, precision: float) -> dict[str, float] | None:
        """The lowest threshold with at least that precision, which finds most; None where there is none.

        Returns:
            {"threshold", "precision", "recall"}: what "p >= threshold" has here.
        """
        reached = np.flatnonzero(np.nan_to_num(self.precisions) >= precision)
        reached = reached[_from(self.positive)[reached] > 0]
        if not reached.size:
            return None
        i = int(reached[0])
        return {
            "threshold": i / BINS, "precision": round(float(self.precisions[i]), 4),
            "recall": round(float(self.recalls[i]), 4),
        }

    def best_f1(self) -> tuple[float, float]:
        """(F1, threshold) where F1 is highest; (NaN, NaN) where nothing is true."""
        if not self.positive.sum():
            return math.nan, math.nan
        above = _from(self.positive)
        f1 = 2 * above / (above + _from(self.negative) + self.positive.sum())
        return float(f1.max()), int(f1.argmax()) / BINS

    def reliability(self, bins: int = COARSE_BINS) -> Reliability:
        edges = np.linspace(0, BINS, bins + 1).round().astype(int)[:-1]
        number, true, mass = (
            np.add.reduceat(values, edges) for values in (self.positive + self.negative, self.positive, self.mass)
        )
        return Reliability(number, true, mass)


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability curve; adds up.

    Attributes:
        number, true: int64 [B]: how often something was said, and how often truly.
        mass: float64 [B]: sum of what was said.
    """

    number: np.ndarray
    true: np.ndarray
    mass: np.ndarray

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.number + other.number, self.true + other.true, self.mass + other.mass)

    @property
    def said(self) -> np.ndarray:
        """float64 [B]: mean probability of each bin; NaN where it is empty."""
        return divide(self.mass, self.number)

    @property
    def was(self) -> np.ndarray:
        """float64 [B]: true share of each bin; NaN where it is empty."""
        return divide(self.true, self.number)

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1; NaN where nothing was counted."""
        total = int(self.number.sum())
        return float(np.abs(self.mass - self.true).sum() / total) if total else math.nan


def thresholds_of(scores: Mapping[str, ScoreHistogram], targets: Sequence[float] = TARGETS
                  ) -> dict[str, dict[str, dict[str, float]]]:
    """`Card.thresholds`: by class, by target precision, what "p >= threshold" has; unreachable targets are left out."""
    found = {
        name: {f"{target:g}": there for target in targets if (there := histogram.threshold_for(target)) is not None}
        for name, histogram in scores.items()
    }
    return {name: by_target for name, by_target in found.items() if by_target}


def _from(counts: np.ndarray) -> np.ndarray:
    """Sums from each bin up to the last."""
    return counts[::-1].cumsum()[::-1]
