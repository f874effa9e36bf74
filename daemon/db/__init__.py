"""PostgreSQL: connections, transactions, named queries, migrations, the embedded server, the one-daemon lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import parse_dsn

from daemon.config import Config, password
from daemon.db.embedded import EmbeddedServer
from daemon.db.lock import DaemonLock, hold_daemon_lock
from daemon.db.migrations import check_schema, migrate
from daemon.db.pool import Database
from daemon.db.queries import query
from daemon.errors import ConfigError

__all__ = [
    "DaemonLock", "Database", "EmbeddedServer", "check_dsn", "check_schema", "connect_database", "hold_daemon_lock",
    "migrate", "open_database", "query",
]


@contextmanager
def connect_database(config: Config, *, patience: float = 300.0) -> Iterator[Database]:
    """The configured database as it is, without migrating it; the embedded server runs for the length of the block.

    Args:
        config: what to connect to.
        patience: seconds to wait for an embedded server that does not answer yet, because it recovers from a crash.

    Raises:
        ConfigError: the dsn is unusable or holds a password, or the password cannot be had.
        DatabaseError, StorageFull: the embedded server does not start; the message ends with what its log says.
    """
    knobs = config.database
    if not knobs.dsn:
        with EmbeddedServer(config.data_dir, patience=patience) as server:
            db = Database(
                server.dsn, pool=knobs.pool, statement_timeout=knobs.statement_timeout, revive=server.ensure_running
            )
            try:
                yield db
            finally:
                db.close()
        return
    check_dsn(knobs.dsn, "database")
    db = Database(
        knobs.dsn, password=password(knobs), pool=knobs.pool, statement_timeout=knobs.statement_timeout
    )
    try:
        yield db
    finally:
        db.close()


def check_dsn(dsn: str, section: str) -> None:
    """Refuse what libpq does not understand, and a password, which would end up in messages.

    Raises:
        ConfigError: naming the key `<section>.dsn`.
    """
    try:
        parts = parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        raise ConfigError(f"{section}.dsn", ["not a libpq connection string like postgresql://me@host/name"]) from None
    if {"password", "sslpassword"} & parts.keys():
        raise ConfigError(
            f"{section}.dsn", [f"holds a password; use {section}.password_env or {section}.password_file"]
        )


@contextmanager
def open_database(config: Config) -> Iterator[Database]:
    """The configured database at the program's schema. With no dsn, an embedded PostgreSQL runs under data_dir; it is
    stopped at the end, unless another process uses it still.

    Raises:
        ConfigError, DatabaseError, StorageFull: as `connect_database`.
        MigrationError: the schema is newer than the program, or a migration failed.
    """
    with connect_database(config) as db:
        migrate(db)
        yield db
