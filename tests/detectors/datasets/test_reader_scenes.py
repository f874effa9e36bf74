"""Scenes with labels for all of them: several dates, rasters and polygons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from detectors.datasets import UNKNOWN
from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.raster import read_scenes
from detectors.datasets.source import Source
from detectors.errors import DatasetInvalid

WEST, NORTH = 465000.0, 5080000.0
SLOVENIA = {"1": "cultivated", "2": "forest", "3": "grass", "4": "shrub", "8": "artificial"}


@pytest.fixture
def scenes(tmp_path: Path, write_image: Callable) -> Path:
    """Two dates of 13 bands and one label raster."""
    random = np.random.default_rng(2)
    for number in (0, 1):
        pixels = random.integers(0, 9000, (30, 40, 13), dtype=np.uint16)
        write_image(tmp_path / f"land/date{number}.tif", pixels, step=10.0)
    write_image(tmp_path / "land/labels.tif", np.repeat([[0, 1, 2, 8]], 30, axis=0).repeat(10, axis=1).astype(np.uint8),
                step=10.0)
    return tmp_path / "land"


def test_every_date_is_a_place_with_the_same_labels(scenes: Path, read: Callable):
    places = read(scenes, "raster", images="date*.tif", label_file="labels.tif", label_classes=SLOVENIA, bands=13,
                  columns=4)
    assert [p.name for p in places] == ["date0", "date1"]
    assert all(p.pixels.shape == (30, 40, 13) and p.pixels.dtype == np.uint16 for p in places)
    assert all(p.gsd == pytest.approx(10) for p in places)
    assert all(p.classes == tuple(SLOVENIA.values()) for p in places)
    assert places[0].truth()[0, ::10].tolist() == [UNKNOWN, 0, 1, 4]
    assert np.array_equal(places[0].truth(), places[1].truth())
    assert np.flatnonzero(places[0].held_out(2, 1).all(axis=0)).tolist() == list(range(20, 30))


def test_a_date_can_be_held_out_by_the_glob(scenes: Path, read: Callable):
    keys = {"label_file": "labels.tif", "label_classes": SLOVENIA, "bands": 13}
    assert [p.name for p in read(scenes, "raster", images="date[0]*.tif", **keys)] == ["date0"]
    assert [p.name for p in read(scenes, "raster", images="date1.tif", **keys)] == ["date1"]


def test_bands_come_in_the_order_asked_for(scenes: Path, read: Callable):
    keys = {"label_file": "labels.tif", "label_classes": SLOVENIA}
    every, some = (read(scenes, "raster", images="date0.tif", **keys, **more)[0]
                   for more in ({"bands": 13}, {"bands": 3, "band_order": [8, 4, 3]}))
    assert np.array_equal(some.pixels, every.pixels[..., [7, 3, 2]])


def test_polygons_label_what_they_cover_and_nothing_else(scenes: Path, write_geojson: Callable, read: Callable):
    write_geojson(scenes / "polygons.geojson", [
        ({"kind": "lake"}, shapely.box(WEST, NORTH - 100, WEST + 200, NORTH)),
        ({"kind": "wood"}, shapely.box(WEST + 100, NORTH - 100, WEST + 200, NORTH)),
        ({"kind": "cloud"}, shapely.box(WEST + 300, NORTH - 300, WEST + 400, NORTH)),
    ])
    (place,) = read(scenes, "raster", images="date0.tif", label_file="polygons.geojson", label_key="kind", bands=13,
                    label_classes={"lake": "water", "wood": "forest", "pond": "water"})
    truth = place.truth()
    assert place.classes == ("water", "forest")
    assert (truth[:10, :10] == 0).all() and (truth[:10, 10:20] == 1).all()
    assert (truth[10:] == UNKNOWN).all() and (truth[:, 20:] == UNKNOWN).all()


def test_polygons_of_no_named_class_are_refused_with_what_there_is(
    scenes: Path, write_geojson: Callable, read: Callable
):
    write_geojson(scenes / "polygons.geojson", [({"kind": "lake"}, shapely.box(WEST, NORTH - 100, WEST + 9, NORTH))])
    with pytest.raises(DatasetInvalid, match="found lake"):
        read(scenes, "raster", images="date0.tif", label_file="polygons.geojson", label_key="kind", bands=13,
             label_classes={"sea": "water"})


def test_labels_must_be_named(scenes: Path, read: Callable):
    with pytest.raises(DatasetInvalid, match="needs label_file and label_classes"):
        read(scenes, "raster", images="date0.tif", bands=13)


def test_labels_on_another_grid_are_refused(scenes: Path, write_image: Callable, read: Callable):
    write_image(scenes / "small.tif", np.ones((15, 20), np.uint8), step=20.0)
    with pytest.raises(DatasetInvalid, match="20 x 15 px, but its image has 40 x 30"):
        read(scenes, "raster", images="date0.tif", label_file="small.tif", label_classes=SLOVENIA, bands=13)


def test_nothing_is_read_before_it_is_asked_for(scenes: Path):
    """A thousand scenes do not fit into memory together."""
    (scenes / "date9.tif").write_bytes(b"II*\0 broken")
    source = Source.model_validate({
        "path": "land", "reader": "raster", "use": "train", "images": "date*.tif", "label_file": "labels.tif",
        "label_classes": SLOVENIA, "bands": 13, "imagery": "a", "imagery_licence": "b", "labels": "c",
        "labels_licence": "d",
    })
    places = read_scenes(scenes, source)
    assert isinstance(places, LazyPlaces) and len(places) == 3
    assert places[0].name == "date0" and places[:2][1].name == "date1"
    with pytest.raises(DatasetInvalid, match="date9"):
        places[2]


def test_the_real_slovenia_has_five_classes_on_five_dates(data: Path, read: Callable):
    places = read(data / "landcover/s2_slovenia", "raster", images="scene*_13band.tif", label_file="lulc.tif", bands=13,
                  label_classes=SLOVENIA)
    assert [p.name for p in places] == [f"scene{n}_13band" for n in range(5)]
    truth = places[0].truth()
    assert [int((truth == index).sum()) for index in range(5)] == [11, 7601, 1777, 358, 198]
    assert places[0].gsd == pytest.approx(10, rel=0.01)


def test_real_polygons_in_degrees_and_in_metres(data: Path, read: Callable):
    (amazon,) = read(data / "landcover/s2_amazon", "raster", images="sentinel2*.tif", bands=12,
                     label_file="training_polygons.geojson", label_classes={"forest": "forest", "water": "water"})
    (para,) = read(data / "landcover/landsat5_para_1988", "raster", images="*.tif", bands=7,
                   label_file="training_polygons.geojson", label_classes={"forest": "forest", "water": "water"})
    for place, infrared in ((amazon, 7), (para, 3)):
        seen = place.pixels[..., infrared].astype(float)
        truth = place.truth()
        assert (truth != UNKNOWN).mean() < 0.2
        assert seen[truth == 1].mean() < 0.7 * seen[truth == 0].mean(), "water is dark in the near infrared"
