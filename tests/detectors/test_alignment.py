"""How far the map lies from the ground, on ground painted as a perfect network would see it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from shapely.affinity import rotate, translate
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from detectors.alignment import MIN_BUILDINGS, Seen, common_shift, polygon_of, surface
from detectors.vectorize.raster import Grid

GSD = 0.3
SIDE = 400
GRID = Grid(Affine(GSD, 0, -SIDE / 2 * GSD, 0, -GSD, SIDE / 2 * GSD), (SIDE, SIDE))
HOUSE = box(-5, -4, 5, 4)
RADIUS = 6.0


def paint(*roofs: Polygon) -> Seen:
    roof = GRID.cover(roofs)
    wall = GRID.cover([r.boundary.buffer(0.5) for r in roofs]) & roof
    roof, wall = roof.astype(np.float32), wall.astype(np.float32)
    return Seen(footprint=roof, interior=roof - wall, wall=wall)


def houses(count: int) -> list[Polygon]:
    """Houses of different sizes, 20 m apart in rows of four."""
    return [
        rotate(box(x, y, x + 8 + i % 3, y + 6 + i % 2), 7 * i)
        for i in range(count) for x, y in [(-36 + i % 4 * 20, -36 + i // 4 * 20)]
    ]


def test_an_outline_on_its_own_roof_fits_best_where_it_is() -> None:
    scores = surface(HOUSE, paint(HOUSE), GRID, RADIUS)
    shift, _ = scores.best((0, 0), RADIUS)
    assert math.hypot(*shift) < 0.15
    assert scores.at((0, 0), scores.inside) == pytest.approx(1.0, abs=1e-4)
    assert scores.highest_inside(RADIUS) == pytest.approx(1.0, abs=1e-4)
    assert scores.total.shape == (2 * scores.radius + 1,) * 2 == (41, 41)


@pytest.mark.parametrize("shift", [(3.0, 0.0), (0.0, 3.0), (-2.1, 4.2), (1.0, -1.0)])
def test_the_way_from_the_mapped_place_to_the_roof_is_found_in_metres_east_and_north(
    shift: tuple[float, float]
) -> None:
    scores = surface(HOUSE, paint(translate(HOUSE, *shift)), GRID, RADIUS)
    found, best = scores.best((0, 0), RADIUS)
    assert found == pytest.approx(shift, abs=0.2)
    assert best > scores.at((0, 0))
    assert scores.at(shift, scores.inside) > 0.97


def test_a_shift_of_less_than_a_pixel_is_found_between_the_pixels() -> None:
    soft = np.zeros((SIDE, SIDE), np.float32)
    for i in range(10):  # a roof seen ten times, spread over 0.3 m, is a roof with soft edges
        soft += GRID.cover([translate(HOUSE, 1.35 + 0.03 * (i - 4.5), 0)]) / 10
    seen = Seen(soft, soft, np.zeros_like(soft))
    found, _ = surface(HOUSE, seen, GRID, RADIUS).best((0, 0), RADIUS)
    assert found == pytest.approx((1.35, 0.0), abs=0.16)


def test_of_two_places_that_fit_alike_the_nearer_one_is_meant() -> None:
    near, far = translate(HOUSE, 0, -9.0), translate(HOUSE, 0, 10.5)
    (east, north), _ = surface(HOUSE, paint(near, far), GRID, 12.0).best((0, 0), 12.0)
    assert (east, north) == pytest.approx((0, -9.0), abs=0.3)


def test_nothing_is_looked_for_farther_than_asked() -> None:
    scores = surface(HOUSE, paint(translate(HOUSE, 5.0, 0)), GRID, RADIUS)
    (east, north), _ = scores.best((0, 0), 3.0)
    assert math.hypot(east, north) <= 3.0 + GSD
    assert scores.highest_inside(1.0) < scores.highest_inside(RADIUS)


def test_roof_that_another_building_explains_hardly_draws_a_building() -> None:
    neighbour = translate(HOUSE, 4.0, 0)
    seen, taken = paint(neighbour), GRID.cover([neighbour])
    free = surface(HOUSE, seen, GRID, RADIUS)
    explained = surface(HOUSE, seen, GRID, RADIUS, taken=lambda window: taken[window])
    assert explained.at((4.0, 0), explained.inside) == pytest.approx(0.3 * free.at((4.0, 0), free.inside), rel=0.01)


@pytest.mark.parametrize("place", [(55.0, 0.0), (0.0, -53.0), (-60.0, 60.0), (1000.0, 0.0)])
def test_an_outline_too_near_to_the_edge_cannot_be_moved_about(place: tuple[float, float]) -> None:
    assert surface(translate(HOUSE, *place), paint(HOUSE), GRID, RADIUS) is None


def test_an_outline_smaller_than_a_pixel_says_nothing() -> None:
    assert surface(box(0.01, 0.01, 0.02, 0.02), paint(HOUSE), GRID, RADIUS) is None


@pytest.mark.parametrize("shift", [(2.0, -1.5), (0.0, 0.0), (-4.5, 3.0)])
def test_the_imagery_s_own_shift_is_what_most_buildings_share(shift: tuple[float, float]) -> None:
    mapped = houses(9)
    ground = [translate(h, *shift) for h in mapped[:7]]  # two have no roof at all
    ground.append(translate(mapped[7], shift[0] + 3, shift[1]))  # a mapper's own mistake
    seen = paint(*ground)
    surfaces = [surface(m, seen, GRID, RADIUS) for m in mapped]
    assert common_shift(surfaces, RADIUS) == pytest.approx(shift, abs=0.3)


def test_a_few_buildings_say_nothing_about_the_imagery() -> None:
    mapped = houses(MIN_BUILDINGS)
    surfaces = [surface(m, paint(*[translate(h, 2, 0) for h in mapped]), GRID, RADIUS) for m in mapped]
    assert common_shift(surfaces[:-1], RADIUS) is None
    assert common_shift(surfaces, RADIUS) == pytest.approx((2, 0), abs=0.3)
    assert common_shift([], RADIUS) is None


def test_bare_ground_has_no_shift_of_its_own() -> None:
    surfaces = [surface(m, paint(), GRID, RADIUS) for m in houses(6)]
    assert common_shift(surfaces, RADIUS) == pytest.approx((0, 0), abs=1e-6)


def test_what_has_no_area_is_no_building() -> None:
    bow = Polygon([(0, 0), (4, 4), (4, 0), (0, 3)])
    assert polygon_of(bow).is_valid
    assert polygon_of(MultiPolygon([box(0, 0, 1, 1), box(5, 5, 9, 9)])).area == 16
    assert polygon_of(GeometryCollection([Point(0, 0), LineString([(0, 0), (1, 1)])])) is None
    assert polygon_of(shapely.from_wkt("POLYGON EMPTY")) is None or polygon_of(Polygon()).is_empty
    assert polygon_of(LineString([(0, 0), (1, 1)])) is None
