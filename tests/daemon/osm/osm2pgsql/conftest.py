"""A PostgreSQL with PostGIS, started for these tests alone, and imports into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from osm2pgsql_imports import Import, Layout, ids_of, layouts
from psycopg2 import connect, sql
from psycopg2.extensions import make_dsn

from daemon.db import EmbeddedServer, embedded
from daemon.db.binaries import Binaries

#: As the suite's other server: it may lose everything in a crash of the machine.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
#: Where distributions put PostgreSQL; beside it, or where its package says, lie the extensions.
PLACES = ("/usr/lib/postgresql/*", "/usr/pgsql-*", "/usr/local/pgsql")
EXTENSIONS = ("share/extension", "share/postgresql/extension", "../../../share/postgresql/{}/extension")


def with_postgis() -> Binaries | None:
    """The newest PostgreSQL of this machine that has PostGIS."""
    found = []
    for place in PLACES:
        for directory in Path("/").glob(place.lstrip("/")):
            version = re.search(r"(\d+)$", directory.name)
            major = int(version[1]) if version else 0
            spots = [directory / spot.format(directory.name) for spot in EXTENSIONS]
            if (directory / "bin" / "postgres").exists() and any((spot / "postgis.control").exists() for spot in spots):
                found.append(Binaries(directory, major))
    return max(found, key=lambda binaries: binaries.major, default=None)


@pytest.fixture(scope="session")
def postgis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes databases with PostGIS in them, and gives their dsn."""
    binaries = with_postgis()
    if binaries is None:
        pytest.skip("no PostgreSQL with PostGIS on this machine (Debian: apt-get install postgresql-postgis)")
    count = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "find_binaries", lambda account, state: binaries)
        with EmbeddedServer(tmp_path_factory.mktemp("postgis"), settings=HASTY) as server:
            admin = connect(server.dsn)
            admin.autocommit = True

            def make(template: str = "with_postgis") -> str:
                nonlocal count
                count += 1
                with admin.cursor() as cursor:
                    cursor.execute(
                        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                            sql.Identifier(f"gis_{count}"), sql.Identifier(template)
                        )
                    )
                return make_dsn(server.dsn, dbname=f"gis_{count}")

            with admin.cursor() as cursor:
                cursor.execute("CREATE DATABASE with_postgis")
            first = connect(make_dsn(server.dsn, dbname="with_postgis"))
            with first, first.cursor() as cursor:
                cursor.execute("CREATE EXTENSION postgis; CREATE EXTENSION hstore")
            first.close()
            yield make
            admin.close()


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
