"""The measures of a summary, in the order in which they are shown on the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from detectors.evaluation.tally import Tally


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of a tally.

    Attributes:
        name: heading; title: what it is, one sentence.
        read: the number; NaN where it does not apply.
        better: 1 where more is better, -1 where less is.
        unit: shown behind; "" for shares of one.
    """

    name: str
    title: str
    read: Callable[[Tally], float]
    better: int = 1
    unit: str = ""


def _class_of_interest(tally: Tally) -> int | None:
    """The one class besides the background."""
    return tally.foreground[0] if len(tally.foreground) == 1 else None


def _pixel(name: str) -> Callable[[Tally], float]:
    def read(tally: Tally) -> float:
        k = _class_of_interest(tally)
        return math.nan if k is None else float(getattr(tally.confusion, name)[k])

    return read


def _object(name: str) -> Callable[[Tally], float]:
    return lambda tally: math.nan if tally.objects is None else getattr(tally.objects.counts(), name)


def _outline(name: str) -> Callable[[Tally], float]:
    return lambda tally: math.nan if tally.outlines is None else tally.outlines.means()[name]


SUMMARY = (
    Measure("IoU", "Pixels of the class: intersection over union.", _pixel("iou")),
    Measure("F1", "Pixels of the class: harmonic mean of precision and recall.", _pixel("f1")),
    Measure("precision", "Share of the pixels said to be of the class that are.", _pixel("precision")),
    Measure("recall", "Share of the pixels of the class that were found.", _pixel("recall")),
    Measure("mIoU", "Mean IoU of the classes that the truth has.", lambda t: t.confusion.mean_iou),
    Measure("fwIoU", "IoU of all classes, weighted by their pixels.", lambda t: t.confusion.weighted_iou),
    Measure("accuracy", "Share of all pixels that are right.", lambda t: t.confusion.accuracy),
    Measure("MCC", "Correlation of truth and answer, of K classes after Gorodkin; 0 is chance.",
            lambda t: t.confusion.mcc),
    Measure("boundary F1", "Pixels along edges, within 2.7 pixels (Csurka).", lambda t: t.edge_f1),
    Measure("relaxed F1", "Pixels of the classes, within 3 pixels (Mnih).", lambda t: t.relaxed_f1),
    Measure("best relaxed F1", "The same at the probability where it is highest, of one class.",
            lambda t: t.best_relaxed_f1[0]),
    Measure("object F1", "Objects at IoU 0.5, one to one, the surest first (SpaceNet).", _object("f1")),
    Measure("AP", "Objects: mean interpolated precision over IoU 0.50 to 0.95 (COCO).",
            lambda t: math.nan if t.objects is None else t.objects.average_precision()),
    Measure("AP50", "The same at IoU 0.5.",
            lambda t: math.nan if t.objects is None else t.objects.average_precision(0.5)),
    Measure("AR", "Objects: mean recall over IoU 0.50 to 0.95 (COCO).",
            lambda t: math.nan if t.objects is None else t.objects.average_recall()),
    Measure("rotation", "Mean angle between found and real outlines that match.", _outline("rotation_deg"), -1, "°"),
    Measure("shape", "Mean turning distance of outlines that match (Arkin), radians.", _outline("turning_rad"), -1),
    Measure("paths", "Likeness of the shortest ways in both networks (after APLS).",
            lambda t: math.nan if t.paths is None else t.paths.score),
    Measure("QoD < 0.8", "Share of the tiles whose quality of data (Neat-EO) is below 0.8.",
            lambda t: t.quality.low_share, -1),
    Measure("ECE", "Expected calibration error: how far said probabilities are from what was so.",
            lambda t: t.calibration_error, -1),
)


def measures_of(*tallies: Tally) -> list[Measure]:
    """The measures that apply to any of the tallies."""
    return [measure for measure in SUMMARY if any(not math.isnan(measure.read(tally)) for tally in tallies)]


def show(value: float, unit: str = "") -> str:
    """A number for people; a dash where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:.1f}{unit}" if unit else f"{value:.3f}"
