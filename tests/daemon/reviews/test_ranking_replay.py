"""What the ranking brings: in worlds made from a seed, and by what the log says of other orders."""

from __future__ import annotations

import random

import numpy as np
import pytest
from claims import NOW, house, later, missing

from daemon.reviews import record_review
from daemon.reviews.ranking import Candidate, choose
from daemon.reviews.ranking.offpolicy import RULES, Logged, estimate, read_choices
from daemon.reviews.ranking.simulation import Setting, World, accepted_share, by_oracle, by_ranking, compare
from daemon.reviews.verdicts import Verdict

SMALL = Setting(claims=900, towns=6, days=15, daily=15)


def test_where_confidences_are_off_learning_beats_the_order_of_confidence_and_knows_less_than_the_oracle():
    found = compare(SMALL._replace(miscalibration=1.5, days=24), range(4))
    assert found.gain.value > 0.05
    assert found.shares["ranking"].value < found.shares["oracle"].value


def test_where_confidences_are_right_learning_costs_next_to_nothing():
    found = compare(SMALL._replace(miscalibration=0.0), range(4))
    assert found.gain.value > -0.03


def test_a_world_is_the_same_for_the_same_seed_and_shows_nothing_twice():
    first, again = (accepted_share(by_ranking, SMALL, 3) for _ in range(2))
    assert first == again
    world = World.of(SMALL, 3)
    rng = np.random.default_rng(1)
    shown = []
    for _ in range(5):
        chosen = by_oracle(world, SMALL, NOW, rng)
        world.show(chosen, NOW)
        shown += chosen
    assert len(shown) == len(set(shown)) == 75 and len(world.told) == 75


def test_what_another_order_would_have_brought_is_estimated_without_bias():
    """Claims of two sorts, logged under a policy that prefers the worse; the estimate finds what each is worth."""
    chance = random.Random(2)
    share = {True: 0.9, False: 0.3}
    logged = []
    for number in range(4000):
        good = chance.random() < 0.2  # the log's policy shows a good one so often
        verdict = Verdict.FIXED if chance.random() < share[good] else Verdict.FALSE_POSITIVE
        logged.append(Logged(number, 2, 1, 0.8, 0.2 if good else 0.8, 1 if good else 2, verdict))
    told = {name: estimate(logged, rule) for name, rule in RULES.items()}
    for name, expected in [("as it was chosen", 0.2 * 0.9 + 0.8 * 0.3), ("by confidence", 0.9), ("at random", 0.6)]:
        assert abs(told[name].share - expected) < 1.5 * told[name].margin + 1e-3, name
    assert told["by confidence"].effective < told["as it was chosen"].effective == pytest.approx(4000)


def test_what_has_no_verdict_says_nothing():
    waiting = Logged(1, 10, 2, 0.8, 0.5, 1, None)
    assert estimate([waiting], RULES["by confidence"]).share is None
    assert estimate([], RULES["at random"]).effective == 0
    passed = Logged(1, 10, 2, 0.8, 0.5, 1, Verdict.SKIPPED)
    assert estimate([passed], RULES["by confidence"]).share == 0.0


def test_the_log_is_read_with_what_people_decided_afterwards(ledger):
    keys = ledger.open(*(missing(house(12 * i, 50), 0.5 + 0.1 * i, model="a@1") for i in range(5)))
    candidates = [Candidate.of(ledger.find(key)) for key in keys]
    with ledger.cursor() as cursor:
        record_review(cursor, keys[4], "false_positive", who="early", reason=None, came_by="osmose", now=later(-60))
        choices = {one.key: one for one in choose(cursor, candidates, 3, NOW, random.Random(1))}
    chosen = list(choices)
    with ledger.cursor() as cursor:
        for verdict, seconds in (("skipped", 60), ("fixed", 120), ("skipped", 180)):
            record_review(cursor, chosen[0], verdict, who="anna", reason=None, came_by="osmose", now=later(seconds))
    with ledger.cursor() as cursor:
        logged = read_choices(cursor)
    assert [one.verdict for one in logged] == [Verdict.FIXED, None, None]
    assert [one.probability for one in logged] == [choices[key].probability for key in chosen]
    assert {(one.candidates, one.places) for one in logged} == {(5, 3)}
