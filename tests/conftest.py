"""Fixtures of the whole suite: a real PostgreSQL, a web server, a small disk, an installation, the real data."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from fake_maproulette import FakeMapRoulette
from http_server import Web
from installation import MINUTES, Installation
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn

from daemon.db import Database, EmbeddedServer, migrate
from daemon.demo.scenario import write_scenario

#: The suite's server may lose everything in a crash of the machine: that is what makes it quick.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes that are no text are called by their length: what gzip makes begins with the time, and a test must have the
    same name in every process."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode("ascii").isprintable()):
        return f"{len(val)} bytes"
    return None


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


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on 127.0.0.1; see http_server.py."""
    web = Web()
    yield web
    web.close()


@pytest.fixture
def maproulette() -> Iterator[FakeMapRoulette]:
    """A MapRoulette server on 127.0.0.1; see fake_maproulette. What breaks its contract fails the test in the end."""
    with FakeMapRoulette() as fake:
        yield fake
    assert fake.violations == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[..., None]:
    """Runs Python code that sees a file system of 256 kB at DISK (a Path); other names are given by keyword.

    The disk is a tmpfs in a mount namespace of its own, so it leaves nothing behind, and needs no privileges: root
    stays root where it may, anybody else becomes one in a user namespace.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'

    def within(*command: str, user: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        whole = ["unshare", *user, "--mount", "sh", "-c", mount, str(disk), *command]
        root = Path(__file__).resolve().parents[1]
        return subprocess.run(whole, capture_output=True, text=True, timeout=60, cwd=root, check=False)

    user: tuple[str, ...] = ()
    try:
        probe = within("true", user=user)
        if probe.returncode != 0:
            user = ("--user", "--map-root-user")
            probe = within("true", user=user)
    except FileNotFoundError:
        pytest.skip("a small disk needs `unshare` of util-linux")
    if probe.returncode != 0:
        pytest.skip(f"a small disk needs user namespaces: {probe.stderr.strip()}")

    def run(code: str, **names: str) -> None:
        known = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        prelude = f"from pathlib import Path\nDISK = Path({str(disk)!r})\n{known}"
        done = within(sys.executable, "-c", prelude + textwrap.dedent(code), user=user)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="session")
def made_up_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base map, change files and imagery of a small rendered town, with a cache for what a network says of it."""
    town = write_scenario(tmp_path_factory.mktemp("town") / "scenario", 7, MINUTES, columns=2, rows=2)
    (town / "cache").mkdir()
    return town


@pytest.fixture
def installation(made_up_town: Path, database: Database, tmp_path: Path) -> Iterator[Installation]:
    """The town with a configuration and a database of its own; nothing is bootstrapped."""
    directory = tmp_path / "installation"
    shutil.copytree(made_up_town, directory, ignore=shutil.ignore_patterns("cache"))
    (directory / "mapgap-data").mkdir()
    (directory / "mapgap-data" / "cache").symlink_to(made_up_town / "cache")
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield Installation(directory, database)
    root.setLevel(before[0])
    root.handlers = before[1]
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def data() -> Path:
    """The real data: MAPGAP_DATA, or ../shared/data beside the repository."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    path = Path(os.environ.get("MAPGAP_DATA") or default).resolve()
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set MAPGAP_DATA")
    return path
