"""What the road detector claims of a made-up block, and what it must not claim."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
import shapely
from shapely.affinity import translate
from shapely.geometry import LineString, Point, box

from daemon.tiling.grid import Block
from detectors.base import Chip, Claim, OsmFeature, Probabilities, Scene
from detectors.conflation import Lines, unexplained_share
from detectors.road import RoadDetector
from detectors.road_block import STRAY_M
from detectors.settings import RoadSettings
from detectors.vectorize.raster import Grid

#: At 0.88 m a pixel: 452 m a side; with its margin 565 m.
BLOCK = Block(17, 19788, 24258, 2)
MARGIN = 64
IMAGERY_DAY = date(2024, 6, 1)
BEFORE = datetime(2023, 1, 1, tzinfo=UTC)
AFTER = datetime(2024, 7, 1, tzinfo=UTC)
GREEN, GREY = (30, 60, 25), (120, 120, 120)


class Ground:
    """A block whose roads are painted as a good network would see them; positions in local metres."""

    def __init__(self, roads, *, offset=(0.0, 0.0), block=BLOCK, acquired=IMAGERY_DAY, hidden=None, crowns=None,
                 seen=0.95, width=7.0):
        side = block.side * 256 + 2 * MARGIN
        valid = np.ones((side, side), bool)
        blank = Chip(np.full((side, side, 3), GREY, np.uint8), valid, block.mercator(MARGIN), acquired, "painted")
        self.frame, self.block = blank.frame, block
        grid = Grid.of(self.frame)
        road = grid.cover([translate(r, *offset).buffer(width / 2, cap_style="flat") for r in roads]) * np.float32(seen)
        if hidden is not None:
            valid &= ~grid.cover([hidden])
        if crowns is not None:
            blank.pixels[grid.cover([crowns])] = GREEN
        self.chip = Chip(blank.pixels, valid, blank.bounds, acquired, "painted")
        self.probabilities = Probabilities(np.stack([1 - road, road]), ("background", "road"), "painted@0")

    def feature(self, shape, number, tags=None, when=BEFORE):
        return OsmFeature(
            "way", number, 1, when, tags or {"highway": "residential"}, self.frame.to_lonlat(shape))

    def map(self, *roads):
        return [self.feature(road, number) for number, road in enumerate(roads, 1)]

    def judge(self, features, removed=(), detector=None, owned=None):
        scene = Scene(self.chip, self.probabilities, features, removed, owned or self.block.lonlat())
        return (detector or RoadDetector()).compare(scene)

    def local(self, claim: Claim):
        return self.frame.to_local(claim.geometry)


def along_each_other(one, other, within=2.0) -> bool:
    return all(
        unexplained_share(a, Lines([b], [within], [0.0])) < 0.05 for a, b in ((one, other), (other, one)))


#: A grid of streets: two to the east, three to the north.
EAST = [LineString([(-380, y), (380, y)]) for y in (-150, 150)]
NORTH = [LineString([(x, -380), (x, 380)]) for x in (-250, 0, 250)]
STREETS = [*EAST, *NORTH]


def test_streets_that_agree_with_the_map_bring_no_claim():
    ground = Ground(STREETS)
    assert ground.judge(ground.map(*STREETS)) == []


def test_a_street_without_a_way_is_missing_and_ends_exactly_on_the_known_ones():
    side = LineString([(100, -150), (100, 150)])
    ground = Ground([*STREETS, side])
    features = ground.map(*STREETS)
    (claim,) = ground.judge(features)
    assert (claim.kind, claim.osm, claim.shift_m) == ("missing", None, None)
    assert along_each_other(ground.local(claim), side) and claim.evidence["joins"] == ["way/1", "way/2"]
    ends = [Point(claim.geometry.coords[at]) for at in (0, -1)]
    for way in features[:2]:  # on the straight line between the way's own nodes, to the last digits
        assert min(way.geometry.distance(end) for end in ends) < 1e-12
    assert claim.evidence["open_ends"] == 0 and claim.evidence["length_m"] == pytest.approx(300, abs=8)
    assert claim.evidence["width"] == pytest.approx(7, abs=1.5) and claim.evidence["model"] == "painted@0"


@pytest.mark.parametrize(("houses", "claims"), [(8, 0), (2, 1)])
def test_a_row_of_mapped_roofs_is_no_street_and_a_street_may_touch_some(houses, claims):
    side = LineString([(100, -150), (100, 150)])
    ground = Ground([*STREETS, side])
    row = [box(90, y, 110, y + 20) for y in range(-120, -120 + 28 * houses, 28)]
    drawn = [ground.feature(house, 100 + i, {"building": "yes"}) for i, house in enumerate(row)]
    streets = ground.map(*STREETS)
    assert len(ground.judge([*streets, *drawn])) == claims
    (claim,) = ground.judge(streets)
    assert RoadDetector().holds(claim, drawn) == bool(claims), "whoever maps the row answers the claim"
    assert len(ground.judge([*streets, *(replace(one, tags={"building": "no"}) for one in drawn)])) == 1


def test_a_missing_street_meets_a_node_of_the_known_one_where_one_is_near():
    known = LineString([(-380, 0), (101.5, 0), (380, 0)])
    side = LineString([(100, 0), (100, 300)])
    ground = Ground([known, side])
    features = ground.map(known)
    (claim,) = ground.judge(features)
    node = features[0].geometry.coords[1]
    assert node in (claim.geometry.coords[0], claim.geometry.coords[-1])


def test_under_a_common_shift_a_missing_street_is_drawn_in_the_maps_frame():
    side = LineString([(100, -150), (100, 150)])
    ground = Ground([*STREETS, side], offset=(4.0, -3.0))
    (claim,) = ground.judge(ground.map(*STREETS))
    assert claim.evidence["block_shift_m"] == pytest.approx([4.0, -3.0], abs=1.0)
    assert along_each_other(ground.local(claim), side)


def test_a_way_over_ground_without_a_road_is_gone():
    ground = Ground(STREETS)
    ghost = LineString([(60, -60), (120, 0), (130, 80)])
    (claim,) = ground.judge(ground.map(*STREETS, ghost))
    assert (claim.kind, claim.osm) == ("gone", "way/6")
    assert along_each_other(ground.local(claim), ghost)


@pytest.mark.parametrize("tags", [
    {"highway": "residential", "tunnel": "yes"}, {"highway": "residential", "bridge": "viaduct"},
    {"highway": "residential", "covered": "yes"}, {"highway": "residential", "indoor": "yes"},
    {"highway": "residential", "layer": "-1"}, {"highway": "construction", "construction": "residential"},
    {"highway": "proposed"}, {"razed:highway": "residential"}, {"highway": "residential", "abandoned": "yes"},
    {"highway": "track"}, {"highway": "footway"}, {"highway": "service", "service": "driveway"},
    {"railway": "rail"},
], ids=lambda tags: "+".join(f"{k}={v}" for k, v in tags.items()))
def test_what_cannot_be_seen_or_is_said_not_to_be_there_is_never_gone(tags):
    ground = Ground(STREETS)
    ghost = ground.feature(LineString([(60, -60), (130, 80)]), 6, tags)
    assert ground.judge([*ground.map(*STREETS), ghost]) == []


def test_a_way_younger_than_the_imagery_is_not_accused_and_without_a_date_nothing_is():
    ghost, shifted = LineString([(60, -60), (130, 80)]), translate(NORTH[1], 9, 0)
    ground = Ground(STREETS)
    drawn = [*EAST, NORTH[0], NORTH[2]]
    young = [ground.feature(ghost, 8, when=AFTER), ground.feature(shifted, 9, when=AFTER)]
    assert ground.judge([*ground.map(*drawn), *young]) == []
    undated = Ground(STREETS, acquired=None)
    assert undated.judge(undated.map(*drawn, ghost, shifted)) == []
    trusting = RoadDetector(RoadSettings(trust_undated_imagery=True))
    kinds = {c.kind for c in undated.judge(undated.map(*drawn, ghost, shifted), detector=trusting)}
    assert kinds == {"gone", "misplaced"}


def test_a_road_under_trees_is_not_gone_be_they_mapped_or_seen():
    ghost = LineString([(60, -60), (130, 80)])
    wood = box(30, -100, 200, 120)
    mapped = Ground(STREETS)
    tagged = mapped.feature(wood, 9, {"natural": "wood"})
    assert mapped.judge([*mapped.map(*STREETS, ghost), tagged]) == []
    seen = Ground(STREETS, crowns=wood)
    assert seen.judge(seen.map(*STREETS, ghost)) == []


def test_a_way_beside_its_road_is_misplaced_with_the_vector_back_and_the_profile():
    ground = Ground(STREETS)
    drawn = translate(NORTH[1], 9.0, 0.0)
    (claim,) = ground.judge(ground.map(*EAST, NORTH[0], drawn, NORTH[2]))
    assert (claim.kind, claim.osm) == ("misplaced", "way/4")
    assert claim.shift_m == pytest.approx((-9.0, 0.0), abs=1.0)
    owned = ground.frame.to_local(box(*BLOCK.lonlat()))
    assert along_each_other(ground.local(claim), NORTH[1].intersection(owned))
    profile = claim.evidence["profile"]
    highest = profile["from_m"] + profile["step_m"] * int(np.argmax(profile["probability"]))
    assert abs(highest) == pytest.approx(9, abs=2)  # drawn northwards: the road lies to the left
    assert highest < 0


def test_an_offset_that_all_share_is_the_imagerys_and_no_claim():
    ground = Ground(STREETS, offset=(6.0, -4.0))
    assert ground.judge(ground.map(*STREETS)) == []


def test_a_misplaced_road_is_not_missing_beside():
    ground = Ground(STREETS)
    claims = ground.judge(ground.map(*EAST, NORTH[0], translate(NORTH[1], 14.0, 0.0), NORTH[2]))
    assert [c.kind for c in claims] == ["misplaced"]


def test_a_gap_under_crowns_is_bridged_and_the_road_is_one():
    side = LineString([(100, -150), (100, 150)])
    gap = box(90, -6, 110, 6)
    ground = Ground([*STREETS, *shapely.get_parts(side.difference(gap))])
    (claim,) = ground.judge(ground.map(*STREETS))
    assert along_each_other(ground.local(claim), side, 3.0)


def test_short_dead_ends_are_drives_and_longer_ones_are_roads():
    drive, road = LineString([(100, 150), (100, 190)]), LineString([(-100, 150), (-100, 250)])
    ground = Ground([*STREETS, drive, road])
    (claim,) = ground.judge(ground.map(*STREETS))
    assert claim.kind == "missing" and ground.local(claim).distance(Point(-100, 220)) < 2


def test_what_stands_alone_must_be_long():
    short, long = LineString([(60, -40), (120, -40)]), LineString([(-200, 60), (-50, -100)])
    ground = Ground([*STREETS, short, long], width=9)
    (claim,) = ground.judge(ground.map(*STREETS))
    assert along_each_other(ground.local(claim), long, 3.0)


@pytest.mark.parametrize(("shape", "tags"), [
    (box(60, -70, 200, 70), {"amenity": "parking"}),
    (LineString([(-380, 60), (380, 64)]), {"railway": "rail"}),
    (LineString([(-380, 60), (380, 64)]), {"waterway": "river"}),
    (LineString([(-380, 60), (380, 64)]), {"highway": "track"}),
    (LineString([(-380, 60), (380, 64)]), {"highway": "construction", "construction": "primary"}),
], ids=lambda value: "" if not isinstance(value, dict) else next(iter(value.values())))
def test_what_the_map_explains_otherwise_is_no_missing_road(shape, tags):
    looks_like = LineString([(130, -150), (130, 60)]) if shape.geom_type == "Polygon" else shape
    ground = Ground([*STREETS, looks_like])
    claims = ground.judge([*ground.map(*STREETS), ground.feature(shape, 9, tags)])
    assert all(ground.local(c).intersection(shape.buffer(3)).length < 10 for c in claims)
    assert ground.judge(ground.map(*STREETS)), "without the look-alike on the map, it is claimed"


def test_a_wide_area_is_no_road():
    ground = Ground([*STREETS, LineString([(60, 0), (200, 0)]).buffer(20)], width=7)
    assert ground.judge(ground.map(*STREETS)) == []


def test_a_road_deleted_after_the_imagery_was_taken_is_not_missing():
    side = LineString([(100, -150), (100, 150)])
    ground = Ground([*STREETS, side])
    assert ground.judge(ground.map(*STREETS), removed=[ground.feature(side, 9, when=AFTER)]) == []
    assert len(ground.judge(ground.map(*STREETS), removed=[ground.feature(side, 9, when=BEFORE)])) == 1


def test_ground_without_imagery_is_not_judged():
    hidden = box(40, -120, 400, 120)
    ground = Ground(STREETS, hidden=hidden)
    ghost = LineString([(60, -60), (130, 80)])
    assert ground.judge(ground.map(*EAST, *NORTH[:2], NORTH[2], ghost)) == []


def test_each_block_claims_what_lies_in_it_and_the_pieces_meet_at_the_border():
    whole = LineString([(-480, 20), (480, 40)])
    ground = Ground([whole])
    west, south, east, north = ground.block.lonlat()
    middle = (west + east) / 2
    pieces = [
        ground.judge([], owned=owned)
        for owned in ((west, south, middle, north), (middle, south, east, north))
    ]
    (left,), (right,) = pieces
    assert min(Point(a).distance(Point(b)) for a in left.geometry.coords for b in right.geometry.coords) < 1e-9
    assert left.geometry.bounds[2] == pytest.approx(middle, abs=1e-9) == right.geometry.bounds[0]


def test_a_road_along_the_border_is_claimed_once():
    ground = Ground([])
    west, south, east, north = ground.block.lonlat()
    middle = (west + east) / 2
    x = ground.frame.to_local(Point(middle, south)).x
    wavy = LineString([(x + 3 * math.sin(y / 25), y) for y in range(-200, 201, 5)])
    ground = Ground([wavy])
    all_claims = RoadDetector(RoadSettings(confidence=0.0))
    claims = [c for owned in ((west, south, middle, north), (middle, south, east, north))
              for c in ground.judge([], owned=owned, detector=all_claims)]
    claimed = shapely.union_all([ground.local(c) for c in claims])
    assert claimed.length == pytest.approx(wavy.length, abs=4 * STRAY_M)
    assert unexplained_share(wavy, Lines([claimed], [4.0], [0.0])) < 0.1


def test_a_straight_piece_is_represented_by_its_middle_not_by_an_end_on_the_border():
    ground = Ground([LineString([(-480, 20), (480, 20)])])
    for claim in ground.judge([]):
        assert ground.frame.to_local(claim.geometry.representative_point()).x == pytest.approx(0, abs=20)


class TestHolds:
    """Asked of the current map, without imagery."""

    detector = RoadDetector()
    ground = Ground(STREETS)

    def claim(self, kind, line, osm=None, shift=None):
        return Claim("road", kind, self.ground.frame.to_lonlat(line), osm, 0.9, shift, {})

    def holds(self, claim, *features):
        return self.detector.holds(claim, list(features))

    def test_missing_until_most_of_it_is_mapped(self):
        claim = self.claim("missing", LineString([(0, 0), (0, 200)]))
        draw = self.ground.feature
        assert self.holds(claim)
        assert self.holds(claim, draw(LineString([(-50, 100), (50, 100)]), 1))  # a road across
        assert self.holds(claim, draw(LineString([(2, 0), (2, 80)]), 1))
        assert not self.holds(claim, draw(LineString([(2, 0), (3, 60)]), 1), draw(LineString([(3, 60), (-2, 200)]), 2))
        assert not self.holds(claim, draw(LineString([(2, 0), (2, 200)]), 1, {"railway": "rail"}))
        assert not self.holds(claim, draw(box(-20, -5, 20, 205), 1, {"amenity": "parking"}))

    def test_gone_until_it_is_deleted_moved_or_said_to_be_gone(self):
        line = LineString([(0, 0), (0, 200)])
        claim = self.claim("gone", line, "way/1")
        draw = self.ground.feature
        assert self.holds(claim, draw(line, 1))
        assert not self.holds(claim) and not self.holds(claim, draw(line, 2))
        assert not self.holds(claim, draw(translate(line, 30, 0), 1))
        assert not self.holds(claim, draw(line, 1, {"razed:highway": "residential"}))
        assert not self.holds(claim, draw(line, 1, {"highway": "residential", "tunnel": "yes"}))

    def test_misplaced_until_it_lies_where_it_should(self):
        target = LineString([(0, 0), (0, 200)])
        claim = self.claim("misplaced", target, "way/1", (-9.0, 0.0))
        draw = self.ground.feature
        assert self.holds(claim, draw(translate(target, 9, 0), 1))
        assert self.holds(claim, draw(translate(target, 6, 0), 1))
        assert not self.holds(claim, draw(translate(target, 2, 0), 1)) and not self.holds(claim)

    def test_of_a_kind_that_it_does_not_know_it_says_so(self):
        with pytest.raises(ValueError, match="purple"):
            self.holds(self.claim("purple", LineString([(0, 0), (1, 1)])))


def test_hostile_geometry_breaks_nothing():
    side = LineString([(100, -150), (100, 150)])
    ground = Ground([*STREETS, side])
    knot = LineString([(0, 0), (90, 90), (0, 90), (90, 0), (0, 0), (90, 90)])
    far = LineString([(-90_000, 10), (90_000, 20)])
    tiny = LineString([(5, 5), (5, 5.0000001)])
    twins = [LineString([(-380, -150), (380, -150)])] * 3
    shapes = [knot, far, tiny, *twins, box(0, 0, 0.001, 0.001), shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])]
    features = [*ground.map(*STREETS), *(ground.feature(shape, n) for n, shape in enumerate(shapes, 100))]
    point = LineString([(1, 1), (1, 1)])
    features.append(ground.feature(point, 99))
    claims = ground.judge(features)
    assert any(along_each_other(ground.local(c), side, 3.0) for c in claims if c.kind == "missing")
    for claim in claims:
        assert np.isfinite(shapely.get_coordinates(claim.geometry)).all() and 0 <= claim.confidence <= 1


def test_a_thousand_ways_in_a_block_are_judged():
    ground = Ground(STREETS)
    rng = np.random.default_rng(3)
    ways = [LineString(rng.uniform(-400, 400, 2) + np.array([[0, 0], [25, 5]])) for _ in range(1000)]
    claims = ground.judge(ground.map(*STREETS, *ways))
    assert {c.kind for c in claims} <= {"missing", "gone", "misplaced"}


def test_finer_imagery_gives_the_same_road():
    block = Block(19, 39577, 48517, 4)
    side = LineString([(20, -200), (20, 200)])
    known = LineString([(-200, 0), (200, 0)])
    ground = Ground([known, side], block=block)
    claims = ground.judge(ground.map(known))
    assert {c.kind for c in claims} == {"missing"} and len(claims) == 2
    box_of_block = ground.frame.to_local(box(*block.lonlat()))
    claimed = shapely.union_all([ground.local(c) for c in claims]).intersection(box_of_block)
    assert along_each_other(claimed, side.intersection(box_of_block), 3.0)


def test_relevant_is_what_a_look_heeds_and_nothing_else():
    detector = RoadDetector()
    tags = {"highway": "residential", "name": "High Street", "surface": "asphalt", "lanes": "2", "tunnel": "yes"}
    assert detector.relevant(tags) == {"highway": "residential", "lanes": "2", "tunnel": "yes"}
    assert detector.selects(tags) and detector.selects({"amenity": "parking"}) and detector.selects({"natural": "wood"})
    assert not detector.selects({"amenity": "pub"}) and not detector.selects({"building": "no"})
    house = {"building": "house", "name": "Home"}
    assert detector.selects(house) and detector.relevant(house) == {"building": "yes"}
