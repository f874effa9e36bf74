"""Roads found against roads known: metres of what is missing, objects of the rest, and ways to drive."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from shapely.geometry import LineString, mapping

from daemon.scoring import BuildingTruth, Found, RoadTruth, Truth, TruthInvalid
from daemon.tiling.grid import Block
from detectors.base import Frame, OsmFeature

#: Two places of one tile each, far from each other.
TILES = [(39573, 48516), (39646, 48467)]


def frame_of(tile) -> Frame:
    return Frame(Block(17, *tile, 1).mercator(), (226, 226))


def line(tile, *points) -> LineString:
    """From metres east and north of the tile's middle."""
    return frame_of(tile).to_lonlat(LineString(points))


def road(number, image, geometry, initial="ok", in_area=True):
    return {"id": number, "image": image, "initial": initial, "in_area": in_area, "true_geometry": mapping(geometry)}


A, B = TILES
LINES = {
    1: line(A, (-90, 0), (90, 0)), 2: line(A, (0, 0), (0, 80)), 3: line(A, (-50, 0), (-50, 80)),
    4: line(B, (-90, 0), (90, 0)), 5: line(A, (60, 0), (60, -90)),
}
GHOST = line(A, (20, -60), (50, -20))
DOCUMENT = {
    "sequence_start": 0, "tiles_z17": [list(t) for t in TILES],
    "roads": [
        road(1, "21628930_15", LINES[1]), road(2, "21628930_15", LINES[2], "missing"),
        road(3, "21628930_15", LINES[3], "shifted"), road(4, "23279035_15", LINES[4]),
        road(5, "21628930_15", LINES[5], in_area=False),
    ],
    "ghosts": [{"id": 9, "image": "21628930_15", "geometry": mapping(GHOST)}],
    "initial_open": {"missing": [2], "ghost": [9], "shifted": [3]},
    "sequences": [{
        "sequence": 1, "tiles_touched": {"17": [list(A)]},
        "open_ids_after": {"missing": [], "ghost": [9], "shifted": [3]},
    }],
}


@pytest.fixture
def truth(tmp_path) -> RoadTruth:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(DOCUMENT))
    return Truth.load(path)


def found(kind, geometry, osm=None) -> Found:
    return Found(f"{kind}-{osm}-{geometry.length}", kind, geometry, osm)


def test_a_truth_of_roads_is_told_from_one_of_buildings(truth, tmp_path):
    assert isinstance(truth, RoadTruth) and set(truth.places) == {"21628930_15", "23279035_15"}
    assert truth.tiles["21628930_15"] == {A} and truth.tiles_by_sequence[1][17] == {A}
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"buildings": [], "ghosts": [], "sequence_start": 0, "initial_open": {},
                                 "sequences": [], "areas": {}}))
    assert isinstance(Truth.load(other), BuildingTruth)


@pytest.mark.parametrize("text", ["{", "[]", '{"roads": [{}]}', '{"roads": [], "ghosts": []}'])
def test_what_is_no_truth_file_is_said_to_be_none(tmp_path, text):
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(TruthInvalid, match=r"truth\.json"):
        Truth.load(path)


def test_missing_roads_are_counted_in_metres(truth):
    half = found("missing", line(A, (1, 0), (1, 40)))
    wrong = found("missing", line(A, (-90, -60), (-60, -60)))
    counts = truth.score([half, wrong], 0)["21628930_15"]["missing"]
    assert counts.tp == pytest.approx(44, abs=6) and counts.fn == pytest.approx(36, abs=6)
    assert counts.fp == pytest.approx(30, abs=2)
    across = truth.score([found("missing", line(A, (-20, 40), (20, 40)))], 0)["21628930_15"]["missing"]
    assert across.tp <= 2 and across.fp == pytest.approx(40, abs=2), "who crosses a road is not that road"


def test_nothing_is_missing_any_more_once_it_was_mapped(truth):
    counts = truth.score([found("missing", LINES[2])], 1)["21628930_15"]["missing"]
    assert (counts.tp, counts.fn) == (0, 0) and counts.fp == pytest.approx(80, abs=2)


def test_gone_and_misplaced_are_matched_by_the_way_that_they_name(truth):
    claims = [found("gone", GHOST, "way/9"), found("gone", LINES[1], "way/1"), found("misplaced", LINES[3], "way/3"),
              found("gone", LINES[5], "way/5")]
    scores = truth.score(claims, 0)["21628930_15"]
    assert (scores["gone"].tp, scores["gone"].fp, scores["gone"].fn, scores["gone"].unscored) == (1, 1, 0, 1)
    assert (scores["misplaced"].tp, scores["misplaced"].fp, scores["misplaced"].fn) == (1, 0, 0)
    assert truth.score([], 0)["21628930_15"]["gone"].fn == 1


def test_only_tiles_asked_for_are_scored(truth):
    assert truth.score([], 0, frozenset({B})).keys() == {"23279035_15"}
    beyond = found("missing", line(A, (-90, -60), (400, -60)))
    assert truth.score([beyond], 0)["21628930_15"]["missing"].fp == pytest.approx(203, abs=4)


def test_a_model_has_seen_an_image_when_it_was_trained_on_any_window_of_it(truth):
    assert truth.unseen_tiles({}, ["23279035_182_130", "17728720_0_0"]) == {A}
    assert truth.unseen_tiles({}, []) == set(TILES)


def test_following_right_claims_makes_the_map_easier_to_drive_on(truth):
    def way(number):
        moved = line(A, (-35, 0), (-35, 80)) if number == 3 else LINES[number]
        return OsmFeature("way", number, 1, datetime(2024, 1, 1, tzinfo=UTC), {"highway": "residential"}, moved)

    mapped = [way(n) for n in (1, 3, 4, 5)]
    right = [found("missing", LINES[2]), found("misplaced", LINES[3], "way/3")]
    ways = truth.paths(right, mapped)["21628930_15"]
    assert ways["corrected"] > 0.95 > ways["map"] + 0.1
    assert truth.paths([], mapped)["23279035_15"]["map"] > 0.95
