"""Of a geometry that changed, the ground that lies in only one of its states is dirty: held against an overlay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pytest
import shapely
from shapely.affinity import translate
from shapely.geometry import GeometryCollection, LineString, MultiLineString, MultiPolygon, Point, Polygon, box

from daemon.config import Tiling
from daemon.osm import Change
from daemon.tiling.expiry import Expired, Relevance, all_tags, expire
from daemon.tiling.grid import fractional_tiles
from detectors.base import OsmFeature, Shape

ZOOM = 16
BUILDING = {"building": "yes"}


def feature(geometry, tags: Mapping[str, str] = BUILDING, id_: int = 1) -> OsmFeature:
    return OsmFeature("way", id_, 1, datetime(2024, 1, 1, tzinfo=UTC), tags, geometry)


def expired(old, new, relevant: Relevance = all_tags, **knobs) -> Expired:
    return expire([Change(feature(old), feature(new))], Tiling(**{"zoom": ZOOM, **knobs}), relevant)


def tiles(*args, **knobs) -> set[tuple[int, int]]:
    return set(map(tuple, expired(*args, **knobs).tiles.tolist()))


def flat(geometry):
    """In tile coordinates, where lines are straight."""
    def project(lonlat):
        return np.column_stack(fractional_tiles(lonlat[:, 0], lonlat[:, 1], ZOOM))

    return shapely.transform(geometry, project)


def near(ground, buffer: float = 0.05) -> set[tuple[int, int]]:
    """Tiles whose widened square meets ground in tile coordinates, asked one by one."""
    if ground.is_empty:
        return set()
    west, north, east, south = (int(v) for v in np.floor(ground.bounds))
    return {
        (x, y)
        for x in range(west - 3, east + 4)
        for y in range(north - 3, south + 4)
        if ground.intersects(box(x - buffer, y - buffer, x + 1 + buffer, y + 1 + buffer))
    }


def apart(old, new, *, filled: bool = True):
    """The symmetric difference in tile coordinates: of areas, or of their boundaries, or of lines."""
    old, new = flat(old), flat(new)
    if not filled:
        old, new = old.boundary, new.boundary
    return old.symmetric_difference(new)


def star(rng: np.random.Generator, size: float, points: int = 11) -> np.ndarray:
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    reach = size * rng.uniform(0.5, 1, points)
    return np.column_stack([-70 + reach * np.cos(angles), -33 + reach * np.sin(angles)])


def edited(rng: np.random.Generator, ring: np.ndarray, how: str) -> np.ndarray:
    """What a mapper does to a ring [N, 2]."""
    ring, at = ring.copy(), int(rng.integers(len(ring)))
    match how:
        case "node moved":
            ring[at] += rng.uniform(-0.01, 0.01, 2)
        case "node taken out":
            ring = np.delete(ring, at, axis=0)
        case "node put in":
            ring = np.insert(ring, at, ring[at] + rng.uniform(-0.004, 0.004, 2), axis=0)
        case "moved as a whole":
            ring += rng.uniform(-0.02, 0.02, 2)
        case "drawn the other way round from another node":
            ring = np.roll(ring[::-1], at, axis=0)
            ring[0] += 0.005
    return ring


EDITS = (
    "node moved", "node taken out", "node put in", "moved as a whole", "drawn the other way round from another node"
)


@pytest.mark.parametrize("how", EDITS)
@pytest.mark.parametrize("seed", range(4))
def test_of_an_area_what_is_in_only_one_state_is_dirty_and_its_border(how: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ring, hole = star(rng, 0.06), star(rng, 0.015)
    old = shapely.make_valid(Polygon(ring, [hole]))
    new = shapely.make_valid(Polygon(edited(rng, ring, how), [hole]))
    assert tiles(old, new, mode="full_area") == near(apart(old, new))
    assert tiles(old, new, mode="boundary_only") == near(apart(old, new, filled=False))
    assert tiles(new, old, mode="full_area") == tiles(old, new, mode="full_area")


@pytest.mark.parametrize("how", EDITS[:4])
@pytest.mark.parametrize("seed", range(4))
def test_of_a_line_the_parts_in_only_one_state_are_dirty(how: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    line = rng.uniform((10, 50), (10.08, 50.06), (8, 2))
    old, new = LineString(line), LineString(edited(rng, line, how))
    assert tiles(old, new) == near(apart(old, new))


@pytest.mark.parametrize("seed", range(6))
def test_areas_of_several_parts_that_overlap_in_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = np.round(rng.uniform(0, 0.08, (12, 2)), 2)
    parts = [box(*np.round([8 + x, 47 + y, 8 + x + 0.01, 47 + y + 0.01], 7)) for x, y in places]
    old, new = shapely.union_all(parts[:8]), shapely.union_all(parts[4:])
    assert tiles(old, new, mode="full_area") == near(apart(old, new))
    assert tiles(old, new, mode="boundary_only") == near(apart(old, new, filled=False))


def test_many_changes_at_once_expire_what_each_expires_alone() -> None:
    rng = np.random.default_rng(11)
    changes, alone = [], set()
    for i, how in enumerate(EDITS * 6):
        ring = star(rng, 0.01) + rng.uniform(0, 0.4, 2)
        old, new = Polygon(ring), Polygon(edited(rng, ring, how))
        change = Change(feature(old, id_=i), feature(new, BUILDING if i % 3 else {"building": "no"}, id_=i))
        changes += [change, Change(None, change.old), Change(change.new, None)][: 1 + i % 3]
    for change in changes:
        alone |= set(map(tuple, expire([change], Tiling(zoom=ZOOM)).tiles.tolist()))
    assert set(map(tuple, expire(changes, Tiling(zoom=ZOOM)).tiles.tolist())) == alone


def test_the_same_geometry_drawn_otherwise_is_not_dirty() -> None:
    ring = star(np.random.default_rng(2), 0.03)
    old = Polygon(ring)
    again = np.roll(ring[::-1], 3, axis=0)
    assert tiles(old, Polygon(again)) == set()
    assert tiles(old, Polygon(np.repeat(again, 2, axis=0))) == set(), "a node repeated"
    assert tiles(LineString(ring), LineString(ring[::-1])) == set()
    assert tiles(MultiPolygon([old, translate(old, 0.1)]), MultiPolygon([translate(old, 0.1), old])) == set()
    assert tiles(old, MultiPolygon([old])) == set()


def test_a_node_in_a_wall_along_a_parallel_or_meridian_changes_nothing() -> None:
    old = box(8, 47, 8.02, 47.02)
    west, south, east, north = old.bounds
    new = Polygon([(west, south), (8.003, south), (8.01, south), (east, south), (east, 47.011), (east, north),
                   (8.001, north), (west, north)])
    assert tiles(old, new) == set()
    bulge = Polygon([(west, south), (8.005, south), (8.005, 46.999), (8.006, 46.999), (8.006, south), (east, south),
                     (east, north), (west, north)])
    assert tiles(old, bulge) == near(flat(box(8.005, 46.999, 8.006, 47)))


def test_a_line_that_runs_back_over_itself_counts_once() -> None:
    there = [(10.0, 50.0), (10.03, 50.02), (10.05, 50.0)]
    assert tiles(LineString(there), LineString(there + there[-2::-1])) == set()
    along = [(10.0, 50.0), (10.02, 50.0), (10.04, 50.0)]
    back = [(10.0, 50.0), (10.03, 50.0), (10.01, 50.0), (10.04, 50.0)]
    assert tiles(LineString(along), LineString(back)) == set()
    longer = [(10.0, 50.0), (10.06, 50.0), (10.01, 50.0)]
    assert tiles(LineString(along), LineString(longer)) == near(flat(LineString([(10.04, 50.0), (10.06, 50.0)])))


def test_a_part_that_joins_a_line_expires_itself_only() -> None:
    main, spur = LineString([(10, 50), (10.05, 50.03)]), LineString([(10.05, 50.03), (10.09, 50.03)])
    assert tiles(main, MultiLineString([main, spur])) == near(flat(spur))


def test_a_point_that_moves_expires_both_its_places_and_one_that_stays_none() -> None:
    a, b = Point(10.0, 50.0), Point(10.0, 50.04)
    assert tiles(a, b) == near(flat(a)) | near(flat(b))
    assert tiles(GeometryCollection([a, b]), GeometryCollection([b, a, a])) == set()


def test_tags_that_do_not_matter_expire_nothing_and_those_that_do_expire_all() -> None:
    house = box(8, 47, 8.01, 47.01)

    def levels(tags: Mapping[str, str], shape: Shape) -> object:
        return tags.get("building:levels", "") if shape == "area" else None

    def between(old: Mapping[str, str], new: Mapping[str, str], geometry=house, now=house) -> set[tuple[int, int]]:
        change = Change(feature(geometry, old), feature(now, new))
        return set(map(tuple, expire([change], Tiling(zoom=ZOOM), levels).tiles.tolist()))

    named = {**BUILDING, "name": "Town hall"}
    wider = box(8, 47, 8.012, 47.01)
    assert between(BUILDING, named) == set()
    assert between(BUILDING, {**BUILDING, "building:levels": "3"}) == near(flat(house))
    assert between(BUILDING, named, now=wider) == near(flat(box(8.01, 47, 8.012, 47.01)))
    assert between(BUILDING, {"building:levels": "3"}, now=wider) == near(flat(wider))
    wall = LineString(house.exterior.coords)
    assert between(BUILDING, BUILDING, wall, translate(wall, 0.01)) == set(), "lines are nothing to it"
    assert between(BUILDING, BUILDING, wall, house) == near(flat(house)), "it was no area, so it is new"
    assert between(BUILDING, BUILDING, house, wall) == near(flat(house)), "it is gone"


def test_another_shape_is_another_thing() -> None:
    ring = star(np.random.default_rng(4), 0.02)
    area, line = Polygon(ring), LineString(ring)
    assert tiles(area, line, mode="full_area") == near(flat(area))


def test_a_huge_forest_with_one_moved_node_expires_around_that_node() -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    ring = np.column_stack([8 + 2 * np.cos(angles), 47 + 1.5 * np.sin(angles)])
    moved = ring.copy()
    moved[777] += 0.0004
    for mode in ("hybrid", "full_area", "boundary_only"):
        found = expired(Polygon(ring), Polygon(moved), mode=mode, zoom=19, max_tiles_geometry=500)
        assert not found.capped and 3 <= len(found.tiles) < 60, mode
    new = expire([Change(None, feature(Polygon(ring)))], Tiling(zoom=19, max_tiles_geometry=500))
    assert [c.kept for c in new.capped] == ["nothing"]


def test_far_apart_corners_of_one_border_are_both_dirty() -> None:
    line = np.column_stack([np.linspace(0, 30, 4000), np.full(4000, 45.0) + np.tile([0, 0.0003], 2000)])
    moved = line.copy()
    moved[[5, -5], 1] += 0.001
    found = expired(LineString(line), LineString(moved), zoom=19, max_tiles_geometry=300)
    assert not found.capped
    columns = np.unique(found.tiles[:, 0])
    assert len(columns) < 100 and columns.max() - columns.min() > 40_000


def test_the_cap_is_on_what_differs() -> None:
    old, new = box(8, 47, 8.4, 47.3), box(8, 47, 8.44, 47.3)
    strip = near(flat(box(8.4, 47, 8.44, 47.3)))
    assert tiles(old, new, mode="full_area", max_tiles_geometry=len(strip)) == strip
    found = expired(old, new, mode="full_area", max_tiles_geometry=len(strip) - 1)
    (capped,) = found.capped
    assert (capped.ref, capped.kept) == ("way/1", "boundary")
    assert set(map(tuple, found.tiles.tolist())) == near(apart(old, new, filled=False))


def test_hybrid_goes_by_the_larger_of_both_states() -> None:
    small, large = box(8, 47, 8.02, 47.015), box(8, 47, 8.05, 47.04)  # about 1.5 km and 4.4 km
    for old, new in ((small, large), (large, small)):
        assert tiles(old, new, mode="hybrid", full_area_limit=2000) == near(apart(old, new, filled=False))
        assert tiles(old, new, mode="hybrid", full_area_limit=5000) == near(apart(old, new))


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_across_the_antimeridian_only_what_differs_is_dirty(first: int) -> None:
    corners = [(179.98, 10), (-179.98, 10), (-179.98, 10.04), (179.98, 10.04)]
    wider = [(179.98, 10), (-179.96, 10), (-179.96, 10.04), (179.98, 10.04)]
    old, new = Polygon(corners), Polygon(wider[first:] + wider[:first])
    found = tiles(old, new, mode="full_area", buffer=0.0)
    strip = near(flat(box(-179.98, 10, -179.96, 10.04)), buffer=0.0)
    assert found == strip
    assert tiles(old, Polygon(corners[first:] + corners[:first]), mode="full_area") == set()


def test_the_hole_of_an_area_across_the_antimeridian_is_a_hole_on_either_side() -> None:
    shell = [(179.9, 10), (-179.9, 10), (-179.9, 10.1), (179.9, 10.1)]
    hole = [(-179.96, 10.02), (-179.93, 10.02), (-179.93, 10.08), (-179.96, 10.08)]
    island = expire([Change(None, feature(Polygon(shell, [hole])))], Tiling(zoom=ZOOM, mode="full_area", buffer=0.0))
    inside = near(flat(Polygon(hole)).buffer(-1.001), buffer=0.0)
    assert inside and not inside & set(map(tuple, island.tiles.tolist()))
    filled = tiles(Polygon(shell, [hole]), Polygon(shell), mode="full_area", buffer=0.0)
    assert filled == near(flat(Polygon(hole)), buffer=0.0)
