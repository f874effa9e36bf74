"""A PostgreSQL server with PostGIS for the benchmarks, apart from every other one, with the same settings for all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn

#: What everybody measured works with. Autovacuum would start in the middle of one of them; each is vacuumed before.
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "6GB", "work_mem": "64MB", "maintenance_work_mem": "512MB", "effective_cache_size": "16GB",
    "fsync": "on", "synchronous_commit": "off", "full_page_writes": "on", "wal_level": "minimal",
    "max_wal_senders": "0", "max_wal_size": "16GB", "checkpoint_timeout": "60min", "autovacuum": "off", "jit": "off",
    "random_page_cost": "1.1", "listen_addresses": "", "max_connections": "60",
}
USER = "postgres"
#: Bytes read at a time.
PIECE = 1 << 22
PLACES = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
VERSIONS = (15, 16, 17, 14, 18)


def find_programs() -> Path | None:
    """Where a PostgreSQL that may have PostGIS keeps its programs, 15 first."""
    places = (Path(place.format(version)) for version in VERSIONS for place in PLACES)
    return next((place for place in places if (place / "initdb").exists()), None)


class Cluster:
    """A server in a directory of its own; made if it is not there yet, stopped by `close`.

    Args:
        programs: the directory of initdb and pg_ctl.
        directory: where data, socket and log go. Everybody may enter it, for root's server runs as user postgres.
    """

    def __init__(self, programs: Path, directory: Path):
        self._programs = programs
        self._data = directory / "pg"
        self._socket = directory / "socket"
        self._log = directory / "server.log"
        self._as = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        if not (self._data / "PG_VERSION").exists():
            for place in (self._data, self._socket):
                place.mkdir(parents=True, exist_ok=True)
                if self._as:
                    shutil.chown(place, USER, USER)
            self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            lines = "".join(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
            settings = self._data / "postgresql.auto.conf"
            settings.write_text(f"{lines}unix_socket_directories = '{self._socket}'\n")
        log = self._socket / self._log.name
        self._run("pg_ctl", "-D", str(self._data), "-l", str(log), "-w", "-t", "120", "start")
        self._admin = psycopg2.connect(self.dsn("postgres"))
        self._admin.autocommit = True

    @property
    def socket(self) -> Path:
        return self._socket

    @property
    def version(self) -> str:
        return self._ask("SHOW server_version").split()[0]

    def dsn(self, name: str) -> str:
        return make_dsn(host=str(self._socket), user=USER, dbname=name)

    def has(self, name: str) -> bool:
        return bool(self._ask("SELECT count(*) FROM pg_database WHERE datname = %s", name))

    def create(self, name: str, *extensions: str, template: str = "template0") -> str:
        """The dsn of a new database, in place of any of that name; a copy of `template` with extensions."""
        self.drop(name)
        with self._admin.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            ))
        if extensions:
            with psycopg2.connect(self.dsn(name)) as connection, connection.cursor() as cursor:
                for extension in extensions:
                    cursor.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
            connection.close()
        return self.dsn(name)

    def drop(self, name: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def warm(self, dsn: str) -> None:
        """Read all files of a database, so that they are in the system's cache whatever was done meanwhile."""
        oid = self._ask("SELECT oid FROM pg_database WHERE datname = %s", parse_dsn(dsn)["dbname"])
        for path in (self._data / "base" / str(oid)).iterdir():
            with path.open("rb") as file:
                while file.read(PIECE):
                    pass

    def settle(self, dsn: str) -> None:
        """Vacuum, statistics, checkpoint: nobody pays for what was done before."""
        connection = psycopg2.connect(dsn)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")
        connection.close()

    def close(self) -> None:
        self._admin.close()
        self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop")

    def _ask(self, statement: str, *values: object):
        with self._admin.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()[0]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}")
