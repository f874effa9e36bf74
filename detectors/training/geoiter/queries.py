"""The SQL of a GeoIter: what a user writes, and what goes to the server.

A user writes a SELECT with a raster in its first column: the imagery of a tile, or its labels as whole numbers 0..255.
All must be on the pixels of the tile, but may stick out or cover a part of it. Several rows are laid over each other in
their order, the last on top, pixels without data left out: that is much quicker than ST_Union. No row, or NULL, says
that nothing is there. The SELECT may use

    {tile}          the ground of the tile, a geometry in the grid's SRID
    tile_rast       a relation of one row and one column, rast: an empty raster with the pixels of the tile
    tile_native     the same with pixels of the native resolution
    {native}, {resampled}, {srid}   the numbers that GeoIter was given

and everything else that the database has. Those in braces are bound as parameters; other braces stay as they are. For
instance, imagery loaded as raster tiles, as it is and made coarser, and building outlines:

    SELECT rast FROM ortho WHERE ST_Intersects(rast, {tile})

    SELECT ST_Resample(ST_Union(rast), (SELECT rast FROM tile_rast)) FROM ortho WHERE ST_Intersects(rast, {tile})

    SELECT ST_AsRaster(geom, (SELECT rast FROM tile_rast), '8BUI', 1, 0) FROM building WHERE ST_Intersects(geom, {tile})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from detectors.errors import DatasetInvalid
from detectors.training.geoiter.grid import Tile, TileGrid

#: Rasters of one tile; more are laid upon each other by a mistake.
MOST_ROWS = 20_000
#: How many lines of a query an error shows.
LINES = 4
BOUND = re.compile(r"\{(tile|native|resampled|srid)\}")
ENVELOPE = "ST_MakeEnvelope(%(xmin)s, %(ymin)s, %(xmax)s, %(ymax)s, %(srid)s::int)"
BINDINGS = {
    "tile": ENVELOPE, "native": "%(native)s::float8", "resampled": "%(resampled)s::float8", "srid": "%(srid)s::int",
}
# Materialised, for else the planner repeats the user's expression wherever `rast` stands.
FRAME = """
WITH tile_rast(rast) AS (SELECT ST_MakeEmptyRaster(
    %(width)s::int, %(height)s::int, %(xmin)s::float8, %(ymax)s::float8, %(resampled)s::float8, -%(resampled)s::float8,
    0::float8, 0::float8, %(srid)s::int)),
tile_native(rast) AS (SELECT ST_MakeEmptyRaster(
    %(native_width)s::int, %(native_height)s::int, %(xmin)s::float8, %(ymax)s::float8, %(native)s::float8,
    -%(native)s::float8, 0::float8, 0::float8, %(srid)s::int)),
answer(rast) AS MATERIALIZED (
{sql}
)
SELECT CASE WHEN pixels <= %(most)s THEN ST_AsBinary(rast) END, pixels
FROM (
    SELECT rast, sum(ST_Width(rast)::bigint * ST_Height(rast) * ST_NumBands(rast)) OVER (ROWS UNBOUNDED PRECEDING)
    FROM (SELECT rast::raster FROM answer LIMIT %(rows)s) AS limited(rast)
) AS answers(rast, pixels)
WHERE rast IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Query:
    """A user's query.

    Attributes:
        name: what the user knows it by: "image_sql" or "label_sql".
        sql: as the user wrote it.
        statement: as it goes to the server, with psycopg2's named parameters.
    """

    name: str
    sql: str
    statement: str

    @classmethod
    def of(cls, name: str, sql: str) -> Query:
        """
        Raises:
            DatasetInvalid: there is no query, or none that depends on the tile.
        """
        if not isinstance(sql, str) or not sql.strip():
            raise DatasetInvalid(f"{name} is empty; it must SELECT a raster")
        if "{tile}" not in sql and not re.search(r"\btile_(rast|native)\b", sql):
            raise DatasetInvalid(f"{name} uses neither {{tile}} nor tile_rast, so every tile would be the same:\n"
                                 f"{first_lines(sql)}")
        body = sql.strip().rstrip(";").replace("%", "%%")
        body = BOUND.sub(lambda found: BINDINGS[found[1]], body)
        return cls(name, sql, FRAME.replace("{sql}", body))

    def failed(self, reason: str) -> str:
        """A message that names the query, what is wrong with it, and how it begins."""
        return f"{self.name}: {reason}\n{first_lines(self.sql)}"


def parameters(grid: TileGrid, tile: Tile, most: int) -> Mapping[str, float | int]:
    """What the statements' parameters are for a tile; `most`: pixels that all rows and bands may have together."""
    xmin, ymin, xmax, ymax = tile.bounds
    return {
        "xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax, "srid": grid.srid, "width": grid.size[0],
        "height": grid.size[1], "native": grid.resolution[0], "resampled": grid.resolution[1],
        "native_width": grid.native_size[0], "native_height": grid.native_size[1], "most": most,
        "rows": MOST_ROWS + 1,
    }


def first_lines(sql: str) -> str:
    """The first lines of a query that say something, indented."""
    lines = [line.rstrip() for line in sql.splitlines() if line.strip()]
    more = [f"    ... ({len(lines) - LINES} more lines)"] if len(lines) > LINES else []
    return "\n".join([*(f"    {line[:160]}" for line in lines[:LINES]), *more])
