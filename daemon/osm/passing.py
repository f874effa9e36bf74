"""What was on the map for a moment only: objects that one change file both makes and takes away.

Neither before the file nor after it does the store hold them, and yet somebody worked there: their ground is looked at
again. It is that of the map as it would be if the file had deleted nothing.
"""

from __future__ import annotations

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.osm.area import AreaOfInterest
from daemon.osm.changes import ChangeFile
from daemon.osm.columns import to_relations, to_ways
from daemon.osm.elements import NodeTable, Relation, Selects, Way, flatten
from daemon.osm.features import build_features
from daemon.osm.guard import fetch_gone, news_of, news_of_nodes
from daemon.osm.rows import fetch_nodes, fetch_relations, fetch_ways
from detectors.base import OsmFeature


def find_passing(
    cursor: Cursor, file: ChangeFile, selects: Selects, area: AreaOfInterest | None
) -> list[OsmFeature]:
    """Ways and relations that a detector would have asked for before the file deleted them, ordered by type and id.

    To be called before the file is applied: what of their parts the file does not hold, or holds in a version older
    than the store, is that of the store.
    """
    relations = _news_of_relations(cursor, to_relations(file.passing.relations, selects))
    fleeting = to_ways(file.passing.ways, selects)
    if not relations and all(way.tags is None for way in fleeting):
        return []
    wanted = {ref for relation in relations for ref in relation.way_refs}
    changed = to_ways(file.ways.pick(np.isin(file.ways.id, list(wanted)) & file.ways.visible), selects)
    stored = fetch_ways(cursor, wanted | {way.id for way in fleeting})
    news = _news_of_ways(cursor, [*changed, *fleeting], stored)
    ways = [news[way.id] for way in fleeting if way.id in news and way.tags is not None]
    members = stored | news
    refs = np.unique(flatten(way.refs for way in (*ways, *members.values()))[0])
    return list(build_features(ways, relations, members, _nodes_at_that_moment(cursor, file, refs), area).values())


def _news_of_relations(cursor: Cursor, relations: list[Relation]) -> list[Relation]:
    seen = {relation.id: relation for relation in relations if relation.visible}
    stored = fetch_relations(cursor, seen, [])
    news, _ = news_of(seen, stored, fetch_gone(cursor, "r", list(seen.keys() - stored.keys())))
    return list(news.values())


def _news_of_ways(cursor: Cursor, ways: list[Way], stored: dict[int, Way]) -> dict[int, Way]:
    news, _ = news_of(
        {way.id: way for way in ways}, stored, fetch_gone(cursor, "w", [w.id for w in ways if w.id not in stored])
    )
    return news


def _nodes_at_that_moment(cursor: Cursor, file: ChangeFile, refs: np.ndarray) -> NodeTable:
    """Of these nodes, those that the file deletes, those that it has otherwise, those of the store."""
    stored = fetch_nodes(cursor, refs)
    layers = []
    for nodes in (file.passing.nodes, file.nodes[file.nodes["present"]]):
        used = nodes[np.isin(nodes["id"], refs)]
        gone = fetch_gone(cursor, "n", np.setdiff1d(used["id"], stored["id"]))
        layers.append(news_of_nodes(used, stored, gone)[0])
    return NodeTable(*layers, stored)
