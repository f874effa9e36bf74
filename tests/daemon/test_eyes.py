"""The networks that the daemon sees through."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from daemon.config import Config
from daemon.eyes import open_eyes
from detectors.base import Chip
from detectors.errors import BundleMismatch
from detectors.segmentation.bundle import SHIPPED


def config_of(model: Path, **detectors) -> Config:
    return Config.model_validate({"detectors": {"building": {"model": str(model)}, "engine": "openvino", **detectors}})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "building", tmp_path / "model"))


def test_a_network_that_has_seen_the_map_may_not_judge_it(model: Path) -> None:
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps({**card, "osm_bands": ["building"]}))
    with pytest.raises(BundleMismatch, match=r"was shown the map \(building\).*set detectors.building.model"):
        open_eyes(config_of(model), None)


@pytest.mark.parametrize("augment", [False, True])
def test_augmentation_is_a_switch(model: Path, augment: bool) -> None:
    (eye,) = open_eyes(config_of(model, augment=augment), None)
    assert eye.augment is augment and eye.engine.name == "openvino"


def test_a_network_is_shown_the_bands_that_it_takes(model: Path) -> None:
    """Imagery of four bands, infrared first, serves a network of red, green and blue."""
    config = config_of(model)
    building = config.detectors.building.model_copy(update={"bands": [2, 3, 4]})
    chosen = config.model_copy(update={"detectors": config.detectors.model_copy(update={"building": building})})
    colours = np.random.default_rng(0).integers(40, 200, (64, 64, 3), dtype=np.uint8)
    valid = np.ones((64, 64), bool)
    side = 64 * 0.2986  # metres: zoom 19 at the equator
    three = Chip(colours, valid, (0, 0, side, side), None, "three")
    four = Chip(np.dstack([colours[:, :, ::-1].max(axis=2), colours]), valid, (0, 0, side, side), None, "four")
    (plain,), (eye,) = open_eyes(config, None), open_eyes(chosen, None)
    assert (eye.look(four).values == plain.look(three).values).all()
    with pytest.raises(BundleMismatch, match=r"imagery four has 4 bands, model .* takes 3"):
        plain.look(four)
    with pytest.raises(BundleMismatch, match=r"detectors\.building\.bands asks for band 4, but imagery three gives 3"):
        eye.look(three)
