"""Roof that the map does not explain becomes single buildings."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from shapely.geometry import Polygon, box

from detectors.alignment import Seen
from detectors.roofs import cut_roofs
from detectors.vectorize.raster import Grid

GSD, SIDE = 0.3, 300
GRID = Grid(Affine(GSD, 0, -SIDE / 2 * GSD, 0, -GSD, SIDE / 2 * GSD), (SIDE, SIDE))
HOUSE = box(-6, -4, 6, 4)


def paint(*roofs: Polygon, level: float = 1.0) -> Seen:
    """Roofs with walls along their own outlines, also where two touch."""
    roof = GRID.cover(roofs)
    wall = (GRID.cover([r.boundary.buffer(0.6) for r in roofs]) & roof).astype(np.float32) * level
    footprint = roof.astype(np.float32) * level
    return Seen(footprint=footprint, interior=footprint - wall, wall=wall)


def iou(one: Polygon, other: Polygon) -> float:
    return one.intersection(other).area / one.union(other).area


def test_bare_ground_has_no_buildings() -> None:
    assert cut_roofs(paint(), [], GRID) == []


def test_a_lone_roof_is_one_building_along_its_outline() -> None:
    (found,) = cut_roofs(paint(HOUSE), [], GRID)
    assert iou(found.polygon, HOUSE) > 0.9
    assert found.confidence == pytest.approx(1.0, abs=0.01)


def test_a_terrace_is_cut_along_the_walls_that_are_seen() -> None:
    terrace = [box(x, -4, x + 8, 4) for x in (-16, -8, 0, 8)]
    found = cut_roofs(paint(*terrace), [], GRID)
    assert len(found) == 4
    for house in terrace:
        assert max(iou(f.polygon, house) for f in found) > 0.8
    for i, one in enumerate(found):
        assert all(iou(one.polygon, other.polygon) < 0.1 for other in found[i + 1 :])


def test_without_walls_between_them_roofs_are_one() -> None:
    assert len(cut_roofs(paint(box(-16, -4, 16, 4)), [], GRID)) == 1


def test_what_the_map_explains_is_no_news_even_if_it_is_drawn_a_little_small() -> None:
    assert cut_roofs(paint(HOUSE), [HOUSE], GRID) == []
    assert cut_roofs(paint(HOUSE), [HOUSE.buffer(-0.6)], GRID) == []


def test_of_a_terrace_half_mapped_the_other_half_is_found() -> None:
    left, right = box(-8, -4, 0, 4), box(0, -4, 8, 4)
    (found,) = cut_roofs(paint(left, right), [left], GRID)
    assert found.polygon.intersection(right).area > 0.75 * right.area
    assert found.polygon.intersection(left).area < 2


def test_threads_of_roof_are_not_drawn() -> None:
    assert cut_roofs(paint(box(-20, 0, 20, 0.8)), [], GRID) == []


def test_what_the_network_doubts_is_ground() -> None:
    assert cut_roofs(paint(HOUSE, level=0.4), [], GRID) == []
    (found,) = cut_roofs(paint(HOUSE, level=0.7), [], GRID)
    assert found.confidence == pytest.approx(0.7, abs=0.01)


def test_roof_of_walls_alone_is_still_one_thing() -> None:
    seen = paint(HOUSE)
    (found,) = cut_roofs(Seen(seen.footprint, np.zeros_like(seen.interior), seen.footprint), [], GRID)
    assert iou(found.polygon, HOUSE) > 0.9
