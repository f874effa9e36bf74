"""What a channel has to be told is written down with what happened, and taken out when it was told."""

from __future__ import annotations

import pytest
from claims import gone, house, later, missing, moved

from daemon.discrepancies.life import close, publish, sweep_hidden
from daemon.publish.outbox import backlogs, due, note, open_channel, postpone, told
from daemon.reviews import record_review


@pytest.fixture
def channel(ledger) -> str:
    with ledger.cursor() as cursor:
        assert open_channel(cursor, "paper", later(0))
    return "paper"


#: When everything is due.
AT_LAST = later(1e6)


def waiting(ledger, channel: str = "paper", *, now=AT_LAST, limit: int = 100):
    with ledger.cursor() as cursor:
        return due(cursor, channel, now, limit)


def tell(ledger, rows, channel: str = "paper") -> None:
    with ledger.cursor() as cursor:
        told(cursor, channel, rows)


def test_whatever_happens_to_a_discrepancy_is_news_once(ledger, channel):
    (key,) = ledger.open(missing(house(50, 50), 0.9))
    assert [(row.key, row.generation) for row in waiting(ledger)] == [(key, 1)]
    tell(ledger, waiting(ledger))
    assert waiting(ledger) == []
    with ledger.cursor() as cursor:
        publish(cursor, [key], now=later(1))
        close(cursor, [key], "fixed", now=later(2))
    assert [(row.key, row.generation) for row in waiting(ledger)] == [(key, 2)], "two changes are told in one go"


def test_a_look_that_changes_nothing_is_no_news(ledger, channel):
    ledger.open(missing(house(50, 50), 0.9))
    tell(ledger, waiting(ledger))
    ledger.look(missing(house(50, 50), 0.9), now=later(60))
    assert waiting(ledger) == []
    ledger.look(missing(moved(house(50, 50), 2.0, 0), 0.9), now=later(120))
    assert len(waiting(ledger)) == 1


def test_what_is_rolled_back_is_never_told(ledger, channel):
    (key,) = ledger.open(missing(house(50, 50), 0.9))
    with pytest.raises(RuntimeError), ledger.cursor() as cursor:
        close(cursor, [key], "withdrawn", now=later(1))
        raise RuntimeError
    assert [row.generation for row in waiting(ledger)] == [1]


def test_what_changed_while_it_was_told_stays(ledger, channel):
    (key,) = ledger.open(missing(house(50, 50), 0.9))
    rows = waiting(ledger)
    with ledger.cursor() as cursor:
        close(cursor, [key], "withdrawn", now=later(1))
    tell(ledger, rows)
    assert [(row.key, row.generation) for row in waiting(ledger)] == [(key, 2)]


def test_what_cannot_be_told_rests_and_a_change_ends_the_rest(ledger, channel):
    first, second = ledger.open(missing(house(50, 50), 0.9), gone(house(90, 50), "way/1", 0.9))
    with ledger.cursor() as cursor:
        postpone(cursor, "paper", due(cursor, "paper", later(10), 100), "locked by anna", later(1000))
        assert backlogs(cursor) == {"paper": (2, 2, "locked by anna")}
    assert waiting(ledger, now=later(999)) == []
    with ledger.cursor() as cursor:
        close(cursor, [first], "withdrawn", now=later(20))
    assert [(row.key, row.attempts) for row in waiting(ledger, now=later(20))] == [(first, 0)]
    assert [(row.key, row.attempts) for row in waiting(ledger, now=later(1000))] == [(first, 0), (second, 1)]


def test_a_new_channel_is_told_what_is_shown_already_and_an_open_one_nothing_twice(ledger):
    shown, kept = ledger.open(missing(house(50, 50), 0.9), missing(house(90, 50), 0.9))
    with ledger.cursor() as cursor:
        publish(cursor, [shown], now=later(1))
        assert open_channel(cursor, "paper", later(2)) and not open_channel(cursor, "paper", later(3))
    assert [row.key for row in waiting(ledger)] == [shown]
    with ledger.cursor() as cursor:
        note(cursor, "paper", [kept, kept], later(4))
    assert {row.key for row in waiting(ledger)} == {shown, kept}


def test_each_channel_has_its_own(ledger, channel):
    with ledger.cursor() as cursor:
        open_channel(cursor, "radio", later(0))
    ledger.open(missing(house(50, 50), 0.9))
    tell(ledger, waiting(ledger))
    assert waiting(ledger) == [] and len(waiting(ledger, "radio")) == 1
    with ledger.cursor() as cursor:
        assert list(backlogs(cursor)) == ["radio"]


def test_what_was_hidden_comes_back_as_news(ledger, channel):
    (key,) = ledger.open(missing(house(50, 50), 0.9))
    with ledger.cursor() as cursor:
        record_review(
            cursor, key, "fixed", who="anna", reason=None, came_by="maproulette", now=later(1), still_holds=True,
            hide_until=later(100),
        )
    assert ledger.find(key).hidden_until == later(100)
    tell(ledger, waiting(ledger))
    with ledger.cursor() as cursor:
        assert sweep_hidden(cursor, now=later(99)) == []
        assert sweep_hidden(cursor, now=later(100)) == [key]
    assert ledger.find(key).hidden_until is None and ledger.events(key)[-1] == "returned"
    assert [row.key for row in waiting(ledger)] == [key]
