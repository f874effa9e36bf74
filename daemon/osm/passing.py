"""Features that a change file both made and took away. No state of the store ever holds them, and yet somebody worked
there: their ground is looked at again.
"""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from daemon.osm.area import AreaOfInterest
from daemon.osm.changes import ChangeFile
from daemon.osm.elements import NodeTable, flatten
from daemon.osm.features import build_features
from daemon.osm.rows import fetch_nodes
from detectors.base import OsmFeature


def find_passing(cursor: Cursor, file: ChangeFile, area: AreaOfInterest | None) -> list[OsmFeature]:
    """Ways of the file that a detector would have asked for before the file deleted them, ordered by id.

    To be called before the file is applied: nodes that it does not hold are those of the store.
    """
    if not file.passing:
        return []
    refs, _ = flatten(way.refs for way in file.passing)
    nodes = NodeTable(file.passing_nodes, file.nodes[file.nodes["present"]], fetch_nodes(cursor, refs))
    return list(build_features(file.passing, [], {}, nodes, area).values())
