"""Reading from PostGIS in several threads: a pool of read-only connections that outlive a restart of the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ, connection, make_dsn, parse_dsn
from psycopg2.pool import PoolError, ThreadedConnectionPool

from detectors.errors import DatabaseLost, DatasetInvalid
from detectors.training.geoiter.queries import MOST_ROWS, Query

log = logging.getLogger(__name__)

#: What a connection asks for unless the dsn says otherwise: a dead network is noticed, and the server knows who it is.
CONNECTION = {
    "connect_timeout": "10", "keepalives_idle": "20", "keepalives_interval": "5", "keepalives_count": "3",
    "tcp_user_timeout": "60000", "application_name": "mapgap GeoIter",
}
#: Parts of a dsn that may be shown.
SHOWN = ("host", "hostaddr", "port", "dbname", "user", "service")
SECRETS = ("password", "sslpassword")

PRESENT = "SELECT extname FROM pg_extension WHERE extname IN ('postgis', 'postgis_raster')"
SYSTEM = "SELECT srtext FROM spatial_ref_sys WHERE srid = %s"


class TileDatabase:
    """A pool of connections, one a thread; each transaction is read-only.

    Args:
        connections: how many threads may read at a time.
        timeout_s: seconds that the server may take for one query.
        retries, backoff_s: how often a lost connection is made anew; the pause doubles from `backoff_s` seconds.

    Raises:
        DatabaseLost: no connection to begin with.
        DatasetInvalid: the dsn is none, or the database has no PostGIS with rasters.
    """

    def __init__(self, dsn: str, *, connections: int, timeout_s: float, retries: int, backoff_s: float):
        try:
            parts = parse_dsn(dsn)
        except (psycopg2.ProgrammingError, TypeError):
            # libpq's message quotes the dsn, perhaps with a password.
            raise DatasetInvalid('the dsn is none: write it as "host=... dbname=... user=..." or postgresql://...'
                                 ) from None
        self._secrets = [parts[key] for key in SECRETS if parts.get(key)]
        self.shown = " ".join(f"{key}={parts[key]}" for key in SHOWN if parts.get(key)) or "the default database"
        self._timeout_ms = max(1, round(timeout_s * 1000))
        self._retries, self._backoff_s = retries, backoff_s
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._busy: set[connection] = set()
        full = make_dsn(dsn, **{key: value for key, value in CONNECTION.items() if key not in parts})
        # The pool bounds and closes connections; each is made when a thread first wants one, and stays that thread's.
        self._pool = ThreadedConnectionPool(0, connections + 1, full)
        self._own = threading.local()
        try:
            self._attempt(self._check)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self.close()
            raise DatabaseLost(f"no connection to {self.shown}: {self._plain(error)}") from None
        except BaseException:
            self.close()
            raise

    def coordinate_system(self, srid: int) -> str:
        """The WKT of a coordinate system.

        Raises:
            DatasetInvalid: the database does not know it, or does not let us look.
        """
        def ask(cursor) -> list[tuple[str]]:
            cursor.execute(SYSTEM, (srid,))
            return cursor.fetchall()

        try:
            rows = self._attempt(ask)
        except psycopg2.Error as error:
            raise DatasetInvalid(f"spatial_ref_sys of {self.shown}: {self._plain(error)}") from None
        if not rows:
            raise DatasetInvalid(f"SRID {srid} is not in spatial_ref_sys of {self.shown}")
        return rows[0][0]

    def rasters(self, queries: Mapping[str, Query], values: Mapping[str, Any]) -> dict[str, list[memoryview]]:
        """The rasters of one tile by query, all seen at the same moment, as `ST_AsBinary` gives them.

        Raises:
            DatasetInvalid: PostgreSQL refused a query, it took too long, or it gave too many or too large rasters.
            DatabaseLost: the connection is gone, and could not be made anew.
        """
        def ask(cursor) -> dict[str, list[memoryview]]:
            return {key: self._rasters(cursor, query, values) for key, query in queries.items()}

        for attempt in range(self._retries + 1):
            try:
                return self._attempt(ask)
            except (psycopg2.OperationalError, psycopg2.InterfaceError, PoolError) as error:
                problem = self._plain(error)
            if attempt < self._retries and not self._closing.is_set():
                log.warning("lost the connection to %s, trying again: %s", self.shown, problem.splitlines()[0])
                self._closing.wait(self._backoff_s * 2**attempt)
            if self._closing.is_set():
                raise DatabaseLost(f"the connection to {self.shown} has been closed")
        raise DatabaseLost(f"lost the connection to {self.shown}, and {self._retries} more attempts failed: {problem}")

    def release(self) -> None:
        """Give this thread's connection back."""
        link = getattr(self._own, "link", None)
        self._own.link = None
        if link is not None and not self._pool.closed:
            self._pool.putconn(link, close=True)

    def interrupt(self) -> None:
        """Let every running query end now, and none be tried again."""
        self._closing.set()
        with self._lock:
            for link in self._busy:
                try:
                    link.cancel()
                except psycopg2.Error as error:
                    log.debug("a query could not be cancelled: %s", self._plain(error))

    def close(self) -> None:
        """Close all connections."""
        self.interrupt()
        if not self._pool.closed:
            self._pool.closeall()

    def _attempt(self, ask: Callable[[Any], Any]) -> Any:
        """One read-only transaction on this thread's connection; a connection that broke is thrown away."""
        if getattr(self._own, "link", None) is None:
            self._own.link = self._pool.getconn()
        link = self._own.link
        with self._lock:
            self._busy.add(link)
        try:
            if link.readonly is not True:
                link.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
            with link.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", (str(self._timeout_ms),))
                return ask(cursor)
        finally:
            with self._lock:
                self._busy.discard(link)
            if not link.closed:
                try:
                    link.rollback()
                except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                    log.debug("a connection broke: %s", self._plain(error))
            if link.closed:
                self.release()

    def _rasters(self, cursor, query: Query, values: Mapping[str, Any]) -> list[memoryview]:
        if self._closing.is_set():
            raise psycopg2.InterfaceError("closing")
        try:
            cursor.execute(query.statement, values)
            rows = cursor.fetchall()
        except psycopg2.Error as error:
            timed_out = isinstance(error, psycopg2.errors.QueryCanceled)
            if self._closing.is_set() or (cursor.connection.closed and not timed_out):
                raise
            # No code: libpq's own failure. Class 40: the server, a standby perhaps, asks to try again.
            if isinstance(error, psycopg2.OperationalError) and (error.pgcode or "40")[:2] == "40":
                raise
            hint = f"; {self._timeout_ms / 1000:g} s are allowed: add an index, or raise timeout_s" if timed_out else ""
            raise DatasetInvalid(self._scrub(query.failed(self._plain(error) + hint))) from None
        if len(rows) > MOST_ROWS:
            raise DatasetInvalid(self._scrub(query.failed(f"more than {MOST_ROWS} rows for a tile; WHERE should say "
                                                          "ST_Intersects(..., {tile})")))
        if rows and rows[-1][0] is None:
            raise DatasetInvalid(self._scrub(query.failed(f"{rows[-1][1]} pixels for a tile; take what ST_Intersects "
                                                          "it, and cut with ST_Clip(rast, {tile})")))
        return [data for data, _ in rows]

    def _check(self, cursor) -> None:
        cursor.execute(PRESENT)
        missing = {"postgis", "postgis_raster"} - {name for (name,) in cursor.fetchall()}
        if missing:
            statements = "; ".join(f"CREATE EXTENSION {name}" for name in sorted(missing))
            raise DatasetInvalid(f"{self.shown} has no {' and no '.join(sorted(missing))}: run {statements}")

    def _plain(self, error: psycopg2.Error) -> str:
        """PostgreSQL's message, with what it says beside, without the statement that it quotes."""
        said = getattr(error, "diag", None)
        if said is None or not said.message_primary:
            return self._scrub(str(error).strip() or type(error).__name__)
        parts = [f"{said.message_primary} ({error.pgcode})", said.message_detail, said.message_hint]
        return self._scrub("; ".join(part for part in parts if part))

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
