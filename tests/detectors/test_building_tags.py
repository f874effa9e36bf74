"""Which tags of an object matter to the building detector: all that it asks for, and no name or address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime

import numpy as np
import pytest
from shapely.geometry import box

from daemon.tiling.grid import Block
from detectors import building_tags
from detectors.base import Chip, Claim, OsmFeature, Probabilities, Scene
from detectors.building import BuildingDetector
from detectors.building_tags import FORM, LIFECYCLE, ROOF_LIKE, is_cover, is_selected, may_be_judged, relevant_tags

BLOCK = Block(19, 193_346, 110_121, 1)
BUILDING = {"building": "yes"}
#: Tags of every sort that objects with a roof, or without one, carry.
WORLD: list[dict[str, str]] = [
    {}, {"building": "yes"}, {"building": "no"}, {"building": "ruins"}, {"building": "yes", "location": "underground"},
    {"building": "yes", "layer": "-1"}, {"building": "yes", "demolished": "yes"}, {"razed": "no"}, {"indoor": "room"},
    {"highway": "service", "area": "yes"}, {"building:part": "yes"},
    *({f"{prefix}:building": "yes"} for prefix in LIFECYCLE),
    *({key: value, "name": "x"} for key, values in ROOF_LIKE.items() for value in sorted(values or {"yes"})),
    *({**BUILDING, key: "something else"} for key in ROOF_LIKE),
]


class Recording(dict[str, str]):
    """Tags that remember which keys were asked for."""

    def __init__(self, tags: Mapping[str, str]):
        super().__init__(tags)
        self.asked: set[str] = set()

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> object:
        self.asked.add(key)
        return super().get(key, default)

    def _whole(self) -> Iterator[str]:
        raise AssertionError("the detector goes through all tags; then all of them matter")

    __iter__ = keys = values = items = _whole


def feature(tags: Mapping[str, str], number: int = 1) -> OsmFeature:
    west, south, east, north = BLOCK.lonlat()
    third = (east - west) / 3
    house = box(west + third, south + third / 2, east - third, north - third / 2)
    return OsmFeature("way", number, 1, datetime(2020, 1, 1, tzinfo=UTC), tags, house)


def asked_by_everything(tags: Mapping[str, str]) -> set[str]:
    """Keys that selecting, comparing and asking again ask for."""
    recording = Recording(tags)
    detector, thing = BuildingDetector(), feature(recording)
    detector.selects(recording)
    valid = np.ones((256, 256), bool)
    chip = Chip(np.zeros((256, 256, 3), np.uint8), valid, BLOCK.mercator(), date(2024, 1, 1), "painted")
    for roof in (0.0, 1.0):
        planes = np.stack([np.full((256, 256), 1 - roof), np.full((256, 256), roof), np.zeros((256, 256))])
        probabilities = Probabilities(planes, ("background", "building", "border"), "painted@0")
        detector.compare(Scene(chip, probabilities, [thing], [thing], BLOCK.lonlat()))
    for kind in ("missing", "gone", "misplaced"):
        detector.holds(Claim("building", kind, thing.geometry, None if kind == "missing" else thing.ref, 0.9), [thing])
    return recording.asked


@pytest.mark.parametrize("tags", WORLD, ids=str)
def test_every_key_that_is_asked_for_matters(tags: Mapping[str, str]) -> None:
    for key in asked_by_everything(tags):
        values = ROOF_LIKE.get(key)
        for value in values or {"anything"}:
            assert key in relevant_tags({**tags, key: value}), f"{key} is asked for, and declared to be irrelevant"


def test_the_recording_sees_what_is_asked() -> None:
    assert asked_by_everything({}) >= {"building", "man_made", "demolished", "was:building"}
    assert asked_by_everything(BUILDING) >= {"building", "location", "layer"}


@pytest.mark.parametrize("decides", [is_selected, is_cover, may_be_judged])
def test_what_does_not_matter_decides_nothing(decides: Callable[[Mapping[str, str]], bool]) -> None:
    for tags in WORLD:
        assert decides(tags) == decides(relevant_tags(tags)), tags


@pytest.mark.parametrize(
    "tag", ["building:levels", "building:part", "building:material", "roof:shape", "location", "layer", "indoor",
            "demolished", "construction:building"]
)
def test_an_edit_of_the_form_or_the_fate_of_a_building_matters(tag: str) -> None:
    assert relevant_tags({**BUILDING, tag: "1"}) == {**BUILDING, tag: "1"}


@pytest.mark.parametrize(
    "tag", ["name", "addr:street", "addr:housenumber", "note", "source", "website", "opening_hours", "amenity"]
)
def test_an_edit_of_a_name_or_an_address_does_not(tag: str) -> None:
    assert relevant_tags({**BUILDING, tag: "Town hall"}) == BUILDING


def test_another_use_of_a_building_does_not_matter_until_it_is_one_that_looks_like_a_roof() -> None:
    assert relevant_tags({**BUILDING, "amenity": "school"}) == relevant_tags({**BUILDING, "amenity": "pub"})
    assert relevant_tags({**BUILDING, "amenity": "shelter"}) != relevant_tags(BUILDING)


def test_it_looks_at_areas_only() -> None:
    assert BuildingDetector.shapes == {"area"}


def test_the_selection_has_another_name_as_soon_as_another_thing_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    before = building_tags._selection()
    assert before == BuildingDetector.selection == "c61e16ab1547", (
        "what is selected has changed: users must bootstrap anew, so say it in the change log and here"
    )
    monkeypatch.setitem(ROOF_LIKE, "leisure", {"stadium"})
    assert building_tags._selection() != before
    assert FORM
