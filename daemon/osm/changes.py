"""Read one change file (osmChange XML, plain or gzipped).

An object may stand in a file several times and in any order: only its highest version counts, and among equal ones the
last. osmium refuses XML entities and checks the gzip sum; the size of what it unpacks to is bounded by whoever
fetched the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.errors import ChangeFileInvalid
from daemon.osm.columns import Columns, Elements, concatenate, last_of
from daemon.osm.opl import OSMIUM_FAILURES, read_columns

#: First bytes of a gzip file (RFC 1952).
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """The last word of a change file on each object, in order of id.

    Attributes:
        nodes: NODE array; a node without a sound location is not present.
        ways, relations: of any kind.
        invalid: objects put aside for an id that is not positive, and nodes whose location is none.
        passing: all objects of the file before its last word on them, for what it both makes and takes away.
    """

    nodes: np.ndarray
    ways: Elements
    relations: Elements
    invalid: int
    passing: Passing


@dataclass(frozen=True, slots=True)
class Passing:
    """The last visible version of objects that the file deletes after all, in order of id."""

    nodes: np.ndarray
    ways: Elements
    relations: Elements


def read_changes(path: Path) -> ChangeFile:
    """Read a change file: a local one, .osc or .osc.gz whatever its name.

    Raises:
        ChangeFileInvalid: unreadable, truncated, not XML, not an osmChange document.
    """
    try:
        with open(path, "rb") as stream:
            kind = "osc.gz" if stream.read(2) == GZIP_MAGIC else "osc"
        columns = concatenate(list(read_columns(path, kind)))
    except OSError as error:
        raise ChangeFileInvalid(f"{path}: cannot be read: {error}") from None
    except OSMIUM_FAILURES as error:
        raise ChangeFileInvalid(f"{path}: broken change file: {error}; fetch it again") from None
    return _last_word(columns)


def _last_word(columns: Columns) -> ChangeFile:
    possible = columns.nodes["id"] > 0
    invalid = np.count_nonzero(~(possible & columns.sound))
    nodes = columns.nodes[possible]
    last = nodes[last_of(nodes["id"], nodes["version"])]
    doomed = nodes[nodes["present"] & np.isin(nodes["id"], last["id"][~last["present"]])]
    ways, relations = (e.pick(e.id > 0) for e in (columns.ways, columns.relations))
    invalid += len(columns.ways) - len(ways) + len(columns.relations) - len(relations)
    (last_ways, fleeting_ways), (last_relations, fleeting_relations) = _last_elements(ways), _last_elements(relations)
    passing = Passing(doomed[last_of(doomed["id"], doomed["version"])], fleeting_ways, fleeting_relations)
    return ChangeFile(last, last_ways, last_relations, int(invalid), passing)


def _last_elements(elements: Elements) -> tuple[Elements, Elements]:
    """The last word on each, and the last visible version of those that are deleted."""
    last = elements.pick(last_of(elements.id, elements.version))
    doomed = elements.pick(elements.visible & np.isin(elements.id, last.id[~last.visible]))
    return last, doomed.pick(last_of(doomed.id, doomed.version))
