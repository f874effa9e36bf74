"""The networks that the daemon sees through."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from daemon.config import Config
from daemon.eyes import open_eyes
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
