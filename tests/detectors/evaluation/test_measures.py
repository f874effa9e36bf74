"""Measures agree with their definitions, written out plainly, on small random pictures; and counts add up."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.affinity import rotate, scale, translate
from shapely.geometry import box

from detectors.datasets import UNKNOWN
from detectors.errors import DatasetInvalid
from detectors.evaluation.confusion import Confusion
from detectors.evaluation.curves import BINS, COARSER, ScoreHistogram, thresholds_of
from detectors.evaluation.nearness import THRESHOLDS, Nearness, count_near, count_near_at, edge_of
from detectors.evaluation.objects import OVERLAPS, Matches, limit_of, match_objects
from detectors.evaluation.outline_errors import measure_outlines, polis, rotation_error, turning_distance
from detectors.evaluation.quality import QualityCounts, quality_of

CLASSES = ("background", "water", "forest")
shape = st.tuples(st.integers(1, 9), st.integers(1, 9))
labels = arrays(np.uint8, (6, 7), elements=st.integers(0, 2))
truths = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, UNKNOWN]))
masks = arrays(bool, (8, 9))


def near_zero_or(value: float, expected: float) -> bool:
    return (math.isnan(value) and math.isnan(expected)) or value == pytest.approx(expected, abs=1e-9)


@given(truths, labels)
def test_ratios_of_pixels_are_what_their_definitions_say(truth, answer):
    confusion = Confusion.count(CLASSES, truth, answer)
    pairs = [(t, a) for t, a in zip(truth.ravel(), answer.ravel(), strict=True) if t != UNKNOWN]
    assert confusion.total == len(pairs)
    ious = []
    for k in range(3):
        both = sum(t == k and a == k for t, a in pairs)
        real, said = sum(t == k for t, _ in pairs), sum(a == k for _, a in pairs)
        ious.append(both / (real + said - both) if real + said else math.nan)
        assert near_zero_or(confusion.precision[k], both / said if said else math.nan)
        assert near_zero_or(confusion.recall[k], both / real if real else math.nan)
        assert near_zero_or(confusion.f1[k], 2 * both / (real + said) if real + said else math.nan)
        assert near_zero_or(confusion.iou[k], ious[k])
    there = [iou for k, iou in enumerate(ious) if any(t == k for t, _ in pairs)]
    assert near_zero_or(confusion.mean_iou, sum(there) / len(there) if there else math.nan)
    right = sum(t == a for t, a in pairs)
    assert near_zero_or(confusion.accuracy, right / len(pairs) if pairs else math.nan)
    weighted = sum(sum(t == k for t, _ in pairs) * ious[k] for k in range(3) if any(t == k for t, _ in pairs))
    assert near_zero_or(confusion.weighted_iou, weighted / len(pairs) if pairs else math.nan)


@given(truths, labels)
def test_correlation_is_that_of_one_hot_vectors(truth, answer):
    known = truth != UNKNOWN
    if not known.any():
        assert math.isnan(Confusion.count(CLASSES, truth, answer).mcc)
        return
    x, y = (np.eye(3)[plane[known]] for plane in (truth, answer))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = math.sqrt((x**2).sum() * (y**2).sum())
    expected = (x * y).sum() / spread if spread > 1e-12 else 0.0
    assert Confusion.count(CLASSES, truth, answer).mcc == pytest.approx(expected, abs=1e-9)


@given(truths, labels, st.integers(1, 5))
def test_counts_of_parts_add_up_to_those_of_the_whole(truth, answer, cut):
    whole = Confusion.count(CLASSES, truth, answer)
    parts = Confusion.count(CLASSES, truth[:cut], answer[:cut]) + Confusion.count(CLASSES, truth[cut:], answer[cut:])
    np.testing.assert_array_equal(whole.counts, parts.counts)


def test_kappa_is_that_of_cohens_own_example():
    # 20 + 15 of 50 agree; chance alone makes half of them agree.
    confusion = Confusion(("yes", "no"), np.array([[20, 5], [10, 15]]))
    assert confusion.kappa == pytest.approx(0.4)


def test_sums_of_many_pixels_do_not_overflow():
    confusion = Confusion(("a", "b"), np.array([[4 * 10**9, 10**9], [10**9, 4 * 10**9]]))
    assert confusion.mcc == pytest.approx(0.6)


def test_a_mask_of_another_size_and_a_class_out_of_range_are_refused():
    with pytest.raises(DatasetInvalid, match="must have the size of its imagery"):
        Confusion.count(CLASSES, np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8))
    with pytest.raises(DatasetInvalid, match="class 7 in the truth, but there are only 3"):
        Confusion.count(CLASSES, np.full((2, 2), 7, np.uint8), np.zeros((2, 2), np.uint8))


@given(masks, masks, masks, st.sampled_from([0.0, 1.0, 1.5, 3.0]))
def test_near_is_what_measuring_every_pair_of_pixels_says(found, real, counted, reach):
    def near(points: np.ndarray, others: np.ndarray) -> int:
        targets = np.argwhere(others)
        return sum(bool(len(targets)) and np.hypot(*(targets - p).T).min() <= reach for p in np.argwhere(points))

    expected = Nearness(near(found & counted, real), int((found & counted).sum()),
                        near(real & counted, found), int((real & counted).sum()))
    assert count_near(found, real, counted, reach) == expected


@given(masks, masks)
def test_an_edge_is_where_known_ground_outside_lies_beside(mask, known):
    edge = edge_of(mask, known)
    for row, column in itertools.product(*map(range, mask.shape)):
        beside = [(row + r, column + c) for r, c in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        inside = [p for p in beside if 0 <= p[0] < mask.shape[0] and 0 <= p[1] < mask.shape[1]]
        expected = mask[row, column] and known[row, column] and any(known[p] and not mask[p] for p in inside)
        assert edge[row, column] == expected


@given(arrays(np.float32, (8, 9), elements=st.floats(0, 1, width=32)), masks, masks)
def test_the_relaxed_curve_is_that_of_every_threshold(probability, real, counted):
    expected = tuple(count_near(probability >= t, real, counted, 3.0) for t in THRESHOLDS)
    assert count_near_at(probability, real, counted, 3.0) == expected


def test_a_line_two_pixels_off_is_right_for_relaxed_measures_and_wrong_for_exact_ones():
    real, found = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    real[:, 8], found[:, 10] = True, True
    everywhere = np.ones_like(real)
    assert count_near(found, real, everywhere, 3.0).f1 == 1.0
    assert count_near(found, real, everywhere, 1.0).f1 == 0.0
    assert math.isnan(Nearness().f1)
    assert count_near(np.zeros_like(real), real, everywhere, 3.0).f1 == 0.0


@given(arrays(np.float16, 40, elements=st.floats(0, 1, width=16)), arrays(bool, 40))
def test_average_precision_is_the_stepped_area_over_all_thresholds(probability, true):
    histogram = ScoreHistogram.count(probability, true)
    area, before = 0.0, 0.0
    for threshold in np.arange(BINS - 1, -1, -1) / BINS:
        said = probability >= threshold
        if said.any() and true.any():
            recall = (said & true).sum() / true.sum()
            area += (recall - before) * (said & true).sum() / said.sum()
            before = recall
    assert near_zero_or(histogram.average_precision, area if true.any() else math.nan)


@given(arrays(np.float16, 60, elements=st.floats(0, 1, width=16)), arrays(bool, 60), st.sampled_from([0.5, 0.8, 0.95]))
def test_a_threshold_holds_its_precision_and_no_lower_one_does(probability, true, wanted):
    there = ScoreHistogram.count(probability, true).threshold_for(wanted)

    def precision(threshold: float) -> float:
        said = probability >= threshold
        return (said & true).sum() / said.sum() if (said & true).any() else 0.0

    lower = np.arange(BINS) / BINS
    if there is None:
        assert all(precision(t) < wanted for t in lower)
    else:
        assert precision(there["threshold"]) >= wanted
        assert there["precision"] == pytest.approx(precision(there["threshold"]), abs=1e-4)
        assert all(precision(t) < wanted for t in lower[lower < there["threshold"]])


@given(arrays(np.float32, 50, elements=st.floats(0, 1, width=32)), arrays(bool, 50), st.integers(1, 49))
def test_histograms_add_up_and_the_calibration_error_is_the_mean_gap(probability, true, cut):
    whole = ScoreHistogram.count(probability, true)
    parts = (ScoreHistogram.count(probability[:cut], true[:cut]) + ScoreHistogram.count(probability[cut:], true[cut:]))
    np.testing.assert_array_equal(whole.positive, parts.positive)
    np.testing.assert_allclose(whole.mass, parts.mass, atol=1e-9)
    fine = np.minimum((probability * BINS).astype(int), BINS - 1)
    edges = np.linspace(0, BINS, 16).round().astype(int)
    error = 0.0
    for low, high in itertools.pairwise(edges):
        here = (fine >= low) & (fine < high)
        error += abs(float(probability[here].sum(dtype=np.float64)) - int(true[here].sum())) / 50
    assert whole.reliability().error == pytest.approx(error, abs=1e-6)


@given(arrays(np.float16, 60, elements=st.floats(0, 1, width=16)), arrays(bool, 60))
def test_what_a_card_keeps_gives_thresholds_that_hold(probability, true):
    whole = ScoreHistogram.count(probability, true)
    there = ScoreHistogram.of_coarse(whole.coarse()).threshold_for(0.8)
    if there is not None:
        said = probability >= there["threshold"]
        assert (there["threshold"] * COARSER).is_integer()
        assert there["precision"] == pytest.approx((said & true).sum() / said.sum(), abs=1e-4)
        assert there["recall"] == pytest.approx((said & true).sum() / true.sum(), abs=1e-4)


def test_probabilities_that_come_true_as_often_as_they_say_have_no_error():
    probability = np.repeat([0.25, 0.75], 100).astype(np.float32)
    true = np.concatenate([np.arange(100) < 25, np.arange(100) < 75])
    assert ScoreHistogram.count(probability, true).reliability().error == pytest.approx(0, abs=1e-9)
    assert ScoreHistogram.count(np.ones(10), np.zeros(10, bool)).reliability().error == pytest.approx(1)


def test_thresholds_are_given_in_the_form_of_a_card_and_unreachable_ones_left_out():
    probability = np.concatenate([np.full(85, 0.9), np.full(15, 0.9), np.full(5, 0.3)])
    true = np.concatenate([np.ones(85, bool), np.zeros(20, bool)])
    found = thresholds_of({"building": ScoreHistogram.count(probability, true)})
    assert list(found) == ["building"] and list(found["building"]) == ["0.8"]
    assert found["building"]["0.8"]["recall"] == 1.0
    assert thresholds_of({"road": ScoreHistogram.empty()}) == {}


squares = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(2, 5)), max_size=6)


@settings(deadline=None)
@given(squares, squares, st.randoms(use_true_random=False))
def test_objects_are_matched_as_coco_says(found, real, random):
    found, real = ([box(x, y, x + side, y + side) for x, y, side in each] for each in (found, real))
    confidence = [random.random() for _ in found]
    nobodys = np.array([random.random() < 0.3 for _ in real], dtype=bool)
    matches, pairs = match_objects(found, confidence, real, real_unknown=nobodys)
    for at, least in enumerate(OVERLAPS):
        taken: set[int] = set()
        for i in sorted(range(len(found)), key=lambda i: -confidence[i]):
            best, iou_of_best = None, 0.0
            for known in (True, False):  # an object on known ground goes before any that is not
                for j, other in enumerate(real):
                    shared = found[i].intersection(other).area
                    iou = shared / (found[i].area + other.area - shared)
                    if j not in taken and bool(nobodys[j]) != known and iou >= least and iou > iou_of_best:
                        best, iou_of_best = j, iou
                if best is not None:
                    break
            if best is not None:
                taken.add(best)
            assert matches.hit[i, at] == (best is not None and not nobodys[best])
            assert matches.ignored[i, at] == (best is not None and nobodys[best])
    counts = matches.counts()
    assert counts.true_positive == len(pairs)
    assert counts.true_positive + counts.false_negative == int((~nobodys).sum())


def test_a_sure_mistake_costs_more_average_precision_than_an_unsure_one():
    real = [box(0, 0, 10, 10), box(20, 0, 30, 10)]
    wrong = box(50, 50, 60, 60)
    sure, _ = match_objects([*real, wrong], [0.8, 0.7, 0.9], real)
    unsure, _ = match_objects([*real, wrong], [0.8, 0.7, 0.1], real)
    # Precision is 1/2, then 2/3, of which 2/3 counts for every recall.
    assert sure.average_precision() == pytest.approx(2 / 3)
    assert unsure.average_precision() == pytest.approx(1.0)
    assert sure.counts().f1 == unsure.counts().f1 == pytest.approx(0.8)
    assert sure.average_recall() == 1.0


def test_average_precision_of_half_the_objects_reads_51_of_101_recalls():
    real = [box(i * 20, 0, i * 20 + 10, 10) for i in range(2)]
    matches, _ = match_objects(real[:1], [1.0], real)
    assert matches.average_precision(0.5) == pytest.approx(51 / 101)


def test_only_the_surest_hundred_of_a_small_picture_count_for_coco_but_all_for_f1():
    real = [box(i * 20, 0, i * 20 + 10, 10) for i in range(150)]
    matches, _ = match_objects(real, np.linspace(1, 0.5, 150), real, limit=limit_of((300, 300)))
    assert matches.average_recall() == pytest.approx(100 / 150)
    assert matches.counts().f1 == 1.0
    assert limit_of((600, 600)) == 400 and limit_of((10, 10)) == 100


def test_matches_of_pictures_add_up_and_never_across_pictures():
    real = [box(0, 0, 10, 10)]
    one, _ = match_objects(real, [0.9], real)
    other, _ = match_objects([], [], real)
    total = one + other + Matches.none(real=2)
    assert (total.real, total.counts().true_positive, total.counts().false_negative) == (4, 1, 3)
    assert total.average_precision(0.5) == pytest.approx(26 / 101)


def test_what_lies_on_unknown_ground_is_neither_right_nor_wrong():
    far = box(100, 0, 110, 10)
    matches, _ = match_objects([far], [0.9], [], found_unknown=np.array([True]))
    assert (matches.counts().false_positive, matches.counts().true_positive) == (0, 0)
    assert math.isnan(matches.counts().f1)


def test_a_turned_outline_is_as_wrong_as_it_is_turned_and_a_quarter_turn_is_nothing():
    house = box(0, 0, 12, 8)
    for degrees, expected in ((0, 0), (7, 7), (45, 45), (90, 0), (97, 7), (180, 0)):
        assert rotation_error(rotate(house, degrees), house) == pytest.approx(expected, abs=1e-6)


def test_shape_does_not_depend_on_place_size_or_direction():
    ell = shapely.Polygon([(0, 0), (10, 0), (10, 4), (4, 4), (4, 9), (0, 9)])
    elsewhere = translate(rotate(scale(ell, 3, 3), 37), 100, 5)
    # Breaks of equal outlines fall together but for the rounding of their coordinates.
    assert turning_distance(ell, elsewhere) == pytest.approx(0, abs=1e-4)
    square, bar = box(0, 0, 10, 10), box(0, 0, 40, 2)
    assert turning_distance(square, box(3, 3, 5, 5)) == pytest.approx(0, abs=1e-6)
    assert turning_distance(square, bar) > turning_distance(square, box(0, 0, 12, 10)) > 0.01
    assert turning_distance(square, bar) == pytest.approx(turning_distance(bar, square), abs=1e-9)


def test_polis_is_the_mean_distance_of_corners():
    assert polis(box(0, 0, 10, 10), box(0, 0, 10, 10)) == 0
    # All four corners of each lie one metre outside of the other's, or on its line one metre further.
    assert polis(box(0, 0, 10, 10), box(1, 0, 11, 10)) == pytest.approx(0.5)


def test_outline_errors_add_up_and_say_how_far_and_how_much_larger():
    real = box(0, 0, 10, 10)
    one, other = measure_outlines([(translate(real, 1, 0), real)]), measure_outlines([(translate(real, 3, 2), real)])
    means = (one + other).means()
    assert means["east_m"] == pytest.approx(2) and means["north_m"] == pytest.approx(1)
    assert means["area_ratio"] == pytest.approx(1)
    assert means["hausdorff_m"] == pytest.approx((1 + math.hypot(3, 2)) / 2, abs=0.5)
    assert math.isnan(measure_outlines([]).means()["iou"])


def test_quality_of_data_follows_the_formula_of_neat_eo():
    # A quarter of the tile is built over in truth, half of that is found: IoU 0.5, ratio 25.
    expected = (100 - 0.5 * math.log(26) * 100 / math.log(100)) / 100
    assert quality_of(hit=125, found=125, real=250, area=1000) == pytest.approx(expected)
    assert quality_of(0, 0, 0, 1000) == 1.0
    assert quality_of(0, 1000, 1000, 1000) == 0.0
    counts = QualityCounts.of([1.0, 0.8, 0.79]) + QualityCounts.of([0.0])
    assert counts.low_share == 0.5
