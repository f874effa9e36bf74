"""Verdicts from anywhere: the map is asked, and a mapper's word is believed for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from claims import building, house, later, missing

from daemon.current_map import CurrentMap
from daemon.discrepancies.life import sweep_hidden
from daemon.discrepancies.model import ClosedAs, State
from daemon.reviews import take_verdict
from daemon.sections.publish import Reviews
from detectors.building import BuildingDetector

HOUSE = house(50, 50)
REVIEWS = Reviews(believe_fixed=7)


class Map:
    """A store that holds these features; a discrepancy is asked about with the real detector."""

    def __init__(self, *features):
        self.features = features

    def features_in(self, cursor, bbox):
        return list(self.features)

    def feature(self, cursor, osm):
        return next((f for f in self.features if f.ref == osm), None)


def current_map(*features):
    return CurrentMap(Map(*features), [BuildingDetector()])


def take(ledger, key, verdict, *features, at=None, now=None, who="anna", came_by="osmose"):
    at = at or later(60)
    with ledger.cursor() as cursor:
        return take_verdict(
            cursor, current_map(*features), REVIEWS, key, verdict, who, "why", came_by, at, {"answer": 1},
            now=now or at,
        )


@pytest.mark.parametrize("verdict", ["fixed", "already_fixed"])
def test_what_the_map_shows_as_fixed_closes_at_once(ledger, verdict):
    (key,) = ledger.open(missing(HOUSE))
    told = take(ledger, key, verdict, building(HOUSE))
    assert (told.state, told.closed_as, told.recorded) == (State.CLOSED, ClosedAs.FIXED, True)


def test_what_the_map_does_not_show_yet_is_hidden_for_a_while_and_then_returns(ledger):
    (key,) = ledger.open(missing(HOUSE))
    assert take(ledger, key, "fixed").state is State.OPEN
    assert ledger.find(key).hidden_until == later(60) + timedelta(days=7)
    with ledger.cursor() as cursor:
        assert sweep_hidden(cursor, now=later(60) + timedelta(days=7)) == [key]
    assert ledger.find(key).hidden_until is None


def test_a_word_that_arrives_after_its_time_hides_nothing(ledger):
    (key,) = ledger.open(missing(HOUSE))
    assert take(ledger, key, "fixed", now=later(60) + timedelta(days=8)).recorded
    assert ledger.find(key).hidden_until is None


def test_a_clock_that_goes_wrong_hides_for_no_longer_than_one_that_goes_right(ledger):
    (key,) = ledger.open(missing(HOUSE))
    take(ledger, key, "fixed", at=later(60) + timedelta(days=9999), now=later(60))
    assert ledger.find(key).hidden_until == later(60) + timedelta(days=7)


def test_what_a_late_verdict_changes_is_dated_by_when_it_was_heard(ledger):
    (key,) = ledger.open(missing(HOUSE))
    take(ledger, key, "false_positive", at=later(60), now=later(7200))
    row = ledger.find(key)
    assert row.closed == row.updated == later(7200)
    assert ledger.all("SELECT at, detail FROM review") == [(later(60), {"answer": 1})]


def test_undecided_verdicts_do_not_ask_the_map(ledger):
    (key,) = ledger.open(missing(HOUSE))
    assert take(ledger, key, "skipped", building(HOUSE)).state is State.OPEN
    assert ledger.find(key).hidden_until is None


def test_a_moment_without_a_time_zone_is_refused(ledger):
    (key,) = ledger.open(missing(HOUSE))
    with pytest.raises(ValueError, match="time zone"):
        take(ledger, key, "fixed", at=datetime(2026, 11, 22), now=datetime(2026, 11, 22, tzinfo=UTC))
    assert ledger.events(key) == ["opened"]
