"""How far osm2pgsql is in the replication.

osm2pgsql 1.9 and later keep it in the table osm2pgsql_properties, osm2pgsql-replication before that in
<prefix>_replication_status. Both are written after the last row of a change file, or of several that were applied in
one go: what stands there has been applied in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from daemon.config import Osm, server_of
from daemon.db import query
from daemon.errors import Osm2pgsqlUnusable

PROPERTIES = "osm2pgsql_properties"
INIT = (
    "run `osm2pgsql-replication init -d DATABASE --server URL` with the URL of replication.url, and keep the database "
    "up to date with `osm2pgsql-replication update`"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where osm2pgsql is.

    Attributes:
        sequence: the newest change file that it has applied in full.
        timestamp: of its data (UTC); None where it does not say.
        url: the server that it follows.
    """

    sequence: int
    timestamp: datetime | None
    url: str

    def check_server(self, url: str) -> None:
        """Refuse another server than `url`: sequence numbers mean nothing between servers.

        Raises:
            Osm2pgsqlUnusable: naming both.
        """
        if server_of(self.url) != server_of(url):
            raise Osm2pgsqlUnusable(
                f"osm2pgsql follows {self.url}, replication.url is {url}; set replication.url to the same server"
            )


def read_standing(cursor: Cursor, knobs: Osm) -> Standing:
    """Where osm2pgsql is now.

    Raises:
        Osm2pgsqlUnusable: it does not say; with what to run.
    """
    status = f"{knobs.prefix}_replication_status"
    schemas = list(dict.fromkeys([knobs.output_schema, knobs.middle_schema or knobs.output_schema, "public"]))
    cursor.execute(query("osm2pgsql_state_tables"), {"names": [PROPERTIES, status], "schemas": schemas})
    rows = cursor.fetchall()
    denied = [f"{schema}.{name}" for schema, name, readable in rows if not readable]
    if denied:
        raise Osm2pgsqlUnusable(
            f"permission denied for {', '.join(denied)}; as its owner: GRANT SELECT ON {', '.join(denied)} TO the user "
            "of osm.dsn"
        )
    for schema, name, _ in sorted(rows, key=lambda row: row[1] != PROPERTIES):
        table = sql.Identifier(schema, name)
        if name == PROPERTIES:
            cursor.execute(sql.SQL(query("osm2pgsql_properties")).format(table=table))
            found = _of_properties(dict(cursor.fetchall()), knobs)
        else:
            cursor.execute(sql.SQL(query("osm2pgsql_replication_status")).format(table=table))
            found = _of_status(cursor.fetchall(), f"{schema}.{name}")
        if found is not None:
            return found
    where = " and ".join(f"{schema}.{name}" for schema, name, _ in rows)
    lack = f"{where} names no sequence and server" if rows else f"neither {PROPERTIES} nor {status} is there"
    raise Osm2pgsqlUnusable(f"osm2pgsql does not say how far it is: {lack}; {INIT}")


def _of_properties(values: Mapping[str, str], knobs: Osm) -> Standing | None:
    if values.get("prefix", knobs.prefix) != knobs.prefix:  # of another import into the same schema
        return None
    if values.get("updatable", "true") != "true":
        raise Osm2pgsqlUnusable("osm2pgsql imported without --slim, or with --drop: it cannot be kept up to date")
    sequence, url = values.get("replication_sequence_number", ""), values.get("replication_base_url", "")
    if not (sequence.isascii() and sequence.isdecimal() and url):
        return None
    return Standing(int(sequence), _moment(values.get("replication_timestamp")), url)


def _of_status(rows: list[tuple[str | None, int | None, datetime | None]], table: str) -> Standing | None:
    if len(rows) > 1:
        raise Osm2pgsqlUnusable(f"{table} has {len(rows)} rows, not one; {INIT}")
    if not rows or rows[0][0] is None or rows[0][1] is None:
        return None
    url, sequence, timestamp = rows[0]
    return Standing(sequence, timestamp and timestamp.astimezone(UTC), url)


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
