"""The states of a discrepancy and the steps between them."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from claims import BLOCK, gone, house, later, missing, moved, nowhere
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.discrepancies.life import close, count, history, publish, reopen, sweep_stale
from daemon.discrepancies.model import ClosedAs, State
from daemon.errors import DiscrepancyUnknown, TransitionIllegal

STEPS = {
    "publish": lambda cursor, key: publish(cursor, [key], now=later(1)),
    "fixed": lambda cursor, key: close(cursor, [key], "fixed", now=later(1)),
    "false_positive": lambda cursor, key: close(cursor, [key], "false_positive", now=later(1)),
    "withdrawn": lambda cursor, key: close(cursor, [key], "withdrawn", now=later(1)),
    "stale": lambda cursor, key: close(cursor, [key], "stale", now=later(1)),
    "reopen": lambda cursor, key: reopen(cursor, [key], now=later(1)),
}
#: State -> the steps it allows.
ALLOWED = {
    ("open", None): {"publish", "fixed", "false_positive", "withdrawn", "stale"},
    ("published", None): {"fixed", "false_positive", "withdrawn", "stale"},
    ("closed", "fixed"): {"reopen", "false_positive"},
    ("closed", "withdrawn"): {"reopen", "false_positive"},
    ("closed", "stale"): {"reopen", "false_positive"},
    ("closed", "false_positive"): set(),
}


def state(ledger, key):
    found = ledger.find(key)
    return found.state.value, found.closed_as.value if found.closed_as else None


def test_every_step_is_allowed_or_refused_as_drawn_and_each_writes_one_line(ledger):
    (key,) = ledger.open(missing(house(50, 50)))
    dice = random.Random(3)
    visited = set()
    for _ in range(60):
        was = state(ledger, key)
        for name in sorted(STEPS.keys() - ALLOWED[was]):
            visited.add((was, name))
            with pytest.raises(TransitionIllegal, match=key), ledger.cursor() as cursor:
                STEPS[name](cursor, key)
        assert state(ledger, key) == was
        name = dice.choice(sorted(ALLOWED[was] - {"false_positive"}))
        lines = len(ledger.events(key))
        with ledger.cursor() as cursor:
            assert STEPS[name](cursor, key) == [key]
        assert len(ledger.events(key)) == lines + 1
    with ledger.cursor() as cursor:
        close(cursor, [key], ClosedAs.FALSE_POSITIVE, now=later(2))
    for name in STEPS:
        with pytest.raises(TransitionIllegal, match="false_positive"), ledger.cursor() as cursor:
            STEPS[name](cursor, key)
    assert {was for was, _ in visited} == set(ALLOWED) - {("closed", "false_positive")}


def test_one_illegal_or_unknown_key_stops_the_whole_step(ledger):
    first, second = ledger.open(missing(house(50, 50)), missing(house(90, 50)))
    with ledger.cursor() as cursor:
        close(cursor, [second], "fixed", now=later(1))
    refusal = r"closed \(fixed\) and cannot become published"
    with pytest.raises(TransitionIllegal, match=refusal), ledger.cursor() as cursor:
        publish(cursor, [first, second], now=later(2))
    with pytest.raises(DiscrepancyUnknown, match="bld-nothing"), ledger.cursor() as cursor:
        publish(cursor, [first, "bld-nothing"], now=later(2))
    with pytest.raises(DiscrepancyUnknown):
        ledger.find("bld-nothing")
    assert state(ledger, first) == ("open", None)
    with ledger.cursor() as cursor:
        assert publish(cursor, [], now=later(2)) == []
        assert publish(cursor, [first, first], now=later(2)) == [first]


def test_history_tells_when_why_and_by_which_change_file(ledger):
    (key,) = ledger.open(missing(house(50, 50)), sequence=3)
    with ledger.cursor() as cursor:
        close(cursor, [key], ClosedAs.FIXED, now=later(60), sequence=4, detail={"by": "map"})
        opened, closed = history(cursor, key)
        assert count(cursor) == {("building", "missing", State.CLOSED, ClosedAs.FIXED): 1}
    assert (opened.state, opened.closed_as, opened.sequence) == (State.OPEN, None, 3)
    assert (closed.at, closed.state, closed.closed_as, closed.sequence, closed.detail) == (
        later(60), State.CLOSED, ClosedAs.FIXED, 4, {"by": "map"},
    )


def test_what_was_not_seen_for_long_closes_as_stale(ledger):
    old, seen, public, shut = ledger.open(*(missing(house(30 * n, 50)) for n in range(1, 5)))
    with ledger.cursor() as cursor:
        publish(cursor, [public], now=later(1))
        close(cursor, [shut], "withdrawn", now=later(1))
    ledger.look(missing(house(60, 50)), judged=nowhere, now=later(1000))
    with ledger.cursor() as cursor:
        assert sweep_stale(cursor, later(500), now=later(2000)) == sorted([old, public])
        assert sweep_stale(cursor, later(500), now=later(2000)) == []
    assert state(ledger, seen) == ("open", None) and state(ledger, shut) == ("closed", "withdrawn")


ACTIONS = st.sampled_from(["see", "miss", "blind", "publish", "fix", "reject", "stale"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=st.lists(st.tuples(ACTIONS, st.floats(-1.2, 1.2), st.floats(-1.2, 1.2)), max_size=14), about=st.booleans())
def test_a_random_life_keeps_its_key_and_its_history_adds_up(ledger, life, about):
    def claim(east=0.0, north=0.0):
        place = moved(house(100, 100), east, north)
        return gone(place, "way/1") if about else missing(place)

    ledger.clear()
    (key,) = ledger.open(claim())
    rejected = False
    for minute, (action, east, north) in enumerate(life, 1):
        before = ledger.find(key)
        if action in ("see", "miss", "blind"):
            claims = [claim(east, north)] if action == "see" else []
            outcome = ledger.look(
                *claims, owned=BLOCK, judged=nowhere if action == "blind" else lambda *_: True, now=later(minute)
            )
            assert not outcome.opened
            if rejected:
                assert outcome.silenced == ([key] if claims else [])
        else:
            step = {"publish": "publish", "fix": "fixed", "reject": "false_positive", "stale": "stale"}[action]
            if step in ALLOWED[state(ledger, key)]:
                with ledger.cursor() as cursor:
                    STEPS[step](cursor, key)
                rejected |= action == "reject"
        now = ledger.find(key)
        assert now.opened == before.opened and now.last_seen >= before.last_seen
        assert (now.closed_as is ClosedAs.FALSE_POSITIVE) == rejected
        if action == "miss" and not rejected:
            assert now.state is State.CLOSED
        if action == "see" and not rejected:
            assert now.state is (before.state if before.state is not State.CLOSED else State.OPEN)
    assert ledger.all("SELECT count(*) FROM discrepancy") == [(1,)]
    with ledger.cursor() as cursor:
        lines = history(cursor, key)
    assert (lines[-1].state, lines[-1].closed_as) == (ledger.find(key).state, ledger.find(key).closed_as)
    for earlier, line in pairwise(lines):
        assert line.event.value in {
            State.OPEN: {"published", "closed", "moved", "seen"},
            State.PUBLISHED: {"closed", "moved", "seen"},
            State.CLOSED: {"reopened", "closed"},
        }[earlier.state]
