"""After a training the card says what was measured; an old bundle can be measured anew."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from detectors.errors import BundleInvalid, DatasetInvalid
from detectors.evaluation.scoring import evaluate
from detectors.segmentation import Bundle, OpenvinoEngine
from detectors.segmentation.bundle import CARD, ONNX_INT8
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler, training_places
from detectors.training.finishing import calibration_tiles, qualify


@pytest.fixture
def old(tiny_bundle, tmp_path) -> Bundle:
    """The tiny bundle as it was written before precisions were measured."""
    directory = tmp_path / "old"
    shutil.copytree(tiny_bundle.directory, directory)
    (directory / ONNX_INT8).unlink(missing_ok=True)
    card = json.loads((directory / CARD).read_text())
    card["files"].pop(ONNX_INT8, None)
    card |= {"format": 1, "precision": "f32"}
    for name in ("precisions", "thresholds", "trained_range_m", "dtype", "osm_bands"):
        del card[name]
    (directory / CARD).write_text(json.dumps(card))
    return Bundle.load(directory)


def test_a_training_leaves_measured_precisions_thresholds_and_the_resolutions_it_saw(tiny_bundle):
    card = tiny_bundle.card
    assert set(card.precisions) == {"f32", "bf16", "int8"} and card.precisions["f32"]["allowed"]
    assert card.precisions["f32"]["max_difference"] <= 1e-3
    assert card.precisions[card.precision]["allowed"]
    assert card.trained_range_m == pytest.approx((card.gsd_m * 0.7, 0.4), abs=0.01)
    assert 0 < card.thresholds["building"]["0.8"]["threshold"] < 1
    assert card.training["course"]["steps"] == 40


def test_an_old_bundle_is_quantised_and_measured_and_its_weights_stay(old, workshop):
    new = qualify(old, workshop.data)
    assert new.identity == old.identity and new.card.format == 2
    assert Bundle.load(old.directory).card == new.card
    for precision, record in new.card.precisions.items():
        if record["allowed"]:
            OpenvinoEngine(new, precision=precision).predict(np.zeros((1, 3, 64, 64), np.uint8))
    assert new.card.precisions["int8"]["points_lost"] <= 1.0 or not new.card.precisions["int8"]["allowed"]
    again = evaluate(new.directory, data=workshop.data)["held_out"]["town"]["iou"]
    assert new.card.metrics["held_out"]["town"]["iou"] == pytest.approx(again, abs=1e-6)


def test_a_bundle_of_unknown_origin_or_without_its_data_is_named(old, workshop, tmp_path):
    with pytest.raises(DatasetInvalid, match="town"):
        qualify(old, tmp_path / "nowhere")
    with pytest.raises(BundleInvalid, match="does not say how it was trained"):
        qualify(old.with_card(training={}), workshop.data)


def test_calibration_shows_nothing_that_is_held_out(workshop):
    config = TrainingConfig.load(workshop.recipe)
    places = training_places(config, workshop.data)
    everything = [np.ones(place.valid.shape, bool) for place in places]
    with pytest.raises(DatasetInvalid, match="nothing is left"):
        CropSampler(config, places, everything)
    tiles = calibration_tiles(CropSampler(config, places, [place.held_out(1, 1) for place in places]))
    assert tiles.shape == (32, 3, 64, 64) and tiles.dtype == np.uint8
    assert tiles.std(axis=(1, 2, 3)).max() > 10
