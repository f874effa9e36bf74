"""One moment of osm2pgsql's database: all that is asked within one transaction is true of the same moment.

osm2pgsql itself does not write in one transaction: it deletes an object's rows, then copies the new ones in, table by
table, and only after the last row it says how far it is. So a moment in the middle may lack an object that was there
before and is there afterwards; `at_work` tells that this may be such a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import make_dsn, parse_dsn

from daemon.config import Config, Osm, password
from daemon.db import Database, check_dsn, query
from daemon.errors import DatabaseUnavailable, Osm2pgsqlUnusable
from daemon.osm.osm2pgsql.layout import Layout, find_layout
from daemon.osm.osm2pgsql.standing import Standing, read_standing

#: Settings of every session: nothing is ever written there.
READ_ONLY = r"-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\ read"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment.

    Attributes:
        cursor: in a read-only transaction.
        layout: of the tables.
        standing: what has been applied in full.
        at_work: whether an osm2pgsql may be in the middle of a later change file.
    """

    cursor: Cursor
    layout: Layout
    standing: Standing
    at_work: bool


def database_of(config: Config) -> Database:
    """Connections to osm2pgsql's database, none opened yet; to be closed.

    Raises:
        ConfigError: the dsn is unusable or holds a password, or the password cannot be had.
    """
    knobs = config.osm
    check_dsn(knobs.dsn, "osm")
    options = f"{parse_dsn(knobs.dsn).get('options', '')} {READ_ONLY}".strip()
    return Database(
        make_dsn(knobs.dsn, options=options), password=password(knobs, "osm"), pool=2,
        statement_timeout=config.database.statement_timeout,
    )


@contextmanager
def open_snapshot(db: Database, knobs: Osm, url: str) -> Iterator[Snapshot]:
    """Look at osm2pgsql's database as it is now.

    Args:
        db: of `database_of`.
        knobs: what its tables are called.
        url: the replication server that osm2pgsql must follow.

    Raises:
        Osm2pgsqlUnusable: something is missing there, not permitted, or of another server.
        DatabaseUnavailable: it cannot be reached, or went away.
    """
    try:
        with db.transaction() as cursor:
            cursor.execute(query("osm2pgsql_at_work"))
            at_work = cursor.fetchone()[0]
            cursor.execute(query("osm2pgsql_settle"))
            if cursor.fetchone() is None:
                raise Osm2pgsqlUnusable(
                    "osm.dsn names a database without PostGIS, so osm2pgsql never imported there; set osm.dsn right"
                )
            layout = find_layout(cursor, knobs)
            standing = read_standing(cursor, knobs)
            standing.check_server(url)
            yield Snapshot(cursor, layout, standing, at_work)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"osm2pgsql's {error}") from None
    except psycopg2.Error as error:
        message = " ".join(str(error).split())
        raise Osm2pgsqlUnusable(
            f"osm2pgsql's database: {message}; see docs/osm2pgsql.md for what it must hold and permit"
        ) from error
