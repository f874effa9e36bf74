"""The networks that the daemon sees through."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.config import Config
from daemon.eyes import NetworkEye, open_eyes, remember
from daemon.imagery.cache import Cache
from detectors.base import Chip
from detectors.errors import BundleMismatch
from detectors.segmentation import Engine
from detectors.segmentation.bundle import SHIPPED
from detectors.segmentation.dates import LEAST, MOST


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
    with pytest.raises(BundleMismatch, match="imagery four has 4 bands, the model takes 3: neither one date"):
        plain.look(four)
    with pytest.raises(BundleMismatch, match="`bands` asks for band 4, but imagery three gives 3"):
        eye.look(three)


# -- several dates in one picture --------------------------------------------------------------------------------------

#: Bands of a date for the shipped model of land cover.
TAKES = 12


class Counting(Engine):
    """An engine that counts how often it is asked."""

    name, device = "counting", "test"

    def __init__(self, real: Engine):
        super().__init__(real.bundle)
        self.real, self.asked = real, 0

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.asked += 1
        return self.real.run(batch)


def landcover(cache: Cache | None = None, **table) -> tuple[NetworkEye, Counting]:
    config = Config.model_validate({"detectors": {
        "building": {"enabled": False}, "landcover": {"enabled": True, **table}, "engine": "openvino", "threads": 1,
    }})
    (eye,) = open_eyes(config, cache)
    engine = Counting(eye.engine)
    return replace(eye, engine=engine), engine


def dates(*seeds: int, bands: int = TAKES) -> Chip:
    """Ground of 64 px at 10 m on some dates, each seed another."""
    fields = [np.random.default_rng(seed).integers(300, 3000, (8, 8, bands), np.uint16) for seed in seeds]
    pixels = np.concatenate([field.repeat(8, axis=0).repeat(8, axis=1) for field in fields], axis=2)
    return Chip(pixels, np.ones((64, 64), bool), (0, 0, 640, 640), None, "s2")


def test_several_dates_are_looked_at_one_by_one() -> None:
    eye, engine = landcover()
    one, other, both = (eye.look(dates(*seeds)) for seeds in ((1,), (2,), (1, 2)))
    assert engine.asked == 4 and len(both.classes) == 3 * len(one.classes) and both.model == eye.identity
    for name in one.classes:
        pair = np.stack([one.of(name), other.of(name)])
        for called, expected in ((name, pair.mean(0)), (LEAST + name, pair.min(0)), (MOST + name, pair.max(0))):
            np.testing.assert_allclose(both.of(called), expected, atol=1e-3)


def test_a_date_that_was_seen_is_not_looked_at_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**7)
    eye, engine = landcover(cache)
    first = eye.look(dates(1, 2))
    assert engine.asked == 2
    np.testing.assert_array_equal(eye.look(dates(1, 2)).values, first.values)
    assert engine.asked == 2
    eye.look(dates(2, 3))  # a newer one came, the oldest went
    assert engine.asked == 3
    kept = remember(cache, eye.bundle, dates(1, 2, 3))
    assert kept is not None and kept.classes == first.classes
    assert remember(cache, eye.bundle, dates(1, 4)) is None, "of one date nothing is kept"
    assert engine.asked == 3


def test_the_bands_of_several_dates_are_chosen_from_what_the_imagery_has(tmp_path: Path) -> None:
    """Sentinel-2 has 13, and the tenth of each is for clouds."""
    chosen = [band for band in range(1, 27) if band not in (11, 24)]
    cache = Cache(tmp_path, 10**7)
    eye, _ = landcover(cache, bands=chosen)
    plain, _ = landcover()
    whole = dates(1, 2, bands=13)
    expected = plain.look(replace(whole, pixels=whole.pixels[:, :, [band - 1 for band in chosen]])).values
    np.testing.assert_array_equal(eye.look(whole).values, expected)
    kept = remember(cache, eye.bundle, whole, bands=chosen)
    np.testing.assert_array_equal(kept.values, expected)
    with pytest.raises(BundleMismatch, match="imagery s2 has 26 bands, the model takes 12: neither one date"):
        plain.look(whole)
    with pytest.raises(BundleMismatch, match=r"asks for band 26, but imagery s2 gives 24"):
        eye.look(dates(1, 2))
