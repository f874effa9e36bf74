"""Mixed precision is used where it holds; where it does not, training says so and goes on in float32."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detectors.datasets.tiles import read_tiles
from detectors.segmentation.mxnet_runtime import load_mxnet
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler
from detectors.training.curve import read_course
from detectors.training.loop import fit
from detectors.training.precision import use_amp

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from detectors.datasets.tiles import read_tiles
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler
from detectors.training.loop import fit
config = TrainingConfig.model_validate(json.load(sys.stdin))
place = read_tiles(Path(sys.argv[2]), 19, 3)
fitted = fit(config, CropSampler(config, [place], [place.held_out(-1, 1)]), Path(sys.argv[3]), progress=False)
print(fitted.summary["computed_in"])
"""


def recipe_of(workshop, **changes):
    raw = TrainingConfig.load(workshop.recipe).model_dump(mode="json")
    raw["model"]["widths"], raw["crops"]["size"] = [4, 8], 32
    raw["optimiser"]["steps"] = 20
    return {**raw, **changes}


def test_a_unet_learns_in_bfloat16_as_in_float32(workshop, tmp_path):
    """In a process of its own: MXNet cannot go back to float32."""
    town = workshop.data / "town"
    (tmp_path / "amp").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(REPOSITORY), str(town), str(tmp_path / "amp")],
        input=json.dumps(recipe_of(workshop, precision="amp")), capture_output=True, text=True, check=False,
    )
    if "cannot be trained in bfloat16 on this machine" in done.stderr:
        pytest.skip("this CPU trains nothing in bfloat16; that it says so and goes on is another test's")
    assert done.stdout.strip() == "bfloat16", done.stderr[-2000:]
    config = TrainingConfig.model_validate(recipe_of(workshop))
    place = read_tiles(town, 19, 3)
    fit(config, CropSampler(config, [place], [place.held_out(-1, 1)]), tmp_path, progress=False)
    (rounded,), (exact,) = read_course(tmp_path / "amp"), read_course(tmp_path)
    assert rounded["loss"] != exact["loss"]
    np.testing.assert_allclose(rounded["loss"], exact["loss"], rtol=0.03)


def test_a_network_that_cannot_be_tried_stays_in_float32(workshop, caplog):
    """A crop that does not fit the network's stride makes the trial fail, as an operator without bfloat16 does."""
    config = TrainingConfig.model_validate(recipe_of(workshop, precision="amp"))
    config = config.model_copy(update={"crops": config.crops.model_copy(update={"size": 33})})
    mx = load_mxnet()
    with caplog.at_level(logging.WARNING):
        assert use_amp(config, [mx.cpu()]) == "float32"
    assert "unet cannot be trained in bfloat16 on this machine" in caplog.text and "MXNetError" in caplog.text
    assert mx.nd.dot(mx.nd.ones((2, 2)), mx.nd.ones((2, 2))).dtype == np.float32
