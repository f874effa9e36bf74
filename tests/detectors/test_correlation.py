"""Coefficients and their intervals, against numbers known from elsewhere."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from detectors.correlation import pearson, ranks, spearman


def test_ties_share_the_mean_of_their_places():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4.0, 1.0, 4.0, 2.0, 4.0]


def test_pearson_is_that_of_numpy_and_its_interval_that_of_fisher():
    rng = np.random.default_rng(1)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    found = pearson(x, y)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12) and found.rows == 50
    reach = 1.959963984540054 / math.sqrt(47)
    assert math.atanh(found.high) - math.atanh(found.low) == pytest.approx(2 * reach, abs=1e-9)


def test_spearman_heeds_the_order_only():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert spearman(x, np.exp(3 * x)).value == pytest.approx(1.0)
    # Example of https://en.wikipedia.org/wiki/Spearman%27s_rank_correlation_coefficient: IQ and hours of television.
    iq = np.array([106, 100, 86, 101, 99, 103, 97, 113, 112, 110], dtype=float)
    hours = np.array([7, 27, 2, 50, 28, 29, 20, 12, 6, 17], dtype=float)
    found = spearman(iq, hours)
    assert found.value == pytest.approx(-29 / 165, abs=1e-12) and found.low < found.value < found.high


@pytest.mark.parametrize(
    ("x", "y", "rows"),
    [([], [], 0), ([1.0], [2.0], 1), ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], 5), ([math.nan, 1, 2], [1, math.inf, 3], 1)],
)
def test_what_means_nothing_is_unknown(x, y, rows):
    for coefficient in (pearson, spearman):
        found = coefficient(np.array(x, float), np.array(y, float))
        assert (found.value, found.low, found.high, found.rows) == (None, None, None, rows)


def test_few_rows_have_no_interval_and_perfect_ones_no_width():
    assert pearson(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])).low is None
    exact = pearson(np.arange(9.0), 2 * np.arange(9.0))
    assert exact.value == pytest.approx(1.0)


def test_roads_go_together_with_light_in_massachusetts(data):
    with (data / "nightlights" / "massachusetts_road_density" / "tiles.csv").open() as file:
        rows = list(csv.DictReader(file))
    light = np.array([float(row["black_marble_brightness_0_255"]) for row in rows])
    roads = np.array([float(row["road_km_per_km2_approx"]) for row in rows])
    found, ordered = pearson(light, roads), spearman(light, roads)
    assert found.rows == 198 and found.value == pytest.approx(0.3247, abs=1e-4) and found.low > 0.19
    assert ordered.value == pytest.approx(0.3144, abs=1e-4) and ordered.low > 0.17
