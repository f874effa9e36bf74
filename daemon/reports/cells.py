"""The areas that a report measures: all tiles of a zoom in an area, or the polygons of a GeoJSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from daemon.errors import ConfigError
from daemon.tiling.cells import cells_of_area
from daemon.tiling.grid import Block
from detectors.base import frame_around

#: A larger file of polygons is refused, bytes.
MAX_FILE = 64 * 1024**2
#: More cells are not measured in one run.
MOST_CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class ReportCell:
    """One area.

    Attributes:
        name: "z/x/y", or the polygon's own.
        geometry: lon/lat polygon.
        area_km2: true square kilometres.
    """

    name: str
    geometry: BaseGeometry
    area_km2: float

    @classmethod
    def of(cls, name: str, geometry: BaseGeometry) -> ReportCell:
        return cls(name, geometry, frame_around(geometry).to_local(geometry).area / 1e6)


def groups_of_tiles(area: BaseGeometry, zoom: int) -> Iterator[list[ReportCell]]:
    """The tiles that have a part in a lon/lat area, whole, neighbours together.

    Raises:
        ConfigError: they are more than a run can take.
    """
    count = 0
    for group in cells_of_area(area, zoom):
        tiles = group.tiles()
        count += len(tiles)
        if count > MOST_CELLS:
            raise ConfigError("--zoom", [f"the area has more than {MOST_CELLS} tiles of zoom {zoom}; use a lower zoom"])
        yield [
            ReportCell.of(f"{zoom}/{x}/{y}", box(*Block(zoom, int(x), int(y), 1).lonlat())) for x, y in tiles.tolist()
        ]


def read_polygons(path: Path, value: str | None = None) -> tuple[list[ReportCell], dict[str, float]]:
    """The polygons of a GeoJSON FeatureCollection, named by their property `name`, else `id`, else their number.

    Args:
        value: a property that holds a number; returned by name, where a polygon has it.

    Raises:
        ConfigError: it cannot be read, is no such file, has two polygons of one name, or none has the number.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise ConfigError(str(path), [f"larger than {MAX_FILE} bytes; simplify the polygons"])
        features = json.loads(path.read_bytes())["features"]
        cells = [_polygon(number, feature) for number, feature in enumerate(features, start=1)]
        found = [(feature.get("properties") or {}).get(value) for feature in features]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(str(path), [f"not a GeoJSON FeatureCollection of polygons in degrees: {error!r}"]) from None
    names = [cell.name for cell in cells]
    if not cells or len(set(names)) < len(names):
        raise ConfigError(str(path), ["it has no polygon" if not cells else "two polygons have one name"])
    numbers = {
        name: float(v) for name, v in zip(names, found, strict=True)
        if isinstance(v, int | float) and not isinstance(v, bool)
    }
    if value is not None and not numbers:
        raise ConfigError(str(path), [f"no polygon has a number as its property {value!r}"])
    return cells, numbers


def groups_of_polygons(cells: Sequence[ReportCell], degrees: float = 0.25) -> Iterator[list[ReportCell]]:
    """Polygons that lie near each other together, so that the store is asked about neighbourhoods."""
    groups: dict[tuple[int, int], list[ReportCell]] = {}
    for cell in cells:
        west, south, east, north = cell.geometry.bounds
        place = math.floor((west + east) / 2 / degrees), math.floor((south + north) / 2 / degrees)
        groups.setdefault(place, []).append(cell)
    yield from groups.values()


def _polygon(number: int, feature: dict[str, Any]) -> ReportCell:
    geometry = shape(feature["geometry"])
    properties = feature.get("properties") or {}
    name = str(properties.get("name") or feature.get("id") or properties.get("id") or number)
    if geometry.geom_type not in ("Polygon", "MultiPolygon") or geometry.is_empty:
        raise ValueError(f"feature {number} ({name}) is no polygon")
    west, south, east, north = geometry.bounds
    in_world = west >= -180 and east <= 180 and south >= -90 and north <= 90
    if not in_world or not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise ValueError(f"feature {number} ({name}) lies out of the world")
    return ReportCell.of(name, geometry if geometry.is_valid else shapely.make_valid(geometry))
