"""Training learns, repeats itself, and never looks at what it holds out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import DatasetInvalid
from detectors.evaluation import evaluate
from detectors.evaluation.scoring import PixelCounts
from detectors.segmentation import Bundle, open_engine
from detectors.segmentation.mxnet_runtime import load_mxnet
from detectors.training import cross_validate, train
from detectors.training.config import TrainingConfig
from detectors.training.schedule import learning_rate

REPOSITORY = Path(__file__).resolve().parents[3]


def weights_of(bundle: Bundle) -> dict[str, np.ndarray]:
    stored = load_mxnet().nd.load(str(bundle.path("model-0000.params")))
    return {name: array.asnumpy() for name, array in stored.items()}


def test_the_loss_falls_and_unseen_columns_are_recognised(tiny_bundle):
    lines = [json.loads(line) for line in (tiny_bundle.directory / "training.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 40
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    held_out = tiny_bundle.card.metrics["held_out"]["town"]
    assert held_out["iou"] > 0.8
    pixels = held_out["pixels"]
    assert sum(pixels.values()) == 256 * 256


def test_the_same_seed_gives_the_same_weights(workshop, tmp_path):
    first = train(workshop.recipe, data=workshop.data, out=tmp_path / "a", steps=4, progress=False)
    second = train(workshop.recipe, data=workshop.data, out=tmp_path / "b", steps=4, progress=False)
    one, other = weights_of(first), weights_of(second)
    assert len(one) == len(other)
    for (name, a), b in zip(one.items(), other.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3, err_msg=name)


def test_another_seed_gives_other_weights(workshop, tmp_path):
    recipe = tmp_path / "other.toml"
    recipe.write_text(workshop.recipe.read_text().replace("seed = 5", "seed = 6"))
    first = train(workshop.recipe, data=workshop.data, out=tmp_path / "a", steps=1, progress=False)
    second = train(recipe, data=workshop.data, out=tmp_path / "b", steps=1, progress=False)
    pairs = zip(weights_of(first).values(), weights_of(second).values(), strict=True)
    assert max(float(np.abs(a - b).max()) for a, b in pairs) > 0.05


def test_a_model_trained_on_everything_claims_no_score_for_its_own_ground(workshop, tmp_path):
    bundle = train(workshop.recipe, data=workshop.data, out=tmp_path, steps=1, progress=False)
    assert "held_out" not in bundle.card.metrics and "trained_on" not in bundle.card.metrics
    scores = evaluate(tmp_path, data=workshop.data)
    assert list(scores) == ["trained_on"]


def test_evaluation_repeats_what_the_card_says(tiny_bundle, workshop):
    scores = evaluate(tiny_bundle.directory, data=workshop.data, engine="mxnet")
    recorded = tiny_bundle.card.metrics["held_out"]["town"]["iou"]
    assert scores["held_out"]["town"]["iou"] == pytest.approx(recorded, abs=1e-3)


def test_cross_validation_adds_up_the_counts_of_the_folds_and_keeps_what_is_done(workshop, tmp_path):
    recipe = tmp_path / "short.toml"
    recipe.write_text(workshop.recipe.read_text().replace("steps = 40", "steps = 2"))
    train(recipe, data=workshop.data, out=tmp_path / "folds" / "fold1", fold=1, progress=False)
    done = tmp_path / "folds" / "fold1" / "card.json"
    before = done.stat().st_mtime_ns
    folds = tmp_path / "folds"
    bundle = cross_validate(recipe, data=workshop.data, out=tmp_path / "all", folds_dir=folds, progress=False)
    assert done.stat().st_mtime_ns == before
    metrics = bundle.card.metrics
    assert set(metrics["held_out_folds"]) == {"fold0", "fold1", "fold2"}
    assert sum(metrics["held_out_total"]["pixels"].values()) == 3 * 256 * 256
    assert bundle.card.training["fold"] == -1


def test_a_fold_that_is_not_there_is_refused(workshop, tmp_path):
    with pytest.raises(DatasetInvalid, match=r"fold 3: the config has folds 0\.\.2"):
        train(workshop.recipe, data=workshop.data, out=tmp_path, fold=3, progress=False)


def test_drawn_towns_can_be_mixed_in_and_the_card_says_so(workshop, tmp_path):
    recipe = tmp_path / "mixed.toml"
    recipe.write_text(workshop.recipe.read_text() + "[rendered]\nshare = 0.5\ntowns = 1\nside = 256\n")
    bundle = train(recipe, data=workshop.data, out=tmp_path / "mixed", steps=2, progress=False)
    assert bundle.card.training["config"]["rendered"]["share"] == 0.5
    assert any("rendered" in entry["imagery"] for entry in bundle.card.data)


def test_the_rate_warms_up_and_ends_at_zero():
    rates = [learning_rate(step, 100, 1.0, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_ratios_come_from_added_counts():
    total = PixelCounts(10, 0, 0, 5) + PixelCounts(0, 5, 5, 0)
    assert total.iou == 0.5
    assert total.f1 == pytest.approx(2 / 3)
    assert (total.precision, total.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert PixelCounts().iou == 1.0


def test_a_wrong_recipe_names_every_wrong_key(tmp_path):
    recipe = tmp_path / "wrong.toml"
    recipe.write_text('seed = "x"\n[model]\nname = "A b"\n[optimiser]\nsteps = 0\nbatches = 3\n')
    with pytest.raises(DatasetInvalid) as failure:
        TrainingConfig.load(recipe)
    for key in ("seed", "model.name", "sources", "optimiser.steps", "optimiser.batches"):
        assert f"- {key}:" in str(failure.value)


def test_an_unreadable_recipe_is_named(tmp_path):
    with pytest.raises(DatasetInvalid, match=r"nowhere\.toml cannot be read"):
        TrainingConfig.load(tmp_path / "nowhere.toml")


def test_the_recipe_of_the_shipped_model_is_valid():
    config = TrainingConfig.load(REPOSITORY / "detectors" / "training" / "configs" / "building.toml")
    assert config.model.classes == ("background", "building", "border")
    assert {source.use for source in config.sources} == {"train", "test"}


def test_importing_the_packages_loads_no_engine():
    program = ("import sys, detectors.segmentation, detectors.training\n"
               "print(sorted({'mxnet', 'openvino', 'onnx'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_engine_is_opened_with_all_cores_for_mxnet(tiny_bundle):
    program = (
        "import os, sys\nos.environ.pop('OMP_NUM_THREADS', None)\n"
        "from detectors.segmentation.mxnet_runtime import load_mxnet, usable_cpus\n"
        "load_mxnet()\nassert os.environ['OMP_NUM_THREADS'] == str(usable_cpus())\n"
        "from detectors.segmentation import Bundle, open_engine\n"
        "print(open_engine(Bundle.load(sys.argv[1]), 'mxnet').name)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tiny_bundle.directory)], cwd=REPOSITORY, text=True,
                          capture_output=True, check=True)
    assert done.stdout.strip() == "mxnet"
    assert open_engine(tiny_bundle, "openvino").name == "openvino"
