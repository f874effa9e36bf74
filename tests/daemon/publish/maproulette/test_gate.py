"""A challenge that wastes people's time pauses itself, says why, and goes on for a person or for a new model."""

from __future__ import annotations

import pytest
from claims import missing
from fake_maproulette import Fault
from fake_maproulette.requests import invalid
from mapped_town import MappedTown

from daemon.errors import MapRouletteError
from daemon.publish.maproulette.gate import Gate, resume
from daemon.publish.maproulette.records import read_challenges
from daemon.reviews import overturn
from daemon.sections.publish import MapRoulette

KNOBS = MapRoulette(gate_share=0.4, gate_verdicts=20)


@pytest.fixture
def town(ledger, maproulette, fetchers):
    return lambda houses=40, **more: Guarded(ledger, maproulette, fetchers(), houses, **more)


class Guarded(MappedTown):
    """With mappers who say of the next tasks what they are told to, and a gate that then looks."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.anna = self.fake.mapper("anna")
        self.left = list(self.keys)
        self.gate = Gate(self.client, self.ledger.database, KNOBS)

    def hear(self, fixed=0, false=0, challenge=None):
        """Verdicts on tasks that nobody has judged yet."""
        for act, number in ((self.anna.fix, fixed), (self.anna.false_positive, false)):
            for _ in range(number):
                key = next(k for k in self.left if challenge in (None, self.task(k).parent))
                self.left.remove(key)
                act(key)
        self.listen()
        self.gate.watch(self.now)

    def paused(self):
        """Numbers of the challenges that the server has paused."""
        return [number for number in self.challenges if self.fake.world.challenges[number].paused]

    def pauses(self):
        """What is known of them."""
        with self.ledger.cursor() as cursor:
            return [row for row in read_challenges(cursor) if row.paused]


def test_it_pauses_when_the_share_passes_the_limit_and_says_why(town):
    place = town()
    place.hear(fixed=12, false=8)
    assert place.paused() == [] and place.pauses() == []
    place.hear(false=1)
    assert place.paused() == place.challenges
    (pause,) = place.pauses()
    assert pause.name == "Houses, part 1"
    assert "9 of 21" in pause.pause_reason and "43%" in pause.pause_reason and "gate_share = 40%" in pause.pause_reason


def test_it_waits_for_enough_verdicts(town):
    place = town()
    place.hear(false=19)
    assert place.paused() == []
    place.hear(false=1)
    assert place.paused() == place.challenges


def test_undecided_verdicts_closes_of_our_own_and_what_was_taken_back_do_not_count(town):
    place = town()
    for key in place.left[-4:]:
        place.close(key)
    place.anna.skip(place.left[-5])
    place.hear(fixed=12, false=8)
    with place.ledger.cursor() as cursor:
        cursor.execute("SELECT id FROM review WHERE verdict = 'false_positive' ORDER BY id LIMIT 1")
        overturn(cursor, cursor.fetchone()[0], who="rita", at=place.now, now=place.now, by="rejected")
    place.hear(false=1)
    assert place.paused() == []


def test_parts_that_would_each_pass_pause_together(town):
    place = town(challenges=2)
    first, second = place.challenges
    place.hear(fixed=6, false=6, challenge=first)
    assert place.paused() == []
    place.hear(fixed=5, false=6, challenge=second)
    assert place.paused() == [first, second]
    assert all("all challenges of its kind" in pause.pause_reason for pause in place.pauses())


def test_verdicts_that_were_never_heard_count_from_the_servers_own_numbers(town):
    place = town()
    place.hear(fixed=10, false=4)
    with place.ledger.cursor() as cursor:  # as after the loss of a ledger
        cursor.execute("DELETE FROM review")
        cursor.execute("UPDATE maproulette_heard SET upto = %s", (place.now.replace(year=2030),))
    place.gate = Gate(place.client, place.ledger.database, KNOBS)
    place.hear(false=10)
    assert place.paused() == place.challenges
    assert "14 of 24" in place.pauses()[0].pause_reason


def test_a_server_that_knows_no_pause_hides_the_challenge(town, maproulette):
    place = town()

    class OldServer(dict):
        """The settings of a challenge before there were pauses."""

        def update(self, *args, **more):
            super().update(*args, **more)
            self["paused"] = False

        def __setitem__(self, name, value):
            super().__setitem__(name, False if name == "paused" else value)

    (number,) = place.challenges
    row = maproulette.world.challenges[number]
    row.fields = OldServer(row.fields)
    place.hear(false=20)
    assert not row.paused
    assert row.fields["enabled"] is False
    assert len(place.pauses()) == 1


def test_a_server_that_minds_a_pause_hides_the_challenge_and_shows_it_again(town, maproulette):
    place = town()
    dispatch = maproulette._dispatch

    def strict(request, found):
        if b'"paused"' in request.body:
            raise invalid("paused: unknown member")
        return dispatch(request, found)

    maproulette._dispatch = strict
    maproulette.checks = False  # the contract knows no such answer
    place.hear(false=20)
    (number,) = place.challenges
    fields = maproulette.world.challenges[number].fields
    assert fields["enabled"] is False and len(place.pauses()) == 1
    resume(place.client, place.ledger.database, place.now)
    assert fields["enabled"] is True and place.pauses() == []


def test_it_stays_paused_until_somebody_lets_it_go_on_and_counts_anew_from_there(town):
    place = town(60)
    place.hear(false=20)
    place.gate.watch(place.now)
    assert len(place.pauses()) == 1
    place.fake.forget_requests()
    place.gate.watch(place.now)
    assert place.fake.writes == []
    assert resume(place.client, place.ledger.database, place.now, ["Houses, part 1"]) == ["Houses, part 1"]
    assert place.paused() == [] and place.pauses() == []
    assert place.fake.world.challenges[place.challenges[0]].fields["enabled"]
    place.gate = Gate(place.client, place.ledger.database, KNOBS)
    place.hear(false=19)
    assert place.paused() == []
    place.hear(false=1)
    assert place.paused() == place.challenges
    assert "20 of 20" in place.pauses()[0].pause_reason


def test_who_names_a_challenge_that_is_not_paused_is_told_which_are(town):
    place = town()
    place.hear(false=20)
    with pytest.raises(MapRouletteError, match=r"'Hosues'.*paused are: 'Houses, part 1'"):
        resume(place.client, place.ledger.database, place.now, ["Hosues"])
    assert resume(place.client, place.ledger.database, place.now) == ["Houses, part 1"]


def test_a_new_model_lets_it_go_on_and_verdicts_on_the_old_one_count_no_longer(town):
    place = town(60)
    place.hear(false=20)
    assert place.paused() == place.challenges
    place.look_again(*(missing(place.house(i), model="net@1") for i in range(60)))
    place.gate.watch(place.now)
    assert place.paused() == place.challenges
    place.fake.clock.advance(minutes=1)
    place.look_again(missing(place.house(100), model="net@2"), *(missing(place.house(i)) for i in range(60)))
    place.gate = Gate(place.client, place.ledger.database, KNOBS)
    place.gate.watch(place.now)
    assert place.paused() == [] and place.pauses() == []
    place.hear(false=19)
    assert place.paused() == []


def test_a_server_that_does_not_answer_is_asked_again(town, maproulette):
    place = town()
    maproulette.faults.script("PUT", r"/challenge/\d+$", Fault.ERROR, Fault.LOST_REPLY)
    for _ in range(2):
        with pytest.raises(MapRouletteError):
            place.hear(false=20 if len(place.left) == 40 else 0)
        assert place.pauses() == []
    place.gate.watch(place.now)
    assert len(place.pauses()) == 1 and place.paused() == place.challenges
