"""A mapped share is estimated with an interval that keeps its word."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.reports.estimate import Counted, Reliability, estimate, whole_share

SURE = Reliability([0.999, 0.999, 0.999], [0.999, 0.999, 0.999], {"missing": (5000, 5), "gone": (5000, 5)})
FAIR = Reliability([0.7, 0.75, 0.8], [0.7, 0.75, 0.8], {})


def shares(*counted: Counted, reliability: Reliability = FAIR, seed: int = 1) -> np.ndarray:
    """(median, low, high) of each cell, [N, 3]"""
    drawn = estimate(counted, reliability, np.random.default_rng(seed))
    return np.percentile(drawn, [50, 2.5, 97.5], axis=1).T


def test_a_faultless_detector_leaves_plain_counting():
    ((share, low, high),) = shares(Counted(75.0, 75, (25, 25.0), (0, 0.0), 1.0), reliability=SURE)
    assert share == pytest.approx(0.75, abs=0.01) and high - low < 0.06


def test_wrong_claims_raise_the_share_and_overlooked_things_lower_it():
    one = Counted(75.0, 75, (25, 25.0), (0, 0.0), 1.0)
    often_wrong = Reliability([0.4, 0.45], [0.97, 0.98], {})
    often_blind = Reliability([0.97, 0.98], [0.4, 0.45], {})
    assert shares(one, reliability=often_wrong)[0, 0] > 0.82
    assert shares(one, reliability=often_blind)[0, 0] < 0.62


def test_what_is_mapped_and_gone_counts_as_neither():
    ((share, _, _),) = shares(Counted(100.0, 100, (0, 0.0), (40, 40.0), 1.0), reliability=SURE)
    ((half, _, _),) = shares(Counted(100.0, 100, (60, 60.0), (40, 40.0), 1.0), reliability=SURE)
    assert share > 0.98 and half == pytest.approx(0.5, abs=0.02)


def test_people_are_believed_more_the_more_they_say():
    one = Counted(50.0, 50, (50, 50.0), (0, 0.0), 1.0)
    card_only = Reliability([0.8, 0.8], [0.9, 0.9], {})
    with_people = Reliability([0.8, 0.8], [0.9, 0.9], {"missing": (20, 180)})
    (_, low, high), (share, people_low, people_high) = (
        shares(one, reliability=r)[0] for r in (card_only, with_people)
    )
    assert share > high and people_high - people_low < high - low


def test_what_was_hardly_looked_at_or_is_empty_is_not_judged():
    found = shares(Counted(50.0, 50, (5, 5.0), (0, 0.0), 0.4), Counted(0.0, 0, (0, 0.0), (0, 0.0), 1.0))
    assert np.isnan(found).all()


def test_a_cell_without_a_claim_may_still_lack_something():
    ((share, low, high),) = shares(Counted(10.0, 10, (0, 0.0), (0, 0.0), 1.0))
    assert share > 0.9 and low < 0.95 and high == 1.0


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Worlds with known shares, seen by detectors whose precision and recall scatter from place to place."""
    rng = np.random.default_rng(3)
    held = total = 0
    for world in range(60):
        logits = rng.normal(1.0, 0.35, (2, 6))
        precisions, recalls = 1 / (1 + np.exp(-logits))
        reliability = Reliability(precisions[:5].tolist(), recalls[:5].tolist(), {})
        cells, truth = [], []
        for _ in range(5):
            there = int(rng.integers(40, 200))
            mapped = int(rng.binomial(there, rng.uniform(0.2, 0.95)))
            right = int(rng.binomial(there - mapped, recalls[5]))
            wrong = int(rng.negative_binomial(right, precisions[5])) if right else 0
            cells.append(Counted(float(mapped), mapped, (right + wrong, float(right + wrong)), (0, 0.0), 1.0))
            truth.append(mapped / there)
        found = shares(*cells, reliability=reliability, seed=world)
        held += int(((found[:, 1] <= truth) & (truth <= found[:, 2])).sum())
        total += len(cells)
    assert 0.9 <= held / total <= 1.0, f"{held} of {total}"


def test_the_whole_is_weighted_by_what_is_there():
    cells = [Counted(90.0, 90, (10, 10.0), (0, 0.0), 1.0), Counted(10.0, 10, (90, 90.0), (0, 0.0), 1.0)]
    drawn = estimate(cells, SURE, np.random.default_rng(1))
    share, low, high = whole_share(cells, drawn)
    assert share == pytest.approx(0.5, abs=0.02) and low < share < high
    assert whole_share([], np.zeros((0, 10))) is None


def test_the_card_is_read_place_by_place_without_sums():
    card = {
        "places": {"a": {"precision": 0.8, "recall": 0.6, "pixels": {"precision": 0.1}}, "b": {"precision": 0.9,
                                                                                             "recall": 0.7}},
        "held_out_total": {"precision": 0.5, "recall": 0.5}, "note": "text",
    }
    read = Reliability.of(card, {})
    assert (read.precisions, read.recalls) == ([0.8, 0.9], [0.6, 0.7])
    with pytest.raises(ValueError, match="no place with a precision"):
        Reliability.of({"note": "nothing"}, {})
