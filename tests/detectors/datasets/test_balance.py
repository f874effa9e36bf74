"""What is said of a data set."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detectors.datasets import UNKNOWN, Place, Provenance, equator_bounds
from detectors.datasets.balance import describe, draw, measure


@pytest.fixture
def places() -> list[Place]:
    """100 px of road, 200 px of background, 60 unknown, 40 without imagery, in two places of different resolution."""
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :5] = 1
    mask[:, 17:] = UNKNOWN
    valid = np.ones((10, 20), bool)
    valid[:2, 7:17] = False
    whose = Provenance("an aeroplane", "CC0", "OSM", "ODbL 1.0")
    pixels = np.zeros((10, 20, 3), np.uint8)
    return [
        Place(f"p{n}", pixels, valid, equator_bounds((10, 20), gsd), ("background", "road"), mask, provenance=whose)
        for n, gsd in enumerate((0.5, 1.0))
    ]


def test_pixels_are_counted_by_what_they_are(places: list[Place]):
    balance = measure(iter(places))
    assert dict(balance.pixels) == {"background": 200, "road": 100}
    assert (balance.unknown, balance.no_data, balance.total) == (60, 40, 400)
    assert balance.gsd_m == pytest.approx((0.5, 1.0))


def test_the_text_names_shares_resolutions_and_licences(places: list[Place]):
    said = describe({"train": measure(places)})
    assert "train: 2 places, 0.5 to 1 m a pixel" in said
    assert "50.00 %" in said and "25.00 %" in said and "10.00 %" in said
    assert "imagery: an aeroplane; licence: CC0 (2 places)" in said
    assert "labels: OSM; licence: ODbL 1.0 (2 places)" in said


def test_the_record_is_json(places: list[Place]):
    record = json.loads(json.dumps(measure(places).record()))
    assert record["pixels"] == {"background": 200, "road": 100} and record["places"] == 2
    assert {entry["licence"] for entry in record["licences"]} == {"CC0", "ODbL 1.0"}


def test_bars_are_as_long_as_the_shares(places: list[Place]):
    picture = draw({"train": measure(places)})
    first, second = (int(((picture == colour).all(axis=2).sum(axis=0) > 15).sum())
                     for colour in ((110, 110, 110), (202, 84, 60)))
    assert first == pytest.approx(2 * second, abs=3)


def test_places_of_one_class_are_counted(places: list[Place]):
    """Ground without a single road may be ground that nobody mapped."""
    from dataclasses import replace

    bare = replace(places[0], mask=np.zeros((10, 20), np.uint8))
    balance = measure([bare, *places])
    assert balance.bare == 1 and "1 places show one class alone" in describe({"train": balance})


def test_progress_is_told(places: list[Place]):
    told: list[int] = []
    measure(places, told.append)
    assert told == [1, 2]


def test_nothing_at_all_can_be_described():
    assert describe({"test": measure([])}).startswith("test: 0 places")
