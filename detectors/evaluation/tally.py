"""Everything that is counted of one place or of many: tallies add up, measures are taken from the sum."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from detectors.datasets import UNKNOWN, Place
from detectors.evaluation.answers import Answer, lie_on, real_objects
from detectors.evaluation.confusion import Confusion
from detectors.evaluation.curves import Reliability, ScoreHistogram
from detectors.evaluation.legend import Legend
from detectors.evaluation.nearness import EDGE_PX, RHO_PX, THRESHOLDS, Nearness, count_near, count_near_at, edge_of
from detectors.evaluation.objects import Matches, limit_of, match_objects
from detectors.evaluation.outline_errors import OutlineErrors, measure_outlines
from detectors.evaluation.paths import PathCounts, compare_paths
from detectors.evaluation.quality import TILE_PX, QualityCounts, quality_of


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one answer over any number of places.

    Attributes:
        legend: what is scored.
        confusion: of pixels.
        edges, relaxed: one `Nearness` a class.
        scores: one histogram a class, empty where no probabilities were given; the last one is that of the likeliest
            class: how sure, and whether right.
        quality: of tiles, by their QoD.
        relaxed_curve: of one class besides the background, one `Nearness` for each of THRESHOLDS; else empty.
        objects, outlines: None where the classes are not of single objects.
        paths: None where no class has centrelines.
    """

    legend: Legend
    confusion: Confusion
    edges: tuple[Nearness, ...]
    relaxed: tuple[Nearness, ...]
    quality: QualityCounts
    scores: tuple[ScoreHistogram, ...] = ()
    relaxed_curve: tuple[Nearness, ...] = ()
    objects: Matches | None = None
    outlines: OutlineErrors | None = None
    paths: PathCounts | None = None

    def __add__(self, other: Tally) -> Tally:
        if self.legend != other.legend:
            raise ValueError("tallies of other classes do not add up")
        sums: dict[str, Any] = {"legend": self.legend}
        for name in (field.name for field in fields(self) if field.name != "legend"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if isinstance(ours, tuple):
                sums[name] = tuple(a + b for a, b in zip(ours, theirs, strict=True))
            else:
                sums[name] = None if ours is None or theirs is None else ours + theirs
        return Tally(**sums)

    @property
    def foreground(self) -> list[int]:
        """Indices of the classes that are something."""
        return [k for k in range(len(self.legend.classes)) if k != self.legend.background]

    @property
    def edge_f1(self) -> float:
        """Boundary F1 of all classes but the background, their counts added up."""
        return sum((self.edges[k] for k in self.foreground), Nearness()).f1

    @property
    def relaxed_f1(self) -> float:
        return sum((self.relaxed[k] for k in self.foreground), Nearness()).f1

    @property
    def best_relaxed_f1(self) -> tuple[float, float]:
        """(F1, threshold) where relaxed F1 is highest; NaN where there is no curve."""
        scored = [(near.f1, t) for near, t in zip(self.relaxed_curve, THRESHOLDS, strict=False) if near.real]
        return max(scored, default=(math.nan, math.nan))

    @property
    def reliability(self) -> Reliability | None:
        """How far probabilities can be relied upon; None where none were given.

        With one class besides the background, of that class's probability; with more, of the likeliest class's.
        """
        if not self.scores:
            return None
        return self.scores[self.foreground[0] if len(self.foreground) == 1 else -1].reliability()

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of `reliability`; NaN where no probabilities were given."""
        return math.nan if (curve := self.reliability) is None else curve.error


def tally_answer(place: Place, answer: Answer, legend: Legend, truth: np.ndarray, mask: np.ndarray) -> Tally:
    """Count one answer for one place.

    Args:
        truth: uint8 [H, W] in the scored classes, UNKNOWN where nobody knows.
        mask: bool [H, W]: where it is counted. What lies outside is not counted, but seen: an edge of the mask is no
            edge of what is there.
    """
    known = truth != UNKNOWN
    counted = known & mask
    confusion = Confusion.count(legend.classes, np.where(counted, truth, UNKNOWN), answer.labels)
    edges, relaxed = [], []
    for k in range(len(legend.classes)):
        found, real = (answer.labels == k) & known, truth == k
        relaxed.append(count_near(found, real, counted, RHO_PX))
        edges.append(count_near(edge_of(found, known), edge_of(real, known), counted, EDGE_PX))
    objects, outlines = _objects(place, answer, legend, truth, counted)
    paths = None
    if legend.lines is not None:
        # Unknown ground has no lines, neither found nor real.
        paths = compare_paths((answer.labels == legend.lines) & counted, (truth == legend.lines) & counted, place.gsd)
    values = [tile.quality for tile in cut_tiles(answer.labels, truth, counted, legend.background)]
    something = [k for k in range(len(legend.classes)) if k != legend.background]
    curve: tuple[Nearness, ...] = ()
    if answer.planes is not None and len(something) == 1:
        said = np.where(known, answer.planes[something[0]], 0)
        curve = count_near_at(said, truth == something[0], counted, RHO_PX)
    return Tally(legend, confusion, tuple(edges), tuple(relaxed), QualityCounts.of(values),
                 _scores(answer, truth, counted), curve, objects, outlines, paths)


@dataclass(frozen=True, slots=True)
class TileScore:
    """One tile of a place.

    Attributes:
        rows, columns: its pixels.
        quality: QoD.
        agreement: of the pixels that are anything, in truth or answer, the share on which both agree; of all pixels
            where the classes leave nothing empty.
        weight: how many pixels that is.
    """

    rows: slice
    columns: slice
    quality: float
    agreement: float
    weight: int


def cut_tiles(labels: np.ndarray, truth: np.ndarray, counted: np.ndarray, background: int | None, side: int = TILE_PX
              ) -> list[TileScore]:
    """The tiles of a place of which at least half is counted.

    Args:
        background: the class that is nothing; None where every class is something.
    """
    tiles = []
    height, width = truth.shape
    right, something = labels == truth, counted.copy()
    if background is not None:
        something &= (labels != background) | (truth != background)
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = np.s_[top : min(top + side, height), left : min(left + side, width)]
            here = counted[window]
            if not here.any() or here.mean() < 0.5:
                continue
            found, real = (
                int((here & (plane[window] != background)).sum()) if background is not None else int(here.sum())
                for plane in (labels, truth)
            )
            weight = int(something[window].sum())
            hit = int((right & something)[window].sum())
            quality = quality_of(hit, found, real, int(here.sum()))
            tiles.append(TileScore(*window, quality, hit / weight if weight else 1.0, weight))
    return tiles


def _scores(answer: Answer, truth: np.ndarray, counted: np.ndarray) -> tuple[ScoreHistogram, ...]:
    if answer.planes is None:
        return ()
    planes, real = answer.planes[:, counted], truth[counted]
    each = [ScoreHistogram.count(plane, real == k) for k, plane in enumerate(planes)]
    said = answer.labels[counted]
    sureness = np.take_along_axis(planes, said[None].astype(np.int64), axis=0)[0]
    return (*each, ScoreHistogram.count(sureness, said == real))


def _objects(place: Place, answer: Answer, legend: Legend, truth: np.ndarray, counted: np.ndarray
             ) -> tuple[Matches | None, OutlineErrors | None]:
    if legend.objects is None or answer.outlines is None:
        return None, None
    real = real_objects(place, truth, legend.objects)
    matches, pairs = match_objects(
        answer.outlines, answer.confidence, real, found_unknown=~lie_on(answer.outlines, counted, place),
        real_unknown=~lie_on(real, counted, place), limit=limit_of(place.valid.shape),
    )
    return matches, measure_outlines((answer.outlines[i], real[j]) for i, j in pairs)
