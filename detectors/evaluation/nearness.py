"""Precision and recall with a tolerance: is what was found near what is real, and what is real near what was found.

* *Relaxed* precision and recall, of all pixels of a class: Mnih & Hinton, "Learning to detect roads in high-resolution
  aerial images" (2010), and Mnih's thesis (2013), with a slack of rho = 3 pixels.
* *Boundary* F1, of the pixels along the edge of a class: Csurka et al., "What is a good evaluation measure for semantic
  segmentation?" (2013), with a slack of 0.75 % of the picture's diagonal. There it is a mean over pictures; here counts
  of all places are added up before anything is divided.

Distances are Euclidean between pixel centres, exact (Felzenszwalb & Huttenlocher 2012, in OpenCV).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import cv2
import numpy as np

from detectors.errors import DatasetInvalid

#: Mnih's slack, pixels.
RHO_PX = 3.0
#: Csurka's slack, pixels: 0.75 % of the diagonal of a tile of 256 pixels.
EDGE_PX = 0.0075 * 256 * math.sqrt(2)
#: Probabilities at which the curve of relaxed precision and recall is read.
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))


@dataclass(frozen=True, slots=True)
class Nearness:
    """Pixels found and pixels real, and how many of each have one of the other kind near; adds up."""

    found_near: int = 0
    found: int = 0
    real_near: int = 0
    real: int = 0

    def __add__(self, other: Nearness) -> Nearness:
        return Nearness(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def precision(self) -> float:
        """NaN where nothing was found."""
        return self.found_near / self.found if self.found else math.nan

    @property
    def recall(self) -> float:
        """NaN where nothing is real."""
        return self.real_near / self.real if self.real else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of both; 0 where only one of the two kinds exists, NaN where neither does."""
        if not self.found and not self.real:
            return math.nan
        if not self.found or not self.real or not self.found_near + self.real_near:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def count_near(found: np.ndarray, real: np.ndarray, counted: np.ndarray, reach_px: float) -> Nearness:
    """Count pixels that have one of the other kind within `reach_px` (inclusive).

    Args:
        found, real: bool [H, W].
        counted: bool [H, W]; other pixels are not counted, but are near all the same.

    Raises:
        DatasetInvalid: the shapes differ.
    """
    if not found.shape == real.shape == counted.shape:
        raise DatasetInvalid(f"found {list(found.shape)}, real {list(real.shape)} and counted {list(counted.shape)} "
                             "pixels must have one size")
    of_found, of_real = found & counted, real & counted
    return Nearness(
        int((of_found & _within(real, reach_px)).sum()), int(of_found.sum()),
        int((of_real & _within(found, reach_px)).sum()), int(of_real.sum()),
    )


def count_near_at(probability: np.ndarray, real: np.ndarray, counted: np.ndarray, reach_px: float
                  ) -> tuple[Nearness, ...]:
    """`count_near` of "p >= t" for each t of THRESHOLDS: Mnih's curve, of which he reports where both ratios meet.

    Args:
        probability: float [H, W]; the others as in `count_near`.
    """
    near_real, of_real = _within(real, reach_px), real & counted
    curve = []
    for threshold in THRESHOLDS:
        found = probability >= threshold
        of_found = found & counted
        curve.append(Nearness(int((of_found & near_real).sum()), int(of_found.sum()),
                              int((of_real & _within(found, reach_px)).sum()), int(of_real.sum())))
    return tuple(curve)


def edge_of(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels of a region that have a known pixel outside of it beside, above or below them.

    The picture's rim and the rim of unknown ground are no edges: nobody knows what lies beyond.
    """
    outside = (known & ~mask).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return mask & known & (cv2.dilate(outside, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0)


def _within(mask: np.ndarray, reach_px: float) -> np.ndarray:
    """bool [H, W]: a pixel of `mask` lies within `reach_px`."""
    if not mask.any():
        return np.zeros(mask.shape, dtype=bool)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance <= reach_px + 1e-4  # single precision
