"""What mappers say is heard: each verdict once, with its reasons, whatever happens on the way."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest
from claims import building, house, missing, moved
from fake_maproulette import Mapper
from mapped_town import MappedTown

from daemon.discrepancies.model import ClosedAs, State
from daemon.errors import MapRouletteUnavailable
from daemon.publish.maproulette import listening
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.replies import Status
from daemon.reviews import record_review

REASON = {"reason": "imagery outdated"}


@pytest.fixture
def town(ledger, maproulette, fetchers):
    """Makes a town of tasks; takes the arguments of MappedTown."""
    return lambda houses, **more: MappedTown(ledger, maproulette, fetchers(), houses, **more)


class WatchedClient(Client):
    """Tells when it has read so many tasks of a list, so that something may happen before it reads on."""

    every = 10**9
    happens = staticmethod(lambda: None)

    def marks(self, *args, **more):
        for i, mark in enumerate(super().marks(*args, **more), 1):
            yield mark
            if i % self.every == 0:
                self.happens()


# -- what is heard -----------------------------------------------------------------------------------------------------


def test_each_status_is_its_verdict_and_leads_where_that_leads(town):
    place = town(6)
    anna = place.fake.mapper("anna")
    fixed, false, skipped, already, hard, _ = place.keys
    place.store.features = [building(place.house(3), "way/3")]
    for act, key in [
        (anna.fix, fixed), (anna.false_positive, false), (anna.skip, skipped), (anna.already_fixed, already),
        (anna.too_hard, hard),
    ]:
        act(key)
    assert place.listen() == 5
    assert place.verdicts() == [
        (fixed, "fixed"), (false, "false_positive"), (skipped, "skipped"), (already, "already_fixed"),
        (hard, "too_hard"),
    ]
    states = [(place.ledger.find(key).state, place.ledger.find(key).closed_as) for key in place.keys]
    assert states == [
        (State.PUBLISHED, None), (State.CLOSED, ClosedAs.FALSE_POSITIVE), (State.PUBLISHED, None),
        (State.CLOSED, ClosedAs.FIXED), (State.PUBLISHED, None), (State.PUBLISHED, None),
    ]
    assert place.ledger.find(fixed).hidden_until is not None
    assert place.ledger.all("SELECT who, came_by, model, confidence FROM review WHERE key = %s", fixed) == [
        ("anna", "maproulette", "net@1", 0.8)
    ]


def test_the_reasons_come_with_the_verdict(town):
    place = town(3)
    anna = place.fake.mapper("anna")
    asked, tagged, commented = place.keys
    anna.false_positive(asked, responses=REASON, tags=["no-object"], comment="demolished in May")
    anna.false_positive(tagged, tags=["misaligned"])
    anna.too_hard(commented, comment="clouds \U0001f325")
    place.listen()
    detail = place.detail(asked)
    assert detail["responses"] == REASON and detail["tags"] == ["no-object"]
    assert [(c["who"], c["text"]) for c in detail["comments"]] == [("anna", "demolished in May")]
    assert dict(place.ledger.all("SELECT key, reason FROM review")) == {
        asked: "imagery outdated", tagged: "misaligned", commented: "clouds \U0001f325",
    }


def test_a_comment_that_comes_later_finds_its_verdict_and_is_kept_once(town):
    place = town(1)
    (key,) = place.keys
    anna = place.fake.mapper("anna")
    anna.false_positive(key)
    place.listen()
    anna.comment(key, "it is a tent")
    place.a_day_later()
    place.listen()
    place.a_day_later()
    place.listen()
    assert [c["text"] for c in place.detail(key)["comments"]] == ["it is a tent"]
    assert place.ledger.all("SELECT reason FROM review") == [("it is a tent",)]


def test_what_we_close_is_no_verdict_whatever_a_mapper_did_before(town):
    place = town(4)
    skipped, fresh, by_status, mapped = place.keys
    anna = place.fake.mapper("anna")
    anna.skip(skipped)
    place.listen()
    place.close(skipped)
    place.close(fresh)
    Mapper(place.fake.world, place.fake.owner).already_fixed(by_status)  # with the key's owner's hands
    anna.already_fixed(mapped)
    place.listen()
    place.a_day_later()
    place.listen()
    assert place.verdicts() == [(skipped, "skipped"), (mapped, "already_fixed")]


def test_what_was_done_to_a_task_since_the_last_time_is_heard_step_by_step(town):
    place = town(2)
    key, ours = place.keys
    anna, bert = place.fake.mapper("anna"), place.fake.mapper("bert")
    anna.skip(key)
    bert.too_hard(key)
    anna.fix(key, responses=REASON)
    anna.skip(ours)
    place.close(ours)
    assert place.listen() == 4
    expected = [(key, "skipped"), (key, "too_hard"), (key, "fixed"), (ours, "skipped")]
    assert Counter(place.verdicts()) == Counter(expected)
    assert place.ledger.all("SELECT who FROM review WHERE key = %s ORDER BY at", key) == [
        ("anna",), ("bert",), ("anna",)
    ]
    place.a_day_later()
    assert place.listen() == 0


def test_the_same_task_may_be_judged_again_and_again(town):
    place = town(1)
    (key,) = place.keys
    anna, bert = place.fake.mapper("anna"), place.fake.mapper("bert")
    for act in (anna.skip, bert.skip, anna.too_hard, bert.fix):
        act(key)
        place.listen()
    assert place.verdicts() == [(key, "skipped"), (key, "skipped"), (key, "too_hard"), (key, "fixed")]


def test_listening_to_silence_writes_nothing_to_the_server(town):
    place = town(2)
    place.listen()
    place.fake.forget_requests()
    assert place.listen() == 0
    assert place.fake.writes == []
    assert len(place.fake.requests) == 2


# -- exactly once ------------------------------------------------------------------------------------------------------


def test_five_hundred_verdicts_given_while_they_are_read_are_each_heard_once_with_their_reasons(town, monkeypatch):
    monkeypatch.setattr(listening, "PAGE", 50)
    place = town(520, challenges=2, client=WatchedClient)
    chance = random.Random(5)
    waiting = list(place.keys)
    chance.shuffle(waiting)
    given: Counter[tuple[str, str]] = Counter()
    mappers = [place.fake.mapper(name) for name in ("anna", "bert", "cleo", "dora")]
    again: list[str] = []

    zoe = place.fake.mapper("zoe")

    def act(times: int) -> None:
        nonlocal zoe
        for _ in range(times):
            if not waiting and not again:
                return
            key = again.pop() if again and (not waiting or chance.random() < 0.2) else waiting.pop()
            who = chance.choice(mappers)
            name = chance.choice(["fix", "false_positive", "skip", "already_fixed", "too_hard"])
            getattr(who, name)(key, tags=["no-object"], responses=REASON, comment=f"{name} of {key}")
            given[key, {"fix": "fixed", "skip": "skipped"}.get(name, name)] += 1
            if name in ("skip", "too_hard") and chance.random() < 0.5:
                again.append(key)
            elif chance.random() < 0.1:  # somebody looks at it again, and its owner puts it away
                zoe.lock(key)
                zoe = place.fake.mapper(f"zoe {given.total()}")
                place.task(key).archived = True
            place.fake.clock.advance(seconds=chance.randrange(40))

    act(150)
    with place.fake.world.lock:
        place.fake.world.challenges[place.challenges[1]].archived = True
    place.client.every, place.client.happens = 20, lambda: act(chance.randrange(16))
    place.fake.checks = False  # the other tests hold every request against the contract
    heard = 0
    while given.total() < 500:
        heard += place.listen()
        act(5)
    place.client.every = 10**9
    heard += place.listen()
    assert Counter(place.verdicts()) == given
    assert heard == given.total()
    newest = {}
    for key, reason, detail in place.ledger.all("SELECT key, reason, detail FROM review ORDER BY at"):
        newest[key] = detail
        assert reason is not None
        assert detail["tags"] == ["no-object"]
    assert all(one["comments"][-1]["text"].endswith(key) for key, one in newest.items())


def test_lost_replies_and_failures_lose_and_repeat_nothing(town):
    place = town(60)
    chance = random.Random(8)
    anna = place.fake.mapper("anna")
    given: Counter[tuple[str, str]] = Counter()
    place.fake.faults.at_random(3, 0.2)
    failures = 0
    for key in place.keys:
        anna.skip(key, comment="why")
        given[key, "skipped"] += 1
        if chance.random() < 0.3:
            try:
                place.listen()
            except MapRouletteUnavailable:
                failures += 1
    place.fake.faults.stop()
    place.listen()
    assert failures >= 3
    assert Counter(place.verdicts()) == given
    assert all("comments" in detail for (detail,) in place.ledger.all("SELECT detail FROM review"))


class Killed(BaseException):
    """What a kill -9 looks like from within: nothing after it runs."""


@pytest.mark.parametrize("name", ["take_verdict", "note_status", "note_heard", "keep_comments"])
def test_a_kill_between_any_two_steps_loses_and_repeats_nothing(town, monkeypatch, name):
    place = town(12)
    anna = place.fake.mapper("anna")
    for key in place.keys:
        anna.skip(key, comment="why")
    real = getattr(listening, name)
    for nth in (1, 3, 6):
        calls = 0

        def dies(*args, nth=nth, **more):
            nonlocal calls
            calls += 1
            result = real(*args, **more)
            if calls == nth:
                raise Killed
            return result

        monkeypatch.setattr(listening, name, dies)
        with suppress(Killed):
            place.listen_anew().listen(place.now)
    monkeypatch.setattr(listening, name, real)
    place.listen_anew().listen(place.now)
    assert Counter(place.verdicts()) == Counter((key, "skipped") for key in place.keys)
    assert all("comments" in detail for (detail,) in place.ledger.all("SELECT detail FROM review"))


def test_a_stop_ends_it_between_two_verdicts_and_the_rest_is_heard_next_time(town):
    place = town(5)
    for key in place.keys:
        place.fake.mapper("anna").skip(key)
    stop = threading.Event()
    stop.set()
    assert place.listen_anew(stop).listen(place.now) == 0
    assert place.listen() == 5


# -- the night ---------------------------------------------------------------------------------------------------------


def test_the_night_finds_what_an_owner_did_in_bulk(town):
    place = town(2)
    dismissed, _ = place.keys
    place.client.set_task(place.task(dismissed).id, Status.FALSE_POSITIVE, None)
    assert place.listen() in (0, 1)
    place.a_day_later()
    place.listen()
    place.a_day_later()
    place.listen()
    assert place.verdicts() == [(dismissed, "false_positive")]
    assert place.ledger.find(dismissed).closed_as is ClosedAs.FALSE_POSITIVE


def test_a_false_positive_that_is_set_back_was_none(town):
    place = town(2)
    wrong, right = place.keys
    anna = place.fake.mapper("anna")
    anna.false_positive(wrong)
    anna.false_positive(right)
    place.listen()
    place.client.set_task(place.task(wrong).id, Status.CREATED, None)
    place.a_day_later()
    place.listen()
    assert place.ledger.find(wrong).state is State.OPEN
    assert place.ledger.find(right).closed_as is ClosedAs.FALSE_POSITIVE
    assert place.ledger.all("SELECT key FROM review WHERE overturned IS NOT NULL") == [(wrong,)]


def test_a_deleted_challenge_does_not_hold_up_the_night(town):
    place = town(4, challenges=2)
    place.fake.mapper("anna").false_positive(place.keys[0])
    place.listen()
    with place.fake.world.lock:
        place.fake.world.challenges[place.challenges[0]].deleted = True
    place.a_day_later()
    place.fake.mapper("anna").skip(place.keys[1])
    place.listen()
    assert place.ledger.find(place.keys[0]).closed_as is ClosedAs.FALSE_POSITIVE


# -- reviewers ---------------------------------------------------------------------------------------------------------


def test_a_false_positive_that_a_reviewer_rejects_never_stood_and_stands_if_he_approves_of_it_after_all(town):
    place = town(1)
    (key,) = place.keys
    place.fake.mapper("anna").false_positive(key, review=True)
    place.listen()
    assert place.ledger.find(key).closed_as is ClosedAs.FALSE_POSITIVE
    rita = place.fake.mapper("rita")
    rita.review(key, 2)
    place.listen()
    assert place.ledger.find(key).state is State.OPEN
    assert place.ledger.all("SELECT overturned_by FROM review") == [("rita",)]
    place.listen()
    rita.review(key, 3)
    place.listen()
    assert place.ledger.find(key).closed_as is ClosedAs.FALSE_POSITIVE
    assert place.ledger.all("SELECT overturned FROM review") == [(None,)]
    assert place.ledger.events(key)[-2:] == ["reviewed", "closed"]


def test_a_false_positive_that_another_person_also_gave_holds_against_one_rejection(town):
    place = town(1)
    (key,) = place.keys
    place.fake.mapper("anna").false_positive(key, review=True)
    place.listen()
    with place.ledger.cursor() as cursor:
        record_review(
            cursor, key, "false_positive", who="bert", reason=None, came_by="command line", now=place.now
        )
    place.fake.mapper("rita").review(key, 2)
    place.listen()
    assert place.ledger.find(key).closed_as is ClosedAs.FALSE_POSITIVE


def test_who_says_fixed_and_is_rejected_is_not_believed_any_longer(town):
    place = town(1)
    (key,) = place.keys
    place.fake.mapper("anna").fix(key, review=True)
    place.listen()
    assert place.ledger.find(key).hidden_until is not None
    place.fake.mapper("rita").review(key, 2)
    place.listen()
    assert place.ledger.find(key).hidden_until is None


# -- for ever ----------------------------------------------------------------------------------------------------------


def test_not_an_issue_is_silent_for_ever(town):
    place = town(2)
    key, other = place.keys
    place.fake.mapper("anna").false_positive(key)
    place.listen()
    seen = place.house(0)
    wider = house(4.4, 4, 5.2, 4.4)
    for model, geometry in [
        ("net@1", seen), ("net@2", moved(seen, 1.0, 0.6)), ("other@1", wider), ("net@3", moved(wider, -0.8, -0.5)),
    ]:
        outcome = place.look_again(missing(geometry, 0.99, model=model), missing(place.house(1), model=model))
        assert outcome.silenced == [key]
        assert outcome.opened == outcome.reopened == []
    place.client.delete_task(place.task(key).id)
    with place.ledger.cursor() as cursor:
        cursor.execute("DELETE FROM maproulette_challenge")
    place.a_day_later()
    place.listen()
    assert place.look_again(missing(moved(seen, 0.5, 0.5), 0.99, model="net@4")).silenced == [key]
    assert place.ledger.find(key).closed_as is ClosedAs.FALSE_POSITIVE
    assert place.ledger.find(key).confidence == 0.8
    assert place.ledger.find(other).state is State.CLOSED  # it was not seen, and nobody had said anything of it
    assert place.now - timedelta(days=2) < place.ledger.find(key).last_seen
