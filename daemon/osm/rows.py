"""Rows between the store's tables and Python: arrays as literals, binary copies of nodes, ways and relations."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.osm.elements import NODE, Relation, Way

#: PostgreSQL's binary timestamps count microseconds from 2000-01-01: this many seconds after 1970.
POSTGRES_EPOCH = 946_684_800
#: A row of osm_node in PostgreSQL's binary copy format: number of columns, then length and value of each, big-endian
#: (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format").
_COLUMNS = [
    ("id", ">i8", 8), ("changed", ">i8", 8), ("lon", ">i4", 4), ("lat", ">i4", 4), ("version", ">i4", 4),
    ("inside", "?", 1),
]
_COPY_ROW = np.dtype([
    ("columns", ">i2"), *(field for name, kind, _ in _COLUMNS for field in ((f"{name}_length", ">i4"), (name, kind))),
])
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL = b"\xff\xff"
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def array(values: Iterable[Any]) -> str:
    """Numbers or truth values as a PostgreSQL array literal: quicker to make and to parse than ARRAY[...]."""
    kept = values.tolist() if isinstance(values, np.ndarray) else values
    return "{" + ",".join(map(str, kept)) + "}"


def encode_nodes(nodes: np.ndarray) -> bytes:
    """A NODE array as a complete binary copy of osm_node."""
    rows = np.zeros(len(nodes), _COPY_ROW)
    rows["columns"] = len(_COLUMNS)
    for name, _, width in _COLUMNS:
        rows[f"{name}_length"] = width
        rows[name] = (nodes[name] - POSTGRES_EPOCH) * 1_000_000 if name == "changed" else nodes[name]
    return _COPY_HEAD + rows.tobytes() + _COPY_TAIL


def decode_nodes(copied: bytes) -> np.ndarray:
    """The inverse of `encode_nodes`."""
    rows = np.frombuffer(copied[len(_COPY_HEAD):-len(_COPY_TAIL)], _COPY_ROW)
    nodes = np.ones(len(rows), NODE)
    for name, _, _ in _COLUMNS:
        nodes[name] = rows[name] // 1_000_000 + POSTGRES_EPOCH if name == "changed" else rows[name]
    return nodes


def fetch_nodes(cursor: Cursor, ids: np.ndarray) -> np.ndarray:
    """Those of the nodes that the store has, NODE, sorted by id."""
    if not len(ids):
        return np.zeros(0, NODE)
    select = cursor.mogrify(query("nodes_by_id").rstrip(";"), {"ids": array(np.unique(ids))}).decode()
    copied = io.BytesIO()
    cursor.copy_expert(f"COPY ({select}) TO STDOUT (FORMAT binary)", copied)
    return decode_nodes(copied.getvalue())


def fetch_ways(cursor: Cursor, ids: Iterable[int]) -> dict[int, Way]:
    """Those of the ways that the store has."""
    wanted = array(ids)
    if wanted == "{}":
        return {}
    cursor.execute(query("ways_by_id"), {"ids": wanted})
    return {row[0]: Way(*row) for row in cursor}


def fetch_relations(cursor: Cursor, ids: Iterable[int], ways: Iterable[int]) -> dict[int, Relation]:
    """Relations of the store with these ids, and those with any of these ways among their members."""
    wanted = {"ids": array(ids), "ways": array(ways)}
    if wanted["ids"] == wanted["ways"] == "{}":
        return {}
    cursor.execute(query("relations_by_id"), wanted)
    return {
        id_: Relation(id_, version, changed, tags, list(zip(types, refs, roles, strict=True)))
        for id_, version, changed, tags, types, refs, roles in cursor
    }


def fetch_missing(cursor: Cursor, kind: str, ids: Iterable[int]) -> np.ndarray:
    """Those of the nodes ("n") or ways ("w") that the store lacks although something in it refers to them, sorted."""
    cursor.execute(query("missing"), {"type": kind, "ids": array(ids)})
    return np.array(sorted(id_ for (id_,) in cursor), np.int64)


def note_missing(cursor: Cursor, kind: str, ids: Iterable[int]) -> None:
    """Something in the store refers to these nodes or ways, which it does not have."""
    if (wanted := array(ids)) != "{}":
        cursor.execute(query("put_missing"), {"type": kind, "ids": wanted})


def forget_missing(cursor: Cursor, kind: str, ids: Iterable[int]) -> None:
    """These nodes or ways are in the store now."""
    if (found := array(ids)) != "{}":
        cursor.execute(query("forget_missing"), {"type": kind, "ids": found})


def put_nodes(cursor: Cursor, nodes: np.ndarray) -> None:
    """Insert nodes (NODE), or bring them up to date."""
    if len(nodes):
        names = ("id", "changed", "lon", "lat", "version", "inside")
        cursor.execute(query("put_nodes"), {name: array(nodes[name]) for name in names})


def put_ways(cursor: Cursor, ways: Sequence[Way]) -> None:
    """Insert ways, or bring them up to date."""
    if ways:
        cursor.execute(query("put_ways"), {
            "id": array(way.id for way in ways),
            "changed": array(way.changed for way in ways),
            "version": array(way.version for way in ways),
            "inside": array(way.inside for way in ways),
            "tags": [None if way.tags is None else encode_tags(way.tags) for way in ways],
            "nodes": [array(way.refs) for way in ways],
        })


def put_relations(cursor: Cursor, relations: Sequence[Relation]) -> None:
    """Insert relations, or bring them up to date."""
    if relations:
        rows = [[r.id, r.changed, r.version, r.tags, r.members, r.way_refs] for r in relations]
        cursor.execute(query("put_relations"), {"relations": json.dumps(rows, ensure_ascii=False)})


def copy_ways(ways: Iterable[Way]) -> io.BytesIO:
    """Ways in PostgreSQL's text copy format, for the query `load_ways`."""
    rows = []
    for way in ways:
        tags = "\\N" if way.tags is None else escape(encode_tags(way.tags))
        changed = datetime.fromtimestamp(way.changed, UTC).isoformat()
        rows.append(f"{way.id}\t{changed}\t{way.version}\t{way.inside}\t{tags}\t{array(way.refs)}\n")
    return io.BytesIO("".join(rows).encode())


def encode_tags(tags: Mapping[str, str]) -> str:
    """Tags as JSON."""
    return _ENCODER.encode(dict(tags))


def escape(text: str) -> str:
    """A value for PostgreSQL's text copy format."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
