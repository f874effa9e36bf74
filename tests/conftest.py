"""Fixtures of the whole suite: a real PostgreSQL, and the real data where it is present."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn

from daemon.db import Database, EmbeddedServer, migrate

#: The suite's server may lose everything in a crash of the machine: that is what makes it quick.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


class TestServer:
    """The suite's PostgreSQL: hands out databases that are copies of one migrated template."""

    __test__ = False

    def __init__(self, dsn: str):
        self._dsn = dsn
        self._count = 0
        self._admin = psycopg2.connect(dsn)
        self._admin.autocommit = True
        db = Database(self.create(empty=True))
        migrate(db)
        db.close()
        self._migrated = parse_dsn(db.dsn)["dbname"]

    def create(self, *, empty: bool = False) -> str:
        """The dsn of a new database: a copy of the migrated one, or empty."""
        self._count += 1
        name = f"test_{self._count}"
        source = "template0" if empty else self._migrated
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        with self._admin.cursor() as cursor:
            cursor.execute(statement.format(sql.Identifier(name), sql.Identifier(source)))
        return make_dsn(self._dsn, dbname=name)

    def drop(self, dsn: str) -> None:
        name = parse_dsn(dsn)["dbname"]
        with self._admin.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        self._admin.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """One embedded PostgreSQL for the whole run."""
    with EmbeddedServer(tmp_path_factory.mktemp("server"), settings=HASTY) as embedded:
        server = TestServer(embedded.dsn)
        yield server
        server.close()


@pytest.fixture
def database(server: TestServer) -> Iterator[Database]:
    """A fresh migrated database for one test."""
    db = Database(server.create())
    yield db
    db.close()
    server.drop(db.dsn)


@pytest.fixture
def empty_database(server: TestServer) -> Iterator[Database]:
    """A database without any table."""
    db = Database(server.create(empty=True))
    yield db
    db.close()
    server.drop(db.dsn)


@pytest.fixture(scope="session")
def data() -> Path:
    """The real data: MAPGAP_DATA, or ../shared/data beside the repository."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    path = Path(os.environ.get("MAPGAP_DATA") or default)
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set MAPGAP_DATA")
    return path
