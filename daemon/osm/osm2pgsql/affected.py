"""Which objects a change file affects: those it holds, ways of its nodes, relations of all these ways.

The slim tables are asked as they are now. Where they are further than the change file, a way may have lost a node or a
relation a member since: then a later file holds that way or relation, and it is that file's to affect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.osm.changes import ChangeFile
from daemon.osm.columns import Elements
from daemon.osm.elements import AREA_TYPES, NODE, Selects
from daemon.osm.features import Key
from daemon.osm.osm2pgsql.snapshot import Snapshot
from daemon.osm.rows import array

#: Ids asked for at once.
AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Affected:
    """Ways and relations by type and id.

    Attributes:
        keys: all that are affected.
        edits: the newest edit that the file makes of each or of its parts, seconds since 1970.
        versions: of those that the file holds and does not delete.
        dropped: those that by the file's own word are gone, or no longer what a detector asks for.
    """

    keys: set[Key]
    edits: dict[Key, int]
    versions: dict[Key, int]
    dropped: set[Key]


def find_affected(snapshot: Snapshot, file: ChangeFile, selects: Selects) -> Affected:
    """Ask the slim tables, by their indexes."""
    edits: dict[Key, int] = {}
    versions: dict[Key, int] = {}
    dropped: set[Key] = set()
    for kind, elements in (("w", file.ways), ("r", file.relations)):
        for place, id_ in enumerate(elements.id.tolist()):
            edits[kind, id_] = int(elements.changed[place])
            if elements.visible[place]:
                versions[kind, id_] = int(elements.version[place])
            if not asked_for(kind, elements, place, selects):
                dropped.add((kind, id_))
    layout = snapshot.layout
    times = dict(zip(file.nodes["id"].tolist(), file.nodes["changed"].tolist(), strict=True))
    ways = "osm2pgsql_ways_of_nodes_by_bucket" if layout.by_bucket else "osm2pgsql_ways_of_nodes"
    for way, node in ask(snapshot, ways, file.nodes["id"]):
        edits["w", way] = max(edits.get(("w", way), 0), times[node])
    relations = "osm2pgsql_relations_of_ways_by_parts" if layout.legacy else "osm2pgsql_relations_of_ways"
    affected = np.array([id_ for kind, id_ in edits if kind == "w"], np.int64)
    for relation, way in ask(snapshot, relations, affected):
        edits["r", relation] = max(edits.get(("r", relation), 0), edits["w", way])
    return Affected(set(edits), edits, versions, dropped)


def asked_for(kind: str, elements: Elements, place: int, selects: Selects) -> bool:
    """Whether an object of a change file is on the map and of what a detector asks for."""
    if not elements.visible[place]:
        return False
    tags = elements.tags_of(place)
    return bool(tags) and (kind == "w" or tags.get("type") in AREA_TYPES) and selects(tags)


def read_nodes(snapshot: Snapshot, ids: np.ndarray) -> np.ndarray:
    """Locations of nodes as NODE, sorted by id; none where osm2pgsql keeps them in a file of its own (--flat-nodes)."""
    rows = ask(snapshot, "osm2pgsql_nodes", np.unique(ids)) if snapshot.layout.nodes else []
    nodes = np.zeros(len(rows), NODE)
    if rows:
        nodes["id"], nodes["lon"], nodes["lat"] = np.array(rows, np.int64).T
        nodes["present"] = True
    return nodes


def ask(snapshot: Snapshot, name: str, ids: np.ndarray) -> list[tuple]:
    """All rows of a named query about ids."""
    rows: list[tuple] = []
    for start in range(0, len(ids), AT_ONCE):
        snapshot.cursor.execute(snapshot.layout.sql(name), {"ids": array(ids[start:start + AT_ONCE])})
        rows += snapshot.cursor.fetchall()
    return rows
