"""A PostgreSQL with PostGIS, started for the tests alone: the newest of this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from psycopg2 import connect, sql
from psycopg2.extensions import make_dsn

from daemon.db import EmbeddedServer, embedded
from daemon.db.binaries import Binaries

#: As the suite's other server: it may lose everything in a crash of the machine.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
#: Where distributions put PostgreSQL; beside it, or where its package says, lie the extensions.
PLACES = ("/usr/lib/postgresql/*", "/usr/pgsql-*", "/usr/local/pgsql")
EXTENSIONS = ("share/extension", "share/postgresql/extension", "../../../share/postgresql/{}/extension")
TEMPLATE = "with_extensions"


def with_postgis(control: str = "postgis.control") -> Binaries | None:
    """The newest PostgreSQL of this machine that has PostGIS, or the extension with another control file."""
    found = []
    for place in PLACES:
        for directory in Path("/").glob(place.lstrip("/")):
            version = re.search(r"(\d+)$", directory.name)
            major = int(version[1]) if version else 0
            spots = [directory / spot.format(directory.name) for spot in EXTENSIONS]
            if (directory / "bin" / "postgres").exists() and any((spot / control).exists() for spot in spots):
                found.append(Binaries(directory, major))
    return max(found, key=lambda binaries: binaries.major, default=None)


@contextmanager
def databases(directory: Path, *extensions: str) -> Iterator[Callable[..., str]]:
    """Makes databases with extensions in them, or copies of another template, and gives their dsn; skips without."""
    binaries = with_postgis(f"{extensions[-1]}.control")
    if binaries is None:
        pytest.skip(f"no PostgreSQL with {extensions[-1]} on this machine (Debian: apt-get install postgresql-postgis)")
    count = 0
    with ExitStack() as resources:
        with pytest.MonkeyPatch.context() as patch:  # while it starts only: the suite's own server is another one
            patch.setattr(embedded, "find_binaries", lambda account, state: binaries)
            server = resources.enter_context(EmbeddedServer(directory, settings=HASTY))
        admin = connect(server.dsn)
        resources.callback(admin.close)
        admin.autocommit = True

        def make(template: str = TEMPLATE) -> str:
            nonlocal count
            count += 1
            with admin.cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(f"gis_{count}"), sql.Identifier(template)
                ))
            return make_dsn(server.dsn, dbname=f"gis_{count}")

        with admin.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        first = connect(make_dsn(server.dsn, dbname=TEMPLATE))
        with first, first.cursor() as cursor:
            for extension in extensions:
                cursor.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
        first.close()
        yield make
