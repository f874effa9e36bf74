"""How likely a mapper would agree with a claim: logistic regressions on what the detector measured.

Those of buildings were fitted by `detectors.training.building_calibration` on towns whose map was spoilt at random
(buildings left out, pushed 3 to 6 m, invented), seen through networks that had not been trained on the ground they
looked at. So a confidence of 0.8 means that four of five such claims were right there; other ground may be kinder or
harsher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

#: Larger buildings than this are not more certain for being larger, square metres.
LARGE_M2 = 300.0


#: Longer roads than this are not more certain for being longer, metres.
LONG_M = 300.0


def log_area(area_m2: float) -> float:
    """The measure that stands for a building's size."""
    return math.log(min(area_m2, LARGE_M2))


def log_length(length_m: float) -> float:
    """The measure that stands for a road's length."""
    return math.log(min(max(length_m, 1.0), LONG_M))


@dataclass(frozen=True)
class Logistic:
    """p = 1 / (1 + exp(-(intercept + sum of weight x measure)))."""

    intercept: float
    weights: Mapping[str, float]

    def __call__(self, measures: Mapping[str, float]) -> float:
        """The probability, kept off 0 and 1. `measures` must hold every weight's name."""
        score = self.intercept + sum(weight * measures[name] for name, weight in self.weights.items())
        return min(max(1 / (1 + math.exp(-max(-30.0, min(30.0, score)))), 0.01), 0.99)


#: Kind of claim -> its regression. The measures are described in `detectors.placing`.
CONFIDENCE: Mapping[str, Logistic] = MappingProxyType(
    {
        "missing": Logistic(-16.688, {"seen": 12.407, "fit": 3.473, "log_area": 1.301}),
        "gone": Logistic(-2.344, {"here": -14.220, "nearby": -2.174, "log_area": 1.191}),
        "misplaced": Logistic(
            -7.720, {"here": 12.486, "there": -7.890, "gain": 9.103, "distance": 0.339, "log_area": 0.975}
        ),
        # Misplaced for its outline: cautious by hand, as no labelled ground with badly drawn buildings was at hand.
        "outline": Logistic(-9.5, {"seen": 10.0, "iou": -4.0, "log_area": 0.5}),
    }
)

#: The same for roads, fitted by `detectors.training.road_calibration` on nine windows of other towns than the network
#: was trained on, each spoilt six times. `detectors.road_placing` and `detectors.road_missing` describe the measures.
ROAD_CONFIDENCE: Mapping[str, Logistic] = MappingProxyType(
    {
        "missing": Logistic(-14.940, {"seen": 8.616, "width": 0.665, "open_ends": -1.301, "log_length": 0.794}),
        "gone": Logistic(5.878, {"here": -11.973, "there": -2.258, "stripe": -4.812, "log_length": -0.643}),
        "misplaced": Logistic(
            -11.499,
            {"here": -4.266, "there": -0.970, "gain": 8.853, "distance": -0.085, "steady": 4.865, "log_length": 1.648},
        ),
    }
)
