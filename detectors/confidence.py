"""How likely a mapper would agree with a claim: logistic regressions on what the detector measured.

The weights were fitted by `detectors.training.calibration` on towns whose map was spoilt at random (buildings left
out, pushed 3 to 6 m, invented), seen through networks that had not been trained on the ground they looked at. So a
confidence of 0.8 means that four of five such claims were right there; other ground may be kinder or harsher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Logistic:
    """p = 1 / (1 + exp(-(intercept + sum of weight x measure)))."""

    intercept: float
    weights: Mapping[str, float]

    def __call__(self, measures: Mapping[str, float]) -> float:
        """The probability, kept off 0 and 1. `measures` must hold every weight's name."""
        score = self.intercept + sum(weight * measures[name] for name, weight in self.weights.items())
        return min(max(1 / (1 + math.exp(-max(-30.0, min(30.0, score)))), 0.01), 0.99)


#: Kind of claim -> its regression. The measures are described where `detectors.building` takes them.
CONFIDENCE: Mapping[str, Logistic] = MappingProxyType(
    {
        "missing": Logistic(-18.0, {"seen": 12.0, "fit": 5.0, "log_area": 1.5}),
        "gone": Logistic(0.0, {"here": -6.0, "nearby": -2.0, "log_area": 0.6}),
        "misplaced": Logistic(-1.0, {"gain": 2.0, "there": 3.0, "here": 1.5, "distance": -0.5, "log_area": 0.1}),
    }
)
