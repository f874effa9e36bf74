"""How good a bundle is on labelled places: pixels counted, then divided, never averages of averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely

from detectors.datasets import Place, Source, read_source
from detectors.datasets.targets import draw_mask
from detectors.segmentation.bundle import Bundle
from detectors.segmentation.engines import Engine, open_engine
from detectors.segmentation.stitching import segment

#: Footprint probability from which a pixel counts as building.
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Confusion of footprint pixels; counts add up."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))

    @property
    def iou(self) -> float:
        """Intersection over union of predicted and labelled footprints; 1 where there are neither."""
        union = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / union if union else 1.0

    @property
    def f1(self) -> float:
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else 1.0

    @property
    def precision(self) -> float:
        found = self.true_positive + self.false_positive
        return self.true_positive / found if found else 1.0

    @property
    def recall(self) -> float:
        real = self.true_positive + self.false_negative
        return self.true_positive / real if real else 1.0

    def record(self) -> dict[str, Any]:
        """JSON-able: the four ratios rounded to four digits, and the counts behind them."""
        ratios = {name: round(getattr(self, name), 4) for name in ("iou", "f1", "precision", "recall")}
        return {**ratios, "pixels": asdict(self)}


def evaluate(model: str | Path, *, data: Path, engine: str = "auto") -> dict[str, Any]:
    """Score a bundle as its card says: held-out columns of its training places, and all of its test places.

    Returns:
        {"held_out" | "trained_on" | "unseen_places": {place: counts and ratios}}; a place that was trained on as a
        whole is reported as such and proves nothing.

    Raises:
        BundleInvalid, DatasetInvalid, EngineUnavailable: as their names say.
    """
    bundle = Bundle.load(model)
    return score(bundle, Path(data), engine=open_engine(bundle, engine))


def evaluate_bundle(bundle: Bundle, data: Path) -> Bundle:
    """The bundle with its scores written into its card; scores of the training ground itself are left out."""
    scores = score(bundle, data, engine=open_engine(bundle))
    scores.pop("trained_on", None)
    return bundle.with_card(metrics={**bundle.card.metrics, **scores})


def score(bundle: Bundle, data: Path, *, engine: Engine) -> dict[str, Any]:
    """See `evaluate`."""
    training = bundle.card.training
    fold, columns = training["fold"], training["columns_per_fold"]
    sources = [Source.model_validate(source) for source in training["config"]["sources"]]
    scores: dict[str, dict[str, Any]] = {}
    for source, place in ((s, p) for s in sources for p in read_source(data, s)):
        if source.use == "test":
            group, mask = "unseen_places", np.ones(place.valid.shape, dtype=bool)
        elif fold >= 0:
            group, mask = "held_out", place.held_out(fold, columns)
            if not mask.any():
                continue
        else:
            group, mask = "trained_on", np.ones(place.valid.shape, dtype=bool)
        counts = count_pixels(bundle, engine, place, mask)
        scores.setdefault(group, {})[place.name] = counts.record()
    return scores


def count_pixels(bundle: Bundle, engine: Engine, place: Place, mask: np.ndarray) -> PixelCounts:
    """Compare prediction and labels of a place on valid pixels of `mask` that are not marked unsure.

    A place finer than the model's range is first area-averaged to half its resolution, as often as needed.

    Args:
        mask: bool [H, W] on the grid of the place.
    """
    place, mask = match_resolution(place, mask, bundle.card.gsd_range_m[0])
    footprint = bundle.footprint_of(segment(place.chip(), bundle, engine).values) > THRESHOLD
    truth = draw_mask(place.outlines, place.valid.shape)
    known = mask & place.valid & ~draw_mask(place.unsure, place.valid.shape)
    return PixelCounts(
        int((footprint & truth & known).sum()),
        int((footprint & ~truth & known).sum()),
        int((~footprint & truth & known).sum()),
        int((~footprint & ~truth & known).sum()),
    )


def match_resolution(place: Place, mask: np.ndarray, finest: float) -> tuple[Place, np.ndarray]:
    """A place finer than `finest` metres a pixel, area-averaged to half its resolution as often as needed."""
    while place.gsd < finest:
        place, mask = _halve(place), _shrink(mask)
    return place, mask


def record_folds(bundle: Bundle, folds: Sequence[Bundle]) -> Bundle:
    """Write into the card of a model trained on everything what its fold models scored on what they had not seen."""
    each, total = {}, PixelCounts()
    for fold in folds:
        held_out = fold.card.metrics["held_out"]
        counts = sum((PixelCounts(**record["pixels"]) for record in held_out.values()), PixelCounts())
        each[f"fold{fold.card.training['fold']}"] = counts.record()
        total += counts
    rendered = bundle.card.training["config"]["rendered"]
    without = ", without its drawn towns" if rendered["share"] and not rendered["in_folds"] else ""
    metrics = {
        **bundle.card.metrics, "held_out_folds": each, "held_out_total": total.record(),
        "note": f"held_out_*: models of the same recipe{without}, each scored on tile columns it was not trained on; "
                f"unseen_places: this model; footprint pixels at probability {THRESHOLD}",
    }
    return bundle.with_card(metrics=metrics)


def _halve(place: Place) -> Place:
    height, width = (side // 2 * 2 for side in place.valid.shape)
    if (height, width) != place.valid.shape:
        raise ValueError(f"{place.name}: sides {place.valid.shape} must be even to be halved")
    pixels = cv2.resize(place.pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return Place(
        place.name, pixels.reshape(height // 2, width // 2, -1), _shrink(place.valid), place.bounds,
        outlines=shapely.transform(place.outlines, lambda points: points / 2),
        unsure=shapely.transform(place.unsure, lambda points: points / 2), columns=place.columns,
    )


def _shrink(mask: np.ndarray) -> np.ndarray:
    """Half the resolution; True where all four pixels are."""
    height, width = mask.shape
    return mask.reshape(height // 2, 2, width // 2, 2).all(axis=(1, 3))
