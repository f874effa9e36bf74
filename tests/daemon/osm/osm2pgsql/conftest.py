"""A PostgreSQL with PostGIS, started for these tests alone, and imports into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gis_server import databases
from osm2pgsql_imports import Import, Layout, ids_of, layouts


@pytest.fixture(scope="session")
def postgis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes databases with PostGIS in them, and gives their dsn."""
    with databases(tmp_path_factory.mktemp("postgis"), "hstore", "postgis") as make:
        yield make


LAYOUTS = layouts()


@pytest.fixture(params=LAYOUTS or [None], ids=ids_of(LAYOUTS) or ["none"])
def layout(request: pytest.FixtureRequest) -> Layout:
    """Each way to import in turn."""
    if request.param is None:
        pytest.skip("no osm2pgsql on PATH, nor named by MAPGAP_OSM2PGSQL")
    return request.param


@pytest.fixture
def imported(layout: Layout, postgis: Callable[[], str], tmp_path: Path) -> Import:
    """An empty database to import into."""
    return Import(postgis(), layout, tmp_path)


@pytest.fixture
def any_import(postgis: Callable[[], str], tmp_path: Path) -> Import:
    """As `imported`, of one layout only."""
    if not LAYOUTS:
        pytest.skip("no osm2pgsql on PATH, nor named by MAPGAP_OSM2PGSQL")
    return Import(postgis(), LAYOUTS[0], tmp_path)
