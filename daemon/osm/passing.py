"""What was on the map for a moment only: objects that one change file both makes and takes away.

Neither before the file nor after it does the store hold them, and yet somebody worked there: their ground is looked at
again.
"""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from daemon.osm.area import AreaOfInterest
from daemon.osm.changes import ChangeFile
from daemon.osm.columns import to_relations, to_ways
from daemon.osm.elements import NodeTable, Selects, flatten
from daemon.osm.features import build_features
from daemon.osm.rows import fetch_nodes, fetch_ways
from detectors.base import OsmFeature


def find_passing(
    cursor: Cursor, file: ChangeFile, selects: Selects, area: AreaOfInterest | None
) -> list[OsmFeature]:
    """Ways and relations that a detector would have asked for before the file deleted them, ordered by type and id.

    To be called before the file is applied: what of their parts the file does not hold is that of the store.
    """
    passing = file.passing
    ways = to_ways(passing.ways, selects)
    relations = [relation for relation in to_relations(passing.relations, selects) if relation.visible]
    selected = [way for way in ways if way.tags is not None]
    if not selected and not relations:
        return []
    wanted = {ref for relation in relations for ref in relation.way_refs}
    of_file = [way for way in to_ways(file.ways, selects) if way.id in wanted and way.visible] if wanted else []
    members = fetch_ways(cursor, wanted) | {way.id: way for way in (*of_file, *ways)}
    refs, _ = flatten(way.refs for way in (*selected, *members.values()))
    nodes = NodeTable(passing.nodes, file.nodes[file.nodes["present"]], fetch_nodes(cursor, refs))
    return list(build_features(selected, relations, members, nodes, area).values())
