"""Tallies as JSON: measures rounded to four digits, beside the counts that they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from detectors.errors import BundleInvalid
from detectors.evaluation.confusion import Confusion
from detectors.evaluation.curves import Reliability, ScoreHistogram
from detectors.evaluation.nearness import Nearness
from detectors.evaluation.objects import ObjectCounts
from detectors.evaluation.pixels import PixelCounts
from detectors.evaluation.tally import Tally


def rounded(value: float) -> float | None:
    """Four digits; None for what was not measured."""
    return None if math.isnan(value) else round(float(value), 4)


def full_record(tally: Tally) -> dict[str, Any]:
    """Every measure of a tally, JSON-able."""
    confusion, classes = tally.confusion, tally.legend.classes
    record: dict[str, Any] = {
        "pixels": confusion.total,
        **{name: rounded(getattr(confusion, name))
           for name in ("mean_iou", "weighted_iou", "accuracy", "mcc", "kappa", "mean_f1")},
        "boundary_f1": rounded(tally.edge_f1), "relaxed_f1": rounded(tally.relaxed_f1),
        "best_relaxed_f1": rounded(tally.best_relaxed_f1[0]),
        "best_relaxed_f1_threshold": rounded(tally.best_relaxed_f1[1]),
        "calibration_error": rounded(tally.calibration_error),
        "tiles": {"number": int(tally.quality.tiles.sum()), "qod_below_0.8": rounded(tally.quality.low_share),
                  "qod_histogram": tally.quality.tiles.tolist()},
        "classes": {name: _class_record(tally, k) for k, name in enumerate(classes)},
        "confusion": {"classes": list(classes), "rows_are_truth": confusion.counts.tolist()},
    }
    if tally.objects is not None:
        matches, counts = tally.objects, tally.objects.counts()
        record["objects"] = {
            **{name: rounded(getattr(counts, name)) for name in ("f1", "precision", "recall")}, **asdict(counts),
            "ap": rounded(matches.average_precision()), "ap50": rounded(matches.average_precision(0.5)),
            "ap75": rounded(matches.average_precision(0.75)), "ar": rounded(matches.average_recall()),
            "ar50": rounded(matches.average_recall(0.5)),
        }
    if tally.outlines is not None:
        means = {name: rounded(value) for name, value in tally.outlines.means().items()}
        record["outlines"] = {"pairs": tally.outlines.pairs, **means}
    if tally.paths is not None:
        record["paths"] = {**{name: rounded(getattr(tally.paths, name))
                              for name in ("score", "completeness", "correctness")}, **asdict(tally.paths)}
    return record


def _class_record(tally: Tally, k: int) -> dict[str, Any]:
    confusion = tally.confusion
    record: dict[str, Any] = {
        "pixels": int(confusion.counts[k].sum()),
        **{name: rounded(getattr(confusion, name)[k]) for name in ("precision", "recall", "f1", "iou")},
    }
    for name, nearness in (("relaxed", tally.relaxed[k]), ("boundary", tally.edges[k])):
        record |= {f"{name}_{ratio}": rounded(getattr(nearness, ratio)) for ratio in ("precision", "recall", "f1")}
    if tally.scores:
        histogram = tally.scores[k]
        best, threshold = histogram.best_f1()
        record |= {
            "average_precision": rounded(histogram.average_precision), "best_f1": rounded(best),
            "best_f1_threshold": rounded(threshold), "calibration_error": rounded(histogram.reliability().error),
        }
    return record


@dataclass(frozen=True, slots=True)
class CardCounts:
    """The counts of a tally that a card keeps, so that those of several add up.

    Attributes:
        background: index of the class that is nothing, None where there is none.
        edges, relaxed: of all classes but the background together.
        calibration: None where no probabilities were given; objects: None where classes are not of single objects.
        scores: one histogram for each class but the background; empty where no probabilities were given or kept.
    """

    background: int | None
    confusion: Confusion
    edges: Nearness
    relaxed: Nearness
    calibration: Reliability | None = None
    objects: ObjectCounts | None = None
    scores: Mapping[str, ScoreHistogram] = field(default_factory=dict)

    @classmethod
    def of(cls, tally: Tally) -> CardCounts:
        edges, relaxed = (
            sum((each[k] for k in tally.foreground), Nearness()) for each in (tally.edges, tally.relaxed)
        )
        return cls(
            tally.legend.background, tally.confusion, edges, relaxed,
            tally.reliability,
            None if tally.objects is None else tally.objects.counts(),
            {tally.legend.classes[k]: tally.scores[k] for k in tally.foreground} if tally.scores else {},
        )

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> CardCounts:
        """From `record()`.

        Raises:
            BundleInvalid: the record has no such counts; older programs wrote none.
        """
        if "counts" not in record:
            raise BundleInvalid("a fold's card has scores without counts, of an older mapgap; train the fold anew")
        counts = record["counts"]
        curve, found = counts.get("calibration"), counts.get("objects")
        return cls(
            counts["background"], Confusion(tuple(counts["classes"]), np.array(counts["confusion"], dtype=np.int64)),
            Nearness(**counts["boundary"]), Nearness(**counts["relaxed"]),
            curve and Reliability(*(np.array(curve[name]) for name in ("number", "true", "mass"))),
            found and ObjectCounts(**found),
            {name: ScoreHistogram.of_coarse(there) for name, there in counts.get("scores", {}).items()},
        )

    def __add__(self, other: CardCounts) -> CardCounts:
        if self.background != other.background:
            raise ValueError("counts of other classes do not add up")
        return CardCounts(
            self.background, self.confusion + other.confusion, self.edges + other.edges, self.relaxed + other.relaxed,
            *(None if a is None or b is None else a + b
              for a, b in ((self.calibration, other.calibration), (self.objects, other.objects))),
            {name: self.scores[name] + other.scores[name] for name in self.scores if name in other.scores},
        )

    def record(self, *, scores: bool = False) -> dict[str, Any]:
        """Measures and counts, JSON-able.

        Args:
            scores: keep the histograms, too, from which thresholds follow; they are long.

        With one class besides the background, `iou`, `f1`, `precision`, `recall` and `pixels` are those of that class;
        with more they are means over all classes, and each class has its own.
        """
        confusion = self.confusion
        if len(confusion.classes) == 2 and self.background is not None:
            record = self.pixels.record()
        else:
            names = ("iou", "f1", "precision", "recall")
            there = {name: getattr(confusion, name) for name in names}
            record = {name: rounded(float(np.nanmean(each))) if (~np.isnan(each)).any() else None
                      for name, each in there.items()}
            record["classes"] = {of: {name: rounded(there[name][k]) for name in names}
                                 for k, of in enumerate(confusion.classes)}
        record |= {"mean_iou": rounded(confusion.mean_iou), "accuracy": rounded(confusion.accuracy),
                   "mcc": rounded(confusion.mcc), "boundary_f1": rounded(self.edges.f1),
                   "relaxed_f1": rounded(self.relaxed.f1)}
        counts: dict[str, Any] = {
            "classes": list(confusion.classes), "background": self.background, "confusion": confusion.counts.tolist(),
            "boundary": asdict(self.edges), "relaxed": asdict(self.relaxed),
        }
        if self.calibration is not None:
            record["calibration_error"] = rounded(self.calibration.error)
            mass = [round(float(m), 3) for m in self.calibration.mass]
            counts["calibration"] = {"number": self.calibration.number.tolist(), "true": self.calibration.true.tolist(),
                                     "mass": mass}
        if self.objects is not None:
            record["object_f1"] = rounded(self.objects.f1)
            counts["objects"] = asdict(self.objects)
        if scores and self.scores:
            counts["scores"] = {name: histogram.coarse() for name, histogram in self.scores.items()}
        return {**record, "counts": counts}

    @property
    def pixels(self) -> PixelCounts:
        """The four counts of the one class besides the background.

        Raises:
            ValueError: there are more classes.
        """
        if len(self.confusion.classes) != 2 or self.background is None:
            raise ValueError("only one class against the background has four counts")
        b, counts = self.background, self.confusion.counts
        k = 1 - b
        return PixelCounts(*(int(counts[i]) for i in ((k, k), (b, k), (k, b), (b, b))))
