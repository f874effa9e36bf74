"""One daemon a database."""

from __future__ import annotations

import threading

import pytest

from daemon.db import DaemonLock, Database, hold_daemon_lock
from daemon.errors import DatabaseLocked, MapgapError


def end_lock_holder(db: Database) -> None:
    with db.transaction() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchall() == [(True,)]


def test_a_second_daemon_is_refused_until_the_first_leaves(database: Database) -> None:
    refused = pytest.raises(DatabaseLocked, match="another mapgap daemon works on this database already")
    with hold_daemon_lock(database), refused, hold_daemon_lock(database, patience=0):
        pass
    with hold_daemon_lock(database):
        pass


def test_a_daemon_that_leaves_just_now_is_waited_for(database: Database) -> None:
    first = DaemonLock(database)
    leaves = threading.Timer(0.2, first.release)
    leaves.start()
    with hold_daemon_lock(database, patience=60):
        leaves.join()


def test_another_database_of_the_same_server_is_another_matter(database: Database, empty_database: Database) -> None:
    with hold_daemon_lock(database), hold_daemon_lock(empty_database):
        pass


def test_a_lock_lost_with_its_connection_is_taken_again(database: Database) -> None:
    with hold_daemon_lock(database) as lock:
        end_lock_holder(database)
        lock.ensure()
        with pytest.raises(DatabaseLocked), hold_daemon_lock(database, patience=0):
            pass


def test_a_lock_lost_to_another_daemon_is_not_taken_back(database: Database) -> None:
    with hold_daemon_lock(database, patience=0) as lock:
        end_lock_holder(database)
        with hold_daemon_lock(database), pytest.raises(DatabaseLocked) as caught:
            lock.ensure()
    assert isinstance(caught.value, MapgapError) and not caught.value.transient
