"""How an area is cut into sources that a frontend can take in.

A frontend merges a source as a whole, in seconds for thousands of issues, and deletes what is about no element only
that way; so a source should be small. The cut is a quadtree over the tiles of the web map: a region is a tile, named by
its quadkey with the letters a to d for the digits 0 to 3 (Bing Maps Tile System, J. Schwartz), since a frontend's
filter by country knows a-z and _ only. The name of a part begins with the name of its whole, which that filter also
knows: ?country=nepal_dabc* is all that lies in there.

An issue stays in its source for life, because in another one it would be another issue, and what people said of it
would be forgotten. So regions do not follow the number of issues by themselves: they begin with the tiles of one zoom,
and a region that outgrows is divided once and for all.
"""

from __future__ import annotations

from collections.abc import Collection

from daemon.tiling.grid import tile_at

#: Zoom at which nothing is divided further: about 150 metres.
DEEPEST = 18


def quadkey(lon: float, lat: float, zoom: int) -> str:
    """The tile of a zoom that holds a point, in a to d; each letter is one level, the first the coarsest."""
    _, x, y = tile_at(lon, lat, zoom)
    return "".join("abcd"[(x >> level & 1) + 2 * (y >> level & 1)] for level in reversed(range(zoom)))


def region_of(lon: float, lat: float, zoom: int, divided: Collection[str]) -> str:
    """The region that a point belongs to.

    Args:
        zoom: of the tiles that the area was cut into at first.
        divided: regions that are cut further.
    """
    whole = quadkey(lon, lat, DEEPEST)
    depth = zoom
    while depth < DEEPEST and whole[:depth] in divided:
        depth += 1
    return whole[:depth]


def country_of(country: str, region: str) -> str:
    """The name of a region's source."""
    return f"{country}_{region}" if region else country
