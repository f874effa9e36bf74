"""Numbered, forward-only migrations: sql/NNNN_name.sql, each applied once, in one transaction of its own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from daemon.db.pool import Database
from daemon.db.queries import query, sql_directory
from daemon.errors import MigrationError

_FILE = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, name, SQL text, and the sha256 (hex) of that text."""

    number: int
    name: str
    sql: str
    checksum: str


def load_migrations(directory: Path | None = None) -> list[Migration]:
    """The migrations of a directory (default: those of the program), in order.

    Raises:
        MigrationError: numbers are not 1, 2, 3, ... or a file's name is not NNNN_name.sql.
    """
    directory = directory or sql_directory()
    migrations = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE.match(path.name)
        if not match:
            raise MigrationError(f"{path}: a migration is called NNNN_name.sql")
        sql = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(sql.encode()).hexdigest()
        migrations.append(Migration(int(match[1]), match[2], sql, checksum))
    if [m.number for m in migrations] != list(range(1, len(migrations) + 1)) or not migrations:
        raise MigrationError(f"{directory}: migrations must be numbered 0001, 0002, ... without gap or repetition")
    return migrations


def migrate(db: Database, directory: Path | None = None) -> list[str]:
    """Bring the database to the program's schema; returns the names of what was applied now.

    Several processes may call it at once: one works, the others wait and find nothing to do.

    Raises:
        MigrationError: the database is newer than the program, an applied migration was edited, or one failed. All
            before the failed one are applied, of the failed one nothing.
        DatabaseUnavailable: no connection.
    """
    migrations = load_migrations(directory)
    try:
        with db.transaction() as cursor:
            cursor.execute(query("lock_migrations"))
            cursor.execute(query("migration_table_exists"))
            if not cursor.fetchone()[0]:
                cursor.execute(query("create_migration_table"))
    except psycopg2.ProgrammingError as error:
        reason = " ".join(str(error).split())
        raise MigrationError(f"no tables can be made in the database ({db.dsn}): {reason}") from error
    applied = []
    while (name := _apply_next(db, migrations)) is not None:
        applied.append(name)
    return applied


def check_schema(db: Database, directory: Path | None = None) -> None:
    """See that the database is at the program's schema, and change nothing.

    Raises:
        MigrationError: it is older, newer, or was never migrated.
        DatabaseUnavailable: no connection.
    """
    migrations = load_migrations(directory)
    with db.transaction() as cursor:
        cursor.execute(query("migration_table_exists"))
        done = []
        if cursor.fetchone()[0]:
            cursor.execute(query("applied_migrations"))
            done = cursor.fetchall()
    _compare(done, migrations)
    if len(done) < len(migrations):
        raise MigrationError(
            f"the database has {len(done)} of {len(migrations)} migrations; starting mapgap anew brings it to the last"
        )


def _apply_next(db: Database, migrations: list[Migration]) -> str | None:
    with db.transaction() as cursor:
        cursor.execute(query("lock_migrations"))
        cursor.execute(query("lift_statement_timeout"))
        cursor.execute(query("applied_migrations"))
        done = cursor.fetchall()
        _compare(done, migrations)
        if len(done) == len(migrations):
            return None
        migration = migrations[len(done)]
        try:
            cursor.execute(migration.sql)
        except psycopg2.OperationalError:
            raise  # the server's trouble (gone, disk full), not the migration's
        except psycopg2.Error as error:
            reason = " ".join(str(error).split())
            raise MigrationError(
                f"migration {migration.number:04}_{migration.name} failed and was rolled back: {reason}"
            ) from error
        cursor.execute(
            query("record_migration"),
            {"number": migration.number, "name": migration.name, "checksum": migration.checksum},
        )
        return f"{migration.number:04}_{migration.name}"


def _compare(done: list[tuple[int, str, str]], migrations: list[Migration]) -> None:
    known = {m.number: m for m in migrations}
    for number, name, checksum in done:
        if number not in known:
            raise MigrationError(
                f"the database has migration {number:04}_{name}, this program ends at {len(migrations):04}: it was "
                "used by a newer mapgap; upgrade this one, or use another database"
            )
        if checksum != known[number].checksum:
            raise MigrationError(
                f"migration {number:04}_{known[number].name} was changed after it was applied to this database (as "
                f"{number:04}_{name}); restore the file and put the change into a new migration"
            )
    if [number for number, _, _ in done] != list(range(1, len(done) + 1)):
        raise MigrationError("the database's table schema_migration has a gap; restore it from a backup")
