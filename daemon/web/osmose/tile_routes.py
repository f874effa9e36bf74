"""Routes: issues by map tile, as GeoJSON and as vector tiles."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from daemon.tiling.grid import Tile
from daemon.web.osmose.desk import ASKED, JSON, Answer, Desk
from daemon.web.osmose.feed import Spot, count_squares, read_spots
from daemon.web.osmose.parameters import Wanted
from daemon.web.osmose.places import DEEPEST, Stretch, stretch_of_tile
from daemon.web.osmose.shapes import encode_json, tile_collection
from daemon.web.osmose.tiles import DEEPER, DEEPEST_HEAT, ZOOMS, heat_tile, points_tile

MVT = "application/vnd.mapbox-vector-tile"


def add_tiles(router: APIRouter, desk: Desk) -> None:
    """Let a router answer them."""

    @router.api_route("/issues/{z}/{x}/{y}.heat.mvt", **ASKED, summary="Heat map")
    def heat(request: Request, z: int, x: int, y: int) -> Response:
        """A square for each of 32 x 32 in which there are issues."""
        tile, wanted = Tile(z, x, y), desk.read(request)
        stretch = stretch_of_tile(tile)
        if stretch is None or z > DEEPEST_HEAT:
            return Response(status_code=204)
        total = sum(desk.totals.read().get(pair, 0) for pair in wanted.kinds)
        with desk.fresh(request, wanted) as (cursor, answer):
            squares = count_squares(cursor, wanted, stretch, 2 * (DEEPEST - z - DEEPER))
        return answer.of(heat_tile(tile, squares, desk.kinds, total), MVT) if squares else Response(status_code=204)

    @router.api_route("/issues/{z}/{x}/{y}.mvt", **ASKED, summary="Vector tile")
    def mvt(request: Request, z: int, x: int, y: int) -> Response:
        """A point for each issue; 204 where there is none, or at zooms other than 7 to 18."""
        tile, wanted = Tile(z, x, y), desk.read(request)
        stretch = _shown(tile)
        if stretch is None:
            return Response(status_code=204)
        spots, full, answer = _read(desk, request, wanted, stretch)
        return answer.of(points_tile(tile, spots, desk.kinds, full=full), MVT) if spots else Response(status_code=204)

    @router.api_route("/issues/{z}/{x}/{y}.geojson", **ASKED, summary="Tile as GeoJSON")
    @router.api_route("/issues/{z}/{x}/{y}.json", **ASKED, summary="Tile as GeoJSON")
    def geojson(request: Request, z: int, x: int, y: int) -> Response:
        """Points with uuid, item and class; no points at zooms other than 7 to 18."""
        wanted = desk.read(request)
        media_type = JSON if request.url.path.endswith(".json") else "application/vnd.geo+json"
        stretch = _shown(Tile(z, x, y))
        if stretch is None:
            return Response(encode_json(tile_collection([], desk.kinds)), media_type=media_type)
        spots, _, answer = _read(desk, request, wanted, stretch)
        return answer.of(encode_json(tile_collection(spots, desk.kinds)), media_type)


def _shown(tile: Tile) -> Stretch | None:
    return stretch_of_tile(tile) if tile.z in ZOOMS else None


def _read(desk: Desk, request: Request, wanted: Wanted, stretch: Stretch) -> tuple[list[Spot], bool, Answer]:
    """Issues of a tile, and whether there are more than these."""
    most = desk.backend.web.max_tile_issues
    limit = min(wanted.limit or most, most)
    wanted = replace(wanted, offset=0)
    with desk.fresh(request, wanted) as (cursor, answer):
        spots = read_spots(cursor, wanted, limit + 1, [stretch])
    return spots[:limit], len(spots) > limit, answer
