"""The same report by PostGIS alone, where osm2pgsql keeps the map and a raster lies beside it; its SQL is
sql/reports/density.sql."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import psycopg2
import shapely
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from daemon.db.queries import load_queries, sql_directory
from daemon.errors import Osm2pgsqlUnusable
from daemon.reports.cells import ReportCell
from detectors.density import Quantity


@dataclass(frozen=True, slots=True)
class Tables:
    """Where things lie in the database.

    Attributes:
        features: (schema, table) of lines or polygons, with a geometry column `way` and a column for each OSM key.
        raster: (schema, table) with a raster column `rast`.
    """

    features: tuple[str, str]
    raster: tuple[str, str]
    way: str = "way"
    rast: str = "rast"


def measure_in_postgis(
    cursor: Cursor, tables: Tables, cells: Sequence[ReportCell], quantity: Quantity, band: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(mapped for each square kilometre, mean of the raster) of each cell, float64 [N]; NaN where the raster is not.

    Raises:
        Osm2pgsqlUnusable: a table or column is missing, or PostGIS has no rasters.
    """
    statement = sql.SQL(_queries()["density_in_postgis"]).format(
        features=sql.Identifier(*tables.features), way=sql.Identifier(tables.way), key=sql.Identifier(quantity.key),
        raster=sql.Identifier(*tables.raster), rast=sql.Identifier(tables.rast),
    )
    try:
        cursor.execute(statement, {
            "names": [cell.name for cell in cells],
            "shapes": [psycopg2.Binary(shapely.to_wkb(cell.geometry)) for cell in cells],
            "others": sorted(quantity.others), "is_line": quantity.shape == "line", "scale": quantity.scale,
            "band": band,
        })
    except psycopg2.ProgrammingError as error:
        reason = " ".join(str(error).split())
        raise Osm2pgsqlUnusable(
            f"{'.'.join(tables.features)} and {'.'.join(tables.raster)} cannot be compared: {reason}; the first needs "
            f"columns {tables.way} and {quantity.key}, the second {tables.rast}, the database postgis_raster"
        ) from None
    found = {name: (mapped, light) for name, _, mapped, light in cursor.fetchall()}
    rows = [found[cell.name] for cell in cells]
    return np.array([r[0] for r in rows], np.float64), np.array([r[1] for r in rows], np.float64)


def correlate_in_postgis(cursor: Cursor, mapped: np.ndarray, light: np.ndarray) -> tuple[float | None, float | None]:
    """Pearson's r and Spearman's rho as the database computes them; None where they mean nothing."""
    columns = [[float(v) if np.isfinite(v) else None for v in column] for column in (mapped, light)]
    cursor.execute(_queries()["correlation_in_postgis"], {"mapped": columns[0], "light": columns[1]})
    return cursor.fetchone()


@cache
def _queries() -> dict[str, str]:
    return load_queries(sql_directory() / "reports")
