"""A road through many blocks is one discrepancy, whichever block is looked at first, and for its whole life."""

from __future__ import annotations

from itertools import permutations

import pytest
import shapely
from claims import LAT, LON, METRE_EAST, METRE_NORTH, NOW, area, everywhere, later
from shapely.geometry import LineString

from daemon.discrepancies.life import close, publish
from daemon.discrepancies.model import ClosedAs, State
from daemon.discrepancies.recheck import no_longer_hold
from daemon.discrepancies.stretches import changed_length
from detectors.base import Claim, OsmFeature
from detectors.road import RoadDetector

#: Three blocks side by side, 200 m each.
BLOCKS = [area(200 * n, 0, 200 * n + 200, 200) for n in range(3)]


def line(*points: tuple[float, float]) -> LineString:
    """From metres east and north of the corner."""
    return LineString([(LON + east * METRE_EAST, LAT + north * METRE_NORTH) for east, north in points])


def road(geometry, confidence: float = 0.8, osm: str | None = None, kind: str = "missing", shift=None, **evidence):
    return Claim("road", kind, geometry, osm, confidence, shift, evidence)


#: What each block sees of a road of 500 m; networks differ by a metre or two where blocks meet.
PIECES = [
    line((50, 100), (120, 102), (200, 101)), line((200, 102.5), (300, 100), (400, 99)), line((400, 98), (550, 100)),
]


def look(ledger, number: int, *claims: Claim, **how):
    return ledger.look(*claims, owned=BLOCKS[number], detector="road", prefix="road", **how)


def live(ledger) -> list[str]:
    return [key for (key,) in ledger.all("SELECT key FROM discrepancy WHERE state <> 'closed' ORDER BY key")]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_road_over_three_blocks_is_one_discrepancy_in_whatever_order_they_are_judged(ledger, order):
    for moment, number in enumerate(order):
        look(ledger, number, road(PIECES[number]), now=later(moment))
    (key,) = live(ledger)
    whole = ledger.find(key)
    assert whole.geometry.geom_type == "LineString"
    assert changed_length(whole.geometry, line((50, 100), (200, 101), (400, 99), (550, 100))) < 5
    assert whole.evidence["length_m"] == pytest.approx(500, abs=5)
    # The key is that of what was known first, and looking again changes nothing.
    assert whole.opened == later(0)
    before = ledger.all("SELECT key, state, geometry, confidence FROM discrepancy ORDER BY key")
    for number in order:
        outcome = look(ledger, number, road(PIECES[number]), now=later(60))
        assert outcome.seen == [key] and not outcome.opened and not outcome.moved and not outcome.withdrawn
    assert ledger.all("SELECT key, state, geometry, confidence FROM discrepancy ORDER BY key") == before


def test_a_piece_that_closes_the_gap_makes_one_of_two_and_the_published_one_stays(ledger):
    (west,) = look(ledger, 0, road(PIECES[0]), now=later(0)).opened
    (east,) = look(ledger, 2, road(PIECES[2]), now=later(1)).opened
    with ledger.cursor() as cursor:
        publish(cursor, [east], now=later(2))
    outcome = look(ledger, 1, road(PIECES[1]), now=later(3))
    assert outcome.moved == [east] and outcome.withdrawn == [west] and not outcome.opened
    assert ledger.find(west).closed_as is ClosedAs.WITHDRAWN and ledger.find(east).state is State.PUBLISHED
    details = ledger.all("SELECT detail FROM discrepancy_history WHERE key = %s AND event = 'closed'", west)
    assert details == [({"part_of": east},)]


def test_it_closes_as_a_whole_when_the_map_has_it_and_opens_again_under_its_key(ledger):
    for number, piece in enumerate(PIECES):
        look(ledger, number, road(piece))
    (key,) = live(ledger)

    def fixed(*drawn: LineString) -> set[str]:
        ways = [OsmFeature("way", n, 1, NOW, {"highway": "residential"}, one) for n, one in enumerate(drawn)]
        with ledger.cursor() as cursor:
            return no_longer_hold(
                cursor, [ledger.find(key)], holds=RoadDetector().holds, features_in=lambda cursor, bbox: ways)

    assert fixed(PIECES[0]) == set()
    assert fixed(*PIECES) == {key}
    with ledger.cursor() as cursor:
        close(cursor, [key], ClosedAs.FIXED, now=later(1))
    assert look(ledger, 1, road(PIECES[1]), now=later(2)).reopened == [key]


def test_what_a_block_does_not_see_any_more_is_cut_off_and_the_rest_stays(ledger):
    for number, piece in enumerate(PIECES):
        look(ledger, number, road(piece))
    (key,) = live(ledger)
    assert look(ledger, 2, now=later(1)).moved == [key]
    assert changed_length(ledger.find(key).geometry, line((50, 100), (200, 101), (400, 99))) < 5
    assert look(ledger, 0, now=later(2)).moved == [key]
    assert look(ledger, 1, now=later(3)).withdrawn == [key]


def test_ground_without_imagery_takes_nothing_away(ledger):
    for number, piece in enumerate(PIECES):
        look(ledger, number, road(piece))
    (key,) = live(ledger)
    whole = ledger.find(key).geometry
    west_half = LON + 450 * METRE_EAST
    look(ledger, 2, judged=lambda lon, lat: lon > west_half, now=later(1))
    left = ledger.find(key).geometry
    assert changed_length(whole, left) == pytest.approx(100, abs=12)


def test_a_road_at_an_angle_or_beside_is_another_one(ledger):
    look(ledger, 0, road(PIECES[0]))
    outcome = look(ledger, 1, road(line((201, 101), (203, 190))), road(line((200, 115), (400, 115))))
    assert len(outcome.opened) == 2 and len(live(ledger)) == 3


def test_two_that_touch_within_a_block_stay_two(ledger):
    outcome = look(ledger, 0, road(line((20, 100), (100, 100))), road(line((100, 100), (180, 104))))
    assert len(outcome.opened) == 2
    again = look(ledger, 0, road(line((20, 100), (100, 100))), road(line((100, 100), (180, 104))))
    assert again.seen == outcome.opened


def test_a_mapped_way_is_one_thing_in_all_blocks(ledger):
    pieces = [line((120, 50), (200, 50)), line((200, 50), (300, 50))]
    (key,) = look(ledger, 0, road(pieces[0], 0.9, "way/7", "misplaced", (0.0, 6.0))).opened
    assert look(ledger, 1, road(pieces[1], 0.6, "way/7", "misplaced", (0.0, 8.0))).moved == [key]
    whole = ledger.find(key)
    assert whole.osm == "way/7" and changed_length(whole.geometry, line((120, 50), (300, 50))) < 1
    assert 0.6 < whole.confidence < 0.9 and 6 < whole.shift_m[1] < 8
    # Another way that goes on is another thing.
    assert len(look(ledger, 1, road(pieces[1], 0.6, "way/7", "misplaced", (0.0, 8.0)),
                    road(line((300, 50), (400, 50)), 0.6, "way/8", "misplaced", (0.0, 8.0))).opened) == 1


def test_a_false_positive_silences_what_runs_along_it_and_not_what_goes_on(ledger):
    (key,) = look(ledger, 0, road(PIECES[0])).opened
    with ledger.cursor() as cursor:
        close(cursor, [key], ClosedAs.FALSE_POSITIVE, now=later(1))
    outcome = look(ledger, 0, road(line((60, 103), (200, 103))), now=later(2))
    assert outcome.silenced == [key] and not outcome.opened
    assert len(look(ledger, 1, road(PIECES[1]), now=later(3)).opened) == 1


def test_an_end_that_lies_on_a_node_of_the_map_stays_there_to_the_last_digit(ledger):
    node = (LON + 550 * METRE_EAST + 1.23e-9, LAT + 100 * METRE_NORTH)
    last = LineString([PIECES[2].coords[0], node])
    for number, piece in enumerate([PIECES[0], PIECES[1], last]):
        look(ledger, number, road(piece, joins=["way/5"] if number == 2 else []))
    whole = ledger.find(live(ledger)[0])
    assert node in list(whole.geometry.coords) and whole.evidence["joins"] == ["way/5"]


def test_hostile_lines_break_nothing(ledger):
    here = (LON + 10 * METRE_EAST, LAT + 10 * METRE_NORTH)
    hostile = [
        LineString([here, here]), line((10, 10), (50, 50), (10, 50), (50, 10), (10, 10)),
        shapely.MultiLineString([line((60, 10), (90, 10)), line((60, 10), (90, 10))]),
        line((-500, 100), (900, 100)),
    ]
    outcome = ledger.look(
        *(road(geometry) for geometry in hostile), owned=BLOCKS[0], detector="road", prefix="road", judged=everywhere)
    assert len(outcome.opened) == len(hostile)
    again = look(ledger, 0, *(road(geometry) for geometry in hostile), now=later(1))
    assert not again.opened and not again.withdrawn
