"""Which tiles an area has, told cell by cell: a cell is an aligned square of tiles, wholly or partly in the area.

Areas are polygons in lon/lat degrees, borders included. They are halved again and again, so that the inside of a
country costs nothing and only its border is asked tile by tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.tiling.grid import Tile, fractional_tiles

#: Tiles along one side of a cell, and how many zooms that is.
CELL_SIDE, CELL_LEVELS = 64, 6
#: Cells that are worked on at once.
CELLS_AT_ONCE = 100_000
#: Cells on the border of an area that are worked on at once; each takes some kilobytes.
BORDER_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Cell:
    """A square of tiles, by its column and row among the cells.

    Attributes:
        mask: bool [CELL_SIDE, CELL_SIDE], row by row, of the tiles meant; None for all.
    """

    x: int
    y: int
    mask: np.ndarray | None

    @property
    def count(self) -> int:
        """How many tiles are meant."""
        return CELL_SIDE**2 if self.mask is None else int(self.mask.sum())

    def tiles(self) -> np.ndarray:
        """The tiles meant, int64 [N, 2] of x and y, row by row."""
        mask = np.ones((CELL_SIDE, CELL_SIDE), bool) if self.mask is None else self.mask
        rows, columns = np.nonzero(mask)
        return np.column_stack([self.x * CELL_SIDE + columns, self.y * CELL_SIDE + rows])

    def packed(self) -> bytes | None:
        """The mask as bits, None for all."""
        return None if self.mask is None else np.packbits(self.mask).tobytes()

    @classmethod
    def unpacked(cls, x: int, y: int, bits: bytes | memoryview | None) -> Cell:
        """The inverse of `packed`."""
        if bits is None:
            return cls(x, y, None)
        return cls(x, y, np.unpackbits(np.frombuffer(bits, np.uint8)).astype(bool).reshape(CELL_SIDE, CELL_SIDE))


def touching(tiles: np.ndarray, zoom: int, area: BaseGeometry) -> np.ndarray:
    """Which tiles (int [N, 2] of x and y) touch the area, bool [N]."""
    levels = min(CELL_LEVELS, zoom)
    coarse, member = np.unique(tiles >> levels, axis=0, return_inverse=True)
    meets, inside = _lies(coarse, zoom - levels, area)
    found, doubtful = inside[member.ravel()], (meets & ~inside)[member.ravel()]
    found[doubtful] = _lies(tiles[doubtful], zoom, area)[0]
    return found


def tiles_inside(area: BaseGeometry, zoom: int) -> float:
    """How many tiles the area is as large as; a little less than it touches."""
    def project(lonlat: np.ndarray) -> np.ndarray:
        return np.column_stack(fractional_tiles(lonlat[:, 0], lonlat[:, 1], zoom))

    return float(shapely.area(shapely.transform(area, project)))


def cells_of_area(area: BaseGeometry, zoom: int) -> Iterator[Cell]:
    """The cells that have tiles of `zoom` that touch the area, row by row."""
    west, south, east, north = area.bounds
    x, y = fractional_tiles(np.array([west, east]), np.array([north, south]), zoom - CELL_LEVELS)
    last = (1 << (zoom - CELL_LEVELS)) - 1
    # What ends upon the border between two cells touches both.
    columns = np.arange(max(0, int(np.ceil(x[0])) - 1), min(last, int(x[1])) + 1)
    first, final = max(0, int(np.ceil(y[0])) - 1), min(last, int(y[1]))
    rows_at_once = max(1, CELLS_AT_ONCE // len(columns))
    for row in range(first, final + 1, rows_at_once):
        rows = np.arange(row, min(row + rows_at_once, final + 1))
        cells = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        meets, inside = _lies(cells, zoom - CELL_LEVELS, area)
        border = np.flatnonzero(meets & ~inside)
        masks: dict[int, np.ndarray] = {}
        for some in np.array_split(border, len(border) // BORDER_AT_ONCE + 1):
            masks |= zip(some.tolist(), _masks(cells[some], zoom, area), strict=True)
        for i in np.flatnonzero(meets).tolist():
            mask = masks.get(i)
            if mask is None or mask.any():
                yield Cell(*cells[i].tolist(), None if mask is None or mask.all() else mask)


def cells_of_tiles(tiles: Iterable[Tile], zoom: int, area: BaseGeometry | None) -> Iterator[Cell]:
    """The cells that have any of the tiles, all of one zoom, that touch the area (None: everywhere), row by row."""
    flat = np.fromiter((n for tile in tiles for n in (tile.x, tile.y)), np.int64).reshape(-1, 2)
    if area is not None and len(flat):
        flat = flat[touching(flat, zoom, area)]
    cells, member = np.unique(flat[:, ::-1] // CELL_SIDE, axis=0, return_inverse=True)
    order = np.argsort(member.ravel(), kind="stable")
    bounds = np.searchsorted(member.ravel()[order], np.arange(len(cells) + 1))
    for i, (y, x) in enumerate(cells.tolist()):
        within = flat[order[bounds[i] : bounds[i + 1]]] % CELL_SIDE
        mask = np.zeros((CELL_SIDE, CELL_SIDE), bool)
        mask[within[:, 1], within[:, 0]] = True
        yield Cell(x, y, None if mask.all() else mask)


def _masks(cells: np.ndarray, zoom: int, area: BaseGeometry) -> np.ndarray:
    """bool [N, CELL_SIDE, CELL_SIDE]: the tiles of cells (int [N, 2]) that touch the area."""
    masks = np.zeros((len(cells), CELL_SIDE, CELL_SIDE), bool)
    which, nodes = np.arange(len(cells)), cells
    for level in range(CELL_LEVELS + 1):
        side = CELL_SIDE >> level
        meets, inside = _lies(nodes, zoom - CELL_LEVELS + level, area)
        sure = inside if level < CELL_LEVELS else meets
        squares = masks.reshape(len(cells), CELL_SIDE // side, side, CELL_SIDE // side, side)
        within = nodes[sure] - (cells[which[sure]] << level)
        squares[which[sure], within[:, 1], :, within[:, 0], :] = True
        if level < CELL_LEVELS:
            doubtful = meets & ~inside
            quarters = (nodes[doubtful] << 1)[:, None] + np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
            which, nodes = np.repeat(which[doubtful], 4), quarters.reshape(-1, 2)
    return masks


def _lies(tiles: np.ndarray, zoom: int, area: BaseGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Whether tiles (int [N, 2]) touch the area, and whether they lie wholly in it: two of bool [N]."""
    n = float(1 << zoom)
    west, east = tiles[:, 0] / n * 360 - 180, (tiles[:, 0] + 1) / n * 360 - 180
    north, south = (np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * (tiles[:, 1] + k) / n)))) for k in (0, 1))
    shapely.prepare(area)
    w, s, e, n_ = area.bounds
    meets = (west <= e) & (east >= w) & (south <= n_) & (north >= s)
    inside = np.zeros(len(tiles), bool)
    squares = shapely.box(west[meets], south[meets], east[meets], north[meets])
    inside[meets] = shapely.covers(area, squares)
    meets[meets] = inside[meets] | shapely.intersects(area, squares)
    return meets, inside
