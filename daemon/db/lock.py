"""One daemon a database: an advisory lock held by a connection of its own.

The lock goes with the connection: whoever dies, even by `kill -9`, lets go of it. (Through a pooler in transaction
mode, such as pgbouncer's, an advisory lock holds nothing; connect the daemon to PostgreSQL itself.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg2

from daemon.db.pool import Database, named_failure
from daemon.db.queries import query
from daemon.errors import DatabaseLocked

#: Seconds after which a held lock counts as another daemon's: the server needs a moment to notice that one was killed.
PATIENCE = 3.0


class DaemonLock:
    """The lock of the one daemon; made by `hold_daemon_lock`."""

    def __init__(self, db: Database, patience: float = PATIENCE):
        self._db = db
        self._patience = patience
        self._connection = self._take()

    def ensure(self) -> None:
        """Make sure that the lock is still held; take it again if its connection was lost meanwhile.

        Raises:
            DatabaseLocked: another daemon took it meanwhile; this one must stop.
            DatabaseUnavailable: the server cannot be reached.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(query("answer"))
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._connection.close()
            self._connection = self._take()

    def release(self) -> None:
        """Let go of the lock; it is free when this returns."""
        with suppress(psycopg2.OperationalError, psycopg2.InterfaceError), self._connection.cursor() as cursor:
            cursor.execute(query("release_daemon_lock"))
        self._connection.close()

    def _take(self) -> psycopg2.extensions.connection:
        deadline = time.monotonic() + self._patience
        connection = self._db.connect()
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while True:
                    cursor.execute(query("take_daemon_lock"))
                    if cursor.fetchone()[0]:
                        return connection
                    if time.monotonic() >= deadline:
                        break
                    time.sleep(0.05)
                cursor.execute(query("daemon_lock_holder"))
                holder = cursor.fetchone()
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            connection.close()
            raise named_failure(error, self._db.dsn) from error
        connection.close()
        who = f" (from {holder[1]}, since {holder[2]:%Y-%m-%d %H:%M:%S} UTC)" if holder else ""
        raise DatabaseLocked(
            f"another mapgap daemon works on this database already{who}; stop it first, or give this one another "
            "database (database.dsn) or data_dir"
        )


@contextmanager
def hold_daemon_lock(db: Database, patience: float = PATIENCE) -> Iterator[DaemonLock]:
    """Be the one daemon of the database for the length of the block.

    Args:
        db: the database.
        patience: seconds to wait for another to let go before it counts as held.

    Raises:
        DatabaseLocked: another daemon is; nothing was changed.
        DatabaseUnavailable: the server cannot be reached.
    """
    lock = DaemonLock(db, patience)
    try:
        yield lock
    finally:
        lock.release()
