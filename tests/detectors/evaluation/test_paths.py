"""Skeletons keep what belongs together, and ways are compared as one would drive them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import Point

from detectors.evaluation.paths import PathCounts, compare_paths
from detectors.vectorize.network_graph import place_along, route, trace_skeleton
from detectors.vectorize.thinning import thin


def draw(*lines: tuple[int, int, int, int], width: int = 7, side: int = 400) -> np.ndarray:
    canvas = np.zeros((side, side), np.uint8)
    for x0, y0, x1, y1 in lines:
        cv2.line(canvas, (x0, y0), (x1, y1), 1, width)
    return canvas > 0


def pieces(mask: np.ndarray) -> int:
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1


def holes(mask: np.ndarray) -> int:
    return cv2.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=4)[0] - 2


@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_thinning_keeps_pieces_and_holes_and_does_nothing_twice(mask):
    skeleton = thin(mask)
    assert not (skeleton & ~mask).any()
    assert pieces(skeleton) == pieces(mask)
    assert holes(skeleton) == holes(mask)
    np.testing.assert_array_equal(thin(skeleton), skeleton)


def test_a_broad_road_becomes_a_line_of_its_length():
    graph = trace_skeleton(thin(draw((50, 200, 350, 200))), gsd=0.5)
    assert len(graph.lines) == 1
    assert graph.length == pytest.approx(150, abs=5)


def test_a_crossing_has_four_arms_and_a_ring_is_traced_once():
    cross = trace_skeleton(thin(draw((50, 200, 350, 200), (200, 50, 200, 350))), gsd=1.0)
    assert cross.length == pytest.approx(600, abs=15)
    ring = np.zeros((200, 200), np.uint8)
    cv2.circle(ring, (100, 100), 60, 1, 5)
    traced = trace_skeleton(thin(ring > 0), gsd=1.0)
    assert len(traced.lines) == 1
    assert traced.length == pytest.approx(2 * math.pi * 60, rel=0.05)


def test_points_along_a_line_are_no_farther_apart_than_asked():
    graph = trace_skeleton(thin(draw((50, 200, 350, 200))), gsd=1.0)
    xs = sorted(point.x for point in place_along(graph, 50.0))
    assert max(np.diff(xs)) <= 50.0 and len(xs) >= 6


def test_the_shortest_way_is_found_from_points_between_the_crossings():
    square = draw((100, 100, 300, 100), (300, 100, 300, 300), (300, 300, 100, 300), (100, 300, 100, 100))
    graph = trace_skeleton(thin(square), gsd=1.0)
    routes = route(graph, [Point(200, 100), Point(300, 200), Point(50, 50)], reach=4.0)
    start, end, nowhere = routes.stops
    assert nowhere is None
    assert routes.distances(start, [end])[end] == pytest.approx(200, abs=6)


def test_the_same_roads_score_one_and_none_score_nothing():
    roads = draw((20, 200, 380, 200), (200, 20, 200, 380))
    assert compare_paths(roads, roads, 1.0).score == pytest.approx(1.0)
    assert compare_paths(np.zeros_like(roads), roads, 1.0).score == 0.0
    assert compare_paths(roads, np.zeros_like(roads), 1.0).score == 0.0
    assert math.isnan(compare_paths(np.zeros_like(roads), np.zeros_like(roads), 1.0).score)


def test_a_gap_costs_more_than_its_pixels_and_a_small_shift_costs_little():
    roads = draw((20, 200, 380, 200), (200, 20, 200, 380))
    broken = roads.copy()
    broken[:, 285:300] = False
    shifted = np.roll(roads, 2, axis=0)
    # A point beyond the gap, and one before it, cannot be reached from each other any more.
    assert compare_paths(broken, roads, 1.0).completeness < 0.75
    assert compare_paths(broken, roads, 1.0).correctness > 0.95
    assert compare_paths(shifted, roads, 1.0).score > 0.95


def test_an_invented_road_costs_correctness_only():
    real = draw((20, 200, 380, 200))
    found = real | draw((20, 60, 380, 60))
    counts = compare_paths(found, real, 1.0)
    assert counts.completeness == pytest.approx(1.0, abs=0.01)
    assert counts.correctness < 0.6


def test_pairs_of_places_add_up():
    total = PathCounts(10, 2.0, 5, 1.0) + PathCounts(10, 8.0, 5, 0.0)
    assert total.completeness == pytest.approx(0.5) and total.correctness == pytest.approx(0.9)
