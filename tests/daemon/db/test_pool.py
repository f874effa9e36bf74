"""A transaction is all or nothing, and a lost server is a named failure that the next call gets over."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from daemon.config import parse
from daemon.db import Database, connect_database, open_database
from daemon.errors import ConfigError, DatabaseUnavailable


def put(db: Database, name: str) -> None:
    with db.transaction() as cursor:
        cursor.execute("INSERT INTO daemon_state (name, value) VALUES (%s, '1')", (name,))


def names(db: Database) -> set[str]:
    with db.transaction() as cursor:
        cursor.execute("SELECT name FROM daemon_state")
        return {row[0] for row in cursor}


def end_all_others(db: Database) -> None:
    with db.transaction() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_an_exception_rolls_back(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction() as cursor:
        cursor.execute("INSERT INTO daemon_state (name, value) VALUES ('a', '1')")
        raise RuntimeError
    put(database, "b")
    assert names(database) == {"b"}


def test_a_mistake_in_sql_stays_itself_and_spoils_nothing(database: Database) -> None:
    with pytest.raises(psycopg2.errors.UndefinedTable), database.transaction() as cursor:
        cursor.execute("SELECT * FROM no_such_table")
    put(database, "a")
    assert names(database) == {"a"}


def test_a_connection_lost_in_a_transaction_is_named_and_the_next_one_works(database: Database) -> None:
    put(database, "before")
    other = Database(database.dsn)
    with pytest.raises(DatabaseUnavailable) as caught, database.transaction() as cursor:
        cursor.execute("INSERT INTO daemon_state (name, value) VALUES ('lost', '1')")
        end_all_others(other)
        cursor.execute("SELECT 1")
    assert caught.value.transient
    other.close()
    put(database, "after")
    assert names(database) == {"before", "after"}


def test_idle_connections_that_the_server_closed_are_not_given_out(database: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        barrier = threading.Barrier(4)

        def use(_: int) -> None:
            with database.transaction() as cursor:
                cursor.execute("SELECT 1")
                barrier.wait(timeout=30)

        list(threads.map(use, range(4)))
    other = Database(database.dsn)
    end_all_others(other)
    other.close()
    for i in range(4):
        put(database, f"n{i}")
    assert len(names(database)) == 4


def test_more_users_than_connections_wait_for_their_turn(database: Database) -> None:
    db = Database(database.dsn, pool=2)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: put(db, f"n{i}"), range(40)))
    with db.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert cursor.fetchone()[0] <= 2 + 1
    assert len(names(db)) == 40
    db.close()


def test_a_statement_that_takes_too_long_is_cancelled(database: Database) -> None:
    db = Database(database.dsn, statement_timeout=0.05)
    with pytest.raises(DatabaseUnavailable, match="statement timeout"), db.transaction() as cursor:
        cursor.execute("SELECT pg_sleep(60)")
    put(db, "still usable")
    db.close()


def test_no_server_is_a_named_failure_without_secrets(tmp_path: Path) -> None:
    db = Database(f"host={tmp_path} user=me dbname=x", password="hunter2")
    with pytest.raises(DatabaseUnavailable) as caught, db.transaction():
        pass
    assert "hunter2" not in str(caught.value) and "hunter2" not in db.dsn


def test_a_closed_database_says_so(database: Database) -> None:
    db = Database(database.dsn)
    put(db, "a")
    db.close()
    with pytest.raises(DatabaseUnavailable, match="closed"), db.transaction():
        pass


def test_a_configured_dsn_is_used_and_migrated(empty_database: Database, tmp_path: Path) -> None:
    config = parse({"database": {"dsn": empty_database.dsn}}, "test", tmp_path)
    with open_database(config) as db:
        put(db, "a")
        assert names(db) == {"a"}
    assert not (tmp_path / "mapgap-data").exists()


def test_the_password_comes_from_the_environment(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"database": {"dsn": empty_database.dsn, "password_env": "MAPGAP_TEST_PASSWORD"}}
    config = parse(values, "test", tmp_path)
    monkeypatch.delenv("MAPGAP_TEST_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="MAPGAP_TEST_PASSWORD is not set"), connect_database(config):
        pass
    monkeypatch.setenv("MAPGAP_TEST_PASSWORD", "hunter2")
    with connect_database(config) as db, db.transaction() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.connection.info.password == "hunter2"
        assert "hunter2" not in db.dsn


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [("postgresql://me:hunter2@host/db", "holds a password"), ("host=h password=hunter2", "holds a password"),
     ("what is this", "not a libpq connection string")],
)
def test_an_unusable_dsn_is_refused_without_showing_it(tmp_path: Path, dsn: str, expected: str) -> None:
    config = parse({"database": {"dsn": dsn}}, "test", tmp_path)
    with pytest.raises(ConfigError, match=expected) as caught, connect_database(config):
        pass
    assert "hunter2" not in str(caught.value)
