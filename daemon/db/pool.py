"""Connections and transactions on PostgreSQL, with failures by name."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import orjson
import psycopg2
import psycopg2.extensions
import psycopg2.extras

from daemon.errors import DatabaseUnavailable, StorageFull

#: SQLSTATE of "disk full".
DISK_FULL = "53100"
#: Seconds to wait for a server that does not answer at all.
CONNECT_TIMEOUT = 10


def named_failure(error: psycopg2.Error, dsn: str) -> Exception:
    """The named exception for what psycopg2 raised; errors of the program (bad SQL, constraints) stay themselves."""
    message = " ".join(str(error).split()) or type(error).__name__
    if error.pgcode == DISK_FULL or "No space left on device" in message:
        return StorageFull(f"the database has no space left: {message}; make room where it stores its data")
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return DatabaseUnavailable(f"database ({dsn}): {message}")
    return error


class Database:
    """A few connections to one database, given out for one transaction each. Safe to share between threads.

    Args:
        dsn: libpq connection string without password.
        password: handed to libpq apart, so that it appears nowhere.
        pool: connections at most; a further transaction waits for one to come free.
        statement_timeout: seconds after which the server cancels a statement; 0: never.
        revive: called once when the server cannot be reached, before the second and last try to connect; it returns
            the dsn from then on.
    """

    def __init__(
        self,
        dsn: str,
        *,
        password: str | None = None,
        pool: int = 4,
        statement_timeout: float = 600.0,
        revive: Callable[[], str] | None = None,
    ):
        self._dsn = dsn
        self._password = password
        self._statement_timeout = statement_timeout
        self._revive = revive
        self._free = threading.BoundedSemaphore(pool)
        self._lock = threading.Lock()
        self._idle: list[psycopg2.extensions.connection] = []
        self._used: set[psycopg2.extensions.connection] = set()
        self._closed = False

    @property
    def dsn(self) -> str:
        """The connection string, which never holds the password."""
        return self._dsn

    @contextmanager
    def transaction(self) -> Iterator[psycopg2.extensions.cursor]:
        """A cursor whose work is committed at the end of the block, or rolled back if the block raises.

        Raises:
            DatabaseUnavailable: no connection, the connection broke, or the server cancelled the work; nothing was
                stored, or (only when it broke during the commit itself) all of it was. The next call connects anew.
            StorageFull: the server has no disk space left.
        """
        with self._free:
            connection = self._take()
            self._used.add(connection)
            try:
                with connection.cursor() as cursor:
                    yield cursor
                connection.commit()
            except psycopg2.Error as error:
                named = named_failure(error, self._dsn)
                if named is error:
                    raise
                raise named from error
            finally:
                self._used.discard(connection)
                self._give_back(connection)

    def connect(self) -> psycopg2.extensions.connection:
        """A connection of the caller's own, outside the pool; the caller closes it.

        Raises:
            DatabaseUnavailable: the server cannot be reached, or refuses.
        """
        try:
            return self._connect()
        except psycopg2.OperationalError as error:
            if self._revive is None or self._closed:
                raise named_failure(error, self._dsn) from error
        self._dsn = self._revive()
        try:
            return self._connect()
        except psycopg2.OperationalError as error:
            raise named_failure(error, self._dsn) from error

    def interrupt(self) -> None:
        """Cancel the statements of all transactions under way; they end with DatabaseUnavailable."""
        for connection in list(self._used):
            with suppress(psycopg2.Error):  # it ended by itself meanwhile
                connection.cancel()

    def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self) -> psycopg2.extensions.connection:
        own = psycopg2.extensions.parse_dsn(self._dsn)
        settings = f"-c statement_timeout={round(self._statement_timeout * 1000)} -c timezone=UTC"
        extra: dict[str, object] = {"options": f"{own.get('options', '')} {settings}".strip()}
        if self._password is not None:
            extra["password"] = self._password
        for name, value in (("application_name", "mapgap"), ("connect_timeout", CONNECT_TIMEOUT)):
            if name not in own:
                extra[name] = value
        connection = psycopg2.connect(self._dsn, **extra)
        psycopg2.extras.register_default_jsonb(connection, loads=orjson.loads)  # a third of the time of reading rows
        return connection

    def _take(self) -> psycopg2.extensions.connection:
        if self._closed:
            raise DatabaseUnavailable(f"database ({self._dsn}): was closed by this program already")
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            connection.close()
        return self.connect()

    def _give_back(self, connection: psycopg2.extensions.connection) -> None:
        if not connection.closed:
            with suppress(psycopg2.Error):  # a connection that cannot roll back is closed below
                connection.rollback()
        with self._lock:
            if not connection.closed and not self._closed and _is_quiet(connection):
                self._idle.append(connection)
                return
        connection.close()


def _is_quiet(connection: psycopg2.extensions.connection) -> bool:
    """Whether nothing came from the server unasked: between transactions it speaks only to say farewell."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
