"""ISPRS Vaihingen and Potsdam, in the layouts and colours in which they are published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detectors.datasets import UNKNOWN
from detectors.errors import DatasetInvalid

PUBLISHED = {
    "impervious": (255, 255, 255), "building": (0, 0, 255), "low_vegetation": (0, 255, 255), "tree": (0, 255, 0),
    "car": (255, 255, 0), "clutter": (255, 0, 0),
}


@pytest.fixture
def labels() -> np.ndarray:
    """A stripe of each class, and one of the black that parts objects in the noBoundary labels."""
    return np.repeat(np.array([[*PUBLISHED.values(), (0, 0, 0)]], np.uint8), 20, axis=0).repeat(4, axis=1)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 255, (20, 28, 3), dtype=np.uint8)


def test_vaihingen_by_its_published_names(
    tmp_path: Path, write_image: Callable, read: Callable, labels: np.ndarray, picture: np.ndarray
):
    write_image(tmp_path / "v/top/top_mosaic_09cm_area1.tif", picture, crs=None)
    write_image(tmp_path / "v/top/top_mosaic_09cm_area2.tif", picture, crs=None)
    write_image(tmp_path / "v/gts_for_participants/top_mosaic_09cm_area1.tif", labels, crs=None)
    (place,) = read(tmp_path / "v", "isprs")
    assert place.classes == tuple(PUBLISHED)
    assert place.truth()[0, ::4].tolist() == [0, 1, 2, 3, 4, 5, UNKNOWN]
    assert np.array_equal(place.pixels, picture)
    assert place.gsd == pytest.approx(0.09)


def test_potsdam_by_its_published_names(
    tmp_path: Path, write_image: Callable, read: Callable, labels: np.ndarray, picture: np.ndarray
):
    for kind in ("RGB", "IRRG"):
        write_image(tmp_path / f"p/{kind}/top_potsdam_2_10_{kind}.tif", picture, crs=None)
    write_image(tmp_path / "p/5_Labels_all_noBoundary/top_potsdam_2_10_label_noBoundary.tif", labels, crs=None)
    with pytest.raises(DatasetInvalid, match="several pictures"):
        read(tmp_path / "p", "isprs")
    (place,) = read(tmp_path / "p", "isprs", images="**/*_IRRG.tif")
    assert place.name == "top_potsdam_2_10_IRRG" and place.gsd == pytest.approx(0.05)
    assert (place.truth() == UNKNOWN).sum() == 20 * 4


def test_labels_with_and_without_boundaries_must_be_chosen_from(
    tmp_path: Path, write_image: Callable, read: Callable, labels: np.ndarray, picture: np.ndarray
):
    write_image(tmp_path / "p/top_potsdam_2_10_RGB.tif", picture, crs=None)
    write_image(tmp_path / "p/top_potsdam_2_10_label.tif", np.full_like(labels, 255), crs=None)
    write_image(tmp_path / "p/top_potsdam_2_10_label_noBoundary.tif", labels, crs=None)
    with pytest.raises(DatasetInvalid, match="choose by label_file"):
        read(tmp_path / "p", "isprs")
    (place,) = read(tmp_path / "p", "isprs", label_file="*_label.tif")
    assert (place.truth() == 0).all()


def test_labels_in_no_published_colour_are_refused(
    tmp_path: Path, write_image: Callable, read: Callable, picture: np.ndarray
):
    write_image(tmp_path / "v/top/top_mosaic_09cm_area1.tif", picture, crs=None)
    write_image(tmp_path / "v/gts/top_mosaic_09cm_area1.tif", np.full((20, 28, 3), 17, np.uint8), crs=None)
    with pytest.raises(DatasetInvalid, match="none of its values is a class"):
        read(tmp_path / "v", "isprs")
    write_image(tmp_path / "v/gts/top_mosaic_09cm_area1.tif", np.zeros((20, 28), np.uint8), crs=None)
    with pytest.raises(DatasetInvalid, match="RGB of uint8"):
        read(tmp_path / "v", "isprs")


def test_pictures_without_labels_are_refused(
    tmp_path: Path, write_image: Callable, read: Callable, picture: np.ndarray
):
    write_image(tmp_path / "v/top/top_mosaic_09cm_area1.tif", picture, crs=None)
    with pytest.raises(DatasetInvalid, match="no picture with labels"):
        read(tmp_path / "v", "isprs")
