"""Which tiles a change makes dirty, worked out slowly and plainly: every tile around it is asked, one by one.

Shares no code with daemon/tiling. Where there is no antimeridian and no pole near, that is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

import shapely
from shapely.geometry import LineString, MultiLineString, box
from shapely.geometry.base import BaseGeometry

from daemon.config import Tiling

#: Tile widths by which borders may be uncertain: far more than rounding does, far less than a centimetre.
ROUNDING = 1e-7
Relevant = Callable[[Mapping[str, str], str], object]
Point = tuple[float, float]


def surely_and_possibly_dirty(
    old, new, relevant: Relevant, tiling: Tiling, area: BaseGeometry | None = None
) -> tuple[set[Point], set[Point]]:
    """Tiles that a change makes dirty whatever rounding does, and those that rounding may add.

    Args:
        old, new: features (tags, geometry in lon/lat); None where there was or is none.
        relevant: what matters of tags and shape ("line", "area"); None where nothing does.
        area: tiles that do not touch it are nobody's business.
    """
    grounds = _grounds(old, new, relevant, tiling)

    def dirty(slack: float) -> set[Point]:
        tiles = {tile for ground in grounds for tile in _tiles(ground, tiling.buffer + slack)}
        return {tile for tile in tiles if _meets(tile, slack, tiling, area)}

    return dirty(-ROUNDING), dirty(ROUNDING)


def _grounds(old, new, relevant: Relevant, tiling: Tiling) -> list[BaseGeometry]:
    """Dirty ground in tile coordinates."""
    states = [feature.geometry for feature in (old, new) if _matter(feature, relevant) is not None]
    if len(states) < 2 or _matter(old, relevant) != _matter(new, relevant) or len(set(map(_shape, states))) > 1:
        return [_seen(state, tiling, _longest(state)) for state in states]
    before, after = (_seen(state, tiling, max(map(_longest, states))) for state in states)
    if _shape(before) == "area":
        return [before.symmetric_difference(after)]
    return [MultiLineString(_lines_of_one(before, after))]


def _matter(feature, relevant: Relevant) -> object:
    return None if feature is None else relevant(feature.tags, _shape(feature.geometry))


def _shape(geometry: BaseGeometry) -> str:
    return "area" if geometry.geom_type in ("Polygon", "MultiPolygon") else "line"


def _seen(geometry: BaseGeometry, tiling: Tiling, longest: float) -> BaseGeometry:
    """What of a geometry makes tiles dirty, in tile coordinates: an area, or lines."""
    flat = _flat(geometry, tiling.zoom)
    if _shape(flat) == "line":
        return flat
    whole = tiling.mode == "full_area" or (tiling.mode == "hybrid" and longest <= tiling.full_area_limit)
    return flat if whole else flat.boundary


def _flat(geometry: BaseGeometry, zoom: int) -> BaseGeometry:
    def project(points):
        return [_tile_coordinates(lon, lat, zoom) for lon, lat in points]

    return shapely.transform(geometry, project)


def _tile_coordinates(lon: float, lat: float, zoom: int) -> Point:
    return (
        (lon + 180) / 360 * 2**zoom,
        (1 - math.log(math.tan(math.radians(lat)) + 1 / math.cos(math.radians(lat))) / math.pi) / 2 * 2**zoom,
    )


def _longest(geometry: BaseGeometry) -> float:
    """Longer side of the bounding box in metres."""
    west, south, east, north = geometry.bounds
    (x0, y0), (x1, y1) = _tile_coordinates(west, south, 0), _tile_coordinates(east, north, 0)
    return max(x1 - x0, y0 - y1) * 2 * math.pi * 6378137 * math.cos(math.radians((south + north) / 2))


def _lines_of_one(before: BaseGeometry, after: BaseGeometry) -> list[LineString]:
    """The parts of lines that are in only one of two geometries.

    Two segments share ground where they are the same, or where they lie upon each other along an axis, which rounding
    cannot hide; others that are drawn upon each other are not so exactly that anybody could tell.
    """
    mine, other = _segments(before), _segments(after)
    found = [LineString(segment) for segment in mine[None] ^ other[None]]
    for axis in (mine.keys() | other.keys()) - {None}:
        places = sorted({place for spans in (mine[axis], other[axis]) for span in spans for place in span})
        for low, high in pairwise(places):
            if _covers(mine[axis], low, high) != _covers(other[axis], low, high):
                upright, at = axis
                ends = [(at, low), (at, high)] if upright else [(low, at), (high, at)]
                found.append(LineString(ends))
    return found


def _segments(geometry: BaseGeometry) -> dict:
    """Slanted segments under None; the spans of upright ones under (True, x), of level ones under (False, y)."""
    segments: dict = defaultdict(set)
    for line in shapely.get_parts(geometry):
        for (x0, y0), (x1, y1) in pairwise(line.coords):
            if x0 == x1:
                segments[True, x0].add((min(y0, y1), max(y0, y1)))
            elif y0 == y1:
                segments[False, y0].add((min(x0, x1), max(x0, x1)))
            else:
                segments[None].add(tuple(sorted([(x0, y0), (x1, y1)])))
    return segments


def _covers(spans: set[Point], low: float, high: float) -> bool:
    return any(start <= low and high <= end for start, end in spans)


def _meets(tile: Point, slack: float, tiling: Tiling, area: BaseGeometry | None) -> bool:
    if area is None:
        return True
    west, south = _lonlat(tile[0] - slack, tile[1] + 1 + slack, tiling.zoom)
    east, north = _lonlat(tile[0] + 1 + slack, tile[1] - slack, tiling.zoom)
    return area.intersects(box(west, south, east, north))


def _lonlat(x: float, y: float, zoom: int) -> Point:
    return x / 2**zoom * 360 - 180, math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / 2**zoom))))


def _tiles(ground: BaseGeometry, buffer: float) -> set[Point]:
    """Tiles whose square, widened on all sides, meets the ground."""
    if ground.is_empty:
        return set()
    shapely.prepare(ground)
    west, north, east, south = (math.floor(side) for side in ground.bounds)
    reach = math.ceil(abs(buffer)) + 1
    return {
        (x, y)
        for x in range(west - reach, east + reach + 1)
        for y in range(north - reach, south + reach + 1)
        if ground.intersects(box(x - buffer, y - buffer, x + 1 + buffer, y + 1 + buffer))
    }
