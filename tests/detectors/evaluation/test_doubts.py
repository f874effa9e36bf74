"""Samples on which a network and the labels disagree."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import shape

from detectors.datasets import UNKNOWN, Place
from detectors.datasets.tiles import read_tiles
from detectors.errors import BundleMismatch, DatasetInvalid
from detectors.evaluation.doubts import THUMB, draw_sheet, find_doubts, loss_of, to_csv, to_geojson
from detectors.segmentation import Bundle, open_engine

SIDE = 64


@pytest.fixture(scope="session")
def town(workshop) -> Place:
    return read_tiles(workshop.data / "town", 19, 3)


@pytest.fixture(scope="session")
def ask(tiny_bundle: Bundle) -> Callable:
    engine = open_engine(tiny_bundle, "mxnet")
    return lambda *places, **more: find_doubts(tiny_bundle, engine, places, side=SIDE, **more)


def ghost(town: Place, column: int, row: int) -> Place:
    """The town with a labelled building that covers a whole sample."""
    outline = shapely.box(column, row, column + SIDE, row + SIDE)
    return replace(town, outlines=np.append(town.outlines, outline))


def test_a_wrong_label_comes_first(town: Place, ask: Callable):
    (first, *others) = ask(ghost(town, 3 * SIDE, SIDE), most=36)
    assert (first.column, first.row) == (3 * SIDE, SIDE)
    assert (first.labelled, first.predicted) == ("building", "background")
    assert len(others) == 35 and all(first.loss >= doubt.loss for doubt in others)


def test_only_the_worst_are_kept_in_order(town: Place, ask: Callable):
    every, some = ask(town, most=100), ask(town, most=5)
    assert [(d.column, d.row, d.loss) for d in some] == [(d.column, d.row, d.loss) for d in every[:5]]
    losses = [d.loss for d in every]
    assert losses == sorted(losses, reverse=True) and len(losses) == 12 * 4


def test_what_nobody_knows_is_not_doubted(town: Place, ask: Callable):
    unsure = np.array([shapely.box(0, 0, 400, 256)], dtype=object)
    blind = replace(town, valid=np.tile(np.arange(768) < 600, (256, 1)), unsure=unsure)
    found = ask(blind, most=100)
    assert {d.column for d in found} == {384, 448, 512, 576}
    assert min(d.known for d in found) == pytest.approx(24 / 64, abs=0.01)


def test_progress_is_told_for_each_place(town: Place, ask: Callable):
    told: list[int] = []
    ask(town, town, each=told.append)
    assert told == [1, 2]


def test_the_loss_is_the_cross_entropy_of_the_label():
    planes = np.array([[[0.8, 0.5, 0.0]], [[0.2, 0.5, 1.0]]], np.float32)
    loss = loss_of(planes, np.array([[0, 1, 0]], np.uint8))
    assert loss[0, :2] == pytest.approx([-np.log(0.8), np.log(2)]) and loss[0, 2] == pytest.approx(-np.log(1e-3))
    assert np.isnan(loss_of(planes, np.array([[UNKNOWN, 0, 0]], np.uint8))[0, 0])


def test_lists_and_sheet_name_place_and_position(town: Place, ask: Callable):
    found = ask(town, most=3)
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] and rows[0]["place"] == "town"
    features = json.loads(to_geojson(found))["features"]
    frame = town.chip().frame
    for doubt, feature in zip(found, features, strict=True):
        pixels = shapely.transform(frame.to_local(shape(feature["geometry"])), frame.local_to_pixels)
        corners = (doubt.column, doubt.row, doubt.column + SIDE, doubt.row + SIDE)
        assert pixels.bounds == pytest.approx(corners, abs=1e-3)
    sheet = draw_sheet(found)
    assert sheet.dtype == np.uint8 and sheet.shape[1] > 6 * THUMB and (sheet != 255).any()
    assert draw_sheet([]).shape[2] == 3


def test_places_that_lie_nowhere_on_earth_have_no_geometry(town: Place, ask: Callable):
    from detectors.datasets import equator_bounds

    (doubt,) = ask(replace(town, bounds=equator_bounds(town.valid.shape, town.gsd)), most=1)
    assert json.loads(to_geojson([doubt]))["features"][0]["geometry"] is None


def test_other_bands_and_other_classes_are_refused(town: Place, ask: Callable):
    with pytest.raises(BundleMismatch, match="4 bands"):
        ask(replace(town, pixels=np.dstack([town.pixels, town.pixels[..., 0]])))
    with pytest.raises(DatasetInvalid, match="nothing to compare"):
        ask(replace(town, classes=("sea", "shore"), mask=np.zeros(town.valid.shape, np.uint8)))


def test_a_missing_directory_is_said(tmp_path: Path):
    with pytest.raises(DatasetInvalid, match="no such directory"):
        read_tiles(tmp_path / "nowhere", 19, 3)
