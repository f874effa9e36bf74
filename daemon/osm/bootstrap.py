"""Load an OSM file into an empty store, in one transaction: a bootstrap that is killed half-way leaves nothing."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.config import server_of
from daemon.db import Database, query
from daemon.errors import AreaEmpty, OsmDataError, PbfInvalid
from daemon.osm.area import AreaOfInterest, describe_area
from daemon.osm.columns import Elements, to_ways
from daemon.osm.elements import NodeTable, Relation, Selects, Way, any_of
from daemon.osm.extract import Extract, Progress
from daemon.osm.features import build_features, load_features
from daemon.osm.header import Origin
from daemon.osm.rows import copy_ways, encode_nodes, fetch_ways, note_missing, put_relations
from daemon.osm.values import BootstrapReport

#: Relations written and assembled at once.
RELATIONS_AT_ONCE = 500


def bootstrap_store(
    db: Database,
    path: Path,
    area: AreaOfInterest | None,
    selects: Selects,
    progress: Progress | None,
    *,
    force: bool,
    replication_url: str | None,
) -> BootstrapReport:
    """See `OsmStore.bootstrap`."""
    begun = time.monotonic()
    if not path.is_file():
        raise PbfInvalid(f"{path}: no such file; give an OSM extract, e.g. country.osm.pbf")
    extract = Extract(path, area, selects, progress)
    try:
        with db.transaction() as cursor:
            empty_store(cursor, force=force)
            cursor.execute(query("drop_store_indexes"))
            counts = _load(cursor, extract, area, selects)
            cursor.execute(query("index_store"))
            origin = Origin.of(extract.header)
            sequence = origin.sequence if replication_url is None else origin.sequence_on(replication_url)
            newest = datetime.fromtimestamp(extract.newest, UTC) if extract.newest else None
            timestamp = origin.timestamp or newest
            cursor.execute(query("start_position"), {
                "sequence": sequence, "timestamp": timestamp, "area": json.dumps(describe_area(area)),
                "server": server_of(replication_url) if replication_url else None,
            })
        return BootstrapReport(
            **counts, invalid=extract.invalid, sequence=sequence, timestamp=timestamp,
            replication_url=origin.url, seconds=time.monotonic() - begun,
        )
    finally:
        extract.close()


def empty_store(cursor: Cursor, *, force: bool) -> None:
    """Make room for what is bootstrapped.

    Raises:
        OsmDataError: the store holds something, and `force` is not set.
    """
    cursor.execute(query("store_area"))
    if cursor.fetchone() is not None and not force:
        raise OsmDataError(
            "the store is bootstrapped already; start the daemon to follow the changes, or force a new bootstrap, "
            "which throws the stored OSM data away"
        )
    cursor.execute(query("empty_store"))


def _load(cursor: Cursor, extract: Extract, area: AreaOfInterest | None, selects: Selects) -> dict[str, int]:
    counts = dict.fromkeys(("nodes", "ways", "relations", "features"), 0)
    relations: list[Relation] = []
    ways = _Ways(cursor, extract, area, selects, counts)
    for piece in extract.read():
        if isinstance(piece, np.ndarray):
            counts["nodes"] += _copy(cursor, "load_nodes", encode_nodes(piece), len(piece))
        elif isinstance(piece, Elements):
            ways.load(piece, inside=True)
        else:
            relations += piece
    relations = [r for r in relations if area is None or not extract.ways_inside.isdisjoint(r.way_refs)]
    if area is not None:
        far = {ref for relation in relations for ref in relation.way_refs} - extract.ways_inside
        ways.load(extract.read_ways(np.array(sorted(far), np.int64)), inside=False)
        extra = extract.read_nodes_outside(ways.outside)
        counts["nodes"] += _copy(cursor, "load_nodes", encode_nodes(extra), len(extra))
    if not extract.covered:
        raise AreaEmpty(
            "the file has no node at all" if area is None else
            f"the file has nothing inside the area {area.bounds} (west, south, east, north); take an extract that "
            "covers it"
        )
    lacking = ways.outside[~extract.nodes.lookup(ways.outside)[0]]
    if lacking.size and "LocationsOnWays" in (extract.header.get(f"pbf_optional_feature_{i}") for i in range(8)):
        raise PbfInvalid(
            f"the file keeps locations on ways and lacks {len(lacking)} of their nodes; changes cannot be applied to "
            "it; take an extract with all nodes"
        )
    ways.load_waiting()
    note_missing(cursor, "n", lacking)
    _load_relations(cursor, relations, extract.nodes, area, counts)
    cursor.execute(query("find_missing_ways"))
    if area is not None:
        cursor.execute(query("find_node_pages"))
    return counts


class _Ways:
    """Loads ways and their features. What has a node that is not known yet waits for the nodes outside."""

    def __init__(
        self, cursor: Cursor, extract: Extract, area: AreaOfInterest | None, selects: Selects, counts: dict[str, int]
    ):
        self._cursor, self._extract, self._area, self._selects, self._counts = cursor, extract, area, selects, counts
        self._waiting: list[Way] = []
        self._outside: list[np.ndarray] = []

    @property
    def outside(self) -> np.ndarray:
        """Nodes that loaded ways refer to and that are not inside: ids, sorted."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self._outside]))

    def load(self, elements: Elements, inside: bool) -> None:
        ways = [way._replace(inside=inside) for way in to_ways(elements, self._selects)]
        self._cursor.copy_expert(query("load_ways"), copy_ways(ways))
        self._counts["ways"] += len(ways)
        refs, offsets = elements.refs
        unknown = ~self._extract.nodes.lookup(refs)[0]
        self._outside.append(np.unique(refs[unknown]))
        waits = any_of(unknown, offsets).tolist()
        self._build([way for way, wait in zip(ways, waits, strict=True) if way.tags is not None and not wait])
        self._waiting += [way for way, wait in zip(ways, waits, strict=True) if way.tags is not None and wait]

    def load_waiting(self) -> None:
        """Once all nodes are known that ever will be."""
        self._build(self._waiting)
        self._waiting = []

    def _build(self, ways: list[Way]) -> None:
        features = build_features(ways, [], {}, self._extract.nodes, self._area)
        self._counts["features"] += load_features(self._cursor, features.values())


def _load_relations(
    cursor: Cursor, relations: list[Relation], nodes: NodeTable, area: AreaOfInterest | None, counts: dict[str, int]
) -> None:
    cursor.execute(query("index_ways"))
    counts["relations"] = len(relations)
    for start in range(0, len(relations), RELATIONS_AT_ONCE):
        some = relations[start:start + RELATIONS_AT_ONCE]
        put_relations(cursor, some)
        members = fetch_ways(cursor, {ref for relation in some for ref in relation.way_refs})
        features = build_features([], some, members, nodes, area)
        counts["features"] += load_features(cursor, features.values())


def _copy(cursor: Cursor, name: str, data: bytes, rows: int) -> int:
    if rows:
        cursor.copy_expert(query(name), io.BytesIO(data))
    return rows
