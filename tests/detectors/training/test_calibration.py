"""Spoilt maps are what they say they are, regressions find the weights behind their samples, claims are judged."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import shapely
from shapely.affinity import rotate, translate
from shapely.geometry import Polygon, box

from detectors.base import Claim, Frame
from detectors.confidence import CONFIDENCE, Logistic
from detectors.training.building_calibration import (
    CLEARANCE_M,
    INVENTED,
    LEFT_OUT,
    MEASURES,
    PUSH_M,
    PUSHED,
    judge_claims,
    spoil_map,
)
from detectors.training.calibration import Sample, SpoiltMap, fit_logistic, print_regressions

FRAME = Frame((9_520_000.0, 3_200_000.0, 9_521_000.0, 3_201_000.0), (2000, 2000))
COUNT = 900


@pytest.fixture(scope="module")
def buildings() -> list[Polygon]:
    """A town on a grid with wide yards, each house different from the next."""
    return [
        translate(rotate(box(0, 0, 8 + i % 5, 6 + i % 3), 3 * i), i % 30 * 28, i // 30 * 28) for i in range(COUNT)
    ]


@pytest.fixture(scope="module")
def spoilt(buildings: list[Polygon]) -> SpoiltMap:
    return spoil_map(buildings, FRAME, np.random.default_rng(7))


def local(spoilt: SpoiltMap) -> dict[str, Polygon]:
    return {f.ref: FRAME.to_local(f.geometry) for f in spoilt.features}


def test_the_shares_of_errors_are_as_said(spoilt: SpoiltMap) -> None:
    assert len(spoilt.left_out) == pytest.approx(LEFT_OUT * COUNT, rel=0.2)
    assert len(spoilt.pushed) == pytest.approx(PUSHED * COUNT, rel=0.3)
    assert len(spoilt.invented) == round(INVENTED * COUNT)
    assert len(spoilt.features) == COUNT - len(spoilt.left_out) + len(spoilt.invented)
    assert not spoilt.pushed & spoilt.invented
    assert len({f.ref for f in spoilt.features}) == len(spoilt.features)


def test_what_is_left_out_is_drawn_by_nobody(buildings: list[Polygon], spoilt: SpoiltMap) -> None:
    tree = shapely.STRtree(list(local(spoilt).values()))
    assert all(any(b.equals(left) for b in buildings) for left in spoilt.left_out[:20])
    assert not len(tree.query([g.centroid for g in spoilt.left_out], predicate="within")[0])


def test_pushed_buildings_lie_three_to_six_metres_off_and_the_others_do_not(
    buildings: list[Polygon], spoilt: SpoiltMap
) -> None:
    drawn = local(spoilt)
    centres = shapely.STRtree([b.centroid for b in buildings])
    for ref, polygon in drawn.items():
        if ref in spoilt.invented:
            continue
        nearest = buildings[centres.nearest(polygon.centroid)]
        distance = polygon.centroid.distance(nearest.centroid)
        assert polygon.area == pytest.approx(nearest.area, rel=1e-3)
        assert PUSH_M[0] - 0.01 <= distance <= PUSH_M[1] + 0.01 if ref in spoilt.pushed else distance < 2.0


def test_invented_buildings_stand_where_no_building_stands(buildings: list[Polygon], spoilt: SpoiltMap) -> None:
    tree = shapely.STRtree(buildings)
    drawn = local(spoilt)
    assert spoilt.invented
    for ref in spoilt.invented:
        assert tree.query_nearest(drawn[ref], return_distance=True)[1][0] >= CLEARANCE_M - 0.02


def test_a_seed_spoils_a_map_one_way(buildings: list[Polygon], spoilt: SpoiltMap) -> None:
    again = spoil_map(buildings, FRAME, np.random.default_rng(7))
    other = spoil_map(buildings, FRAME, np.random.default_rng(8))
    assert [f.geometry.wkb for f in again.features] == [f.geometry.wkb for f in spoilt.features]
    assert (again.pushed, again.invented) == (spoilt.pushed, spoilt.invented)
    assert len(other.features) != len(spoilt.features) or other.pushed != spoilt.pushed


def test_a_full_town_gets_as_many_ghosts_as_fit(buildings: list[Polygon]) -> None:
    walls = [box(x * 10, y * 10, x * 10 + 9.8, y * 10 + 9.8) for x in range(5) for y in range(5)]
    assert spoil_map(walls, FRAME, np.random.default_rng(1)).invented == frozenset()


def test_a_regression_finds_the_weights_its_samples_were_drawn_from() -> None:
    rng = np.random.default_rng(3)
    true = Logistic(-1.5, {"here": -4.0, "area": 0.8})
    drawn = [{"here": rng.uniform(0, 1), "area": rng.normal(4, 1)} for _ in range(8000)]
    samples = [Sample("gone", m, bool(rng.random() < true(m))) for m in drawn]
    fitted = fit_logistic(samples, ("here", "area"))
    assert fitted.intercept == pytest.approx(-1.5, abs=0.4)
    assert fitted.weights == pytest.approx({"here": -4.0, "area": 0.8}, abs=0.4)
    said, was = np.array([fitted(m) for m in drawn]), np.array([s.right for s in samples])
    assert said.mean() == pytest.approx(was.mean(), abs=0.01)
    for low in (0.1, 0.3, 0.5):
        band = (said >= low) & (said < low + 0.2)
        assert said[band].mean() == pytest.approx(was[band].mean(), abs=0.05)


def test_a_regression_stays_finite_where_the_samples_are_split_cleanly_or_all_alike() -> None:
    split = [Sample("gone", {"here": v, "same": 1.0}, v < 0) for v in np.linspace(-1, 1, 40)]
    fitted = fit_logistic(split, ("here", "same"))
    assert math.isfinite(fitted.intercept) and all(map(math.isfinite, fitted.weights.values()))
    assert fitted({"here": -1.0, "same": 1.0}) > 0.9 > 0.1 > fitted({"here": 1.0, "same": 1.0})


def claim(kind: str, polygon: Polygon, osm: str | None) -> Claim:
    return Claim("building", kind, FRAME.to_lonlat(polygon), osm, 0.5, None, {"area_m2": polygon.area, "seen": 0.9})


def test_claims_are_right_where_the_map_was_spoilt() -> None:
    left = [box(0, 0, 10, 8), box(30, 0, 40, 8)]
    spoilt = SpoiltMap([], left, frozenset({"way/2"}), frozenset({"way/3"}))
    made = [
        claim("missing", box(1, 0, 11, 8), None),  # right
        claim("missing", box(0, 0, 10, 9), None),  # right place, better: it is this one, not the first
        claim("missing", box(36, 0, 46, 8), None),  # overlaps by 0.25
        claim("gone", box(0, 50, 9, 59), "way/3"), claim("gone", box(0, 50, 9, 59), "way/2"),
        claim("misplaced", box(0, 50, 9, 59), "way/2"), claim("misplaced", box(0, 50, 9, 59), "way/4"),
    ]
    judged = judge_claims(made, spoilt, FRAME)
    assert [s.kind for s in judged] == [c.kind for c in made]
    assert [s.right for s in judged] == [False, True, False, True, False, True, False]
    assert judged[0].measures["log_area"] == pytest.approx(math.log(80))
    assert judged[0].measures["seen"] == 0.9


@pytest.mark.parametrize("kind", ["missing", "gone", "misplaced"])
def test_the_shipped_regressions_look_at_what_is_measured_and_stay_off_certainty(kind: str) -> None:
    assert set(CONFIDENCE[kind].weights) <= set(MEASURES[kind])
    for value in (-1e6, 0.0, 1e6):
        assert 0.0 < CONFIDENCE[kind](dict.fromkeys(MEASURES[kind], value)) < 1.0


def test_what_is_printed_can_be_put_into_the_code_and_says_how_well_it_keeps_its_word(capsys) -> None:
    rng = np.random.default_rng(5)
    true = Logistic(-1.0, {"seen": 3.0})
    drawn = [{"seen": rng.uniform(0, 1)} for _ in range(3000)]
    samples = [Sample("missing", m, bool(rng.random() < true(m))) for m in drawn]
    print_regressions(samples, {"missing": ("seen",), "gone": ("here",)})
    first, second = capsys.readouterr().out.splitlines()
    ((kind, fitted),) = eval("{" + first + "}", {"Logistic": Logistic}).items()
    assert kind == "missing" and fitted({"seen": 0.5}) == pytest.approx(true({"seen": 0.5}), abs=0.04)
    assert second.strip().startswith(f"# 3000 claims, {sum(s.right for s in samples)} right; said -> was:")
    bands = re.findall(r"(\d\.\d\d)->(\d\.\d\d) \((\d+)\)", second)
    assert sum(int(count) for *_, count in bands) == 3000
    assert all(abs(float(said) - float(was)) < 0.06 for said, was, _ in bands)
