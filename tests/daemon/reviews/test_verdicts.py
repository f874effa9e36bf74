"""Verdicts of people: false positives are silent for ever, "fixed" is believed when the map agrees."""

from __future__ import annotations

import pytest
from claims import gone, house, later, misplaced, missing, moved

from daemon.discrepancies.life import close, publish, reopen, take_back
from daemon.discrepancies.model import ClosedAs, State
from daemon.errors import DiscrepancyUnknown, TransitionIllegal
from daemon.reviews import Verdict, overturn, record_review, uphold

MINUTE = later(60)


def review(ledger, key, verdict, *, now=MINUTE, still_holds=None, who="anna", reason=None):
    with ledger.cursor() as cursor:
        return record_review(
            cursor, key, verdict, who=who, reason=reason, came_by="maproulette", now=now, still_holds=still_holds
        )


def test_a_false_positive_closes_for_ever(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    with ledger.cursor() as cursor:
        publish(cursor, [key], now=later(1))
    outcome = review(ledger, key, "false_positive", reason="it is a \x00greenhouse")
    assert (outcome.state, outcome.closed_as, outcome.recorded) == (State.CLOSED, ClosedAs.FALSE_POSITIVE, True)
    assert ledger.look(missing(house(50, 50))).silenced == [key]
    assert review(ledger, key, "fixed", now=later(70), still_holds=False).closed_as is ClosedAs.FALSE_POSITIVE
    assert ledger.all("SELECT verdict, reason, who, came_by FROM review ORDER BY id") == [
        ("false_positive", "it is a greenhouse", "anna", "maproulette"), ("fixed", None, "anna", "maproulette"),
    ]


def test_a_late_false_positive_holds_even_if_it_was_closed_otherwise(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    with ledger.cursor() as cursor:
        close(cursor, [key], "withdrawn", now=later(1))
    assert review(ledger, key, Verdict.FALSE_POSITIVE).closed_as is ClosedAs.FALSE_POSITIVE
    assert review(ledger, key, "false_positive", now=later(90)).recorded
    assert ledger.events(key) == ["opened", "closed", "reviewed", "closed", "reviewed"]


def test_fixed_waits_for_the_map(ledger):
    for verdict, answer, state in [
        ("fixed", None, State.OPEN), ("fixed", True, State.OPEN), ("fixed", False, State.CLOSED),
        ("already_fixed", True, State.OPEN), ("already_fixed", False, State.CLOSED),
    ]:
        ledger.clear()
        (key,) = ledger.open(missing(house(50, 50)))
        outcome = review(ledger, key, verdict, still_holds=answer)
        assert outcome.state is state
        assert outcome.closed_as is (ClosedAs.FIXED if state is State.CLOSED else None)
        assert ledger.events(key)[1] == "reviewed"


def test_undecided_verdicts_are_only_kept(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    for verdict in ("too_hard", "skipped"):
        assert review(ledger, key, verdict, still_holds=False).state is State.OPEN
    assert ledger.events(key) == ["opened", "reviewed", "reviewed"]


def test_the_same_verdict_told_twice_counts_once(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    assert review(ledger, key, "too_hard", who=None).recorded
    assert not review(ledger, key, "too_hard", who=None).recorded
    assert review(ledger, key, "too_hard", who="bert").recorded
    assert ledger.all("SELECT count(*) FROM review") == [(2,)]
    assert ledger.events(key) == ["opened", "reviewed", "reviewed"]


def test_unknown_keys_and_verdicts_are_refused_by_name(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    with pytest.raises(DiscrepancyUnknown, match="bld-0000000000000000"):
        review(ledger, "bld-0000000000000000", "fixed")
    with pytest.raises(ValueError, match="maybe"):
        review(ledger, key, "maybe")
    assert ledger.events(key) == ["opened"]


def test_an_object_that_is_not_out_of_place_is_not_gone_either_whoever_drew_it_anew(ledger):
    (key,) = ledger.open(misplaced(house(50, 50), "way/1"))
    review(ledger, key, "false_positive")
    assert ledger.look(gone(moved(house(50, 50), 1, 1), "way/1")).silenced == [key]
    assert ledger.look(gone(house(50, 50, 12, 9), "way/2")).silenced == [key]
    assert ledger.look(misplaced(house(51, 50), "way/2", shift=(9.0, 9.0))).silenced == [key]
    outcome = ledger.look(gone(house(70, 50), "way/3"), missing(house(50, 50)))
    assert len(outcome.opened) == 2  # another object; and another claim, which that verdict says nothing of


def test_who_says_that_it_stands_does_not_say_that_it_stands_right(ledger):
    (key,) = ledger.open(gone(house(50, 50), "way/1"))
    review(ledger, key, "false_positive")
    assert len(ledger.look(misplaced(house(50, 50), "way/1")).opened) == 1


def test_a_verdict_that_is_taken_back_counts_no_longer_and_may_be_upheld(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    review(ledger, key, "false_positive")
    ((number,),) = ledger.all("SELECT id FROM review")
    with ledger.cursor() as cursor:
        assert overturn(cursor, number, who="rita", at=later(70), now=later(80), by="rejected")
        assert not overturn(cursor, number, who="rita", at=later(70), now=later(90), by="rejected")
    assert ledger.find(key).state is State.OPEN
    assert ledger.look(missing(house(50, 50)), now=later(85)).seen == [key]
    with ledger.cursor() as cursor:
        assert uphold(cursor, number, who="rita", now=later(95))
        assert not uphold(cursor, number, who="rita", now=later(96))
    assert ledger.find(key).closed_as is ClosedAs.FALSE_POSITIVE
    assert ledger.events(key) == ["opened", "reviewed", "closed", "reviewed", "reopened", "reviewed", "closed"]


def test_no_model_and_no_other_step_opens_a_false_positive(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    review(ledger, key, "false_positive")
    with pytest.raises(TransitionIllegal), ledger.cursor() as cursor:
        reopen(cursor, [key], now=later(90))
    (other,) = ledger.open(missing(house(90, 50)))
    with pytest.raises(TransitionIllegal), ledger.cursor() as cursor:
        take_back(cursor, [other], now=later(90))
