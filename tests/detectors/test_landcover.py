"""Areas of water, wood and built-up ground against polygons, on drawn probabilities."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import numpy as np
import pytest
import shapely
from shapely import contains_xy
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from detectors.base import EARTH_RADIUS_M, Chip, Claim, OsmFeature, Probabilities, Scene
from detectors.landcover import LandcoverDetector
from detectors.segmentation.dates import LEAST, MOST
from detectors.settings import LandcoverSettings

CLASSES = ("cultivated", "forest", "grass", "artificial", "water")
SIDE, PIXEL = 200, 10.0
SEEN, OLD, YOUNG = date(2024, 6, 1), datetime(2020, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)


class Ground:
    """Two kilometres of grass near the equator, on which covers are drawn in metres east and north of the middle."""

    def __init__(self, dates: int = 1):
        half = SIDE * PIXEL / 2
        self.bounds = (-half, -half, half, half)
        self.dates = [np.zeros((len(CLASSES), SIDE, SIDE), np.float32) for _ in range(dates)]
        for one in self.dates:
            one[CLASSES.index("grass")] = 1.0
        self.valid = np.ones((SIDE, SIDE), bool)
        self.features: list[OsmFeature] = []
        self.removed: list[OsmFeature] = []

    def grow(self, cover: str, where: BaseGeometry, *, sure: float = 0.95, on: int | None = None) -> None:
        """Let a cover be seen, on one date or all."""
        centres = (np.arange(SIDE) + 0.5) * PIXEL - SIDE * PIXEL / 2
        x, y = np.meshgrid(centres, -centres)
        inside = contains_xy(where, x, y)
        for i, one in enumerate(self.dates):
            if on in (None, i):
                one[:, inside] = (1 - sure) / (len(CLASSES) - 1)
                one[CLASSES.index(cover), inside] = sure

    def map(self, where: BaseGeometry, changed: datetime = OLD, **tags: str) -> OsmFeature:
        feature = OsmFeature("way", len(self.features) + 1, 1, changed, tags, lonlat(where))
        self.features.append(feature)
        return feature

    def claims(self, acquired: date | None = SEEN, owned=None, **settings) -> list[Claim]:
        values, names = self.dates[0], CLASSES
        if len(self.dates) > 1:
            stack = np.stack(self.dates)
            values = np.concatenate([stack.mean(0), stack.min(0), stack.max(0)])
            names = (*CLASSES, *(f"{LEAST}{n}" for n in CLASSES), *(f"{MOST}{n}" for n in CLASSES))
        chip = Chip(np.zeros((SIDE, SIDE, 1), np.uint16), self.valid, self.bounds, acquired, "s2")
        answer = Probabilities(values.astype(np.float16), names, "m@1")
        bounds = owned or lonlat(box(*self.bounds)).bounds
        return LandcoverDetector(LandcoverSettings(**settings)).compare(
            Scene(chip, answer, self.features, self.removed, bounds)
        )


def lonlat(geometry: BaseGeometry) -> BaseGeometry:
    return shapely.transform(geometry, lambda xy: np.degrees(xy / EARTH_RADIUS_M))


def kinds(claims: list[Claim]) -> list[tuple[str, str, str | None]]:
    return sorted((c.kind, c.evidence["cover"], c.osm) for c in claims)


LAKE = Point(0, 0).buffer(200)
WOOD = box(-600, -600, -100, 200)


@pytest.mark.parametrize(("cover", "name"), [("water", "water"), ("forest", "forest"), ("cultivated", "cultivated")])
def test_what_is_seen_and_not_mapped_is_missing(cover, name):
    ground = Ground()
    ground.grow(cover, LAKE)
    (claim,) = ground.claims()
    assert (claim.kind, claim.osm, claim.evidence["cover"]) == ("missing", None, name)
    assert claim.evidence["area_ha"] == pytest.approx(math.pi * 4, rel=0.05)
    assert claim.confidence > 0.6 and claim.geometry.intersection(lonlat(LAKE)).area / claim.geometry.area > 0.95


@pytest.mark.parametrize(
    ("cover", "tags"),
    [
        ("water", {"natural": "water"}), ("water", {"natural": "wetland"}), ("forest", {"landuse": "forest"}),
        ("forest", {"landuse": "orchard"}), ("forest", {"landuse": "residential"}),
        ("cultivated", {"landuse": "meadow"}),
    ],
)
def test_what_is_mapped_so_or_looks_so_from_space_is_no_question(cover, tags):
    ground = Ground()
    ground.grow(cover, LAKE)
    ground.map(LAKE.buffer(-15), **tags)
    assert ground.claims() == []


def test_another_cover_on_the_map_does_not_hide_it():
    ground = Ground()
    ground.grow("water", LAKE)
    ground.map(box(-900, -900, 900, 900), landuse="farmland")
    assert kinds(ground.claims()) == [("gone", "cultivated", "way/1"), ("missing", "water", None)]


def test_small_narrow_and_unsure_things_are_not_claimed():
    ground = Ground()
    ground.grow("water", Point(-500, 500).buffer(35))  # 0.4 ha
    ground.grow("water", LineString([(-900, -500), (900, -500)]).buffer(12))  # a river
    ground.grow("forest", box(300, 300, 700, 700), sure=0.5)
    assert ground.claims() == []


def test_a_lake_that_dried_up_is_gone_and_its_shore_is_no_question():
    ground = Ground()
    ground.map(LAKE, natural="water")
    (claim,) = ground.claims()
    assert (claim.kind, claim.osm) == ("gone", "way/1")
    assert claim.evidence["area_ha"] == pytest.approx(math.pi * 4, rel=0.1)
    ground.grow("water", LAKE.buffer(-24))
    assert ground.claims() == []


def test_of_a_wood_that_was_felled_in_part_that_part_is_gone():
    ground = Ground()
    ground.grow("forest", box(-600, -600, -350, 200))
    ground.map(WOOD, natural="wood")
    (claim,) = ground.claims()
    assert claim.osm == "way/1" and claim.evidence["area_ha"] == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(
    ("tags", "changed", "acquired"),
    [
        ({"natural": "water", "intermittent": "yes"}, OLD, SEEN), ({"natural": "water", "seasonal": "wet"}, OLD, SEEN),
        ({"landuse": "basin"}, OLD, SEEN), ({"natural": "water", "covered": "yes"}, OLD, SEEN),
        ({"natural": "water", "disused:landuse": "reservoir"}, OLD, SEEN), ({"natural": "water"}, YOUNG, SEEN),
        ({"natural": "water"}, OLD, None),
    ],
)
def test_the_map_is_believed_where_it_says_that_it_comes_and_goes_or_knows_better(tags, changed, acquired):
    ground = Ground()
    ground.map(LAKE, changed, **tags)
    assert ground.claims(acquired) == []


def test_a_flood_is_no_lake_and_a_low_reservoir_is_not_gone():
    ground = Ground(dates=3)
    ground.grow("water", LAKE, on=1)
    assert ground.claims() == []
    ground.map(LAKE, natural="water")
    assert ground.claims() == []
    dry = Ground(dates=3)
    dry.map(LAKE, natural="water")
    assert kinds(dry.claims()) == [("gone", "water", "way/1")]
    lake = Ground(dates=3)
    lake.grow("water", LAKE)
    assert kinds(lake.claims()) == [("missing", "water", None)] and lake.claims()[0].evidence["dates"] == "several"


def test_built_up_ground_without_anything_mapped_is_a_settlement():
    ground = Ground()
    ground.grow("artificial", box(-100, -100, 100, 100))
    (claim,) = ground.claims()
    assert (claim.kind, claim.evidence["area_ha"]) == ("settlement", pytest.approx(4, rel=0.05))
    ground.map(box(-100, -100, 100, 100), landuse="residential")
    assert kinds(ground.claims()) == [("settlement", "built_up", None)], "an outline alone houses nobody"
    ground.map(LineString([(-300, 120), (300, 120)]), highway="track")
    assert ground.claims() == []


def test_confidence_grows_with_size_and_with_how_sure_the_network_is():
    """What is as small as may be stays below the default bar of publishing, 0.5."""
    def confidence(side: float, sure: float) -> float:
        ground = Ground()
        ground.grow("forest", box(-side / 2, -side / 2, side / 2, side / 2), sure=sure)
        (claim,) = ground.claims()
        return claim.confidence

    by_size = [confidence(side, 0.95) for side in (160, 200, 300, 400, 600)]
    assert by_size == sorted(set(by_size[:-1])) + by_size[-1:] and by_size[0] < 0.6 and by_size[-1] > 0.9
    by_certainty = [confidence(300, sure) for sure in (0.75, 0.85, 0.95)]
    assert by_certainty == sorted(set(by_certainty))
    assert confidence(160, 0.8) < 0.5 < confidence(300, 0.8)


def test_a_mapped_area_that_leaves_the_block_is_judged_within_it():
    ground = Ground()
    ground.map(box(-3000, -400, -500, 400), natural="wood")
    (claim,) = ground.claims()
    assert claim.evidence["area_ha"] == pytest.approx(40, rel=0.03)
    ground.map(box(3000, 3000, 4000, 4000), natural="wood")
    assert len(ground.claims()) == 1


def test_what_was_deleted_after_the_imagery_is_still_a_cover_and_never_accused():
    ground = Ground()
    ground.removed.append(OsmFeature("way", 7, 2, YOUNG, {"natural": "wood"}, lonlat(WOOD)))
    assert ground.claims() == [] == ground.claims(None, trust_undated_imagery=True)
    ground.grow("forest", WOOD)
    assert ground.claims() == [], "somebody deleted it since, and knew why"
    ground.removed[:] = [OsmFeature("way", 7, 2, OLD, {"natural": "wood"}, lonlat(WOOD))]
    assert kinds(ground.claims()) == [("missing", "forest", None)]


def test_a_settlement_of_several_dates_says_so():
    ground = Ground(dates=2)
    ground.grow("artificial", box(-100, -100, 100, 100))
    assert [(c.kind, c.evidence["dates"]) for c in ground.claims()] == [("settlement", "several")]


def test_holds_asks_the_map_alone():
    detector, ground = LandcoverDetector(), Ground()
    ground.grow("water", LAKE)
    ground.grow("artificial", box(500, 500, 700, 700))
    ground.map(WOOD.difference(LAKE.buffer(100)), natural="wood")
    by_kind = {c.kind: c for c in ground.claims()}
    assert set(by_kind) == {"missing", "gone", "settlement"}
    wood = ground.features[0]
    pond = OsmFeature("way", 9, 1, YOUNG, {"natural": "water"}, lonlat(LAKE))
    hut = OsmFeature("way", 8, 1, YOUNG, {"building": "hut"}, lonlat(box(600, 600, 610, 610)))
    assert detector.holds(by_kind["missing"], [wood]) and not detector.holds(by_kind["missing"], [wood, pond])
    assert detector.holds(by_kind["gone"], [wood, pond]) and not detector.holds(by_kind["gone"], [pond])
    retagged = OsmFeature("way", 1, 2, YOUNG, {"landuse": "meadow"}, wood.geometry)
    assert not detector.holds(by_kind["gone"], [retagged])
    assert detector.holds(by_kind["settlement"], [wood]) and not detector.holds(by_kind["settlement"], [hut])


def test_each_block_claims_its_own_ground_only():
    ground = Ground()
    ground.grow("forest", box(-900, -300, 900, 300))
    west, south, east, north = lonlat(box(*ground.bounds)).bounds
    left, right = ground.claims(owned=(west, south, 0.0, north)), ground.claims(owned=(0.0, south, east, north))
    assert len(left) == len(right) == 1
    assert left[0].geometry.intersection(right[0].geometry).area < 1e-4 * left[0].geometry.area
    areas = [c.evidence["area_ha"] for c in (*left, *right)]
    assert areas == pytest.approx([54, 54], rel=0.03)


def test_ground_without_imagery_shows_nothing_and_hides_nothing():
    ground = Ground()
    ground.grow("water", LAKE)
    ground.map(WOOD, natural="wood")
    ground.valid[:] = False
    assert ground.claims() == []


def test_odd_shapes_are_borne():
    ground = Ground()
    ground.grow("water", LAKE)
    ground.map(Polygon([(0, 0), (300, 300), (300, 0), (0, 300)]), natural="water")  # a bow tie
    ground.map(LineString([(0, 0), (0, 0)]), highway="residential")
    ground.map(box(5000, 5000, 6000, 6000), natural="wood")
    assert all(c.geometry.is_valid for c in ground.claims())
