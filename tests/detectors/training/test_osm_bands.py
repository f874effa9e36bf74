"""The map as bands: where the labels are, but for what is left out; and nothing where there is no map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from detectors.datasets import Place, equator_bounds
from detectors.datasets.osm_bands import draw_osm_bands, signed_distance, spoil_outlines, with_osm_bands
from detectors.datasets.targets import draw_mask
from detectors.errors import DatasetInvalid
from detectors.evaluation import evaluate
from detectors.training import train
from detectors.training.config import Colour, TrainingConfig
from detectors.training.crops import CropSampler

STILL = Colour(**dict.fromkeys(Colour.model_fields, 0.0))
BOTH = ("building", "building_distance")


@pytest.fixture
def place():
    """Forty-nine houses of 10 m in a field of 0.5 m pixels; all pixels are 90."""
    outlines = np.array([shapely.box(x, y, x + 20, y + 20) for x in range(10, 290, 40) for y in range(10, 290, 40)])
    shape = (300, 300)
    return Place("field", np.full((*shape, 3), 90, np.uint8), np.ones(shape, bool), equator_bounds(shape, 0.5),
                 outlines=outlines)


@pytest.fixture
def config(workshop):
    raw = TrainingConfig.load(workshop.recipe).model_dump(mode="json")
    raw["model"] |= {"network": "fusion-unet", "osm_bands": BOTH, "bands": 5, "mean": [100.0] * 3 + [64.0, 96.0],
                     "std": [50.0] * 5, "gsd_m": 0.5, "gsd_range_m": [0.2, 0.6]}
    raw["osm"] = {"omission": 0.0, "jitter_m": 0.0, "dropout": 0.0}
    raw["colour"] = STILL.model_dump()
    return TrainingConfig.model_validate(raw)


def with_osm(config, **values):
    return config.model_copy(update={"osm": config.osm.model_copy(update=values)})


def test_distances_are_metres_from_the_wall_and_end_at_what_a_byte_holds():
    square = np.array([shapely.box(100, 100, 140, 140)])
    binary, distance = np.moveaxis(draw_osm_bands(square, (240, 240), 0.5, BOTH), 2, 0)
    assert np.array_equal(binary > 0, draw_mask(square, (240, 240))) and set(np.unique(binary)) == {0, 255}
    assert distance[120, 100] == 128 + 1 and distance[120, 99] == 128 - 1  # a quarter of a metre either way
    assert distance[120, 120] == 128 + 4 * 0.5 * 19.5
    assert distance[120, 60] == 128 - 4 * 0.5 * 39.5 and distance[120, 10] == 0
    far = draw_osm_bands(np.array([shapely.box(-30, 0, -10, 240)]), (240, 240), 0.5, ["building_distance"])
    assert far[120, 0, 0] == 128 - 4 * 0.5 * 10.5, "buildings outside of the image count"


def test_an_image_without_walls_is_far_from_any():
    assert (signed_distance(np.zeros((5, 8), bool)) == -8).all() and (signed_distance(np.ones((5, 8), bool)) == 8).all()


def test_a_share_is_left_out_and_the_rest_is_shifted(place):
    same = with_osm_bands(place, BOTH, 0.0, 1)
    assert same.pixels.shape == (300, 300, 5) and same.pixels.dtype == np.uint8
    assert np.array_equal(same.pixels[..., 3] > 0, place.truth() > 0)
    spoilt = with_osm_bands(place, ["building"], 0.2, 1)
    lost = 1 - (spoilt.pixels[..., 3] > 0).sum() / (place.truth() > 0).sum()
    assert 0.05 < lost < 0.4
    assert not ((spoilt.pixels[..., 3] > 0) & (place.truth() == 0)).any()
    assert np.array_equal(spoilt.pixels, with_osm_bands(place, ["building"], 0.2, 1).pixels)
    assert not np.array_equal(spoilt.pixels, with_osm_bands(place, ["building"], 0.2, 2).pixels)
    moved = spoil_outlines(place.outlines, 0.0, 3.0, np.random.default_rng(0))
    shifts = np.array([b.centroid.x - a.centroid.x for a, b in zip(place.outlines, moved, strict=True)])
    assert 2 < shifts.std() < 4 and np.allclose(shapely.area(moved), 400)


def test_places_of_two_bytes_keep_their_type_and_masks_are_refused(place):
    deep = replace(place, pixels=place.pixels.astype(np.uint16) * 30)
    assert with_osm_bands(deep, BOTH, 0.0, 1).pixels.dtype == np.uint16
    flat = replace(place, mask=place.truth(), outlines=np.array([], dtype=object))
    with pytest.raises(DatasetInvalid, match="field: has a mask and no outlines"):
        with_osm_bands(flat, BOTH, 0.0, 1)
    with pytest.raises(DatasetInvalid, match="no band 'roads'"):
        with_osm_bands(place, ["roads"], 0.0, 1)


def test_crops_show_the_map_where_the_labels_are_however_they_are_turned(place, config):
    sampler = CropSampler(config, [place], [place.held_out(-1, 1)])
    for number in range(12):
        pixels, target, weight = sampler.crop(number)
        known = weight > 0
        assert np.array_equal((pixels[3] > 0)[known], (target > 0)[known])
        assert np.array_equal((pixels[4] > 128)[known], (target > 0)[known])
        np.testing.assert_allclose(pixels[:3][:, known], 90, atol=10)  # edges of the place blend


def test_each_crop_lacks_other_buildings_and_some_crops_the_whole_map(place, config):
    spoilt = CropSampler(with_osm(config, omission=0.4, dropout=0.3), [place], [place.held_out(-1, 1)])
    crops = [spoilt.crop(number) for number in range(60)]
    without = [(pixels[3] == 64).all() and (pixels[4] == 96).all() for pixels, *_ in crops]
    assert 8 <= sum(without) <= 30
    shown = [((p[3] == 255) & (t > 0)).sum() / max(1, (t > 0).sum())
             for (p, t, _), none in zip(crops, without, strict=True) if not none]
    assert 0.4 < np.mean(shown) < 0.8 and len(set(shown)) > 5
    whole = CropSampler(config, [place], [place.held_out(-1, 1)])
    for number in range(5):
        assert np.array_equal(whole.crop(number)[1], crops[number][1]), "the labels are whole"


def test_ground_that_is_held_out_has_no_map(place, config):
    halves = replace(place, columns=2)
    sampler = CropSampler(config, [halves], [halves.held_out(0, 1)])
    seen = 0
    for number in range(20):
        pixels, _, weight = sampler.crop(number)
        hidden = (pixels[0] == 100) & (weight == 0)
        seen += hidden.sum()
        assert (pixels[3][hidden] == 64).all() and (pixels[4][hidden] == 96).all()
    assert seen


def test_a_fusion_model_is_trained_and_scored_with_the_map(workshop, tmp_path):
    recipe = tmp_path / "fusion.toml"
    text = workshop.recipe.read_text()
    for old, new in (('name = "tiny"', 'name = "tiny"\nnetwork = "fusion-unet"\nosm_bands = ["building"]'),
                     ("bands = 3", "bands = 4"), ("100.0]", "100.0, 64.0]"),
                     ("50.0]", "50.0, 100.0]")):
        text = text.replace(old, new, 1)
    recipe.write_text(text)
    bundle = train(recipe, data=workshop.data, out=tmp_path / "out", fold=2, progress=False)
    assert bundle.card.osm_bands == ("building",) and bundle.card.bands == 4
    assert bundle.card.metrics["held_out"]["town"]["f1"] > 0.7
    again = evaluate(tmp_path / "out", data=workshop.data, engine="mxnet")
    assert again["held_out"]["town"]["f1"] == pytest.approx(bundle.card.metrics["held_out"]["town"]["f1"], abs=2e-3)
