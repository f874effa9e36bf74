"""Read one change file (osmChange XML, plain or gzipped) with osmium.

An object may stand in a file several times and in any order: only its highest version counts, and among equal ones the
last. osmium refuses XML entities and checks the gzip sum; the size of what it unpacks to is bounded by whoever
fetched the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import osmium

from daemon.errors import ChangeFileInvalid
from daemon.osm.elements import NODE, NodeColumns, Relation, Selects, Way, read_relation, read_way

#: First bytes of a gzip file (RFC 1952).
GZIP_MAGIC = b"\x1f\x8b"
#: What osmium raises on broken input.
OSMIUM_FAILURES = (RuntimeError, ValueError, UnicodeDecodeError, osmium.InvalidLocationError)

Row = TypeVar("Row", Way, Relation)


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """The last word of a change file on each object.

    Attributes:
        nodes: NODE array, sorted by id, each id once.
        ways, relations: by id.
        invalid: objects put aside for an id that is not positive, and nodes whose location is none.
        passing: the last visible version of ways that a detector asks for and that the file deletes after all, by id.
        passing_nodes: the last location of nodes that the file deletes after all, NODE, sorted by id.
    """

    nodes: np.ndarray
    ways: dict[int, Way]
    relations: dict[int, Relation]
    invalid: int
    passing: list[Way]
    passing_nodes: np.ndarray


def read_changes(path: Path, selects: Selects) -> ChangeFile:
    """Read a change file.

    Args:
        path: a local file, .osc or .osc.gz whatever its name.
        selects: which tags a detector asks for.

    Raises:
        ChangeFileInvalid: unreadable, truncated, not XML, not an osmChange document.
    """
    nodes = NodeColumns()
    ways: list[Way] = []
    relations: list[Relation] = []
    invalid = 0
    try:
        with open(path, "rb") as stream:
            kind = "osc.gz" if stream.read(2) == GZIP_MAGIC else "osc"
        with osmium.io.Reader(osmium.io.File(str(path), kind), osmium.osm.NOTHING) as reader:
            if not reader.header().has_multiple_object_versions:
                raise ChangeFileInvalid(f"{path}: an OSM file, but not a change file (osmChange); fetch it again")
        for element in osmium.FileProcessor(osmium.io.File(str(path), kind)):
            if element.id <= 0:
                invalid += 1
            elif element.is_node():
                nodes.add(element)
            elif element.is_way():
                ways.append(read_way(element, selects))
            elif element.is_relation():
                relations.append(read_relation(element, selects))
    except OSError as error:
        raise ChangeFileInvalid(f"{path}: cannot be read: {error}") from None
    except OSMIUM_FAILURES as error:
        raise ChangeFileInvalid(f"{path}: broken change file: {error}; fetch it again") from None
    rows = nodes.take()
    last_nodes, last_ways = _last_nodes(rows), _last(ways)
    doomed = last_nodes["id"][~last_nodes["present"]]
    seen = _last(way for way in ways if way.visible and way.tags is not None and not last_ways[way.id].visible)
    return ChangeFile(
        last_nodes, last_ways, _last(relations), invalid + nodes.unsound, [seen[id_] for id_ in sorted(seen)],
        _last_nodes(rows[rows["present"] & np.isin(rows["id"], doomed)]),
    )


def _last_nodes(nodes: np.ndarray) -> np.ndarray:
    if not len(nodes):
        return np.zeros(0, NODE)
    order = np.lexsort((np.arange(len(nodes)), nodes["version"], nodes["id"]))
    nodes = nodes[order]
    last = np.ones(len(nodes), bool)
    last[:-1] = nodes["id"][1:] != nodes["id"][:-1]
    return nodes[last]


def _last(rows: Iterable[Row]) -> dict[int, Row]:
    latest: dict[int, Row] = {}
    for row in rows:
        known = latest.get(row.id)
        if known is None or row.version >= known.version:
            latest[row.id] = row
    return latest
