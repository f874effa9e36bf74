"""What follows a training: the network is exported, quantised and scored, and allowed the precisions that it bears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detectors.errors import BundleInvalid, DatasetInvalid
from detectors.evaluation.ground import TRAINED_ON, Ground, card_ground
from detectors.evaluation.scoring import evaluate_bundle, tally_model
from detectors.segmentation.bundle import FORMAT, Bundle
from detectors.segmentation.engines import Engine
from detectors.segmentation.export import trained_range, write_bundle
from detectors.segmentation.precisions import verify_precisions
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler, training_places

#: Crops on which the exported forms are compared and the ranges of 8-bit activations are measured.
TILES = 32


def finish(network, config: TrainingConfig, sampler: CropSampler, out: Path, *, fold: int, data: Path,
           course: Mapping[str, Any]) -> Bundle:
    """A trained network -> a bundle whose card says how good it is, and in which precisions it may run.

    Args:
        network: initialised Gluon block that gives logits.
        course: how the training went; goes into the card.

    Raises:
        BundleInvalid: the exported network is not the trained one.
        EngineUnavailable: onnx, or an engine to measure with, is not installed.
    """
    tiles = calibration_tiles(sampler)
    bundle = write_bundle(network, config, out, fold=fold, sample=tiles)
    bundle = bundle.with_card(training={**bundle.card.training, "course": dict(course)})
    bundle = verify_precisions(bundle, scorer_of(bundle, data), tiles)
    return evaluate_bundle(bundle, data)


def qualify(bundle: Bundle, data: Path) -> Bundle:
    """A bundle of any age or machine, quantised if it is not, with all scores and precisions measured anew.

    Args:
        data: where the data lies that its card names; training ground serves for calibration only.

    Raises:
        BundleInvalid: the card does not say how the network was trained, or ONNX and MXNet differ.
        DatasetInvalid: its data is not there.
    """
    try:
        config = TrainingConfig.model_validate(bundle.card.training["config"])
        fold = int(bundle.card.training["fold"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleInvalid(f"{bundle.directory}: its card does not say how it was trained: {error}") from error
    places = training_places(config, data)
    held_out = [place.held_out(fold, config.split.columns) for place in places]
    learnable = [(place, held) for place, held in zip(places, held_out, strict=True) if (place.valid & ~held).any()]
    if not learnable:
        raise DatasetInvalid(f"{data}: no ground that {bundle.identity} was trained on, so nothing to calibrate with")
    bundle = bundle.with_card(format=FORMAT, trained_range_m=trained_range(config))
    tiles = calibration_tiles(CropSampler(config, *zip(*learnable, strict=True)))
    bundle = verify_precisions(bundle, scorer_of(bundle, data), tiles)
    return evaluate_bundle(bundle, data)


def calibration_tiles(sampler: CropSampler) -> np.ndarray:
    """TILES of the crops that the network was trained on, [N, C, S, S]."""
    return np.stack([sampler.crop(number)[0] for number in range(TILES)])


def scorer_of(bundle: Bundle, data: Path) -> Callable[[Engine], float]:
    """F1 (mean over the classes that are something) of an engine on the ground that the card names.

    Ground that was trained on counts only where there is no other: also there, precisions can be compared.
    """
    grounds: list[Ground] = list(card_ground(bundle, data))
    unseen = [ground for ground in grounds if ground.group != TRAINED_ON] or grounds

    def score(engine: Engine) -> float:
        tallies = [tally_model(bundle, engine, ground.place, ground.mask) for ground in unseen]
        total = sum(tallies[1:], tallies[0])
        return float(np.nanmean(total.confusion.f1[total.foreground]))

    return score
