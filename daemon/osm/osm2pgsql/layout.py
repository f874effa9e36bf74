"""What an osm2pgsql database looks like: both formats of the slim tables, and whatever output tables there are.

Slim tables (https://osm2pgsql.org/doc/manual.html#middle): in the legacy format tags are k, v, k, v, ... and relations
have `parts`; in the new one (1.9 and later) both are jsonb. Ways are found by node through an inverted index on the
nodes, or on buckets of neighbouring node ids, by a function that osm2pgsql makes.

Output tables: the classic planet_osm_polygon, _line and _roads, or those of a flex style. Ids tell the type like this:

    signed      osm_id, area_id and others: ways as they are, relations negative
    way         way_id: ways only
    relation    relation_id, rel_id: relations only
    typed       beside a column osm_type, which holds N, W or R
    any         nodes as they are, ways negative, relations below -10^17 (flex, ids of type "any" without a type column)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from daemon.config import Osm
from daemon.db import query
from daemon.errors import Osm2pgsqlUnusable
from daemon.osm.features import Key

#: What flex adds to the id of a relation where one column holds ids of any type.
ANY_RELATION = 10**17
#: Names of id columns, the likelier first; else it is the first one with an index.
ID_COLUMNS = ("osm_id", "area_id", "way_id", "relation_id", "rel_id")
SLIM = ("ways", "rels", "nodes")


@dataclass(frozen=True, slots=True)
class Output:
    """A table with geometry.

    Attributes:
        name: in messages.
        kind: how its ids tell the type: signed, way, relation, typed or any.
        srid: of its geometry.
        names: for queries: table, id, geometry, type, srid.
    """

    name: str
    kind: str
    srid: int
    names: dict[str, sql.Composable]

    def ids_of(self, keys: Iterable[Key]) -> list[int]:
        """Ids under which the table would have these objects."""
        ids = []
        for kind, id_ in keys:
            if self.kind == "any":
                ids.append(-id_ if kind == "w" else -id_ - ANY_RELATION)
            elif self.kind == "signed":
                ids.append(id_ if kind == "w" else -id_)
            elif self.kind == "typed" or self.kind[0] == kind:
                ids.append(id_)
        return ids

    def key_of(self, type_: str, id_: int) -> Key | None:
        """The object that a row is about, None for a node."""
        if self.kind == "typed":
            return (type_.lower(), id_) if type_ in ("W", "R") else None
        if self.kind == "any":
            return ("w", -id_) if -ANY_RELATION < id_ < 0 else ("r", -id_ - ANY_RELATION) if id_ < 0 else None
        if self.kind == "signed":
            return ("w", id_) if id_ > 0 else ("r", -id_)
        return self.kind[0], id_


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables of one import.

    Attributes:
        outputs: where geometry is.
        attributes: whether the slim tables have columns for versions and times (new format, --extra-attributes).
        nodes: whether there is a table of nodes; with --flat-nodes they are in a file, and there may be none.
        dated_nodes: whether that table has times.
        legacy: whether the slim tables have the older format.
        names: for queries: ways, rels, nodes, bucket, member_ids.
        by_bucket: whether ways are found by buckets of nodes.
    """

    outputs: tuple[Output, ...]
    attributes: bool
    nodes: bool
    dated_nodes: bool
    legacy: bool
    by_bucket: bool
    names: dict[str, sql.Composable]

    def sql(self, name: str, **more: sql.Composable) -> sql.Composed:
        """A named query with the tables' names in it."""
        return sql.SQL(query(name)).format(**{**self.names, **more})


def find_layout(cursor: Cursor, knobs: Osm) -> Layout:
    """Look into the catalogue.

    Raises:
        Osm2pgsqlUnusable: a table, column, index or privilege is missing.
    """
    schema = knobs.middle_schema or knobs.output_schema
    tables = {part: f"{knobs.prefix}_{part}" for part in SLIM}
    columns = _slim_columns(cursor, schema, tables)
    functions = _array_indexes(cursor, schema, tables)
    legacy = "parts" in columns["rels"]
    names: dict[str, sql.Composable] = {part: sql.Identifier(schema, table) for part, table in tables.items()}
    names["bucket"], names["member_ids"] = functions["ways"] or sql.NULL, functions["rels"] or sql.NULL
    if not legacy and functions["rels"] is None:
        raise Osm2pgsqlUnusable(
            f"{schema}.{tables['rels']} has no index of its members; osm2pgsql makes one with --slim: import again"
        )
    return Layout(
        _outputs(cursor, knobs), {"version", "created"} <= columns["ways"] & columns["rels"],
        {"id", "lon", "lat"} <= columns["nodes"], "created" in columns["nodes"], legacy, functions["ways"] is not None,
        names,
    )


def _slim_columns(cursor: Cursor, schema: str, tables: dict[str, str]) -> dict[str, set[str]]:
    cursor.execute(query("osm2pgsql_slim_columns"), {"schema": schema, "names": list(tables.values())})
    rows = cursor.fetchall()
    columns = {part: {column for name, column, _ in rows if name == table} for part, table in tables.items()}
    missing = [table for part, table in tables.items() if not columns[part] and part != "nodes"]
    if missing:
        raise Osm2pgsqlUnusable(
            f"no table {' and no table '.join(f'{schema}.{table}' for table in missing)}: osm2pgsql must import with "
            "--slim and without --drop; or set osm.prefix, osm.output_schema or osm.middle_schema right"
        )
    _refuse_unreadable(f"{schema}.{name}" for name, _, readable in rows if not readable)
    for part, needed in (("ways", {"id", "nodes", "tags"}), ("rels", {"id", "members", "tags"})):
        if not needed <= columns[part]:
            raise Osm2pgsqlUnusable(
                f"{schema}.{tables[part]} has no column {', '.join(sorted(needed - columns[part]))}: not a slim table "
                "of osm2pgsql 1.4 or later; set osm.prefix right, or import again"
            )
    return columns


def _array_indexes(cursor: Cursor, schema: str, tables: dict[str, str]) -> dict[str, sql.Identifier | None]:
    """The functions by which ways and relations are indexed, None where an index is on the column itself."""
    cursor.execute(query("osm2pgsql_array_indexes"), {"schema": schema, "names": list(tables.values())})
    indexes: dict[str, sql.Identifier | None] = {}
    for table, function_schema, function in cursor:
        part = next(part for part, name in tables.items() if name == table)
        indexes[part] = sql.Identifier(function_schema, function) if function else None
    for part in ("ways", "rels"):
        if part not in indexes:
            raise Osm2pgsqlUnusable(
                f"{schema}.{tables[part]} has no inverted index; without one, each change file would read all of it. "
                "osm2pgsql makes it with --slim (and without --drop): import again"
            )
    return indexes


def _outputs(cursor: Cursor, knobs: Osm) -> tuple[Output, ...]:
    cursor.execute(query("osm2pgsql_output_tables"), {"schema": knobs.output_schema})
    rows = [row for row in cursor.fetchall() if not row[3].upper().endswith("POINT")]
    known = {row[0] for row in rows}
    missing = [name for name in knobs.tables if name not in known]
    if missing:
        raise Osm2pgsqlUnusable(
            f"osm.tables names {', '.join(missing)}: not in schema {knobs.output_schema}, or without lines and polygons"
        )
    prefixed = {name for name in known if name.startswith(f"{knobs.prefix}_")}
    ours = set(knobs.tables) or prefixed or known
    chosen = {row[0]: row for row in reversed(rows) if row[0] in ours and (row[5] or knobs.tables)}
    if not chosen:
        raise Osm2pgsqlUnusable(
            f"schema {knobs.output_schema} has no table with lines or polygons and an indexed id of osm2pgsql; set "
            "osm.prefix, osm.output_schema or osm.tables right"
        )
    _refuse_unreadable(f"{knobs.output_schema}.{name}" for name, row in chosen.items() if not row[4])
    return tuple(_output(cursor, knobs.output_schema, *row) for row in sorted(chosen.values()))


def _output(
    cursor: Cursor, schema: str, name: str, geometry: str, srid: int, _: str, __: bool, ids: list[str], typed: bool
) -> Output:
    if not ids or srid <= 0:
        lacks = "an indexed id column of type bigint" if not ids else "a known SRID for its geometry"
        raise Osm2pgsqlUnusable(f"{schema}.{name} has not {lacks}; leave it out of osm.tables")
    id_ = next((column for column in ID_COLUMNS if column in ids), ids[0])
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier(schema, name), "id": sql.Identifier(id_), "geometry": sql.Identifier(geometry),
        "type": sql.Identifier("osm_type") if typed else sql.Literal(""), "srid": sql.Literal(srid),
    }
    kind = "typed" if typed else "way" if id_ == "way_id" else "relation" if id_.startswith("rel") else "signed"
    if kind == "signed" and id_ != "area_id":
        cursor.execute(sql.SQL(query("osm2pgsql_lowest_id")).format(**names))
        if (cursor.fetchone()[0] or 0) <= -ANY_RELATION:
            kind = "any"
    return Output(name, kind, srid, names)


def _refuse_unreadable(tables: Iterable[str]) -> None:
    denied = sorted(set(tables))
    if denied:
        raise Osm2pgsqlUnusable(
            f"permission denied for {', '.join(denied)}; as its owner: GRANT SELECT ON {', '.join(denied)} TO the user "
            "of osm.dsn"
        )
