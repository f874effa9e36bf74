"""Widths of roads, and land cover, from what OSM's tags say."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from detectors.datasets import UNKNOWN
from detectors.datasets.landcover import CLASSES, cover_of, draw_cover
from detectors.datasets.roads import is_road, widen
from detectors.datasets.targets import draw_mask
from detectors.road_tags import LANE_M, WIDTHS_M, road_width


@pytest.mark.parametrize(("tags", "metres"), [
    ({"width": "4.5", "lanes": "4", "highway": "primary"}, 4.5),
    ({"width": "4,5 m"}, 4.5),
    ({"width": "20 ft"}, 6.096),
    ({"width": "20'"}, 6.096),
    ({"width": "narrow", "est_width": "3"}, 3.0),
    ({"width": "450", "lanes": "2"}, 2 * LANE_M),
    ({"width": "0", "highway": "track"}, WIDTHS_M["track"]),
    ({"lanes": "3", "highway": "residential"}, 3 * LANE_M),
    ({"lanes": "2;3", "highway": "residential"}, WIDTHS_M["residential"]),
    ({"lanes": "-2", "highway": "motorway"}, WIDTHS_M["motorway"]),
    ({"lanes": "²"}, WIDTHS_M["road"]),
    ({"highway": "no such class"}, WIDTHS_M["road"]),
    ({}, WIDTHS_M["road"]),
])
def test_the_best_word_on_the_width_counts(tags: dict[str, str], metres: float):
    assert road_width(tags) == pytest.approx(metres)


def test_only_roads_that_can_be_seen_from_above_are_roads():
    assert is_road({"highway": "residential"}) and is_road({"highway": "primary", "bridge": "yes", "layer": "1"})
    for hidden in ({"highway": "footway"}, {"highway": "primary", "tunnel": "yes"}, {"railway": "rail"},
                   {"highway": "service", "layer": "-1"}, {"highway": "pedestrian", "area": "yes"}, {}):
        assert not is_road(hidden)


def test_a_line_becomes_a_surface_of_its_width():
    lines = [(shapely.LineString([(-5, 20), (105, 20)]), 6.0), (shapely.LineString(), 6.0)]
    mask = draw_mask(widen(lines, gsd_m=0.5), (40, 100))
    assert mask.sum() == 12 * 100 and mask[14:26].all()
    assert len(widen([], 0.5)) == 0


def test_cover_is_read_from_tags():
    assert cover_of({"natural": "water", "name": "Lake"}) == "water"
    assert cover_of({"landuse": "forest"}) == "forest"
    assert cover_of({"landuse": "military"}) is None and cover_of({}) is None


def test_small_polygons_lie_over_large_ones_and_the_unmapped_is_unknown():
    pond, wood = shapely.box(4, 4, 6, 6), shapely.box(0, 0, 8, 8)
    for order in ([(pond, "water"), (wood, "forest")], [(wood, "forest"), (pond, "water")]):
        mask = draw_cover(order, (10, 10))
        assert (mask == CLASSES.index("water")).sum() == 4
        assert (mask == CLASSES.index("forest")).sum() == 60
        assert (mask == UNKNOWN).sum() == 36
    assert np.array_equal(draw_cover([], (2, 2)), np.full((2, 2), UNKNOWN))
