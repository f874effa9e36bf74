"""What a claim's confidence rests upon: maps that are spoilt at random, and how often the detector was right.

The frame of `building_calibration` and `road_calibration`: each spoils its own map, and says which claims were right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from shapely.geometry.base import BaseGeometry

from detectors.base import Claim, Frame, OsmFeature
from detectors.confidence import Logistic

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
#: Bands of confidence in which what was said is held against what was.
BANDS = (0.0, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class SpoiltMap:
    """A map with known errors.

    Attributes:
        features: what the map says, lon/lat.
        left_out: the objects it lacks, local metres.
        pushed, invented: the objects ("way/1") that lie wrong, or stand for nothing.
    """

    features: list[OsmFeature]
    left_out: list[BaseGeometry]
    pushed: frozenset[str]
    invented: frozenset[str]

    def names_an_error(self, claim: Claim) -> bool:
        """Whether an object that is said to be gone or misplaced is one that was invented or pushed."""
        return claim.osm in {"gone": self.invented, "misplaced": self.pushed}[claim.kind]


class Drawing:
    """A map that is being drawn: every object a way of its own with the same tags."""

    def __init__(self, tags: Mapping[str, str], frame: Frame):
        self._tags, self._frame = tags, frame
        self._features: list[OsmFeature] = []
        self.left_out: list[BaseGeometry] = []
        self.pushed: set[str] = set()
        self.invented: set[str] = set()

    def draw(self, geometry: BaseGeometry) -> str:
        """Add an object (local metres); returns its name."""
        number = len(self._features) + 1
        self._features.append(
            OsmFeature("way", number, 1, LONG_AGO, self._tags, self._frame.to_lonlat(geometry))
        )
        return self._features[-1].ref

    def finish(self) -> SpoiltMap:
        return SpoiltMap(self._features, self.left_out, frozenset(self.pushed), frozenset(self.invented))


@dataclass(frozen=True, slots=True)
class Sample:
    """One claim, what was measured, and whether it was right."""

    kind: str
    measures: Mapping[str, float]
    right: bool


def fit_logistic(samples: Sequence[Sample], names: Sequence[str], ridge: float = 1.0) -> Logistic:
    """Penalised maximum likelihood by Newton's method (iteratively reweighted least squares)."""
    x = np.array([[s.measures[name] for name in names] for s in samples])
    y = np.array([s.right for s in samples], float)
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    design = np.column_stack([np.ones(len(x)), (x - centre) / spread])
    penalty = np.diag([0.0] + [ridge] * len(names))
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ weights))
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + penalty
        step = np.linalg.solve(curvature, design.T @ (y - p) - penalty @ weights)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    scaled = weights[1:] / spread
    return Logistic(float(weights[0] - scaled @ centre), dict(zip(names, map(float, scaled), strict=True)))


def print_regressions(samples: Sequence[Sample], measures: Mapping[str, Sequence[str]]) -> None:
    """Print the regression of each kind as `detectors.confidence` has it, and how well it keeps its word.

    Args:
        measures: what each kind's regression looks at.
    """
    for kind, names in measures.items():
        of_kind = [s for s in samples if s.kind == kind]
        if not of_kind:
            continue
        fitted = fit_logistic(of_kind, names)
        weights = ", ".join(f'"{name}": {weight:.3f}' for name, weight in fitted.weights.items())
        print(f'"{kind}": Logistic({fitted.intercept:.3f}, {{{weights}}}),')
        said = np.array([fitted(s.measures) for s in of_kind])
        was = np.array([s.right for s in of_kind])
        print(f"    # {len(of_kind)} claims, {was.sum()} right; said -> was:", end="")
        for low in BANDS:
            band = (said >= low) & (said < low + 0.2)
            if band.any():
                print(f" {said[band].mean():.2f}->{was[band].mean():.2f} ({band.sum()})", end="")
        print()
