"""SpaceNet's chips: buildings and roads as vectors, one file a chip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from detectors.datasets import UNKNOWN
from detectors.errors import DatasetInvalid

WEST, NORTH = 465000.0, 5080000.0


@pytest.fixture
def write_chip(tmp_path: Path, write_image: Callable, write_geojson: Callable) -> Callable[..., Path]:
    def write(number: int, features: list) -> Path:
        pixels = np.random.default_rng(number).integers(1, 2047, (60, 80, 8), dtype=np.uint16)
        pixels[:, 70:] = 0
        write_image(tmp_path / f"AOI_2/MUL/MUL_AOI_2_Vegas_img{number}.tif", pixels, step=0.5)
        write_geojson(tmp_path / f"AOI_2/geojson/buildings/buildings_AOI_2_Vegas_img{number}.geojson", features)
        return tmp_path / "AOI_2"

    return write


def test_chips_and_labels_are_matched_by_number(write_chip: Callable, read: Callable):
    write_chip(12, [({}, shapely.box(WEST + 5, NORTH - 20, WEST + 15, NORTH - 10))])
    directory = write_chip(1, [])
    places = {p.name: p for p in read(directory, "spacenet", bands=8)}
    assert set(places) == {"MUL_AOI_2_Vegas_img1", "MUL_AOI_2_Vegas_img12"}
    place = places["MUL_AOI_2_Vegas_img12"]
    assert place.pixels.dtype == np.uint16 and place.gsd == pytest.approx(0.5)
    assert place.outlines[0].bounds == pytest.approx((10, 20, 30, 40))
    assert not place.valid[:, 70:].any() and place.valid[:, :70].all()
    assert (place.truth()[:, 70:] == UNKNOWN).all()
    empty = places["MUL_AOI_2_Vegas_img1"]
    assert len(empty.outlines) == 0 and (empty.truth()[:, :70] == 0).all()


def test_roads_are_as_wide_as_their_lanes(write_chip: Callable, read: Callable):
    across = shapely.LineString([(WEST - 10, NORTH - 15), (WEST + 60, NORTH - 15)])
    directory = write_chip(3, [({"lane_number": "2"}, across)])
    (place,) = read(directory, "spacenet", bands=8)
    assert place.classes == ("background", "road")
    assert (place.truth()[:, 10] == 1).sum() == 14, "two lanes of 3.5 m at 0.5 m a pixel"
    directory = write_chip(3, [({}, across)])
    (place,) = read(directory, "spacenet", bands=8, width_m=4.0)
    assert (place.truth()[:, 10] == 1).sum() == 8


def test_several_products_of_one_chip_must_be_chosen_from(tmp_path: Path, write_chip: Callable, write_image: Callable,
                                                          read: Callable):
    directory = write_chip(3, [({}, shapely.box(WEST, NORTH - 9, WEST + 9, NORTH))])
    write_image(directory / "PAN/PAN_AOI_2_Vegas_img3.tif", np.ones((60, 80), np.uint16), step=0.5)
    with pytest.raises(DatasetInvalid, match="choose one product"):
        read(directory, "spacenet", bands=1)
    (place,) = read(directory, "spacenet", bands=1, images="PAN/*.tif")
    assert place.name.startswith("PAN")


def test_buildings_and_roads_of_one_chip_must_be_chosen_from(
    write_chip: Callable, write_geojson: Callable, read: Callable
):
    directory = write_chip(3, [({}, shapely.box(WEST, NORTH - 9, WEST + 9, NORTH))])
    write_geojson(directory / "geojson/roads/roads_AOI_2_Vegas_img3.geojson",
                  [({}, shapely.LineString([(WEST, NORTH - 9), (WEST + 9, NORTH)]))])
    with pytest.raises(DatasetInvalid, match="choose one kind"):
        read(directory, "spacenet", bands=8)
    (place,) = read(directory, "spacenet", bands=8, label_file="geojson/roads/*")
    assert place.classes == ("background", "road")


def test_a_chip_without_labels_is_named(write_chip: Callable, write_image: Callable, read: Callable):
    directory = write_chip(3, [])
    write_image(directory / "MUL/MUL_AOI_2_Vegas_img4.tif", np.ones((60, 80, 8), np.uint16))
    with pytest.raises(DatasetInvalid, match=r"img4\.tif: no \.geojson"):
        read(directory, "spacenet", bands=8, foreground="building")


def test_a_set_without_any_feature_must_say_what_it_is_about(write_chip: Callable, read: Callable):
    directory = write_chip(3, [])
    with pytest.raises(DatasetInvalid, match="set foreground"):
        read(directory, "spacenet", bands=8)
    assert read(directory, "spacenet", bands=8, foreground="road")[0].classes == ("background", "road")


def test_the_real_vegas_chip(data: Path, read: Callable):
    (place,) = read(data / "roads/spacenet_vegas", "spacenet", bands=1)
    assert place.pixels.dtype == np.uint16 and place.classes == ("background", "road")
    assert place.valid.shape == (1300, 1050), "square pixels: a degree of longitude is shorter at 36 degrees north"
    assert place.gsd == pytest.approx(0.30, abs=0.01)
    assert 0.03 < (place.truth() == 1).mean() < 0.1
