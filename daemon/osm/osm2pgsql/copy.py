"""The bootstrap: copy all features from osm2pgsql's database, in one transaction there and one here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.config import Osm, server_of
from daemon.db import Database, query
from daemon.errors import AreaEmpty
from daemon.osm.area import AreaOfInterest
from daemon.osm.bootstrap import empty_store
from daemon.osm.elements import Selects
from daemon.osm.features import TYPES, Key, put_features
from daemon.osm.osm2pgsql.layout import Output
from daemon.osm.osm2pgsql.objects import Seen, view
from daemon.osm.osm2pgsql.snapshot import Snapshot, open_snapshot
from daemon.osm.osm2pgsql.standing import Standing
from daemon.osm.values import BootstrapReport
from detectors.base import OsmFeature

#: Objects read at once.
AT_ONCE = 20_000
#: Farther north or south than this, other projections than lon/lat know no place.
POLE = 85.05

Progress = Callable[[int, int], None]


class _Batch(NamedTuple):
    """Some of the features, after `done` of about `total` objects."""

    standing: Standing
    seen: dict[Key, Seen]
    done: int
    total: int


def copy_features(
    db: Database,
    theirs: Database,
    knobs: Osm,
    url: str,
    area: AreaOfInterest | None,
    selects: Selects,
    progress: Progress | None,
    *,
    force: bool,
    described: str,
) -> BootstrapReport:
    """See `Osm2pgsqlStore.bootstrap`.

    Where osm2pgsql does not say when an object was last edited, that counts as the time of all the data: the newest it
    can be. So the word of the map is never held for older than it is.

    Args:
        described: what the store is made for, as JSON.
    """
    begun = time.monotonic()
    with db.transaction() as cursor:
        empty_store(cursor, force=force)
        cursor.execute(query("drop_features_index"))
        standing, done = None, 0
        for batch in _read_all(theirs, knobs, url, area, selects):
            standing, done = batch.standing, batch.done
            newest = standing.timestamp or datetime.now(UTC)
            put_features(cursor, [_feature(key, found, newest) for key, found in batch.seen.items()])
            if progress:
                progress(batch.done, max(batch.done, batch.total))
        if standing is None or not done:
            bounds = "" if area is None else f" inside the area {area.bounds} (west, south, east, north)"
            raise AreaEmpty(f"osm2pgsql's tables have nothing{bounds}; set the area, osm.dsn or osm.tables right")
        if progress:
            progress(done, done)
        cursor.execute(query("index_features"))
        cursor.execute(query("start_position"), {
            "sequence": standing.sequence, "timestamp": standing.timestamp, "area": described,
            "server": server_of(url),
        })
        counts = _count(cursor)
    return BootstrapReport(
        nodes=0, ways=counts.get("w", 0), relations=counts.get("r", 0), features=sum(counts.values()), invalid=0,
        sequence=standing.sequence, timestamp=standing.timestamp, replication_url=standing.url,
        seconds=time.monotonic() - begun,
    )


def _read_all(
    theirs: Database, knobs: Osm, url: str, area: AreaOfInterest | None, selects: Selects
) -> Iterator[_Batch]:
    """All features, table by table in order of id. An object of several tables comes once for each, the same."""
    with open_snapshot(theirs, knobs, url) as snapshot:
        outputs = snapshot.layout.outputs
        boxes = [_box(area, output) for output in outputs]
        total = sum(_estimate(snapshot, output, box) for output, box in zip(outputs, boxes, strict=True))
        done = 0
        for output, box in zip(outputs, boxes, strict=True):
            with snapshot.cursor.connection.cursor(name="osm2pgsql_ids") as rows:
                rows.itersize = AT_ONCE
                rows.execute(snapshot.layout.sql("osm2pgsql_ids", **output.names), box)
                while batch := rows.fetchmany(AT_ONCE):
                    keys = {key for type_, id_ in batch if (key := output.key_of(type_, id_)) is not None}
                    done += len(batch)
                    yield _Batch(snapshot.standing, view(snapshot, keys, selects, area).seen, done, total)


def _box(area: AreaOfInterest | None, output: Output) -> dict[str, float | None]:
    if area is None:
        return dict.fromkeys(("west", "south", "east", "north"))
    west, south, east, north = area.bounds
    if output.srid != 4326:
        south, north = max(south, -POLE), min(north, POLE)
    return {"west": west, "south": south, "east": east, "north": north}


def _estimate(snapshot: Snapshot, output: Output, box: dict[str, float | None]) -> int:
    select = snapshot.layout.sql("osm2pgsql_ids", **output.names)
    snapshot.cursor.execute(snapshot.layout.sql("osm2pgsql_estimate", select=select), box)
    return int(snapshot.cursor.fetchone()[0][0]["Plan"]["Plan Rows"])


def _count(cursor: Cursor) -> dict[str, int]:
    cursor.execute(query("count_features"))
    return dict(cursor.fetchall())


def _feature(key: Key, found: Seen, newest: datetime) -> OsmFeature:
    moment = datetime.fromtimestamp(found.changed, UTC) if found.changed else newest
    return OsmFeature(TYPES[key[0]], key[1], found.version, moment, found.tags, found.geometry)
