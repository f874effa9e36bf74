"""A small land in the store: roads and houses over a few tiles, and a raster of light."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from gis_server import databases
from osm_world import Thing, node, way, write_extract
from rasterio.transform import from_origin

#: West, south, side in degrees of the land; columns and rows of its fields.
WEST, SOUTH, STEP, FIELDS = 10.0, 45.0, 0.02, 6


def light_of(column: int, row: int) -> float:
    """What shines in a field."""
    return float(10 * column + row)


class Land:
    """Fields of `STEP` degrees; the brighter a field, the more roads, but those in `empty` have none."""

    def __init__(self, directory: Path, empty: frozenset[tuple[int, int]] = frozenset({(4, 2)})):
        self.directory = directory
        self.extract = write_extract(
            directory / "land.osm.pbf", self._things(empty), {"osmosis_replication_timestamp": "2024-01-01T00:00:00Z"}
        )
        self.raster = directory / "light.tif"
        values = np.array([[light_of(c, FIELDS - 1 - r) for c in range(FIELDS)] for r in range(FIELDS)], np.float32)
        profile = {"driver": "GTiff", "width": FIELDS, "height": FIELDS, "count": 1, "dtype": "float32"}
        transform = from_origin(WEST, SOUTH + FIELDS * STEP, STEP, STEP)
        with rasterio.open(self.raster, "w", crs="EPSG:4326", transform=transform, **profile) as file:
            file.write(values, 1)

    @property
    def bbox(self) -> list[float]:
        return [WEST, SOUTH, WEST + FIELDS * STEP, SOUTH + FIELDS * STEP]

    def _things(self, empty: frozenset[tuple[int, int]]) -> Iterator[Thing]:
        number = 1
        for column in range(FIELDS):
            for row in range(FIELDS):
                roads = 0 if (column, row) in empty else 1 + int(light_of(column, row)) // 5
                for i in range(roads):
                    lat = SOUTH + STEP * (row + (i + 1) / (roads + 1))
                    ends = (WEST + STEP * (column + 0.05), WEST + STEP * (column + 0.95))
                    yield node(number, ends[0], lat)
                    yield node(number + 1, ends[1], lat)
                    yield way(number, [number, number + 1], tags={"highway": "track" if i % 2 else "residential"})
                    number += 2


@pytest.fixture(scope="session")
def land(tmp_path_factory: pytest.TempPathFactory) -> Land:
    return Land(tmp_path_factory.mktemp("land"))


@pytest.fixture(scope="session")
def gis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    with databases(tmp_path_factory.mktemp("gis"), "postgis", "postgis_raster") as make:
        yield make
