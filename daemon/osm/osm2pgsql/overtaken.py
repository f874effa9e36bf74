"""What was on the map for a moment that nobody could see: made and taken away by one change file, or made by it and
changed away by a later one that osm2pgsql has applied as well. Somebody worked there: the ground is looked at again.

As far as it can be known: by the change file's word, and by nodes and members as osm2pgsql has them now (nodes only
where it keeps them in the database, not with --flat-nodes).
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from daemon.osm.area import AreaOfInterest
from daemon.osm.changes import ChangeFile
from daemon.osm.columns import Elements, to_relations, to_ways
from daemon.osm.elements import NodeTable, Relation, Selects, Way, flatten
from daemon.osm.features import Key, build_features
from daemon.osm.osm2pgsql.affected import Affected, ask, read_nodes
from daemon.osm.osm2pgsql.snapshot import Snapshot
from detectors.base import OsmFeature


def find_overtaken(
    snapshot: Snapshot,
    file: ChangeFile,
    affected: Affected,
    seen: Container[Key],
    selects: Selects,
    area: AreaOfInterest | None,
) -> list[OsmFeature]:
    """Features of the file that the map does not show, ordered by type and id.

    Args:
        seen: what the map shows.
    """
    def unseen(kind: str, elements: Elements) -> Elements:
        keys = [(kind, id_) for id_ in elements.id.tolist()]
        return elements.pick(np.array([key not in affected.dropped and key not in seen for key in keys], bool))

    ways = [*to_ways(file.passing.ways, selects), *to_ways(unseen("w", file.ways), selects)]
    selected = sorted((way for way in ways if way.tags is not None), key=lambda way: way.id)
    relations = [*to_relations(file.passing.relations, selects), *to_relations(unseen("r", file.relations), selects)]
    relations = sorted((relation for relation in relations if relation.visible), key=lambda relation: relation.id)
    if not selected and not relations:
        return []
    members = _read_members(snapshot, file, relations, ways)
    refs, _ = flatten(way.refs for way in (*selected, *members.values()))
    nodes = NodeTable(file.passing.nodes, file.nodes[file.nodes["present"]], read_nodes(snapshot, refs))
    return list(build_features(selected, relations, members, nodes, area).values())


def _read_members(
    snapshot: Snapshot, file: ChangeFile, relations: list[Relation], ways: list[Way]
) -> dict[int, Way]:
    wanted = {ref for relation in relations for ref in relation.way_refs}
    if not wanted:
        return {}
    ids = np.array(sorted(wanted), np.int64)
    now = {id_: Way(id_, 0, 0, None, refs) for id_, refs in ask(snapshot, "osm2pgsql_nodes_of_ways", ids)}
    of_file = to_ways(file.ways.pick(np.isin(file.ways.id, ids) & file.ways.visible), lambda tags: False)
    return now | {way.id: way for way in (*of_file, *ways) if way.id in wanted}
