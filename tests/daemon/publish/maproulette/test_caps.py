"""People can bear so many tasks: in an area, and a day."""

from __future__ import annotations

from datetime import timedelta

import pytest
from mapped_town import MappedTown

from daemon.publish.maproulette.caps import room_for
from daemon.reviews.ranking import Candidate, areas_at
from daemon.sections.publish import MapRoulette

ELSEWHERE = Candidate("bld-elsewhere", "building", "missing", 0.9, 10.0, 50.0)


@pytest.fixture
def place(ledger, maproulette, fetchers):
    return MappedTown(ledger, maproulette, fetchers(), 10)


def room(place, now=None, **knobs):
    here = Candidate.of(place.ledger.find(place.keys[0]))
    with place.ledger.cursor() as cursor:
        found = room_for(cursor, [here, ELSEWHERE], MapRoulette(**knobs), now or place.now)
    names = areas_at([here.lon, ELSEWHERE.lon], [here.lat, ELSEWHERE.lat])
    return found.today, *(found.areas[name] for name in names)


def test_what_waits_in_an_area_and_what_was_made_today_is_taken_off(place):
    assert room(place, open_per_area=12, new_per_day=25) == (15, 2, 12)
    assert room(place, open_per_area=7, new_per_day=4) == (0, 0, 7)


def test_a_day_later_there_is_room_for_new_ones_but_not_where_the_old_ones_wait(place):
    tomorrow = place.now + timedelta(days=1, seconds=1)
    assert room(place, tomorrow, open_per_area=12, new_per_day=25) == (25, 2, 12)


def test_finished_tasks_make_room_in_their_area_and_skipped_ones_do_not(place):
    anna = place.fake.mapper("anna")
    anna.fix(place.keys[0])
    anna.false_positive(place.keys[1])
    anna.skip(place.keys[2])
    place.close(place.keys[3])
    place.listen()
    assert room(place, open_per_area=12, new_per_day=25) == (15, 5, 12)
