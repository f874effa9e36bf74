"""Migrations go forward, once each, all or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.db import Database, migrate
from daemon.db.migrations import load_migrations
from daemon.errors import MigrationError


def write(directory: Path, *statements: str) -> Path:
    for number, statement in enumerate(statements, start=1):
        (directory / f"{number:04}_step{number}.sql").write_text(statement)
    return directory


def count(db: Database, table: str) -> int:
    with db.transaction() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]


def test_the_programs_migrations_apply_once(empty_database: Database) -> None:
    names = [f"{m.number:04}_{m.name}" for m in load_migrations()]
    assert migrate(empty_database) == names
    assert migrate(empty_database) == []
    assert count(empty_database, "schema_migration") == len(names)


def test_a_percent_sign_in_a_migration_is_itself(empty_database: Database, tmp_path: Path) -> None:
    migrate(empty_database, write(tmp_path, "CREATE TABLE t AS SELECT '100 %s' AS v;"))
    with empty_database.transaction() as cursor:
        cursor.execute("SELECT v FROM t")
        assert cursor.fetchone() == ("100 %s",)


def test_a_failing_migration_leaves_nothing_and_keeps_those_before(empty_database: Database, tmp_path: Path) -> None:
    directory = write(tmp_path, "CREATE TABLE a (i int);", "CREATE TABLE b (i int); INSERT INTO a VALUES ('x');")
    with pytest.raises(MigrationError, match="0002_step2 failed and was rolled back"):
        migrate(empty_database, directory)
    assert count(empty_database, "schema_migration") == 1
    assert count(empty_database, "pg_tables WHERE tablename = 'b'") == 0
    (directory / "0002_step2.sql").write_text("CREATE TABLE b (i int);")
    assert migrate(empty_database, directory) == ["0002_step2"]


def test_a_database_newer_than_the_program_is_left_alone(empty_database: Database, tmp_path: Path) -> None:
    directory = write(tmp_path, "CREATE TABLE a (i int);", "CREATE TABLE b (i int);")
    migrate(empty_database, directory)
    (directory / "0002_step2.sql").unlink()
    with pytest.raises(MigrationError, match=r"0002_step2, this program ends at 0001.*newer mapgap"):
        migrate(empty_database, directory)


def test_editing_an_applied_migration_is_noticed(empty_database: Database, tmp_path: Path) -> None:
    directory = write(tmp_path, "CREATE TABLE a (i int);")
    migrate(empty_database, directory)
    (directory / "0001_step1.sql").write_text("CREATE TABLE a (i bigint);")
    with pytest.raises(MigrationError, match="0001_step1 was changed after it was applied"):
        migrate(empty_database, directory)


@pytest.mark.parametrize("names", [["0002_b.sql"], ["0001_a.sql", "0001_b.sql"], ["0001_a.sql", "3_c.sql"], []])
def test_numbers_run_from_one_without_gap(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError):
        load_migrations(tmp_path)


def test_several_processes_may_migrate_at_once(empty_database: Database, tmp_path: Path) -> None:
    directory = write(tmp_path, *(f"CREATE TABLE t{i} (i int);" for i in range(6)))
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(lambda _: migrate(empty_database, directory), range(4)))
    assert sorted(name for names in applied for name in names) == [f"{i:04}_step{i}" for i in range(1, 7)]
