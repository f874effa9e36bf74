"""Crops show what the labels say, and never what a fold keeps apart."""

from __future__ import annotations

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest
import shapely

from detectors.datasets.targets import BACKGROUND, BORDER, BUILDING, classes_of, contacts_of, draw_ids
from detectors.datasets.tiles import read_tiles
from detectors.errors import DatasetInvalid
from detectors.training.augmentation import recolour
from detectors.training.config import Colour, TrainingConfig
from detectors.training.crops import CropSampler

STILL = Colour(**dict.fromkeys(Colour.model_fields, 0.0))


@pytest.fixture
def config(workshop):
    return TrainingConfig.load(workshop.recipe)


@pytest.fixture
def place(workshop):
    return read_tiles(workshop.data / "town", 19, 3)


def uncoloured(config):
    return config.model_copy(update={"colour": STILL})


def test_a_place_is_one_mosaic_with_its_labels_in_pixels(place):
    assert place.pixels.shape == (256, 768, 3) and place.columns == 3
    assert place.valid.all()
    assert place.gsd == pytest.approx(0.2986, abs=0.001)
    roofs = draw_ids(place.outlines, (256, 768)) > 0
    assert np.array_equal(roofs, place.pixels.mean(axis=2) > 120)


def test_targets_lie_on_the_roofs_however_the_crop_is_turned(place, config):
    sampler = CropSampler(uncoloured(config), [place], [place.held_out(-1, 1)])
    for number in range(20):
        pixels, target, weight = sampler.crop(number)
        bright = cv2.GaussianBlur(pixels.mean(axis=0), (3, 3), 0) > 122
        known = weight > 0
        agree = (bright == (target > 0))[known].mean()
        assert agree > 0.93, number


def test_any_number_of_bands_can_be_cut(place, config):
    six = dataclasses.replace(place, pixels=np.concatenate([place.pixels, place.pixels], axis=2))
    model = config.model.model_copy(update={"bands": 6, "mean": config.model.mean * 2, "std": config.model.std * 2})
    plain = uncoloured(config)
    pixels, target, _ = CropSampler(plain.model_copy(update={"model": model}), [six], [six.held_out(-1, 1)]).crop(1)
    same, same_target, _ = CropSampler(plain, [place], [place.held_out(-1, 1)]).crop(1)
    assert pixels.shape == (6, 64, 64)
    # OpenCV rounds four bands at a time a little otherwise than three.
    np.testing.assert_allclose(pixels.astype(int), np.concatenate([same, same]).astype(int), atol=1)
    assert np.array_equal(target, same_target)


def test_holding_out_everything_leaves_nothing_to_train_on(place, config):
    with pytest.raises(DatasetInvalid, match="nothing is left to train on"):
        CropSampler(config, [place], [place.held_out(0, 3)])


def test_a_crop_is_the_same_whenever_it_is_drawn(place, config):
    one = CropSampler(config, [place], [place.held_out(0, 1)])
    other = CropSampler(config, [place], [place.held_out(0, 1)])
    one.batch(0)
    for a, b in zip(one.batch(3), other.batch(3), strict=True):
        assert np.array_equal(a, b)


def test_held_out_ground_is_neither_shown_nor_learned(place, config):
    """The held-out column is painted white: no crop may have a white pixel, and weight ends where the fold begins."""
    place.pixels[:, :256] = 255
    sampler = CropSampler(uncoloured(config), [place], [place.held_out(0, 1)])
    for number in range(30):
        pixels, _, weight = sampler.crop(number)
        assert pixels.max() < 250
        fill = (pixels == 100).all(axis=0)
        inside = cv2.erode(fill.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not weight[inside & (cv2.blur(fill.astype(np.float32), (9, 9)) > 0.99)].any()


def test_unsure_regions_count_for_nothing_and_ghosts_are_no_buildings(workshop, tmp_path, config):
    directory = tmp_path / "town"
    shutil.copytree(workshop.data / "town", directory)
    features = json.loads((directory / "labels.geojson").read_text())["features"]
    ghost, doubtful = features[0]["geometry"], features[1]["geometry"]
    regions = [
        {"type": "Feature", "properties": {"kind": kind}, "geometry": geometry}
        for kind, geometry in (("natural_ghost", ghost), ("ignore", doubtful))
    ]
    (directory / "curated_regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": regions}))
    place = read_tiles(directory, 19, 3)
    assert len(place.outlines) == len(features) - 1
    assert len(place.unsure) == 1
    sampler = CropSampler(config, [place], [place.held_out(-1, 1)])
    ids = draw_ids(place.unsure, place.valid.shape) > 0
    assert ids.any()
    ignored = sum((sampler.crop(number)[2] == 0).sum() for number in range(40))
    assert ignored > 0


def test_every_outline_has_its_border_inside_and_touching_buildings_stay_apart():
    terrace = np.array([shapely.box(4, 4, 20, 20), shapely.box(20, 4, 36, 20)])
    ids = draw_ids(terrace, (24, 40))
    classes = classes_of(ids, 2)
    assert np.array_equal(classes > BACKGROUND, ids > 0)
    assert (classes[4:20, 18:22] == BORDER).all()
    assert (classes[6:18, 6:18] == BUILDING).all() and (classes[6:18, 22:34] == BUILDING).all()
    parts, _ = cv2.connectedComponents((classes == BUILDING).astype(np.uint8))
    assert parts - 1 == 2
    contacts = contacts_of(ids)
    assert contacts[12, 17:23].all() and not contacts[12, 8] and not contacts[12, 0]


def test_the_image_edge_is_no_outline():
    classes = classes_of(draw_ids(np.array([shapely.box(-5, -5, 10, 10)]), (16, 16)), 2)
    assert (classes[0:7, 0:7] == BUILDING).all()


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_colours_change_but_not_shape_and_type(bands):
    image = np.random.default_rng(0).integers(0, 255, (48, 48, bands), dtype=np.uint8)
    strong = Colour(shadow=1, blur=1, noise=1, jpeg=1)
    changed = recolour(image, strong, np.random.default_rng(1))
    assert changed.shape == image.shape and changed.dtype == np.uint8
    assert not np.array_equal(changed, image)
    assert np.array_equal(recolour(image, STILL, np.random.default_rng(1)), image)


def test_missing_tiles_are_not_valid(workshop, tmp_path):
    directory = tmp_path / "town"
    shutil.copytree(workshop.data / "town", directory)
    sorted((directory / "tiles").iterdir())[1].unlink()
    place = read_tiles(directory, 19, 3)
    assert place.valid[:, :256].all() and not place.valid[:, 256:512].any() and place.valid[:, 512:].all()


def test_transparent_pixels_are_not_valid(workshop, tmp_path):
    directory = tmp_path / "town"
    shutil.copytree(workshop.data / "town", directory)
    tile = sorted((directory / "tiles").iterdir())[0]
    image = cv2.cvtColor(cv2.imread(str(tile)), cv2.COLOR_BGR2BGRA)
    image[:50, :60, 3] = 0
    cv2.imwrite(str(tile), image)
    place = read_tiles(directory, 19, 3)
    assert not place.valid[:50, :60].any() and place.valid.sum() == 256 * 768 - 3000


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda d: shutil.rmtree(d / "tiles"), "no such directory"),
    (lambda d: [p.unlink() for p in (d / "tiles").iterdir()], "no tile of zoom 19"),
    (lambda d: (d / "labels.geojson").unlink(), r"labels\.geojson: not "),
    (lambda d: (d / "labels.geojson").write_text('{"type": "FeatureCollection", "features": []}'), "no polygons"),
    (lambda d: next(iter((d / "tiles").iterdir())).write_bytes(b"no image"), "not a (readable image|GeoTIFF)"),
    (lambda d: cv2.imwrite(str(sorted((d / "tiles").iterdir())[1]), np.zeros((64, 64, 3), np.uint8)), "64 x 64 px"),
])
def test_unusable_data_says_what_is_wrong(workshop, tmp_path, spoil, message):
    directory = tmp_path / "town"
    shutil.copytree(workshop.data / "town", directory)
    spoil(directory)
    with pytest.raises(DatasetInvalid, match=message):
        read_tiles(directory, 19, 3)
