"""What the building detector claims of a made-up block, and what it must not claim."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import numpy as np
import pytest
import shapely
from shapely.affinity import rotate, scale, translate
from shapely.geometry import box

from daemon.tiling.grid import Block
from detectors.base import Chip, Claim, OsmFeature, Probabilities, Scene
from detectors.building import BuildingDetector, BuildingSettings
from detectors.vectorize.raster import Grid

BLOCK = Block(19, 193_346, 110_121, 2)
MARGIN = 64
IMAGERY_DAY = date(2024, 6, 1)
BEFORE = datetime(2023, 1, 1, tzinfo=UTC)
AFTER = datetime(2024, 7, 1, tzinfo=UTC)


class Ground:
    """A block whose roofs are painted as a perfect network would see them; positions in local metres."""

    def __init__(self, roofs, *, offset=(0.0, 0.0), acquired=IMAGERY_DAY, hidden=None):
        side = BLOCK.side * 256 + 2 * MARGIN
        valid = np.ones((side, side), bool)
        blank = Chip(np.zeros((side, side, 3), np.uint8), valid, BLOCK.mercator(MARGIN), acquired, "painted")
        self.frame = blank.frame
        grid = Grid.of(self.frame)
        shown = [translate(r, *offset) for r in roofs]
        roof = grid.cover(shown)
        wall = grid.cover([r.boundary.buffer(0.5) for r in shown]) & roof
        inside = roof & ~wall
        if hidden is not None:
            valid &= ~grid.cover([hidden])
        self.chip = Chip(blank.pixels, valid, blank.bounds, acquired, "painted")
        planes = np.stack([~(inside | wall), inside, wall]).astype(np.float16)
        self.probabilities = Probabilities(planes, ("background", "building", "border"), "painted@0")

    def feature(self, polygon, number, tags=None, when=BEFORE):
        return OsmFeature("way", number, 1, when, tags or {"building": "yes"}, self.frame.to_lonlat(polygon))

    def judge(self, features, removed=(), detector=None, owned=None):
        scene = Scene(self.chip, self.probabilities, features, removed, owned or BLOCK.lonlat())
        return (detector or BuildingDetector()).compare(scene)

    def local(self, claim: Claim):
        return self.frame.to_local(claim.geometry)


def row_of_houses(count=8, pitch=16.0, y=0.0):
    return [box(x, y, x + 9, y + 7) for x in (np.arange(count) - count / 2) * pitch]


def test_a_block_that_agrees_with_the_map_brings_no_claim():
    houses = row_of_houses()
    ground = Ground(houses)
    assert ground.judge([ground.feature(h, i) for i, h in enumerate(houses, 1)]) == []


def test_a_roof_without_a_building_is_missing_and_drawn_where_it_is():
    houses = row_of_houses()
    ground = Ground(houses)
    (claim,) = ground.judge([ground.feature(h, i) for i, h in enumerate(houses[1:], 1)])
    assert (claim.kind, claim.osm, claim.shift_m) == ("missing", None, None)
    drawn = ground.local(claim)
    assert drawn.intersection(houses[0]).area / drawn.union(houses[0]).area > 0.8
    assert claim.evidence["model"] == "painted@0" and claim.evidence["imagery"] == "painted"


def test_a_building_over_bare_ground_is_gone():
    houses = row_of_houses()
    ground = Ground(houses[:-1])
    (claim,) = ground.judge([ground.feature(h, i) for i, h in enumerate(houses, 1)])
    assert (claim.kind, claim.osm) == ("gone", f"way/{len(houses)}")


def test_a_building_drawn_metres_off_is_misplaced_with_the_vector_back():
    houses = row_of_houses()
    ground = Ground(houses)
    drawn = [translate(houses[0], 3.5, -2.0), *houses[1:]]
    (claim,) = ground.judge([ground.feature(h, i) for i, h in enumerate(drawn, 1)])
    assert (claim.kind, claim.osm) == ("misplaced", "way/1")
    assert claim.shift_m == pytest.approx((-3.5, 2.0), abs=0.5)
    assert ground.local(claim).centroid.distance(houses[0].centroid) < 0.5


def test_a_shift_that_all_share_is_the_imagerys_and_no_claim():
    houses = row_of_houses()
    ground = Ground(houses, offset=(3.0, 2.5))
    assert ground.judge([ground.feature(h, i) for i, h in enumerate(houses, 1)]) == []


def test_under_a_common_shift_a_missing_building_is_drawn_in_the_maps_frame():
    houses = row_of_houses()
    ground = Ground(houses, offset=(3.0, 2.5))
    (claim,) = ground.judge([ground.feature(h, i) for i, h in enumerate(houses[1:], 1)])
    assert claim.kind == "missing"
    assert claim.evidence["block_shift_m"] == pytest.approx([3.0, 2.5], abs=0.4)
    assert ground.local(claim).centroid.distance(houses[0].centroid) < 0.6


def test_a_terrace_drawn_as_one_or_as_ten_is_no_discrepancy():
    units = [box(x, 0, x + 6, 9) for x in np.arange(10) * 6.0 - 30]
    whole = shapely.union_all(units)
    others = [translate(h, 0, -40) for h in row_of_houses()]
    as_seen_in_ten = Ground(units + others)
    assert as_seen_in_ten.judge([as_seen_in_ten.feature(g, i) for i, g in enumerate([whole, *others], 1)]) == []
    as_seen_in_one = Ground([whole, *others])
    assert as_seen_in_one.judge([as_seen_in_one.feature(g, i) for i, g in enumerate(units + others, 1)]) == []


def test_two_touching_missing_houses_are_two_claims():
    pair = [box(-9, 20, 0, 30), box(0, 20, 9, 30)]
    houses = row_of_houses()
    ground = Ground(houses + pair)
    claims = ground.judge([ground.feature(h, i) for i, h in enumerate(houses, 1)])
    assert [c.kind for c in claims] == ["missing", "missing"]


def test_the_younger_witness_wins_over_older_imagery():
    houses = row_of_houses()
    ground = Ground(houses[:-1])
    features = [ground.feature(h, i) for i, h in enumerate(houses[:-1], 1)]
    assert ground.judge([*features, ground.feature(houses[-1], 99, when=AFTER)]) == []
    moved = ground.feature(translate(houses[0], 4, 0), 1, when=AFTER)
    assert [c for c in ground.judge([moved, *features[1:]]) if c.kind == "misplaced"] == []


def test_what_a_mapper_removed_after_the_imagery_was_taken_is_not_claimed_missing():
    houses = row_of_houses()
    ground = Ground(houses)
    features = [ground.feature(h, i) for i, h in enumerate(houses[1:], 1)]
    demolished = ground.feature(houses[0], 99, when=AFTER)
    assert ground.judge(features, removed=[demolished]) == []
    long_ago = ground.feature(houses[0], 99, when=BEFORE)
    assert [c.kind for c in ground.judge(features, removed=[long_ago])] == ["missing"]


def test_imagery_without_a_date_accuses_nobody_unless_told_to():
    houses = row_of_houses()
    ground = Ground(houses[:-1], acquired=None)
    features = [ground.feature(h, i) for i, h in enumerate(houses, 1)]
    assert ground.judge(features) == []
    trusting = BuildingDetector(BuildingSettings(trust_undated_imagery=True))
    assert [c.kind for c in ground.judge(features, detector=trusting)] == ["gone"]


@pytest.mark.parametrize(
    "tags",
    [
        {"demolished:building": "yes"},
        {"razed:building": "house"},
        {"building": "construction"},
        {"proposed:building": "yes"},
        {"building": "yes", "demolished": "yes"},
        {"building": "yes", "location": "underground"},
        {"building": "yes", "layer": "-1"},
        {"man_made": "storage_tank"},
    ],
)
def test_lifecycle_and_look_alikes_are_neither_gone_nor_missing(tags):
    houses = row_of_houses()
    detector = BuildingDetector()
    assert detector.selects(tags)
    bare = Ground(houses[:-1])
    features = [bare.feature(h, i) for i, h in enumerate(houses[:-1], 1)]
    assert bare.judge([*features, bare.feature(houses[-1], 99, tags)]) == []
    built = Ground(houses)
    assert built.judge([*features, built.feature(houses[-1], 99, tags)]) == []


def test_what_is_not_a_building_is_not_selected():
    detector = BuildingDetector()
    assert not detector.selects({"highway": "residential"})
    assert not detector.selects({"natural": "tree", "name": "building"})


def test_small_sheds_are_not_claimed():
    houses = row_of_houses()
    shed = box(0, 20, 3, 23)
    ground = Ground([*houses, shed])
    features = [ground.feature(h, i) for i, h in enumerate(houses, 1)]
    assert ground.judge(features) == []
    bare = Ground(houses)
    assert bare.judge([*features, bare.feature(shed, 99)]) == []


def test_ground_without_imagery_is_never_judged():
    houses = row_of_houses()
    hole = houses[-1].buffer(3)
    ground = Ground(houses, hidden=hole)
    assert ground.judge([ground.feature(h, i) for i, h in enumerate(houses[:-1], 1)]) == []
    bare = Ground(houses[:-1], hidden=hole)
    assert bare.judge([bare.feature(h, i) for i, h in enumerate(houses, 1)]) == []


def test_each_claim_belongs_to_the_block_that_holds_its_point():
    west, south, east, north = BLOCK.lonlat()
    middle = (west + east) / 2
    houses = row_of_houses()
    ground = Ground(houses)
    features = [ground.feature(h, i) for i, h in enumerate(houses, 1) if i not in (1, len(houses))]
    left = ground.judge(features, owned=(west, south, middle, north))
    right = ground.judge(features, owned=(middle, south, east, north))
    assert len(left) == len(right) == 1
    assert left[0].geometry.centroid.x < middle < right[0].geometry.centroid.x


def test_a_claim_holds_until_the_map_says_otherwise():
    houses = row_of_houses()
    ground = Ground(houses[:-1])
    detector = BuildingDetector()
    features = [ground.feature(h, i) for i, h in enumerate(houses[1:], 1)]
    claims = {c.kind: c for c in ground.judge(features)}
    missing, gone = claims["missing"], claims["gone"]
    assert detector.holds(missing, features)
    assert not detector.holds(missing, [*features, ground.feature(houses[0], 50)])
    assert detector.holds(gone, features)
    assert not detector.holds(gone, [f for f in features if f.ref != gone.osm])
    razed = [f if f.ref != gone.osm else ground.feature(houses[-1], f.id, {"razed:building": "yes"}) for f in features]
    assert not detector.holds(gone, razed)


def test_a_misplaced_claim_is_fixed_when_the_building_comes_home():
    houses = row_of_houses()
    ground = Ground(houses)
    detector = BuildingDetector()
    off = ground.feature(translate(houses[0], 4, 0), 1)
    (claim,) = ground.judge([off, *(ground.feature(h, i) for i, h in enumerate(houses[1:], 2))])
    assert detector.holds(claim, [off])
    assert detector.holds(claim, [ground.feature(translate(houses[0], 7, 0), 1)])
    assert not detector.holds(claim, [ground.feature(translate(houses[0], 0.4, 0.3), 1)])


def test_nothing_is_claimed_of_an_empty_block_and_an_empty_map():
    ground = Ground([])
    assert ground.judge([]) == []


def test_an_invalid_outline_does_not_stop_the_block():
    houses = row_of_houses()
    ground = Ground(houses)
    bow_tie = shapely.Polygon([(30, 30), (40, 40), (40, 30), (30, 40)])
    features = [ground.feature(h, i) for i, h in enumerate(houses, 1)]
    claims = ground.judge([*features, ground.feature(bow_tie, 99)])
    assert all(math.isfinite(c.confidence) for c in claims)


def test_turned_houses_are_drawn_with_their_angle():
    houses = [rotate(h, 33) for h in row_of_houses(count=6, pitch=22)]
    ground = Ground(houses)
    (claim,) = ground.judge([ground.feature(h, i) for i, h in enumerate(houses[1:], 1)])
    drawn = ground.local(claim)
    assert drawn.intersection(houses[0]).area / drawn.union(houses[0]).area > 0.75


@pytest.mark.parametrize("factor", [0.45, 1.9])
def test_a_lone_building_drawn_far_too_small_or_too_large_is_badly_outlined(factor):
    houses = [box(x, y, x + 14, y + 12) for x in (-50, -10, 30) for y in (-40, 10)]
    ground = Ground(houses)
    drawn = [scale(houses[0], factor, factor), *houses[1:]]
    features = [ground.feature(h, i) for i, h in enumerate(drawn, 1)]
    (claim,) = ground.judge(features)
    assert (claim.kind, claim.osm) == ("misplaced", "way/1")
    assert ground.local(claim).intersection(houses[0]).area / ground.local(claim).union(houses[0]).area > 0.75
    assert math.hypot(*claim.shift_m) < 0.6
    detector = BuildingDetector()
    assert detector.holds(claim, features[:1])
    assert not detector.holds(claim, [ground.feature(houses[0], 1)])


def test_a_terrace_unit_drawn_alone_is_not_called_badly_outlined():
    units = [box(x, 0, x + 6, 9) for x in np.arange(6) * 6.0 - 20]
    others = [translate(h, 0, -40) for h in row_of_houses()]
    ground = Ground([shapely.union_all(units), *others])
    claims = ground.judge([ground.feature(g, i) for i, g in enumerate([*units[:2], *others], 1)])
    assert [c for c in claims if c.kind == "misplaced"] == []
