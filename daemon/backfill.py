"""Looking at the whole area once, whatever has changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import shapely

from daemon.config import Config
from daemon.db import Database
from daemon.errors import OsmDataError
from daemon.imagery import Imagery
from daemon.osm import AreaOfInterest
from daemon.tiling.grid import Block, Tile, tile_at
from daemon.tiling.queue import mark_dirty

#: An area of more tiles than this is swept only where the imagery says what it covers.
MOST_TILES = 20_000_000
#: Tiles handed to the database at once.
BATCH = 50_000


def queue_area(config: Config, db: Database, imagery: Imagery, area: AreaOfInterest | None) -> int:
    """Queue every tile of the area that has imagery, as far as the sources can tell.

    Returns:
        How many tiles were queued, or were so already.

    Raises:
        OsmDataError: no source says what it covers, and the area is the whole world or larger than `MOST_TILES`.
    """
    zoom = config.tiling.zoom
    covered = imagery.coverage(zoom)
    if covered is not None:
        tiles = (t for t in sorted(covered) if area is None or _touches(area, t))
    elif area is None:
        raise OsmDataError("the area is the whole world: set area.bbox or area.polygon before a back-fill")
    else:
        tiles = _tiles_of(area, zoom)
    queued = 0
    batch: list[Tile] = []
    for tile in tiles:
        batch.append(tile)
        if len(batch) == BATCH:
            queued += _queue(batch, config, db)
            batch = []
    return queued + _queue(batch, config, db)


def _touches(area: AreaOfInterest, tile: Tile) -> bool:
    return area.geometry.intersects(shapely.box(*Block(tile.z, tile.x, tile.y, 1).lonlat()))


def _tiles_of(area: AreaOfInterest, zoom: int) -> Iterator[Tile]:
    west, south, east, north = area.bounds
    first, last = tile_at(west, north, zoom), tile_at(east, south, zoom)
    count = (last.x - first.x + 1) * (last.y - first.y + 1)
    if count > MOST_TILES:
        raise OsmDataError(
            f"the area spans {count} tiles of zoom {zoom}, more than {MOST_TILES}: use imagery that says what it "
            "covers (a directory of tiles, a GeoTIFF), a smaller area, or a lower tiling.zoom"
        )
    for y in range(first.y, last.y + 1):
        for x in range(first.x, last.x + 1):
            tile = Tile(zoom, x, y)
            if _touches(area, tile):
                yield tile


def _queue(tiles: list[Tile], config: Config, db: Database) -> int:
    if tiles:
        with db.transaction() as cursor:
            mark_dirty(
                cursor,
                tiles,
                config.tiling.zoom,
                reason="backfill",
                sequence=None,
                now=datetime.now(UTC),
                config=config.tiling,
            )
    return len(tiles)
