"""Regions of pixels become the footprints a mapper would draw."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate
from shapely.geometry import Polygon, box

from detectors.vectorize.footprints import outline_regions
from detectors.vectorize.raster import Grid

GRID = Grid(Affine(0.27, 0, -40, 0, -0.27, 40), (296, 296))


def drawn(shape, grid=GRID):
    labels = grid.burn([shape])
    (footprint,) = outline_regions(labels, np.full(grid.shape, 0.9, np.float32), grid)
    return footprint


def iou(a, b):
    return a.intersection(b).area / a.union(b).area


@given(
    st.floats(5, 25),
    st.floats(5, 25),
    st.floats(0, 180),
)
@settings(max_examples=60, deadline=None)
def test_a_rectangle_at_any_angle_comes_back_as_a_rectangle_of_its_area(width, height, angle):
    house = rotate(box(-width / 2, -height / 2, width / 2, height / 2), angle)
    footprint = drawn(house).polygon
    assert footprint.is_valid
    assert len(footprint.exterior.coords) == 5
    assert iou(footprint, house) > 0.8
    assert footprint.area == pytest.approx(house.area, rel=0.12)


@pytest.mark.parametrize("angle", [0, 17, 45, 71])
def test_an_l_shape_keeps_its_corners_and_right_angles(angle):
    shape = rotate(Polygon([(0, 0), (20, 0), (20, 8), (8, 8), (8, 20), (0, 20)]), angle, origin=(5, 5))
    footprint = drawn(shape).polygon
    assert iou(footprint, shape) > 0.85
    xy = np.asarray(footprint.exterior.coords)
    edges = np.diff(xy, axis=0)
    edges = edges[np.hypot(*edges.T) > 1.0]
    turns = np.degrees(np.diff(np.arctan2(edges[:, 1], edges[:, 0]))) % 90
    assert np.minimum(turns, 90 - turns).max() < 1.0


def test_a_courtyard_stays_open():
    shape = box(-15, -15, 15, 15).difference(box(-6, -6, 6, 6))
    footprint = drawn(shape).polygon
    assert len(footprint.interiors) == 1
    assert iou(footprint, shape) > 0.85


def test_confidence_is_the_mean_probability_of_the_regions_pixels():
    labels = GRID.burn([box(-20, -5, -10, 5), box(10, -5, 20, 5)])
    probability = np.where(labels == 1, 0.8, 0.6).astype(np.float32)
    first, second = outline_regions(labels, probability, GRID)
    assert (first.label, second.label) == (1, 2)
    assert first.confidence == pytest.approx(0.8, abs=1e-4)
    assert second.confidence == pytest.approx(0.6, abs=1e-4)


def test_a_region_in_several_parts_is_its_largest_part():
    labels = GRID.cover([box(-20, -5, -5, 5), box(10, 0, 12, 2)]).astype(np.int32)
    (footprint,) = outline_regions(labels, np.ones(GRID.shape, np.float32), GRID)
    assert footprint.polygon.bounds[2] < 0


def test_no_region_no_footprint():
    assert outline_regions(np.zeros(GRID.shape, np.int32), np.zeros(GRID.shape, np.float32), GRID) == []


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_ragged_regions_become_valid_polygons_of_about_their_area(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * math.pi, 12))
    radius = rng.uniform(5, 14, 12)
    blob = Polygon(np.column_stack([radius * np.cos(angles), radius * np.sin(angles)])).buffer(0)
    if blob.is_empty or blob.geom_type != "Polygon" or blob.area < 20:
        return
    footprint = drawn(blob).polygon
    assert footprint.is_valid and footprint.geom_type == "Polygon"
    assert footprint.area == pytest.approx(blob.area, rel=0.35)


def test_burning_counts_pixel_centres_so_areas_are_unbiased():
    rng = np.random.default_rng(1)
    areas, pixels = [], []
    for _ in range(200):
        x, y, w, h, a = *rng.uniform(-20, 20, 2), *rng.uniform(3, 12, 2), rng.uniform(0, 90)
        shape = rotate(box(x, y, x + w, y + h), a)
        areas.append(shape.area)
        pixels.append(GRID.cover([shape]).sum() * GRID.gsd**2)
    assert sum(pixels) == pytest.approx(sum(areas), rel=0.01)
