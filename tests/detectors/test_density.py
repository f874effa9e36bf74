"""Where lights burn, something should be on the map."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from shapely.geometry import LineString, box

from detectors.base import OsmFeature
from detectors.density import QUANTITIES, DensityDetector, amount_in, compare, surprise
from detectors.settings import DensitySettings

NOW = datetime(2024, 1, 1, tzinfo=UTC)
#: About one kilometre on the equator.
KM = 1 / 111.32


def road(*points: tuple[float, float], **tags: str) -> OsmFeature:
    line = LineString([(x * KM, y * KM) for x, y in points])
    return OsmFeature("way", 1, 1, NOW, tags or {"highway": "residential"}, line)


CELL = box(0, 0, KM, KM)


def test_of_a_road_counts_what_lies_inside():
    across = road((-1, 0.5), (2, 0.5))
    assert amount_in(CELL, [across, across], QUANTITIES["road_length"]) == pytest.approx(2.0, rel=2e-3)
    assert amount_in(CELL, [road((-1, 2), (2, 2))], QUANTITIES["road_length"]) == 0.0


def test_of_tags_and_shapes_only_those_that_are_meant():
    footway, planned = road((0, 0), (1, 1), highway="footway"), road((0, 0), (1, 1), highway="proposed")
    yard = OsmFeature("way", 2, 1, NOW, {"highway": "service"}, box(0.1 * KM, 0.1 * KM, 0.2 * KM, 0.2 * KM))
    touching = road((1, 0), (1, 1))
    assert amount_in(CELL, [footway, planned, yard], QUANTITIES["road_length"]) == 0.0
    assert amount_in(CELL, [touching], QUANTITIES["road_length"]) == pytest.approx(1.0, rel=2e-3)
    house = OsmFeature("way", 3, 1, NOW, {"building": "yes"}, box(0, 0, 0.1 * KM, 0.1 * KM))
    assert amount_in(CELL, [house], QUANTITIES["building_area"]) == pytest.approx(1.0, rel=1e-2)


def town(light: np.ndarray, empty: list[int]) -> np.ndarray:
    roads = light / 10
    roads[empty] = 0.0
    return roads


def test_lit_and_empty_cells_are_claimed_the_worst_first_in_order():
    light = np.linspace(0, 100, 60)
    cells = [box(i * KM, 0, (i + 1) * KM, KM) for i in range(60)]
    roads = town(light, [30, 55])
    detector = DensityDetector(DensitySettings())
    claims = detector.claims(cells, light, roads, np.ones(60), "lights.tif")
    assert [claim.geometry for claim in claims] == [cells[55], cells[30]]
    assert all(claim.kind == "empty" and claim.osm is None and claim.confidence > 0.9 for claim in claims)
    assert claims[0].evidence["expected"] == pytest.approx(9.3, abs=0.4)
    assert claims[0].evidence["witness_value"] == pytest.approx(light[55], abs=0.01)


def test_where_all_alike_are_empty_it_is_no_surprise():
    light = np.concatenate([np.linspace(0, 10, 100), np.linspace(90, 100, 100)])
    roads = np.concatenate([np.full(100, 5.0), np.zeros(100)])
    unusual = surprise(light, roads == 0)
    assert unusual[150:].max() < 0.05 and np.isnan(surprise(np.array([np.nan]), np.array([True]))[0])
    claims = DensityDetector(DensitySettings()).claims([CELL] * 200, light, roads, np.ones(200), "x")
    assert all(claim.evidence["witness_value"] < 91 for claim in claims), "only beside those that are not empty"


def test_an_empty_cell_holds_until_something_is_drawn():
    detector = DensityDetector(DensitySettings())
    (claim,) = detector.claims(
        [CELL, *[box(2 * i * KM, 0, (2 * i + 1) * KM, KM) for i in range(1, 40)]], np.full(40, 50.0),
        np.array([0.0, *[5.0] * 39]), np.ones(40), "lights",
    )
    assert claim.geometry == CELL and detector.holds(claim, [])
    assert detector.holds(claim, [road((0.2, 0.2), (0.5, 0.2))])
    assert not detector.holds(claim, [road((0, 0.5), (1, 0.5))])


@pytest.mark.parametrize(
    ("light", "roads"),
    [([], []), ([np.nan] * 3, [1.0, 2.0, 3.0]), ([5.0] * 6, [0.0] * 6), ([0.0] * 6, [1.0] * 6), ([7.0], [0.0])],
)
def test_empty_grids_and_even_columns_lead_to_no_claim(light, roads):
    light, roads = np.array(light, float), np.array(roads, float)
    compared = compare(light, roads, np.ones(len(light)))
    assert len(compared.missing) == len(light) and len(compared.order) == 0
    assert DensityDetector(DensitySettings()).claims([CELL] * len(light), light, roads, np.ones(len(light)), "x") == []
