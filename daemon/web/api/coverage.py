"""Where was looked: cells of a grid, each with its tiles and discrepancies."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from daemon.db import query
from daemon.discrepancies.model import State, utc
from daemon.errors import RequestTooLarge
from daemon.publish.feed import encode
from daemon.tiling.grid import Block, Tile, tile_at
from daemon.web.api.models import Coverage, Refusal
from daemon.web.api.parameters import Box, parse_box, square_degrees
from daemon.web.backend import Backend, BackendOf

router = APIRouter(tags=["coverage"])

#: Zooms between a tile and the cell that holds it, unless another zoom is asked for: 32 x 32 tiles.
LEVELS = 5
#: Cells of one answer at most.
MOST_CELLS = 10_000
#: Bits of a place on the Z-order curve (sql/0012_web.sql), and zooms that are.
PLACE_BITS, PLACE_ZOOM = 62, 31


@dataclass(slots=True)
class _Known:
    """What is known of a cell."""

    results: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    looked: datetime | None = None


@router.get(
    "/coverage", response_model=Coverage, responses={
        200: {"content": {"application/geo+json": {"schema": {"$ref": "#/components/schemas/Coverage"}}}},
        413: {"model": Refusal, "description": "The box is too large, or its cells are too many."},
    },
)
def cover(
    backend: BackendOf,
    bbox: Annotated[str, Query(
        max_length=200, description="W,S,E,N in degrees; cells that it touches are told.",
        examples=["85.50,27.61,85.55,27.65"],
    )],
    zoom: Annotated[int | None, Query(ge=0, le=24, description="Of the cells; default: of 32 x 32 tiles.")] = None,
) -> Response:
    """What was looked at, what could be judged, and what was found there."""
    box, tile_zoom = parse_box(bbox), backend.config.tiling.zoom
    if square_degrees(box) > backend.web.max_bbox:
        raise RequestTooLarge(f"bbox: larger than {backend.web.max_bbox:g} square degrees (web.max_bbox)")
    zoom = min(tile_zoom, max(0, tile_zoom - LEVELS) if zoom is None else zoom)
    first, last = tile_at(box[0], box[3], zoom), tile_at(box[2], box[1], zoom)
    if (last.x - first.x + 1) * (last.y - first.y + 1) > MOST_CELLS:
        raise RequestTooLarge(f"more than {MOST_CELLS} cells; ask for a smaller box or a lower zoom")
    cells = _read(backend, first, last, tile_zoom)
    answer = {
        "type": "FeatureCollection", "zoom": zoom, "tile_zoom": tile_zoom,
        "features": [_feature(Tile(zoom, x, y), known, tile_zoom) for (x, y), known in sorted(cells.items())],
    }
    return Response(encode(answer), media_type="application/geo+json")


def _read(backend: Backend, first: Tile, last: Tile, tile_zoom: int) -> dict[tuple[int, int], _Known]:
    """What is known of the cells from the north-western to the south-eastern one, by column and row."""
    cells: dict[tuple[int, int], _Known] = defaultdict(_Known)
    levels = tile_zoom - first.z
    west, _, _, north = _bounds(first)
    _, south, east, _ = _bounds(last)
    with backend.db.transaction() as cursor:
        cursor.execute(query("cover_tiles"), {
            "z": tile_zoom, "levels": levels,
            "left": first.x << levels, "right": ((last.x + 1) << levels) - 1,
            "top": first.y << levels, "bottom": ((last.y + 1) << levels) - 1,
        })
        for x, y, result, count, looked in cursor:
            known = cells[x, y]
            known.results[result] = count
            known.looked = max(known.looked or looked, looked)
        cursor.execute(query("cover_discrepancies"), {
            "shift": PLACE_BITS - 2 * first.z, "west": west, "south": south, "east": east, "north": north,
        })
        for place, state, count in cursor:
            x, y = _unravel(place)
            if first.x <= x <= last.x and first.y <= y <= last.y:
                cells[x, y].states[state] = count
    return cells


def _feature(cell: Tile, known: _Known, tile_zoom: int) -> dict[str, Any]:
    west, south, east, north = (round(degrees, 7) for degrees in _bounds(cell))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "id": str(cell),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "cell": str(cell),
            "tiles": 4 ** (tile_zoom - cell.z),
            "looked": sum(known.results.values()),
            "judged": known.results["judged"],
            "no_imagery": known.results["no_imagery"],
            "last_looked": utc(known.looked) if known.looked else None,
            "discrepancies": known.states,
        },
    }


def _bounds(cell: Tile) -> Box:
    return Block(cell.z, cell.x, cell.y, 1).lonlat()


def _unravel(place: int) -> tuple[int, int]:
    """Column and row of the cell that a place begins with: every other bit, the row's before the column's."""
    x = y = 0
    for bit in range(PLACE_ZOOM):
        x |= (place >> (2 * bit) & 1) << bit
        y |= (place >> (2 * bit + 1) & 1) << bit
    return x, y
