"""Training and test ground are apart, and stay where they are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.datasets.splits import draw_split, split_boxes, split_of_tile

SHARES = {"validation": 0.15, "test": 0.25}


@pytest.mark.parametrize(("seed", "side"), [(1, 1), (2, 2), (3, 4), (4, 8)])
def test_no_two_tiles_of_different_splits_touch(seed: int, side: int):
    tiles = {(x, y): split_of_tile(x, y, side, seed, SHARES) for x, y in product(range(500, 560), repeat=2)}
    kept = {position: split for position, split in tiles.items() if split}
    assert set(kept.values()) == {"train", "validation", "test"}
    for (x, y), split in kept.items():
        for dx, dy in product((-1, 0, 1), repeat=2):
            assert kept.get((x + dx, y + dy), split) == split


@pytest.mark.parametrize("gap", [0.0, 40.0])
def test_no_two_places_of_different_splits_touch_nor_come_near(gap: float):
    random = np.random.default_rng(8)
    corners = random.uniform(-3000, 3000, (600, 2))
    boxes = np.hstack([corners, corners + random.uniform(20, 120, (600, 2))])
    splits = split_boxes(boxes, block=500.0, seed=3, shares=SHARES, gap=gap)
    shapes = np.array(shapely.box(*boxes.T))
    assert {split for split in splits if split} == {"train", "validation", "test"}
    for i, j in shapely.STRtree(shapes).query(shapes, "dwithin", distance=max(gap, 1e-9)).T:
        assert splits[i] is None or splits[j] is None or splits[i] == splits[j]


def test_what_touches_no_other_split_is_kept():
    boxes = np.array([[10.0, 10, 20, 20], [400, 400, 410, 410], [99, 0, 101, 5]])
    assert None not in split_boxes(boxes, block=100.0, seed=1, shares=SHARES)


def test_the_test_never_gives_way_to_the_training():
    for x, y in product(range(40), repeat=2):
        if draw_split(5, x // 4, y // 4, {"test": 0.3}) == "test":
            assert split_of_tile(x, y, 4, 5, {"test": 0.3}) == "test"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**30), st.integers(-(2**20), 2**20), st.integers(-(2**20), 2**20))
def test_a_split_is_a_function_of_seed_and_position(seed: int, column: int, row: int):
    assert draw_split(seed, column, row, SHARES) == draw_split(seed, column, row, SHARES)


def test_splits_are_the_same_on_every_machine_and_in_every_version():
    """Data sets that are built again, or grow, keep their test ground."""
    short = {"train": ".", "validation": "v", "test": "t"}
    drawn = "".join(short[draw_split(1, x, 7, SHARES)] for x in range(24))
    assert drawn == "........ttt.....v...t..."


def test_shares_are_kept_roughly_and_differ_by_seed():
    drawn = [[draw_split(seed, x, y, SHARES) for x, y in product(range(60), repeat=2)] for seed in (1, 2)]
    for splits in drawn:
        assert splits.count("test") / 3600 == pytest.approx(0.25, abs=0.03)
        assert splits.count("validation") / 3600 == pytest.approx(0.15, abs=0.03)
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("shares", [{"test": 1.0}, {"test": -0.1}, {"trial": 0.1}, {"test": float("nan")}])
def test_impossible_shares_are_refused(shares: dict[str, float]):
    with pytest.raises(ValueError, match="shares"):
        draw_split(1, 0, 0, shares)


def test_blocks_have_a_size():
    with pytest.raises(ValueError, match="metres above 0"):
        split_boxes(np.zeros((1, 4)), block=0.0, seed=1, shares=SHARES)
    assert split_boxes(np.zeros((0, 4)), block=1.0, seed=1, shares=SHARES) == []
