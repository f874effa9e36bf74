"""Real imports: databases with PostGIS, filled and kept up to date by the osm2pgsql programs of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import osmium
import psycopg2
from psycopg2 import sql

from daemon.config import Config, parse

SERVER = "https://replication.example.org/day"
#: When the worlds' data begin.
START = datetime(2021, 6, 1, tzinfo=UTC)
HERE = Path(__file__).resolve().parent
#: A flex style as users write them: tables and columns of their own making, all tags in one column.
FLEX = HERE / "flex.lua"


@dataclass(frozen=True)
class Layout:
    """One way to import.

    Attributes:
        program: of osm2pgsql.
        options: what it is given.
        dated: whether versions and times of all objects can be had from the database.
    """

    name: str
    program: str
    options: tuple[str, ...]
    dated: bool = False


def programs() -> list[tuple[str, tuple[int, int]]]:
    """The osm2pgsql programs to test with, and their versions: MAPGAP_OSM2PGSQL (separated by ":"), or that on PATH."""
    named = os.environ.get("MAPGAP_OSM2PGSQL", "")
    paths = named.split(":") if named else [path] if (path := shutil.which("osm2pgsql")) else []
    found = []
    for path in paths:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"osm2pgsql version (\d+)\.(\d+)", said.stdout + said.stderr)
        assert version, f"{path}: not osm2pgsql"
        found.append((path, (int(version[1]), int(version[2]))))
    return found


def layouts() -> list[Layout]:
    """The layouts that these programs make."""
    found = []
    for path, (major, minor) in programs():
        version = f"{major}.{minor}"
        style = ("-S", str(HERE / "classic.style"))
        flex = ("-O", "flex", "-S", str(FLEX))
        if (major, minor) < (2, 0):
            found.append(Layout(f"{version} classic, hstore, attributes", path, (*style, "--hstore", "-x")))
        else:
            found.append(Layout(f"{version} classic", path, style))
            found.append(Layout(f"{version} flex, attributes", path, (*flex, "-x"), dated=True))
        if (1, 6) <= (major, minor) < (2, 0):
            found.append(Layout(f"{version} flex", path, flex))
    return found


class Import:
    """A database that osm2pgsql keeps.

    Args:
        dsn: of a database of its own, with PostGIS and hstore in it.
        folder: for files.
        prefix: of its tables.
    """

    def __init__(self, dsn: str, layout: Layout, folder: Path, prefix: str = "planet_osm"):
        self.dsn, self.layout, self.folder, self.prefix = dsn, layout, folder, prefix

    def create(self, base: Path, *options: str, sequence: int | None = 0) -> Import:
        """Import an extract; osm2pgsql then stands at a sequence, or does not know of any."""
        self._run("--create", "--slim", *options, str(base))
        if sequence is not None:
            self.stand(sequence)
        return self

    def append(self, *files: Path, sequence: int | None = None) -> None:
        """Apply change files in one go, sorted as osm2pgsql wants them; it then stands at the sequence, if any."""
        merged = self.folder / "merged.osc"
        merged.unlink(missing_ok=True)
        reader = osmium.MergeInputReader()
        for file in files:
            reader.add_file(str(file))
        with closing(osmium.SimpleWriter(str(merged))) as writer:
            reader.apply(writer, simplify=True)
        self._run("--append", "--slim", str(merged))
        if sequence is not None:
            self.stand(sequence)

    def stand(self, sequence: int, url: str = SERVER, timestamp: datetime = START) -> None:
        """Write down what osm2pgsql-replication does after its updates."""
        if self.has("osm2pgsql_properties"):
            values = {
                "replication_base_url": url, "replication_sequence_number": str(sequence),
                "replication_timestamp": timestamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for name, value in values.items():
                self.sql(
                    "INSERT INTO osm2pgsql_properties VALUES (%s, %s) "
                    "ON CONFLICT (property) DO UPDATE SET value = excluded.value", (name, value),
                )
        else:
            table = f"{self.prefix}_replication_status"
            columns = "(url text, sequence integer, importdate timestamptz)"
            self.sql("CREATE TABLE IF NOT EXISTS {table} " + columns, table=table)
            self.sql("DELETE FROM {table}", table=table)
            self.sql("INSERT INTO {table} VALUES (%s, %s, %s)", (url, sequence, timestamp), table=table)

    def has(self, table: str) -> bool:
        return self.ask("SELECT to_regclass(%s) IS NOT NULL", (table,)) == [(True,)]

    def sql(self, statement: str, values: Sequence[Any] = (), **names: str) -> None:
        """Do something to the database, as whoever owns it."""
        with closing(psycopg2.connect(self.dsn)) as connection, connection, connection.cursor() as cursor:
            identifiers = {key: sql.Identifier(value) for key, value in names.items()}
            cursor.execute(sql.SQL(statement).format(**identifiers), values or None)

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall()

    def config(self, **sections: Mapping[str, Any]) -> Config:
        """A configuration that reads from here."""
        values: dict[str, Any] = {
            "replication": {"url": f"{SERVER}/"},
            "osm": {"source": "osm2pgsql", "dsn": self.dsn, "prefix": self.prefix},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section}
        return parse(values, "test", self.folder)

    def _run(self, *words: str) -> None:
        command = [
            self.layout.program, *self.layout.options, "--database", self.dsn, "--prefix", self.prefix, "--cache=50",
            "--number-processes=1", *words,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def ids_of(found: Iterable[Layout]) -> list[str]:
    return [layout.name for layout in found]
