"""The tiles of an area, cell by cell, held against asking every tile with shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Polygon, box

from daemon.tiling.cells import CELL_SIDE, Cell, cells_of_area, cells_of_tiles, tiles_inside, touching
from daemon.tiling.grid import Block, Tile, tile_at

ZOOM = 15


def tiles_of(cells) -> set[tuple[int, int]]:
    listed = [tuple(tile) for cell in cells for tile in cell.tiles().tolist()]
    assert len(listed) == len(set(listed)), "each once"
    return set(listed)


def around(area) -> list[tuple[int, int]]:
    west, south, east, north = area.bounds
    first, last = tile_at(west, north, ZOOM), tile_at(east, south, ZOOM)
    return [(x, y) for x in range(first.x - 3, last.x + 4) for y in range(first.y - 3, last.y + 4)]


def oracle(area) -> set[tuple[int, int]]:
    return {(x, y) for x, y in around(area) if area.intersects(box(*Block(ZOOM, x, y, 1).lonlat()))}


def blob(seed: int, size: float) -> Polygon:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 17))
    reach = size * rng.uniform(0.2, 1, 17)
    return Polygon(np.column_stack([8 + reach * np.cos(angles), 47 + reach * np.sin(angles)])).buffer(0)


AREAS = [
    *(blob(seed, size) for seed in range(4) for size in (0.05, 0.8)),
    blob(5, 0.8).difference(box(7.9, 46.9, 8.1, 47.1)),
    MultiPolygon([box(8, 47, 8.001, 47.001), box(9.5, 47.5, 9.6, 47.55)]),
    box(*Block(ZOOM, 17_000, 11_000, 1).lonlat()),
    box(-180, -0.02, -179.97, 0.02),
]


@pytest.mark.parametrize("area", AREAS, ids=range(len(AREAS)))
def test_an_area_has_exactly_the_tiles_that_touch_it(area) -> None:
    expected = {(x, y) for x, y in oracle(area) if x >= 0}
    assert tiles_of(cells_of_area(area, ZOOM)) == expected
    asked = np.array([(x, y) for x, y in around(area) if x >= 0])
    assert set(map(tuple, asked[touching(asked, ZOOM, area)].tolist())) == expected
    assert tiles_of(cells_of_tiles([Tile(ZOOM, *tile) for tile in asked.tolist()], ZOOM, area)) == expected


def test_cells_come_row_by_row_and_whole_ones_carry_no_mask() -> None:
    area = box(0.1, 40.1, 14.1, 54.1)
    cells = list(cells_of_area(area, 12))
    first, last = tile_at(0.1, 54.1, 12), tile_at(14.1, 40.1, 12)
    count = (last.x - first.x + 1) * (last.y - first.y + 1)
    assert sum(cell.count for cell in cells) == count
    assert [(c.y, c.x) for c in cells] == sorted((c.y, c.x) for c in cells)
    assert {c.mask is None for c in cells} == {True, False}
    assert all(c.mask is None or 0 < c.mask.sum() < CELL_SIDE**2 for c in cells)
    assert 0.95 * count < tiles_inside(area, 12) < count


def test_the_whole_world_fits_at_a_low_zoom() -> None:
    cells = list(cells_of_area(box(-180, -90, 180, 90), 10))
    assert len(cells) == 16 * 16 and all(cell.mask is None for cell in cells)


def test_tiles_anywhere_fall_into_their_cells() -> None:
    corner = Tile(ZOOM, 3 * CELL_SIDE - 1, 5 * CELL_SIDE)
    cells = list(cells_of_tiles([corner, corner, corner._replace(x=corner.x + 1)], ZOOM, None))
    assert [(c.x, c.y, c.count) for c in cells] == [(2, 5, 1), (3, 5, 1)]
    assert list(cells_of_tiles([], ZOOM, shapely.box(0, 0, 1, 1))) == []


def test_a_mask_survives_being_packed() -> None:
    mask = np.random.default_rng(3).random((CELL_SIDE, CELL_SIDE)) < 0.3
    again = Cell.unpacked(7, 9, Cell(7, 9, mask).packed())
    assert np.array_equal(again.tiles(), Cell(7, 9, mask).tiles()) and again.count == mask.sum()
    assert Cell.unpacked(1, 2, Cell(1, 2, None).packed()).count == CELL_SIDE**2
