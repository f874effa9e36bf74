"""Apply one change file to the store: set by set, never object by object.

    news        what of the file is news to the store (guard.py)
    affected    ways that are news or hold a node that is; relations that are news or hold such a way
    kept        which of them the store keeps now (sql/0001_osm.sql says which objects it keeps)
    features    those of what is affected, before and after

What lies wholly beyond the margin is not remembered. An object that comes in from there is known as far as its change
file tells it; without an area, or with a margin wider than objects are moved and reach, the store equals a fresh
bootstrap of the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.osm.area import AreaOfInterest
from daemon.osm.changes import ChangeFile
from daemon.osm.columns import Elements, to_relations, to_ways
from daemon.osm.elements import NodeTable, Relation, Selects, Way, any_of, flatten
from daemon.osm.features import (
    Key,
    build_features,
    drop_features,
    fetch_features,
    forget_removed,
    put_features,
    same_thing,
)
from daemon.osm.geometry import PRECISION
from daemon.osm.guard import fetch_gone, forget_old, news_of, news_of_nodes, remember_gone
from daemon.osm.pages import NodePages
from daemon.osm.rows import (
    array,
    fetch_missing,
    fetch_nodes,
    fetch_relations,
    fetch_ways,
    forget_missing,
    note_missing,
    put_nodes,
    put_relations,
    put_ways,
)
from daemon.osm.values import Change
from detectors.base import OsmFeature


@dataclass(frozen=True, slots=True)
class _Nodes:
    """News of nodes: NODE, and whether the store has each of them.

    `asked` are the ids of those that were looked up: that the file holds, and with an area those that its ways refer to
    and that the store may have; `known` are the ones of them that it has, NODE; `gone` is what the memory of gone ones
    says, `missing` are those of the file that the store lacks although something in it refers to them.
    """

    news: np.ndarray
    have: np.ndarray
    known: np.ndarray
    asked: np.ndarray
    gone: dict[int, int]
    missing: np.ndarray


@dataclass(frozen=True, slots=True)
class _Ways:
    """Affected ways: as stored, as news, as they are now, and the nodes of the latter; `missing` as in _Nodes."""

    stored: dict[int, Way]
    news: dict[int, Way]
    now: dict[int, Way]
    gone: dict[int, int]
    missing: np.ndarray
    nodes: NodeTable

    @property
    def affected(self) -> set[int]:
        return self.stored.keys() | self.now.keys()


@dataclass(frozen=True, slots=True)
class _Relations:
    """Affected relations, likewise; `kept` is what of `now` stays in the store, `members` are its ways."""

    stored: dict[int, Relation]
    news: dict[int, Relation]
    kept: dict[int, Relation]
    gone: dict[int, int]
    members: dict[int, Way]


def apply_changes(
    cursor: Cursor,
    file: ChangeFile,
    selects: Selects,
    area: AreaOfInterest | None,
    pages: NodePages | None,
    timestamp: datetime,
) -> tuple[list[Change], Counter[str], NodePages | None]:
    """Bring the store's raw objects and features up to date with a change file, inside the caller's transaction.

    Args:
        pages: of the nodes of the store, where there is an area.

    Returns:
        Features whose geometry, tags or version changed, ordered by type and id; counts as in `Delta`; and the pages
        as they are now.
    """
    counts: Counter[str] = Counter(
        nodes=len(file.nodes), ways=len(file.ways), relations=len(file.relations), stale=0, invalid=file.invalid
    )
    of_file = {relation.id: relation for relation in to_relations(file.relations, selects)}
    stored = fetch_ways(cursor, file.ways.id)
    missing = fetch_missing(cursor, "w", file.ways.id)
    known_ways = np.union1d(_ids(stored), missing)
    nodes, near = _find_nodes(cursor, file, area, pages, known_ways, _member_ways(of_file), counts)
    ways = _find_ways(cursor, to_ways(near, selects), stored, missing, nodes, area, counts)
    relations = _find_relations(cursor, of_file, ways, area, counts)
    held = {ref for relation in relations.kept.values() for ref in relation.way_refs}
    kept = {id_: way for id_, way in ways.now.items() if way.inside or id_ in held}
    loose = _find_loose_ways(cursor, ways, relations, held, area)
    table = _with_members(cursor, ways.nodes, relations)
    changes = _change_features(cursor, ways, relations, kept, loose, table, area, timestamp, counts)

    put_ways(cursor, [way for id_, way in kept.items() if way != ways.stored.get(id_)])
    dropped = (ways.stored.keys() - kept.keys()) | loose.keys()
    _drop(cursor, "drop_ways", dropped)
    put_relations(cursor, [relation for id_, relation in relations.kept.items() if id_ in relations.news])
    _drop(cursor, "drop_relations", relations.stored.keys() - relations.kept.keys())
    left, back, there = _write_nodes(cursor, nodes, kept)
    shaped = [*relations.members.values(), *(w for w in kept.values() if area is not None or w.tags is not None)]
    used = np.unique(flatten(way.refs for way in shaped)[0])
    lacking = used[~table.lookup(used)[0]]
    note_missing(cursor, "n", lacking)
    forget_missing(cursor, "n", np.intersect1d(nodes.missing, there))
    if area is not None:
        before = chain(*(way.refs for way in ways.stored.values()), *(way.refs for way in loose.values()))
        _drop(cursor, "drop_unused_nodes", set(before) - set(chain(*(way.refs for way in kept.values()))))
    note_missing(cursor, "w", held - relations.members.keys())
    forget_missing(cursor, "w", kept.keys() & set(ways.missing.tolist()))

    remember_gone(cursor, "n", left, back, timestamp)
    for kind, found, stays in (("w", ways, kept), ("r", relations, relations.kept)):
        gone = {id_: max(row.version, found.news[id_].version if id_ in found.news else 0)
                for id_, row in found.stored.items() if id_ not in stays}
        remember_gone(cursor, kind, gone, found.gone.keys() & stays.keys(), timestamp)
    forget_old(cursor, timestamp)
    return changes, counts, pages and pages.grown(cursor, np.concatenate([there, lacking]))


def _find_nodes(
    cursor: Cursor,
    file: ChangeFile,
    area: AreaOfInterest | None,
    pages: NodePages | None,
    known_ways: np.ndarray,
    member_ways: np.ndarray,
    counts: Counter[str],
) -> tuple[_Nodes, Elements]:
    """News of nodes, and the ways of the file that may concern the store.

    Those are the ways that it has or misses, that a relation of the file refers to, or that have a node inside. Of
    nodes, those that it has or misses, that are inside, or that such a way refers to. In a minute of the planet
    nearly all is elsewhere: what is told apart here costs no more than its place in an array.
    """
    ids = file.nodes["id"]
    refs, offsets = file.ways.refs
    asked = ids
    if pages is not None:
        asked = np.concatenate([ids, refs])
        asked = np.unique(asked[pages.may_hold(asked)])
    known = fetch_nodes(cursor, asked)
    missing = fetch_missing(cursor, "n", ids if pages is None else ids[pages.may_hold(ids)])
    inside, near, concerned = file.nodes["present"], file.ways, np.ones(len(ids), bool)
    if area is not None:
        inside = inside & area.keeps(file.nodes["lon"] / PRECISION, file.nodes["lat"] / PRECISION)
        places = np.concatenate([ids[inside], known["id"][known["inside"]]])
        near = near.pick(
            any_of(np.isin(refs, places), offsets) | np.isin(near.id, known_ways) | np.isin(near.id, member_ways)
        )
        concerned = inside | np.isin(ids, np.concatenate([known["id"], missing, near.refs[0]]))
    nodes = file.nodes[concerned]
    nodes["inside"] = inside[concerned]
    stored = known[np.isin(known["id"], nodes["id"], assume_unique=True)]
    gone = fetch_gone(cursor, "n", np.setdiff1d(nodes["id"], stored["id"], assume_unique=True))
    news, have, stale = news_of_nodes(nodes, stored, gone)
    counts["stale"] += stale
    return _Nodes(news, have, known, asked, gone, missing), near


def _find_ways(
    cursor: Cursor,
    of_file: list[Way],
    stored: dict[int, Way],
    missing: np.ndarray,
    nodes: _Nodes,
    area: AreaOfInterest | None,
    counts: Counter[str],
) -> _Ways:
    """Ways that are news, or that hold a node that is.

    Args:
        of_file: ways of the change file.
        stored: as the store has those.
    """
    shaken: set[int] = set()
    moved = nodes.news["id"][nodes.have | np.isin(nodes.news["id"], nodes.missing)]
    if len(moved):
        cursor.execute(query("ways_with_nodes"), {"ids": array(moved)})
        shaken = {id_ for (id_,) in cursor}
    stored = stored | fetch_ways(cursor, shaken - stored.keys())
    gone = fetch_gone(cursor, "w", [way.id for way in of_file if way.id not in stored])
    news, stale = news_of({way.id: way for way in of_file}, stored, gone)
    counts["stale"] += stale
    stored = {id_: way for id_, way in stored.items() if id_ in news or id_ in shaken}
    now = {id_: way for id_, way in (stored | news).items() if way.visible}
    # Where the nodes of a way lie is asked for only where it tells whether the way is inside, or what shape it has.
    refs, offsets = flatten(way.refs for way in now.values() if area is not None or way.tags is not None)
    table = NodeTable(nodes.news, nodes.known, fetch_nodes(cursor, np.setdiff1d(refs, nodes.asked)))
    inside = [True] * len(now)
    if area is not None:
        known, rows = table.lookup(refs)
        inside = any_of(known & rows["inside"], offsets).tolist()
    now = {id_: way._replace(inside=flag) for (id_, way), flag in zip(now.items(), inside, strict=True)}
    return _Ways(stored, news, now, gone, missing, table)


def _find_relations(
    cursor: Cursor, of_file: dict[int, Relation], ways: _Ways, area: AreaOfInterest | None, counts: Counter[str]
) -> _Relations:
    affected = ways.affected
    # A way that the store neither has nor misses is no member of anything in it.
    referred = ways.stored.keys() | (affected & set(ways.missing.tolist()))
    stored = fetch_relations(cursor, of_file, referred)
    gone = fetch_gone(cursor, "r", [id_ for id_, row in of_file.items() if row.visible and id_ not in stored])
    news, stale = news_of(of_file, stored, gone)
    counts["stale"] += stale
    stored = {id_: row for id_, row in stored.items() if id_ in news or not affected.isdisjoint(row.way_refs)}
    now = {id_: row for id_, row in (stored | news).items() if row.visible}
    wanted = {ref for row in now.values() for ref in row.way_refs}
    members = fetch_ways(cursor, wanted - affected) | {id_: ways.now[id_] for id_ in wanted & ways.now.keys()}
    kept = {
        id_: row for id_, row in now.items()
        if area is None or any(ref in members and members[ref].inside for ref in row.way_refs)
    }
    return _Relations(stored, news, kept, gone, members)


def _find_loose_ways(
    cursor: Cursor, ways: _Ways, relations: _Relations, held: set[int], area: AreaOfInterest | None
) -> dict[int, Way]:
    """Ways outside that only their relation kept in the store, and that it lets go."""
    if area is None:
        return {}
    released = {ref for row in relations.stored.values() for ref in row.way_refs} - held - ways.affected
    loose = {id_: way for id_, way in fetch_ways(cursor, released).items() if not way.inside}
    if loose:
        cursor.execute(query("ways_held"), {"ways": array(loose), "relations": array(relations.stored)})
        for (id_,) in cursor.fetchall():
            del loose[id_]
    return loose


def _with_members(cursor: Cursor, nodes: NodeTable, relations: _Relations) -> NodeTable:
    """The nodes, and those of the relations' ways."""
    refs, _ = flatten(way.refs for way in relations.members.values())
    return nodes.with_layer(fetch_nodes(cursor, refs[~nodes.lookup(refs)[0]]))


def _change_features(
    cursor: Cursor,
    ways: _Ways,
    relations: _Relations,
    kept: dict[int, Way],
    loose: dict[int, Way],
    nodes: NodeTable,
    area: AreaOfInterest | None,
    timestamp: datetime,
    counts: Counter[str],
) -> list[Change]:
    old = fetch_features(cursor, ways.stored.keys() | loose.keys(), relations.stored)
    selected = [way for way in kept.values() if way.tags is not None]
    new = build_features(selected, list(relations.kept.values()), relations.members, nodes, area)

    put = [feature for key, feature in new.items() if _differs(old.get(key), feature)]
    put_features(cursor, put)
    forget_removed(cursor, [feature for key, feature in new.items() if key not in old])
    drop_features(cursor, {key: _removal(key, ways, relations, timestamp) for key in old if key not in new})
    changes = []
    for key in sorted(old.keys() | new.keys(), key=lambda k: (k[0] == "r", k[1])):
        before, after = old.get(key), new.get(key)
        if before is None or after is None or not same_thing(before, after):
            changes.append(Change(before, after))
            counts["features_new" if before is None else "features_gone" if after is None else "features_changed"] += 1
    return changes


def _differs(old: OsmFeature | None, new: OsmFeature) -> bool:
    """Whether a feature's row has to be written: also where only a witness of its shape was edited anew."""
    return old is None or old.timestamp != new.timestamp or not same_thing(old, new)


def _removal(key: Key, ways: _Ways, relations: _Relations, timestamp: datetime) -> int:
    """When a feature left the map: by an edit of the object itself, else by what this change file did to its parts."""
    kind, id_ = key
    edit = (ways.news if kind == "w" else relations.news).get(id_)
    return edit.changed if edit is not None and edit.changed > 0 else int(timestamp.timestamp())


def _write_nodes(
    cursor: Cursor, nodes: _Nodes, kept: dict[int, Way]
) -> tuple[dict[int, int], set[int], np.ndarray]:
    """Store the news that belong into the store, and take out what no longer does.

    Returns versions of those that left by id; of those that were stored, the ids that had left before, and all ids.

    Every way that holds one of these nodes is affected, so `kept` knows all that use them.
    """
    used = np.unique(flatten(way.refs for way in kept.values())[0])
    stays = nodes.news["inside"] | (nodes.news["present"] & np.isin(nodes.news["id"], used))
    put_nodes(cursor, nodes.news[stays])
    left = nodes.news[~stays & nodes.have]
    _drop(cursor, "drop_nodes", left["id"].tolist())
    there = nodes.news["id"][stays]
    back = nodes.gone.keys() & set(there.tolist())
    return dict(zip(left["id"].tolist(), left["version"].tolist(), strict=True)), back, there


def _member_ways(relations: Mapping[int, Relation]) -> np.ndarray:
    return _ids({ref for relation in relations.values() for ref in relation.way_refs})


def _ids(ids: Iterable[int]) -> np.ndarray:
    return np.array(sorted(ids), np.int64)


def _drop(cursor: Cursor, name: str, ids: Iterable[int]) -> None:
    doomed = array(ids)
    if doomed != "{}":
        cursor.execute(query(name), {"ids": doomed})
