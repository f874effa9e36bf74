"""Rendered towns: the same from the same seed, and the truth lies where the roofs are."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import box

from detectors.training.rendered import RenderedTown, draw_town


@pytest.fixture(scope="module")
def town() -> RenderedTown:
    return draw_town(11, (384, 512), 0.27)


def test_a_seed_gives_the_same_town_pixel_by_pixel_and_another_seed_another():
    first, again, other = draw_town(11, 128, 0.4), draw_town(11, 128, 0.4), draw_town(12, 128, 0.4)
    assert np.array_equal(first.pixels, again.pixels)
    assert [b.geometry for b in first.buildings] == [b.geometry for b in again.buildings]
    assert not np.array_equal(first.pixels, other.pixels)


def test_the_picture_has_the_size_asked_for_and_uses_the_whole_range_of_light(town):
    assert town.pixels.shape == (384, 512, 3)
    assert town.pixels.dtype == np.uint8
    dark, bright = np.percentile(town.pixels, [2, 98])
    assert dark < 70 < 170 < bright


def test_buildings_are_simple_polygons_that_do_not_overlap(town):
    outlines = [b.geometry for b in town.buildings]
    assert len(outlines) > 30
    assert all(o.is_valid and o.geom_type == "Polygon" and not o.interiors for o in outlines)
    pairs = shapely.STRtree(outlines).query(outlines, "intersects").T
    shared = [outlines[i].intersection(outlines[j]).area for i, j in pairs if i < j]
    assert max(shared, default=0) < 4  # pixels: walls may be shared, roofs not


def test_every_building_shows_in_the_picture(town):
    frame = box(0, 0, 512, 384)
    assert all(b.geometry.intersects(frame) for b in town.buildings)


def test_areas_are_those_of_the_outlines_in_true_metres(town):
    for building in town.buildings:
        assert building.attributes["area_m2"] == pytest.approx(building.geometry.area * 0.27**2, abs=0.06)


def test_there_are_flat_sheet_and_odd_shaped_roofs_streets_and_trees(town):
    assert {"concrete", "sheet"} <= {b.attributes["roof"] for b in town.buildings}
    assert any(len(b.geometry.exterior.coords) > 5 for b in town.buildings)
    assert town.roads and town.trees


def test_the_mask_covers_the_outlines_and_nothing_else(town):
    union = shapely.union_all([b.geometry for b in town.buildings]).intersection(box(0, 0, 512, 384))
    mask = town.mask()
    assert set(np.unique(mask)) == {0, 1}
    assert mask.sum() == pytest.approx(union.area, rel=0.02)


def test_the_outline_of_a_roof_is_where_the_picture_changes(town):
    """The light jumps across walls more than across the same lines moved by two metres."""
    grey = town.pixels.astype(np.float32).mean(axis=2)
    steepness = np.hypot(*np.gradient(grey))

    def along_walls(shift: float) -> float:
        values = []
        for building in town.buildings:
            ring = shapely.transform(building.geometry.exterior, lambda xy: xy + shift)
            points = np.array([ring.interpolate(d).coords[0] for d in np.arange(0, ring.length, 2)]).round().astype(int)
            x, y = points.T
            inside = (x >= 0) & (x < 512) & (y >= 0) & (y < 384)
            values.append(steepness[y[inside], x[inside]])
        return float(np.concatenate(values).mean())

    assert along_walls(0.0) > 1.15 * along_walls(1.4 / 0.27)


@pytest.mark.parametrize(("size", "gsd"), [(8, 0.3), (64, 0.01), (64, 5.0)])
def test_a_size_or_resolution_that_cannot_be_drawn_is_refused(size, gsd):
    with pytest.raises(ValueError, match="expected"):
        draw_town(1, size, gsd)


@pytest.mark.parametrize("seed", range(6))
def test_small_crops_can_be_drawn_from_any_seed(seed):
    assert draw_town(seed, 96, 0.5).pixels.shape == (96, 96, 3)
