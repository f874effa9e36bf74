"""How good a bundle is on labelled places: everything counted, then divided, never averages of averages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.datasets import Place
from detectors.datasets.osm_bands import with_osm_bands
from detectors.evaluation.answers import ask_model
from detectors.evaluation.curves import thresholds_of
from detectors.evaluation.ground import HELD_OUT, TRAINED_ON, card_ground
from detectors.evaluation.legend import THRESHOLD, Legend
from detectors.evaluation.pixels import PixelCounts
from detectors.evaluation.records import CardCounts
from detectors.evaluation.resolution import match_resolution
from detectors.evaluation.tally import Tally, tally_answer
from detectors.segmentation.bundle import Bundle
from detectors.segmentation.engines import Engine, open_engine

__all__ = ["PixelCounts", "count_pixels", "evaluate", "evaluate_bundle", "match_resolution", "record_folds", "score"]

#: What a card's scores are measured in; what other precisions lose is measured apart (`Card.precisions`).
EXACT = "f32"
#: Data sets of more places than this have one record in a card, not one a place.
PLACES_IN_CARD = 12


@dataclass(frozen=True, slots=True)
class _Scored:
    """A tally, and of which place of which data set it is."""

    group: str
    path: str
    name: str
    tally: Tally


def evaluate(model: str | Path, *, data: Path, engine: str = "auto") -> dict[str, Any]:
    """Score a bundle as its card says: held-out columns of its training places, and all of its test places.

    Returns:
        {"held_out" | "trained_on" | "unseen_places": {place: counts and ratios}}; a place that was trained on as a
        whole is reported as such and proves nothing.

    Raises:
        BundleInvalid, DatasetInvalid, EngineUnavailable: as their names say.
    """
    bundle = Bundle.load(model)
    return score(bundle, Path(data), engine=open_engine(bundle, engine, precision=EXACT))


def evaluate_bundle(bundle: Bundle, data: Path) -> Bundle:
    """The bundle with its scores, and thresholds from held-out ground (else unseen places), written into its card.

    Scores of the training ground itself are left out.
    """
    engine = open_engine(bundle, precision=EXACT)
    scored = [one for one in _score_ground(bundle, Path(data), engine) if one.group != TRAINED_ON]
    scores = _records(scored)
    held_out = [one.tally for one in scored if one.group == HELD_OUT] or [one.tally for one in scored]
    return bundle.with_card(
        metrics={**bundle.card.metrics, **scores},
        thresholds=measure_thresholds(held_out) if held_out else bundle.card.thresholds,
    )


def measure_thresholds(tallies: Sequence[Tally]) -> dict[str, dict[str, dict[str, float]]]:
    """`Card.thresholds` of all classes but the background, from tallies of ground that was not trained on."""
    total = sum(tallies[1:], tallies[0])
    return thresholds_of({total.legend.classes[k]: total.scores[k] for k in total.foreground} if total.scores else {})


def score(bundle: Bundle, data: Path, *, engine: Engine) -> dict[str, Any]:
    """See `evaluate`."""
    return _records(list(_score_ground(bundle, data, engine)))


def tally_model(bundle: Bundle, engine: Engine, place: Place, mask: np.ndarray, **options: object) -> Tally:
    """Ask a model about a place, and count.

    A place finer than the model's range is first area-averaged to half its resolution, as often as needed. A model that
    sees the map is shown the place's own outlines, spoilt as in its training.

    Args:
        mask: bool [H, W] on the grid of the place.
        options: given to `segment`.
    """
    legend = Legend.of(bundle)
    legend.truth_of(place)  # complains of masks of another size before anything is cut
    place, mask = match_resolution(place, mask, bundle.card.gsd_range_m[0])
    truth = legend.truth_of(place)
    answer = ask_model(bundle, engine, show_map(bundle, place), legend, **options)
    return tally_answer(place, answer, legend, truth, mask)


def show_map(bundle: Bundle, place: Place) -> Place:
    """The place as a model sees it: with the map drawn as bands, for a model that sees the map."""
    if not bundle.card.osm_bands or place.pixels.shape[2] == bundle.card.bands:
        return place
    config = bundle.card.training.get("config", {})
    osm = config.get("osm", {})
    return with_osm_bands(place, bundle.card.osm_bands, osm.get("omission", 0.2), config.get("seed", 1),
                          jitter_m=osm.get("jitter_m", 0.0))


def count_pixels(bundle: Bundle, engine: Engine, place: Place, mask: np.ndarray) -> PixelCounts:
    """Compare prediction and labels of a place on valid pixels of `mask` that are not marked unsure.

    Args:
        mask: bool [H, W] on the grid of the place.

    Raises:
        ValueError: the model has more than one class besides the background.
    """
    return CardCounts.of(tally_model(bundle, engine, place, mask)).pixels


def record_folds(bundle: Bundle, folds: Sequence[Bundle]) -> Bundle:
    """Write into the card of a model trained on everything what its fold models scored on what they had not seen.

    The thresholds, too, are those of the fold models: nothing that the model itself has not seen is left to measure on.
    """
    each = {}
    for fold in folds:
        counts = [CardCounts.read(record) for record in fold.card.metrics["held_out"].values()]
        each[f"fold{fold.card.training['fold']}"] = sum(counts[1:], counts[0])
    folded = list(each.values())
    total = sum(folded[1:], folded[0])
    rendered = bundle.card.training["config"]["rendered"]
    without = ", without its drawn towns" if rendered["share"] and not rendered["in_folds"] else ""
    metrics = {
        **bundle.card.metrics, "held_out_folds": {name: counts.record() for name, counts in each.items()},
        "held_out_total": total.record(),
        "note": f"held_out_*: models of the same recipe{without}, each scored on tile columns it was not trained on; "
                f"unseen_places: this model; footprint pixels at probability {THRESHOLD}",
    }
    return bundle.with_card(metrics=metrics, thresholds=thresholds_of(total.scores) or bundle.card.thresholds)


def _score_ground(bundle: Bundle, data: Path, engine: Engine) -> Iterator[_Scored]:
    for ground in card_ground(bundle, data):
        tally = tally_model(bundle, engine, ground.place, ground.mask)
        yield _Scored(ground.group, ground.source.path, ground.place.name, tally)


def _records(scored: Sequence[_Scored]) -> dict[str, Any]:
    """By group, by place; data sets of many places have one record under their path."""
    sizes = Counter(one.path for one in scored)
    groups: dict[str, dict[str, Tally]] = {}
    for one in scored:
        group = groups.setdefault(one.group, {})
        name = one.path if sizes[one.path] > PLACES_IN_CARD else one.name
        group[name] = group[name] + one.tally if name in group else one.tally
    return {
        group: {name: CardCounts.of(tally).record(scores=group == HELD_OUT) for name, tally in tallies.items()}
        for group, tallies in groups.items()
    }
