"""Dirty tiles of changed features, held against a slow oracle: each tile's square, asked one by one with shapely."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import shapely
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from daemon.config import Tiling
from daemon.osm import Change
from daemon.tiling.expiry import expire
from daemon.tiling.grid import Block, Tile, fractional_tiles, tile_at
from detectors.base import OsmFeature

ZOOM = 16


def feature(geometry, id_: int = 1) -> OsmFeature:
    return OsmFeature("way", id_, 1, datetime(2024, 1, 1, tzinfo=UTC), {"building": "yes"}, geometry)


def tiles_of(*geometries, **knobs) -> set[tuple[int, int]]:
    changes = [Change(None, feature(geometry, i)) for i, geometry in enumerate(geometries)]
    found = expire(changes, Tiling(**{"zoom": ZOOM, **knobs})).tiles
    assert found.dtype == np.int32 and len(found) == len(np.unique(found, axis=0))
    return set(map(tuple, found.tolist()))


def oracle(geometry, *, zoom: int = ZOOM, buffer: float = 0.05, filled: bool = True) -> set[tuple[int, int]]:
    """Tiles whose widened square meets the geometry in tile coordinates; away from the antimeridian and the poles."""
    def project(lonlat):
        return np.column_stack(fractional_tiles(lonlat[:, 0], lonlat[:, 1], zoom))

    flat = shapely.transform(geometry, project)
    if not filled and flat.geom_type in ("Polygon", "MultiPolygon"):
        flat = flat.boundary
    west, north, east, south = (int(v) for v in np.floor(flat.bounds))
    return {
        (x, y)
        for x in range(west - 3, east + 4)
        for y in range(north - 3, south + 4)
        if flat.intersects(box(x - buffer, y - buffer, x + 1 + buffer, y + 1 + buffer))
    }


def star(rng: np.random.Generator, lon: float, lat: float, size: float, points: int = 9) -> Polygon:
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    reach = size * rng.uniform(0.3, 1, points)
    return shapely.make_valid(Polygon(np.column_stack([lon + reach * np.cos(angles), lat + reach * np.sin(angles)])))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("buffer", [0.0, 0.05, 0.5, 2.0])
def test_tiles_of_lines_are_exactly_those_near_the_line(seed: int, buffer: float) -> None:
    rng = np.random.default_rng(seed)
    line = LineString(np.column_stack([rng.uniform(10, 10.08, 7), rng.uniform(50, 50.06, 7)]))
    assert tiles_of(line, buffer=buffer) == oracle(line, buffer=buffer)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("buffer", [0.0, 0.05, 1.2])
def test_tiles_of_polygons_are_exactly_those_near_their_area_or_their_boundary(seed: int, buffer: float) -> None:
    rng = np.random.default_rng(seed)
    polygon = star(rng, -70, -33, 0.06)
    hole = star(rng, -70, -33, 0.02)
    shape = polygon.difference(hole) if seed % 2 else polygon
    assert tiles_of(shape, mode="full_area", buffer=buffer) == oracle(shape, buffer=buffer)
    assert tiles_of(shape, mode="boundary_only", buffer=buffer) == oracle(shape, buffer=buffer, filled=False)


def test_many_features_at_once_expire_what_each_expires_alone() -> None:
    rng = np.random.default_rng(5)
    places = rng.uniform((20, 40, 0.001), (20.3, 40.3, 0.04), (40, 3))
    shapes = [star(rng, lon, lat, size) for lon, lat, size in places]
    shapes += [MultiPolygon([box(20, 40, 20.01, 40.01), box(20.05, 40.05, 20.06, 40.06)]), Point(20.5, 40.5)]
    shapes.append(GeometryCollection([LineString([(20, 41), (20.1, 41.05)]), box(20.2, 41, 20.25, 41.02)]))
    together = tiles_of(*shapes, mode="full_area")
    assert together == set().union(*(oracle(shape) for shape in shapes))


def test_both_the_old_and_the_new_place_are_dirty() -> None:
    old, new = box(8, 47, 8.0001, 47.0001), box(8.1, 47, 8.1001, 47.0001)
    found = expire([Change(feature(old), feature(new))], Tiling(zoom=ZOOM)).tiles
    assert set(map(tuple, found.tolist())) == oracle(old) | oracle(new)
    gone = expire([Change(feature(old), None)], Tiling(zoom=ZOOM)).tiles
    assert set(map(tuple, gone.tolist())) == oracle(old)


def test_nothing_changed_expires_nothing() -> None:
    assert expire([], Tiling()).tiles.shape == (0, 2)
    assert expire([Change(None, None), Change(feature(Polygon()), None)], Tiling()).tiles.shape == (0, 2)


def test_hybrid_expires_the_inside_of_small_polygons_only() -> None:
    small, large = box(8, 47, 8.02, 47.015), box(9, 47, 9.05, 47.04)  # about 1.5 km and 4.4 km
    assert tiles_of(small, mode="hybrid", full_area_limit=2000) == oracle(small)
    assert tiles_of(large, mode="hybrid", full_area_limit=2000) == oracle(large, filled=False)
    assert tiles_of(large, mode="hybrid", full_area_limit=5000) == oracle(large)


def test_a_polygon_with_too_many_tiles_expires_its_boundary_and_says_so() -> None:
    wood = box(8, 47, 8.4, 47.3)
    found = expire([Change(None, feature(wood, 7))], Tiling(zoom=ZOOM, mode="full_area", max_tiles_geometry=1000))
    assert set(map(tuple, found.tiles.tolist())) == oracle(wood, filled=False)
    (capped,) = found.capped
    assert (capped.ref, capped.kept) == ("way/7", "boundary")
    assert capped.tiles > 1000


def test_a_boundary_with_too_many_tiles_expires_nothing_and_leaves_the_others_alone() -> None:
    coast = LineString([(-60, -50), (60, 60)])
    zigzag = LineString([(8 + (i % 2) * 0.2, 47 + i * 0.0005) for i in range(400)])
    house = box(30, 10, 30.0002, 10.0002)
    changes = [Change(None, feature(g, i)) for i, g in enumerate((coast, zigzag, house))]
    found = expire(changes, Tiling(zoom=19, max_tiles_geometry=2000))
    assert [(c.ref, c.kept) for c in found.capped] == [("way/0", "nothing"), ("way/1", "nothing")]
    assert all(c.tiles > 2000 for c in found.capped)
    assert set(map(tuple, found.tiles.tolist())) == oracle(house, zoom=19)


def test_a_cap_that_is_just_reached_does_not_bite() -> None:
    shape = box(8, 47, 8.02, 47.02)
    tiles = oracle(shape)
    assert tiles_of(shape, mode="full_area", max_tiles_geometry=len(tiles)) == tiles
    tight = Tiling(zoom=ZOOM, mode="full_area", max_tiles_geometry=len(tiles) - 1)
    assert expire([Change(None, feature(shape))], tight).capped


def test_a_line_across_the_antimeridian_goes_the_short_way() -> None:
    tiles = tiles_of(LineString([(179.99, 10.001), (-179.99, 10.001)]), buffer=0.0)
    n, row = 1 << ZOOM, tile_at(0, 10.001, ZOOM).y
    assert tiles == {(x % n, row) for x in range(n - 2, n + 2)}


def test_an_area_across_the_antimeridian_is_filled_on_both_sides() -> None:
    island = Polygon([(179.98, 10), (-179.98, 10), (-179.98, 10.04), (179.98, 10.04)])
    tiles = tiles_of(island, mode="full_area", buffer=0.0)
    n = 1 << ZOOM
    assert {x for x, _ in tiles} == {x % n for x in range(n - 4, n + 4)}
    assert len({(x, y) for x, y in tiles}) == 8 * len({y for _, y in tiles})


def test_tiles_at_the_edge_of_the_world_have_neighbours_across_it_but_none_beyond_the_poles() -> None:
    n = 1 << ZOOM
    assert {x for x, _ in tiles_of(Point(-180 + 1e-5, 0.001), buffer=0.1)} == {0, n - 1}
    assert {y for _, y in tiles_of(LineString([(0.001, 88), (0.001, 90)]), buffer=0.5)} == {0}
    assert {y for _, y in tiles_of(Point(0.001, -89.9), buffer=1.0)} >= {n - 1}
    world = tiles_of(box(-180, -90, 180, 90), zoom=10, mode="full_area")
    assert world and all(0 <= x < 1024 and 0 <= y < 1024 for x, y in world)


def test_a_polygon_as_large_as_a_continent_is_filled() -> None:
    tiles = tiles_of(box(-100, -40, -10, 40), zoom=10, mode="full_area", buffer=0.0, max_tiles_geometry=10**6)
    first, last = tile_at(-100, 40, 10), tile_at(-10, -40, 10)
    assert len(tiles) == (last.x - first.x + 1) * (last.y - first.y + 1)


def test_every_tile_of_a_block_touched_by_a_house_is_found() -> None:
    block = Block.of(Tile(19, 386_690, 220_241), 1)
    west, south, east, north = block.lonlat()
    inside = box(west + 1e-6, south + 1e-6, east - 1e-6, north - 1e-6)
    assert tiles_of(inside, zoom=19, buffer=0.0) == {(386_690, 220_241)}
    assert len(tiles_of(inside, zoom=19, buffer=0.05)) == 9
