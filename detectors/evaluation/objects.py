"""Objects found against real ones: which are the same, and what that makes of precision and recall.

One matching serves two measures. Each found object, the surest first, takes the real one that it overlaps best and that
nobody has taken yet, if they overlap by at least the threshold:

* SpaceNet (Van Etten et al., arXiv:1807.01232): F1 of all found objects at IoU 0.5;
* COCO (cocodataset.org/#detection-eval; `COCOeval` of pycocotools) and the mapping challenge: AP as the mean of the
  interpolated precision at 101 recalls, and AR, each a mean over IoU 0.50, 0.55, ... 0.95; of a picture the surest 100
  count. Here overlaps are those of polygons, not of pixels, and a mosaic larger than the challenge's 300 x 300 pixels
  is allowed proportionally more.

What lies on unknown ground is ignored as COCO ignores: a real object there is nobody's miss, and to find it, or
anything else there, is nobody's mistake.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

#: Overlaps (intersection over union) at which COCO matches; SpaceNet's is the first.
OVERLAPS = np.round(np.arange(0.5, 0.96, 0.05), 2)
#: Recalls at which COCO reads the curve.
RECALLS = np.linspace(0, 1, 101)
#: COCO's limit of objects a picture, and the area of the pictures that it stands for in the mapping challenge, pixels.
LIMIT, LIMIT_AREA_PX = 100, 300 * 300


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """Objects at one overlap; adds up."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        return ObjectCounts(self.true_positive + other.true_positive, self.false_positive + other.false_positive,
                            self.false_negative + other.false_negative)

    @property
    def precision(self) -> float:
        found = self.true_positive + self.false_positive
        return self.true_positive / found if found else math.nan

    @property
    def recall(self) -> float:
        real = self.true_positive + self.false_negative
        return self.true_positive / real if real else math.nan

    @property
    def f1(self) -> float:
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else math.nan


@dataclass(frozen=True, slots=True)
class Matches:
    """Found objects of any number of pictures, and what became of each; adds up.

    Attributes:
        confidence: float64 [D].
        hit: bool [D, 10]: took a real object, at each of OVERLAPS.
        ignored: bool [D, 10]: neither right nor wrong.
        listed: bool [D]: among the surest of its picture, as many as COCO looks at.
        real: how many real objects there are on known ground.
    """

    confidence: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    listed: np.ndarray
    real: int

    @classmethod
    def none(cls, real: int = 0) -> Matches:
        nothing = np.zeros((0, len(OVERLAPS)), dtype=bool)
        return cls(np.zeros(0), nothing, nothing, np.zeros(0, dtype=bool), real)

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            *(np.concatenate([getattr(self, name), getattr(other, name)])
              for name in ("confidence", "hit", "ignored", "listed")),
            self.real + other.real,
        )

    def counts(self, overlap: float = 0.5) -> ObjectCounts:
        """Right, wrong and missed at one of OVERLAPS, all found objects counted."""
        at = int(np.argmin(np.abs(OVERLAPS - overlap)))
        right = int(self.hit[:, at].sum())
        wrong = int((~self.hit[:, at] & ~self.ignored[:, at]).sum())
        return ObjectCounts(right, wrong, self.real - right)

    def average_precision(self, overlap: float | None = None) -> float:
        """COCO's AP: at one overlap, or the mean over all; NaN where nothing is real."""
        return self._mean([self._precision_at(at) for at in self._which(overlap)])

    def average_recall(self, overlap: float | None = None) -> float:
        """COCO's AR: share of real objects found, at one overlap or the mean over all; NaN where nothing is real."""
        return self._mean([self.hit[self.listed, at].sum() / max(1, self.real) for at in self._which(overlap)])

    def _mean(self, values: Sequence[float]) -> float:
        return float(np.mean(values)) if self.real else math.nan

    @staticmethod
    def _which(overlap: float | None) -> Sequence[int]:
        return range(len(OVERLAPS)) if overlap is None else [int(np.argmin(np.abs(OVERLAPS - overlap)))]

    def _precision_at(self, at: int) -> float:
        """Mean interpolated precision at 101 recalls (COCOeval.accumulate)."""
        counted = np.flatnonzero(self.listed & ~self.ignored[:, at])
        order = counted[np.argsort(-self.confidence[counted], kind="mergesort")]
        right = np.cumsum(self.hit[order, at])
        if not right.size:
            return 0.0
        recall = right / max(1, self.real)
        precision = right / np.arange(1, len(right) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, RECALLS, side="left")
        return float(np.where(places < len(precision), precision[np.minimum(places, len(precision) - 1)], 0).mean())


def match_objects(
    found: Sequence[BaseGeometry], confidence: Sequence[float], real: Sequence[BaseGeometry],
    *, found_unknown: np.ndarray | None = None, real_unknown: np.ndarray | None = None, limit: int = LIMIT,
) -> tuple[Matches, list[tuple[int, int]]]:
    """Match the objects of one picture.

    Args:
        found, real: valid polygons in one coordinate system.
        confidence: of each found object, 0..1.
        found_unknown, real_unknown: bool for each: lies on unknown ground.
        limit: how many objects of a picture COCO's measures look at.

    Returns:
        The matches, and (index into found, index into real) of each pair at IoU 0.5 whose real object is on known
        ground.
    """
    number = len(found)
    unknown = np.zeros(number, dtype=bool) if found_unknown is None else np.asarray(found_unknown, dtype=bool)
    nobodys = np.zeros(len(real), dtype=bool) if real_unknown is None else np.asarray(real_unknown, dtype=bool)
    surest = np.argsort(-np.asarray(confidence, dtype=np.float64), kind="mergesort")
    partners = _partners(found, real)
    hit = np.zeros((number, len(OVERLAPS)), dtype=bool)
    ignored = np.zeros_like(hit)
    pairs: list[tuple[int, int]] = []
    for at, least in enumerate(OVERLAPS):
        taken: set[int] = set()
        for i in surest:
            free = [(not nobodys[j], iou, j) for j, iou in partners.get(int(i), ()) if j not in taken and iou >= least]
            if not free:
                ignored[i, at] = unknown[i]
                continue
            known, _, j = max(free, key=lambda one: one[:2])
            taken.add(j)
            hit[i, at], ignored[i, at] = known, not known
            if known and at == 0:
                pairs.append((int(i), j))
    listed = np.zeros(number, dtype=bool)
    listed[surest[:limit]] = True
    matches = Matches(np.asarray(confidence, dtype=np.float64), hit, ignored, listed, int((~nobodys).sum()))
    return matches, pairs


def limit_of(shape: tuple[int, int]) -> int:
    """How many objects COCO's measures look at in a picture of (height, width) pixels."""
    return max(LIMIT, round(LIMIT * shape[0] * shape[1] / LIMIT_AREA_PX))


def _partners(found: Sequence[BaseGeometry], real: Sequence[BaseGeometry]) -> dict[int, list[tuple[int, float]]]:
    """Index of a found object -> (index of a real one, intersection over union) of all that overlap by half."""
    if not len(found) or not len(real):
        return {}
    ours, theirs = np.array(found, dtype=object), np.array(real, dtype=object)
    i, j = shapely.STRtree(theirs).query(ours, predicate="intersects")
    shared = shapely.area(shapely.intersection(ours[i], theirs[j]))
    union = shapely.area(ours[i]) + shapely.area(theirs[j]) - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    partners: dict[int, list[tuple[int, float]]] = {}
    for a, b, value in zip(i, j, iou, strict=True):
        if value >= OVERLAPS[0]:
            partners.setdefault(int(a), []).append((int(b), float(value)))
    return partners
