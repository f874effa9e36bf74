"""What people are shown: learned from verdicts, drawn by chance, each choice with its probability in the log."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from claims import NOW, house, later, missing

from daemon.reviews import overturn, record_review
from daemon.reviews.ranking import Candidate, areas_at, choose, sampling
from daemon.reviews.ranking.arms import Arm, places_of
from daemon.reviews.ranking.posterior import ARM_WEIGHT, WORTH, Beliefs, Told
from daemon.reviews.ranking.sampling import DRAWS, Lottery
from daemon.reviews.verdicts import Verdict

HALF_LIFE = timedelta(days=100)
ARM = Arm("building", "missing", 8, "12/3020/1730")
FALSE, FIXED = Verdict.FALSE_POSITIVE, Verdict.FIXED


def told(verdict, arm=ARM, model="a@1", confidence=0.8, at=NOW):
    return Told(arm, model, confidence, verdict, at)


def mean(beliefs, arm=ARM, model="a@1", confidence=0.8):
    accepted, refused, _ = beliefs.of(arm, model, confidence)
    return accepted / (accepted + refused)


def believe(*verdicts, now=NOW):
    return Beliefs(verdicts, now, HALF_LIFE)


def claims(number, confidence=0.8, *, lon=85.5, lat=27.6, apart=0.01, kind="missing", model="a@1", start=0):
    return [
        Candidate(f"bld-{start + i:08d}", "building", kind, confidence, lon + apart * i, lat, model)
        for i in range(number)
    ]


def seeded(seed=1):
    return np.random.default_rng(seed)


# -- beliefs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.05, 0.3, 0.8, 0.97])
def test_before_anything_is_known_a_claim_is_worth_its_confidence(confidence):
    accepted, refused, base = believe().of(ARM, "a@1", confidence)
    assert accepted / (accepted + refused) == pytest.approx(confidence)
    assert accepted + refused == pytest.approx(ARM_WEIGHT)
    assert base == confidence


def test_verdicts_move_the_arm_its_band_and_area_and_its_kind_but_no_other_kind():
    knowing = believe(*[told(FALSE)] * 30)
    of_area = ARM._replace(band=6)
    elsewhere = ARM._replace(area="12/0/0")
    far = ARM._replace(area="12/0/0", band=6)
    assert mean(knowing) < mean(knowing, of_area, confidence=0.8) < 0.8
    assert mean(knowing) < mean(knowing, elsewhere) < 0.8
    assert mean(knowing, of_area) < mean(knowing, far) < 0.8
    assert mean(knowing, ARM._replace(kind="gone")) == pytest.approx(0.8)


def test_undecided_verdicts_lower_the_rank_and_less_than_a_false_positive():
    means = {verdict: mean(believe(*[told(verdict)] * 20)) for verdict in Verdict}
    assert means[FALSE] < means[Verdict.TOO_HARD] < means[Verdict.SKIPPED] < 0.8 < means[FIXED]
    assert means[Verdict.ALREADY_FIXED] == means[FIXED]
    assert mean(believe(*[told(Verdict.SKIPPED, confidence=0.05)] * 20), confidence=0.05) < 0.05
    assert set(WORTH) == set(Verdict)


def test_old_verdicts_fade():
    fresh = mean(believe(*[told(FALSE)] * 20))
    old = mean(believe(*[told(FALSE)] * 20, now=NOW + HALF_LIFE))
    as_many = mean(believe(*[told(FALSE)] * 10))
    assert fresh < old < 0.8
    assert old == pytest.approx(as_many)
    assert mean(believe(told(FALSE, at=later(9999)))) == mean(believe(told(FALSE)))


def test_a_new_model_starts_where_its_confidences_are():
    knowing = believe(*[told(FALSE)] * 50)
    assert mean(knowing, model="a@2") == pytest.approx(0.8)


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw(candidates, limit, beliefs=None, rooms=None, seed=1):
    lottery = Lottery(candidates, beliefs or believe(), limit, rooms or {})
    drawn = lottery.draw(seeded(seed))
    return [candidates[i] for i in drawn.order], drawn


def test_within_an_arm_the_surest_come_first():
    candidates = [replace(one, confidence=0.80 + 0.001 * i) for i, one in enumerate(claims(50, apart=0.0))]
    chosen, _ = draw(candidates, 10)
    assert [one.key for one in chosen] == [one.key for one in reversed(candidates[40:])]


def test_probabilities_are_how_often_other_draws_choose_the_same():
    candidates = claims(40, apart=0.02) + claims(40, 0.7, lat=27.9, apart=0.02, start=100)
    beliefs = believe(*[told(FALSE, place.arm) for place in places_of(candidates[:10])])
    lottery = Lottery(candidates, beliefs, 10, {})
    first = lottery.draw(seeded(1))
    counts = np.zeros(len(candidates))
    tries = 3000
    rng = seeded(2)
    for _ in range(tries):
        counts[lottery.draw(rng, draws=1).order] += 1
    for i, probability in zip(first.order, first.probabilities, strict=True):
        often = counts[i] / tries
        error = np.sqrt(max(often * (1 - often), 1e-3)) * (1 / np.sqrt(DRAWS) + 1 / np.sqrt(tries))
        # the draw that decided is one of those that are counted, and always chose it
        assert abs(probability - often - (1 - often) / DRAWS) < 4.5 * error
        assert 1 / DRAWS <= probability <= 1


def test_where_there_is_room_for_all_all_are_chosen_for_certain():
    chosen, drawn = draw(claims(5), 5)
    assert len(chosen) == 5
    assert drawn.probabilities == [1.0] * 5


def test_no_area_gets_more_than_it_has_room_for():
    here, there = claims(30, 0.9, apart=0.0001), claims(30, 0.6, lon=86.5, apart=0.0001, start=100)
    area, other = areas_at([here[0].lon, there[0].lon], [here[0].lat, there[0].lat])
    chosen, _ = draw([*here, *there], 20, rooms={area: 4})
    assert sum(one in here for one in chosen) == 4
    assert len(chosen) == 20
    chosen, _ = draw([*here, *there], 99, rooms={area: 0, other: 7})
    assert len(chosen) == 7 and not any(one in here for one in chosen)
    assert draw(here, 5, rooms={area: 0})[0] == []


def test_a_street_fills_before_the_next_begins(monkeypatch):
    chance = random.Random(3)
    candidates = [
        replace(one, confidence=chance.uniform(0.6, 0.9), lat=one.lat + 0.005 * (i % 20))
        for i, one in enumerate(claims(200, apart=0.00001))
    ]
    chosen, _ = draw(candidates, 30)
    streets = [place.street for place in places_of(chosen)]
    visits = [street for street, before in zip(streets, [None, *streets], strict=False) if street != before]
    assert len(visits) == len(set(visits))
    monkeypatch.setattr(sampling, "PULL", 0.0)
    scattered, _ = draw(candidates, 30)
    assert len(set(streets)) < len({place.street for place in places_of(scattered)})


def test_what_was_passed_on_waits_behind_others_like_it():
    candidates = claims(20, apart=0.0)
    candidates[3] = replace(candidates[3], passed=1)
    chosen, _ = draw(candidates, 19)
    assert candidates[3] not in chosen


def test_what_people_accept_more_than_its_confidence_says_is_shown_more():
    good, bad = claims(200, 0.75, apart=0.0), claims(200, 0.85, lon=86.5, apart=0.0, start=1000)
    knowing = believe(*(
        told(verdict, places_of([one])[0].arm, confidence=one.confidence)
        for one, verdict in [(good[0], FIXED), (bad[0], FALSE)] for _ in range(60)
    ))
    chosen, _ = draw(good + bad, 50, knowing)
    assert sum(one in good for one in chosen) > 45
    chosen, _ = draw(good + bad, 50)
    assert sum(one in bad for one in chosen) > 45


# -- the choice --------------------------------------------------------------------------------------------------------


def opened(ledger, number=12):
    keys = ledger.open(*(missing(house(10 + 14 * i, 50), 0.5 + 0.04 * i, model="a@1") for i in range(number)))
    return [Candidate.of(ledger.find(key)) for key in keys]


def test_a_choice_is_written_down_with_its_probability(ledger):
    candidates = opened(ledger)
    with ledger.cursor() as cursor:
        choices = choose(cursor, candidates, 5, NOW, random.Random(4))
    assert len(choices) == 5
    rows = ledger.all(
        "SELECT key, place, score, probability, by_confidence, model, detector FROM ranking_choice ORDER BY place"
    )
    assert [(row[0], row[2], row[3]) for row in rows] == [tuple(choice) for choice in choices]
    assert [row[1] for row in rows] == [1, 2, 3, 4, 5]
    surest = [one.key for one in sorted(candidates, key=lambda one: -one.confidence)]
    assert all(surest[row[4] - 1] == row[0] for row in rows)
    latest = "SELECT candidates, places, draws, at FROM ranking_round ORDER BY id DESC LIMIT 1"
    assert ledger.all(latest) == [(12, 5, DRAWS, NOW)]


def test_a_choice_that_is_rolled_back_was_never_made(ledger):
    candidates = opened(ledger)
    with pytest.raises(RuntimeError), ledger.cursor() as cursor:
        choose(cursor, candidates, 5, NOW, random.Random(4))
        raise RuntimeError
    assert ledger.all("SELECT count(*) FROM ranking_choice") == [(0,)]


def test_the_same_seed_chooses_the_same_in_whatever_order_candidates_come(ledger):
    candidates = opened(ledger)
    with ledger.cursor() as cursor:
        first = choose(cursor, candidates, 6, NOW, random.Random(4))
        again = choose(cursor, candidates[::-1], 6, NOW, random.Random(4))
        other = [choose(cursor, candidates, 6, NOW, random.Random(seed)) for seed in range(5, 12)]
    assert first == again
    assert any(one != first for one in other)


def test_verdicts_count_unless_they_were_taken_back_and_passed_claims_wait(ledger):
    candidates = opened(ledger)
    key = candidates[-1].key

    def score():
        with ledger.cursor() as cursor:
            choices = choose(cursor, candidates, 99, NOW, random.Random(4))
            cursor.connection.rollback()
        return {choice.key: choice.score for choice in choices}

    before = score()
    with ledger.cursor() as cursor:
        record_review(cursor, key, "skipped", who="anna", reason=None, came_by="osmose", now=NOW)
    assert score()[key] < before[key]
    with ledger.cursor() as cursor:
        cursor.execute("SELECT id FROM review")
        overturn(cursor, cursor.fetchone()[0], who="bert", at=NOW, now=NOW, by="a slip")
    assert score() == before


def test_nothing_to_choose_from_is_nothing_chosen(ledger):
    before = ledger.all("SELECT count(*) FROM ranking_round")
    with ledger.cursor() as cursor:
        assert choose(cursor, [], 5, NOW, random.Random(1)) == []
        assert choose(cursor, claims(3), 0, NOW, random.Random(1)) == []
    assert ledger.all("SELECT count(*) FROM ranking_round") == before
