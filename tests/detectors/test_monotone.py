"""A fit that only rises, whatever outliers do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.monotone import fit_monotone

NUMBERS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=7)


@given(NUMBERS)
def test_no_rising_function_is_nearer(pairs):
    """Brute force over all rising functions on the values there are: some nearest one is among them."""
    witness, mapped = (np.array(column, float) for column in zip(*pairs, strict=True))
    fit = fit_monotone(witness, mapped)
    assert (np.diff(fit.levels) >= 0).all() and (np.diff(fit.starts) > 0).all()
    cost = np.abs(fit.expected(witness) - mapped).sum()
    places = np.unique(witness)
    levels = np.unique(mapped)
    if len(levels) ** len(places) > 5000:
        return
    best = min(
        np.abs(np.array(steps)[np.searchsorted(places, witness)] - mapped).sum()
        for steps in itertools.combinations_with_replacement(levels, len(places))
    )
    assert cost == pytest.approx(best, abs=1e-9)


def test_one_forgotten_town_does_not_bend_it():
    light = np.arange(100.0)
    roads = light / 10
    clean = fit_monotone(light, roads).expected(light)
    roads[[60, 80, 95]] = 0.0
    assert np.abs(fit_monotone(light, roads).expected(light) - clean).max() < 0.5


def test_beyond_what_was_seen_the_last_step_goes_on_and_unknown_stays_unknown():
    fit = fit_monotone(np.array([1.0, 2.0, np.nan, 3.0]), np.array([5.0, 6.0, 7.0, np.inf]))
    assert fit.expected(np.array([-9.0, 1.0, 99.0])).tolist() == [5.0, 5.0, 6.0]
    assert np.isnan(fit.expected(np.array([np.nan]))).all()


def test_nothing_to_fit_is_said():
    with pytest.raises(ValueError, match="no cell has both"):
        fit_monotone(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))
