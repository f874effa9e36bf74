"""A look at a block changes the ledger: new, seen, moved, reopened, withdrawn, silenced."""

from __future__ import annotations

import hashlib
import math
import threading

import numpy as np
import pytest
import shapely
from claims import (
    BLOCK,
    EAST_BLOCK,
    Ledger,
    area,
    everywhere,
    gone,
    house,
    later,
    misplaced,
    missing,
    moved,
    nowhere,
)
from shapely.geometry import LineString, Point, Polygon

from daemon.discrepancies.life import close, publish
from daemon.discrepancies.model import ClosedAs, State
from daemon.discrepancies.reconcile import Outcome
from daemon.errors import ClaimInvalid


def shut(ledger: Ledger, key: str, reason: str, sequence: int | None = None) -> None:
    with ledger.cursor() as cursor:
        close(cursor, [key], reason, now=later(1), sequence=sequence)


def test_a_new_claim_opens_a_discrepancy_with_all_that_was_claimed(ledger):
    claim = misplaced(house(50, 50), "way/7", shift=(3.0, -2.0), confidence=0.7, area_m2=np.float32(100.0))
    (key,) = ledger.look(claim).opened
    assert key.startswith("bld-") and len(key) == 20
    kept = ledger.find(key)
    assert (kept.detector, kept.kind, kept.osm, kept.confidence) == ("building", "misplaced", "way/7", 0.7)
    assert kept.state is State.OPEN and kept.shift_m == (3.0, -2.0) and kept.evidence == {"area_m2": 100.0}
    assert kept.geometry.equals(claim.geometry) and kept.times_seen == 1
    assert ledger.events(key) == ["opened"]


def test_the_same_claims_again_are_seen_and_nothing_else_is_written(ledger):
    claims = [missing(house(50, 50)), gone(house(90, 50), "way/1"), misplaced(house(50, 90), "way/2")]
    opened = ledger.look(*claims).opened
    before = ledger.all("SELECT key, updated, geometry, confidence FROM discrepancy ORDER BY key")
    assert ledger.look(*claims, now=later(60)) == Outcome(seen=opened)
    assert ledger.all("SELECT key, updated, geometry, confidence FROM discrepancy ORDER BY key") == before
    assert ledger.all("SELECT count(*) FROM discrepancy_history") == [(3,)]
    assert {(d,) for d in (2,)} == set(ledger.all("SELECT DISTINCT times_seen FROM discrepancy"))
    assert ledger.find(opened[0]).last_seen == later(60)


def test_a_slightly_shifted_claim_keeps_the_key(ledger):
    (key,) = ledger.look(missing(house(50, 50))).opened
    for east, north in [(0.5, 0), (-1.2, 1.2), (3, 0), (2, 2), (0, 0)]:
        outcome = ledger.look(missing(moved(house(50, 50), east, north)))
        assert outcome.seen + outcome.moved == [key] and not outcome.opened and not outcome.withdrawn


def test_a_small_jitter_does_not_touch_the_geometry_and_a_real_move_does(ledger):
    (key,) = ledger.look(missing(house(50, 50))).opened
    assert ledger.look(missing(moved(house(50, 50), 0.3, 0.3)), now=later(1)).seen == [key]
    assert ledger.find(key).geometry.equals(house(50, 50)) and ledger.find(key).updated == later(0)
    assert ledger.look(missing(moved(house(50, 50), 2.5, 0)), now=later(2)).moved == [key]
    assert ledger.find(key).geometry.equals(moved(house(50, 50), 2.5, 0)) and ledger.find(key).updated == later(2)
    assert ledger.events(key) == ["opened", "moved"]


def test_a_changed_shift_counts_as_moved_and_a_changed_confidence_as_seen(ledger):
    (key,) = ledger.look(misplaced(house(50, 50), shift=(3, 0), confidence=0.6)).opened
    assert ledger.look(misplaced(house(50, 50), shift=(3.2, 0), confidence=0.62)).seen == [key]
    assert ledger.find(key).confidence == 0.6
    assert ledger.look(misplaced(house(50, 50), shift=(3, 0), confidence=0.9)).seen == [key]
    assert ledger.find(key).confidence == 0.9
    assert ledger.look(misplaced(house(50, 50), shift=(5, 0), confidence=0.9)).moved == [key]
    assert ledger.find(key).shift_m == (5, 0)
    assert ledger.events(key) == ["opened", "seen", "moved"]


def test_kinds_and_distant_places_are_different_things(ledger):
    first = ledger.look(missing(house(50, 50))).opened
    outcome = ledger.look(missing(house(50, 50)), gone(house(50, 50), "way/3"), missing(house(80, 50)))
    assert outcome.seen == first and len(outcome.opened) == 2


def test_adjacent_houses_of_a_terrace_are_not_taken_for_each_other(ledger):
    row = [gone(house(20 + 6 * i, 50, width=6, depth=10), f"way/{i}") for i in range(8)]
    keys = ledger.look(*row).opened
    assert len(keys) == 8
    assert ledger.look(*row[1:]).withdrawn == [k for k in keys if ledger.find(k).osm == "way/0"]


def test_an_element_drawn_anew_under_another_id_keeps_the_key(ledger):
    (key,) = ledger.look(gone(house(50, 50), "way/1")).opened
    assert ledger.look(gone(moved(house(50, 50), 1, 0), "way/999")).moved == [key]
    assert ledger.find(key).osm == "way/999"


def test_an_element_that_was_moved_far_is_still_the_same_discrepancy(ledger):
    (key,) = ledger.look(gone(house(50, 50), "way/1")).opened
    assert ledger.look(gone(house(150, 150), "way/1")).moved == [key]


def test_matching_is_one_to_one_and_prefers_the_same_element(ledger):
    ledger.look(gone(house(50, 50), "way/1"), gone(moved(house(50, 50), 1, 0), "way/2"))
    by_osm = {ledger.find(k).osm: k for k, in ledger.all("SELECT key FROM discrepancy")}
    outcome = ledger.look(gone(house(50, 50), "way/2"), gone(moved(house(50, 50), 1, 0), "way/1"))
    assert not outcome.opened and not outcome.withdrawn
    assert {ledger.find(k).osm: k for k, in ledger.all("SELECT key FROM discrepancy")} == by_osm


def test_a_footprint_split_in_two_keeps_its_key_for_one_half(ledger):
    (key,) = ledger.look(missing(house(50, 50, width=20))).opened
    outcome = ledger.look(missing(house(45.2, 50, width=9.6)), missing(house(55, 50, width=10)))
    assert outcome.moved == [key] and len(outcome.opened) == 1


def test_what_is_not_seen_on_valid_imagery_is_withdrawn(ledger):
    near, far = ledger.open(missing(house(50, 50)), missing(house(90, 90)))
    with ledger.cursor() as cursor:
        publish(cursor, [near], now=later(1))
    assert ledger.look(missing(house(90, 90)), now=later(2), sequence=9) == Outcome(seen=[far], withdrawn=[near])
    assert ledger.find(near).closed_as is ClosedAs.WITHDRAWN and ledger.find(near).closed == later(2)
    assert ledger.events(near) == ["opened", "published", "closed"]


def test_without_imagery_or_outside_of_the_block_nothing_is_withdrawn(ledger):
    ledger.open(missing(house(50, 50)))
    assert ledger.look(judged=nowhere) == Outcome()
    assert ledger.look(owned=EAST_BLOCK) == Outcome()
    lon, lat = ledger.find(ledger.all("SELECT key FROM discrepancy")[0][0]).point
    asked = []
    ledger.look(judged=lambda *place: asked.append(place) or False)
    assert asked == [(lon, lat)]


def test_a_false_positive_is_silent_for_ever_whatever_comes(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    shut(ledger, key, "false_positive")
    again = [
        missing(house(50, 50), 0.99), missing(moved(house(50, 50), 5, 0)), missing(house(50, 50, 4, 4)),
        missing(house(50, 50, 30, 30)), missing(moved(house(50, 50), 2, 3), model="another"),
    ]
    for claim in again:
        assert ledger.look(claim) == Outcome(silenced=[key])
    assert ledger.look(*again) == Outcome(silenced=[key]), "one false positive silences many"
    assert ledger.find(key).closed_as is ClosedAs.FALSE_POSITIVE
    assert ledger.all("SELECT count(*) FROM discrepancy") == [(1,)]


def test_a_false_positive_silences_neither_other_kinds_nor_other_places(ledger):
    (key,) = ledger.open(gone(house(50, 50), "way/1"))
    shut(ledger, key, "false_positive")
    outcome = ledger.look(misplaced(house(50, 50), "way/1"), gone(house(62, 50), "way/2"))
    assert len(outcome.opened) == 2 and not outcome.silenced


def test_a_false_positive_about_an_element_holds_while_its_geometry_overlaps(ledger):
    (key,) = ledger.open(gone(house(50, 50), "way/1"))
    shut(ledger, key, "false_positive")
    assert ledger.look(gone(moved(house(50, 50), 8.5, 0), "way/1")).silenced == [key]
    assert ledger.look(gone(house(120, 50), "way/1")).silenced == []


def test_a_live_discrepancy_beside_a_false_positive_goes_on(ledger):
    first, second = ledger.open(missing(house(50, 50)), missing(house(61, 50)))
    shut(ledger, first, "false_positive")
    assert ledger.look(missing(house(60, 50))) == Outcome(seen=[second])


def test_what_was_closed_otherwise_opens_again_with_its_key(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    for nudge, reason in enumerate(["fixed", "withdrawn", "stale"], 1):
        shut(ledger, key, reason)
        seen = moved(house(50, 50), nudge, nudge)
        assert ledger.look(missing(seen), now=later(5 * nudge)) == Outcome(reopened=[key])
        again = ledger.find(key)
        assert again.state is State.OPEN and again.closed is None and again.closed_as is None
        assert again.geometry.equals(seen) and again.updated == later(5 * nudge)
    assert ledger.events(key) == ["opened", *["closed", "reopened"] * 3]
    details = ledger.all("SELECT detail->>'was' FROM discrepancy_history WHERE event = 'reopened' ORDER BY id")
    assert details == [("fixed",), ("withdrawn",), ("stale",)]


def test_a_look_at_an_older_map_does_not_open_what_a_later_change_fixed(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    shut(ledger, key, "fixed", sequence=8)
    assert ledger.look(missing(house(50, 50)), sequence=7) == Outcome()
    assert ledger.look(missing(house(50, 50)), sequence=8).reopened == [key]


def test_a_claim_that_jittered_over_the_border_is_the_neighbours_discrepancy(ledger):
    (key,) = ledger.look(missing(house(199.5, 50))).opened
    over = missing(house(200.4, 50))
    assert ledger.look(over, owned=EAST_BLOCK) == Outcome(seen=[key])
    assert ledger.look() == Outcome(), "the first block does not withdraw what the other one sees"
    assert ledger.look(over, owned=EAST_BLOCK) == Outcome(seen=[key])
    assert ledger.look(owned=EAST_BLOCK) == Outcome() and ledger.look(owned=EAST_BLOCK).withdrawn == [key]


def test_at_the_border_one_miss_is_a_doubt_and_the_second_withdraws(ledger):
    (key,) = ledger.look(missing(house(199.5, 50))).opened
    assert ledger.look() == Outcome()
    assert ledger.look(missing(house(199.5, 50))).seen == [key]
    assert ledger.look() == Outcome()
    assert ledger.look().withdrawn == [key]


def test_duplicate_claims_count_once_and_stacked_elements_count_each(ledger):
    outcome = ledger.look(
        missing(house(50, 50), 0.6), missing(house(50, 50), 0.9), gone(house(90, 50), "way/1"),
        gone(house(90, 50), "way/2"),
    )
    assert len(outcome.opened) == 3
    assert ledger.all("SELECT confidence FROM discrepancy WHERE kind = 'missing'") == [(0.9,)]


def test_a_key_that_is_taken_by_another_place_is_salted(ledger):
    (key,) = ledger.open(gone(house(50, 50), "way/1"))
    with ledger.cursor() as cursor:
        cursor.execute(
            "UPDATE discrepancy SET osm = 'way/9', bbox = '((1,1),(2,2))', lon = 1.5, lat = 1.5, geometry = %s",
            (Point(1.5, 1.5).buffer(0.5).wkb,),
        )
    (other,) = ledger.look(gone(house(50, 50), "way/1")).opened
    assert other != key and other.startswith("bld-")


def test_the_key_follows_from_detector_kind_place_and_element_alone(ledger):
    claim = gone(Point(85.5203, 27.6304), "way/1", 0.5, model="any")
    facts = "\x1f".join(["building", "gone", "855203000", "276304000", "way/1"])
    assert ledger.look(claim).opened == ["bld-" + hashlib.sha256(facts.encode()).hexdigest()[:16]]


def test_any_shape_of_geometry_is_kept_and_found_again(ledger):
    here = [(85.5203, 27.6304), (85.5206, 27.6306), (85.5206, 27.6304), (85.5203, 27.6306)]
    shapes = [
        Point(here[0]), LineString(here[:2]), Polygon(here), Polygon([here[0], here[1], here[0], here[0]]),
        shapely.GeometryCollection([Point(here[0]), house(50, 50)]),
        shapely.MultiPolygon([house(50, 50), house(80, 50)]),
    ]
    for number, geometry in enumerate(shapes, 1):
        (key,) = ledger.look(gone(geometry, f"relation/{number}")).opened
        assert ledger.look(gone(geometry, f"way/{number}")).moved == [key], geometry.geom_type
        assert ledger.look().withdrawn == [key]
        ledger.all("UPDATE discrepancy SET detector = 'other' RETURNING key")


def test_a_claim_that_cannot_be_kept_is_refused_by_name_and_nothing_changes(ledger):
    refused = [
        (missing(Polygon()), "no geometry"),
        (missing(Point(math.inf, 3)), "out of the world"),
        (missing(Point(200, 3)), "out of the world"),
        (missing(Point(20, -91)), "out of the world"),
        (missing(house(50, 50), math.nan), "confidence nan"),
        (missing(house(50, 50), 1.2), "confidence 1.2"),
        (gone(house(50, 50), "building 5"), "expected e.g. 'way/123'"),
        (misplaced(house(50, 50), shift=(math.nan, 0)), "shift"),
    ]
    for claim, complaint in refused:
        with pytest.raises(ClaimInvalid, match=complaint):
            ledger.look(missing(house(20, 20)), claim)
    assert ledger.all("SELECT count(*) FROM discrepancy") == [(0,)]


def test_evidence_of_any_kind_is_kept_as_json(ledger):
    odd = {"nan": math.nan, "inf": -math.inf, "array": np.arange(3), "text": "a\x00b\ud800", "n": None}
    odd["when"] = later(0)
    (key,) = ledger.look(missing(house(50, 50), **odd)).opened
    assert ledger.find(key).evidence == {
        "nan": None, "inf": None, "array": [0, 1, 2], "text": "ab?", "when": "2026-11-22T12:00:00Z", "n": None,
    }


def test_neighbouring_blocks_looked_at_at_once_make_no_twins(ledger):
    """Two workers see the same house on the seam, each from its side, many times at the same moment."""
    gate = threading.Barrier(2)
    failures = []

    def work(owned, offset):
        try:
            for row in range(12):
                gate.wait(timeout=30)
                ledger.look(missing(house(200 + offset, 10 + 15 * row)), owned=owned, judged=nowhere)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [
        threading.Thread(target=work, args=(BLOCK, -0.3)), threading.Thread(target=work, args=(EAST_BLOCK, 0.3)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    assert ledger.all("SELECT count(*), sum(times_seen) FROM discrepancy") == [(12, 24)]


def test_a_block_of_many_claims_is_reconciled_at_once(ledger):
    claims = [missing(house(10 + 12 * (i % 15), 10 + 12 * (i // 15), 6, 6)) for i in range(200)]
    assert len(ledger.look(*claims).opened) == 200
    assert len(ledger.look(*claims).seen) == 200
    assert len(ledger.look(owned=area(0, 0, 400, 400), judged=everywhere).withdrawn) == 200
