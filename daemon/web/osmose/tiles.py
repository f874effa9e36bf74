"""Vector tiles (Mapbox Vector Tile 2.1): issues as points, and as a heat map of squares.

Written straight into the format's own message: mapbox_vector_tile.encode takes a geometry at a time through WKB and
clipping, which for a tile of points is nearly all of its time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from mapbox_vector_tile.Mapbox.vector_tile_pb2 import tile as VectorTile

from daemon.tiling.grid import Tile, fractional_tiles
from daemon.web.osmose.feed import Spot
from daemon.web.osmose.parameters import Kinds
from daemon.web.osmose.places import square_of

#: Coordinates along one side of a tile of points.
EXTENT = 4096
#: Squares along one side of a heat map, and the zooms that lie between a tile and its squares.
SIDE, DEEPER = 32, 5
#: Zooms at which points are shown.
ZOOMS = range(7, 19)
#: Deepest zoom of a heat map.
DEEPEST_HEAT = 18
_MOVE_TO, _LINE_TO, _CLOSE = 1 | 1 << 3, 2 | 3 << 3, 7 | 1 << 3


class _Layer:
    """A layer under construction; its keys and values are numbered as they come."""

    def __init__(self, tile: VectorTile, name: str, extent: int):
        self._layer = tile.layers.add()
        self._layer.name, self._layer.version, self._layer.extent = name, 2, extent
        self._numbers: dict[Hashable, int] = {}

    def add(self, kind: int, geometry: Iterable[int], values: dict[str, str | int], number: int | None = None) -> None:
        feature = self._layer.features.add()
        feature.type = kind
        feature.geometry.extend(geometry)
        if number is not None:
            feature.id = number
        for key, value in values.items():
            feature.tags.extend((self._key(key), self._value(value)))

    def _key(self, key: str) -> int:
        if (key,) not in self._numbers:
            self._numbers[(key,)] = len(self._layer.keys)
            self._layer.keys.append(key)
        return self._numbers[(key,)]

    def _value(self, value: str | int) -> int:
        if value not in self._numbers:
            self._numbers[value] = len(self._layer.values)
            said = self._layer.values.add()
            if isinstance(value, str):
                said.string_value = value
            else:
                said.uint_value = value
        return self._numbers[value]


def points_tile(tile: Tile, spots: Sequence[Spot], kinds: Kinds, *, full: bool) -> bytes:
    """Layer `issues`: a point each, with uuid, item and class.

    Args:
        full: there are more than these; layer `limit` says so by a point in the middle.
    """
    message = VectorTile()
    layer = _Layer(message, "issues", EXTENT)
    x, y = fractional_tiles(np.array([s.lon for s in spots]), np.array([s.lat for s in spots]), tile.z)
    columns = np.clip((x - tile.x) * EXTENT, 0, EXTENT - 1).astype(int).tolist()
    rows = np.clip((y - tile.y) * EXTENT, 0, EXTENT - 1).astype(int).tolist()
    for spot, column, row in zip(spots, columns, rows, strict=True):
        kind = kinds[spot.detector, spot.kind]
        values: dict[str, str | int] = {"uuid": spot.uuid, "item": kind.item, "class": kind.number}
        number = int(spot.uuid[:8], 16) >> 1  # by which a client can hide it; 31 bits
        layer.add(VectorTile.Point, (_MOVE_TO, column << 1, row << 1), values, number)
    if full:
        _Layer(message, "limit", EXTENT).add(VectorTile.Point, (_MOVE_TO, EXTENT, EXTENT), {})
    return message.SerializeToString()


def heat_tile(
    tile: Tile, squares: Iterable[tuple[int, str, str, int]], kinds: Kinds, total: int
) -> bytes:
    """Layer `issues`: a square each of 32 x 32, with the colour most of its issues have and how full it is, 1 to 255.

    Args:
        squares: (place of a square, detector, kind, issues).
        total: issues that there are, wherever: what is full depends on it, and on the zoom.
    """
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for place, detector, kind, number in squares:
        counts[place][kinds[detector, kind].colour] += number
    full = math.log(max(2.0, total / (tile.z - 3 + math.sqrt(SIDE)) ** 2))
    message = VectorTile()
    layer = _Layer(message, "issues", SIDE)
    for place, colours in sorted(counts.items()):
        column, row = (number % SIDE for number in square_of(place))
        colour = max(colours, key=lambda name: (colours[name], name))
        heat = min(255, max(1, round(math.log(sum(colours.values())) / full * 255)))
        ring = (_MOVE_TO, column << 1, row << 1, _LINE_TO, 2, 0, 0, 2, 1, 0, _CLOSE)
        layer.add(VectorTile.Polygon, ring, {"color": int(colour[1:], 16), "count": heat})
    return message.SerializeToString()
