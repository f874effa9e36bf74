"""Load an OSM file into an empty store, in one transaction: a bootstrap that is killed half-way leaves nothing."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import Database, query
from daemon.errors import AreaEmpty, OsmDataError, PbfInvalid
from daemon.osm.area import AreaOfInterest, describe_area
from daemon.osm.elements import NodeTable, Relation, Selects, Way, flatten
from daemon.osm.extract import Extract, Progress
from daemon.osm.features import build_features, put_features
from daemon.osm.rows import copy_ways, encode_nodes, fetch_ways, put_relations
from daemon.osm.values import BootstrapReport

#: Ways whose features are built at once.
WAYS_AT_ONCE = 20_000
#: Relations assembled at once.
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
            cursor.execute(query("store_area"))
            if cursor.fetchone() is not None and not force:
                raise OsmDataError(
                    "the store is bootstrapped already; start the daemon to follow the changes, or force a new "
                    "bootstrap, which throws the stored OSM data away"
                )
            cursor.execute(query("empty_store"))
            cursor.execute(query("drop_store_indexes"))
            counts = _load(cursor, extract, area)
            cursor.execute(query("index_store"))
            sequence, timestamp, url = _position(extract, replication_url)
            cursor.execute(query("start_position"), {
                "sequence": sequence, "timestamp": timestamp, "area": json.dumps(describe_area(area)),
            })
        return BootstrapReport(
            **counts, invalid=extract.invalid, sequence=sequence, timestamp=timestamp, replication_url=url,
            seconds=time.monotonic() - begun,
        )
    finally:
        extract.close()


def _load(cursor: Cursor, extract: Extract, area: AreaOfInterest | None) -> dict[str, int]:
    counts = dict.fromkeys(("nodes", "ways", "relations", "features"), 0)
    relations: list[Relation] = []
    outside: set[int] = set()
    locations_on_ways = "LocationsOnWays" in (extract.header.get(f"pbf_optional_feature_{i}") for i in range(8))
    for batch in extract.read():
        if isinstance(batch, np.ndarray):
            counts["nodes"] += _copy(cursor, "load_nodes", encode_nodes(batch), len(batch))
        elif batch and isinstance(batch[0], Relation):
            relations = batch
        else:
            _load_ways(cursor, extract, batch, outside, counts)
    relations = [r for r in relations if area is None or not extract.ways_inside.isdisjoint(r.way_refs)]
    if area is not None:
        far = {ref for relation in relations for ref in relation.way_refs} - extract.ways_inside
        _load_ways(cursor, extract, extract.read_ways(far), outside, counts)
        extra = extract.read_nodes_outside(np.fromiter(outside, np.int64, len(outside)))
        counts["nodes"] += _copy(cursor, "load_nodes", encode_nodes(extra), len(extra))
        outside -= set(extra["id"].tolist())
    if not extract.covered:
        raise AreaEmpty(
            "the file has no node at all" if area is None else
            f"the file has nothing inside the area {area.bounds} (west, south, east, north); take an extract that "
            "covers it"
        )
    if locations_on_ways and outside:
        raise PbfInvalid(
            f"the file keeps locations on ways and lacks {len(outside)} of their nodes; changes cannot be applied to "
            "it; take an extract with all nodes"
        )
    cursor.execute(query("index_ways"))
    put_relations(cursor, relations)
    counts["relations"] = len(relations)
    counts["features"] = _load_features(cursor, relations, extract.nodes, area)
    return counts


def _load_ways(cursor: Cursor, extract: Extract, ways: list[Way], outside: set[int], counts: dict[str, int]) -> None:
    """Copy ways in, and note which of their nodes are not inside."""
    if not ways:
        return
    cursor.copy_expert(query("load_ways"), copy_ways(ways))
    counts["ways"] += len(ways)
    refs, _ = flatten(way.refs for way in ways)
    known, _ = extract.nodes.lookup(refs)
    outside.update(refs[~known].tolist())


def _load_features(cursor: Cursor, relations: list[Relation], nodes: NodeTable, area: AreaOfInterest | None) -> int:
    total = 0
    for ways in _selected_ways(cursor):
        features = build_features(ways, [], {}, nodes, area)
        put_features(cursor, list(features.values()))
        total += len(features)
    for start in range(0, len(relations), RELATIONS_AT_ONCE):
        some = relations[start:start + RELATIONS_AT_ONCE]
        members = fetch_ways(cursor, {ref for relation in some for ref in relation.way_refs})
        features = build_features([], some, members, nodes, area)
        put_features(cursor, list(features.values()))
        total += len(features)
    return total


def _selected_ways(cursor: Cursor) -> Iterator[list[Way]]:
    """The ways that detectors ask for, by a cursor of the server, so that memory stays bounded."""
    with cursor.connection.cursor(name="selected_ways") as rows:
        rows.execute(query("selected_ways"))
        while batch := rows.fetchmany(WAYS_AT_ONCE):
            yield [Way(*row) for row in batch]


def _copy(cursor: Cursor, name: str, data: bytes, rows: int) -> int:
    if rows:
        cursor.copy_expert(query(name), io.BytesIO(data))
    return rows


def _position(extract: Extract, replication_url: str | None) -> tuple[int | None, datetime | None, str]:
    """Sequence, timestamp and server of the data. A sequence number means nothing to another server than its own."""
    header = extract.header
    url = header.get("osmosis_replication_base_url")
    number = header.get("osmosis_replication_sequence_number")
    sequence = int(number) if number.isdecimal() and len(number) < 18 else None
    if replication_url is not None and _server(url) != _server(replication_url):
        sequence = None
    text = header.get("osmosis_replication_timestamp")
    try:
        timestamp: datetime | None = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        timestamp = datetime.fromtimestamp(extract.newest, UTC) if extract.newest else None
    if timestamp is not None and timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=UTC)
    return sequence, timestamp, url


def _server(url: str) -> str:
    """A replication URL without what may differ between two ways to write it."""
    return url.partition("://")[2].rstrip("/").lower() if "://" in url else url.rstrip("/").lower()
