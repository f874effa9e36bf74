"""What the map no longer shows closes as fixed, without a look at imagery."""

from __future__ import annotations

from claims import area, building, gone, house, later, misplaced, missing
from shapely.geometry import box

from daemon.discrepancies.life import close, publish
from daemon.discrepancies.model import ClosedAs
from daemon.discrepancies.recheck import no_longer_hold, recheck


class Map:
    """The features of a made-up map; counts how often it is asked."""

    def __init__(self, *features):
        self.features = list(features)
        self.asked = 0

    def features_in(self, cursor, bbox):
        self.asked += 1
        return [f for f in self.features if f.geometry.intersects(box(*bbox))]

    def feature(self, cursor, ref):
        return next((f for f in self.features if f.ref == ref), None)


def holds(claim, features) -> bool:
    """A stand-in for a detector's answer: missing while nothing is there, otherwise while its object is there."""
    if claim.kind == "missing":
        return not any(f.geometry.intersects(claim.geometry) for f in features)
    return any(f.ref == claim.osm for f in features)


def check(ledger, world, *bboxes, **how):
    with ledger.cursor() as cursor:
        return recheck(
            cursor, bboxes=bboxes, holds=holds, features_in=world.features_in, feature=world.feature, now=later(60),
            sequence=5, **how,
        )


def test_a_building_that_was_drawn_closes_the_missing_one_there(ledger):
    drawn, other = ledger.open(missing(house(50, 50)), missing(house(80, 50)))
    with ledger.cursor() as cursor:
        publish(cursor, [drawn], now=later(1))
    world = Map(building(house(50, 50)))
    assert check(ledger, world, house(50, 50).bounds) == [drawn]
    assert ledger.find(drawn).closed_as is ClosedAs.FIXED and ledger.find(drawn).closed_sequence == 5
    assert ledger.find(other).closed is None
    assert check(ledger, world, house(50, 50).bounds) == [], "what is closed is not asked again"


def test_only_what_touches_a_changed_place_is_asked(ledger):
    ledger.open(gone(house(50, 50), "way/1"), gone(house(190, 190), "way/2"))
    world = Map()
    assert check(ledger, world) == [] and check(ledger, world, area(500, 500, 510, 510)) == []
    assert world.asked == 0
    assert len(check(ledger, world, area(45, 45, 46, 46))) == 1


def test_a_deleted_object_closes_what_was_said_about_it_wherever_it_was(ledger):
    (key,) = ledger.open(gone(house(50, 50), "way/1"))
    assert check(ledger, Map(), refs=["way/7"]) == []
    assert check(ledger, Map(), refs=["way/1"]) == [key]


def test_an_object_that_moved_out_of_sight_is_still_asked_for(ledger):
    (key,) = ledger.open(misplaced(house(50, 50), "way/1"))
    world = Map(building(house(900, 900), "way/1"))
    assert check(ledger, world, house(50, 50).bounds) == []
    assert ledger.find(key).closed is None


def test_a_neighbourhood_is_one_question_to_the_map(ledger):
    claims = [missing(house(10 + 15 * (i % 10), 10 + 15 * (i // 10))) for i in range(60)]
    keys = ledger.look(*claims).opened
    world = Map(*(building(c.geometry, f"way/{i}") for i, c in enumerate(claims[:30], 1)))
    assert len(check(ledger, world, area(0, 0, 200, 200))) == 30
    assert world.asked == 1
    assert len([k for k in keys if ledger.find(k).closed is None]) == 30


def test_another_detector_s_discrepancies_are_not_judged(ledger):
    ledger.open(missing(house(50, 50)))
    assert check(ledger, Map(building(house(50, 50))), house(50, 50).bounds, detector="road") == []


def test_before_publishing_the_map_can_be_asked_without_changing_anything(ledger):
    first, second = ledger.open(missing(house(50, 50)), missing(house(80, 50)))
    world = Map(building(house(50, 50)))
    with ledger.cursor() as cursor:
        wrong = no_longer_hold(
            cursor, [ledger.find(first), ledger.find(second)], holds=holds, features_in=world.features_in
        )
    assert wrong == {first}
    assert ledger.find(first).closed is None


def test_a_discrepancy_closed_meanwhile_is_no_obstacle(ledger):
    (key,) = ledger.open(gone(house(50, 50), "way/1"))
    with ledger.cursor() as cursor:
        close(cursor, [key], "withdrawn", now=later(1))
    assert check(ledger, Map(), house(50, 50).bounds, refs=["way/1"]) == []
