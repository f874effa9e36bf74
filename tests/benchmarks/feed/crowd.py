"""A country full of discrepancies: towns of many sizes, so that some tiles are full and most are empty.

The same crowd goes into mapgap's ledger, and into tables of the shape that the Osmose server keeps.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import shapely

from daemon.db import Database

#: Lon/lat (west, south, east, north) of the country.
COUNTRY = (80.1, 26.4, 88.2, 30.4)
#: Towns for each 10 000 discrepancies, and how far their houses lie from their middle, degrees.
TOWNS, SPREAD = 8, 0.02
KINDS = (("missing", 1, 3), ("gone", 2, 2), ("misplaced", 3, 3))
ITEM = 8540
OPENED = datetime(2026, 11, 1, tzinfo=UTC)
ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """Places of discrepancies.

    Attributes:
        towns: lon/lat [T, 2] of the middles.
        points: lon/lat [N, 2].
        kinds: index into KINDS [N].
    """

    towns: np.ndarray
    points: np.ndarray
    kinds: np.ndarray


def key_of(number: int) -> str:
    """Of the so many-th discrepancy."""
    return f"bld-{hashlib.sha256(str(number).encode()).hexdigest()[:16]}"


def uuid_of(number: int) -> str:
    """Of the so many-th marker."""
    return str(uuid.UUID(bytes=hashlib.sha256(str(number).encode()).digest()[:16]))


def make_crowd(count: int, seed: int = 7) -> Crowd:
    """As many discrepancies, in towns whose sizes differ as those of towns do (Zipf)."""
    rng = np.random.default_rng(seed)
    number = max(TOWNS, count * TOWNS // 10_000)
    west, south, east, north = COUNTRY
    towns = rng.uniform((west, south), (east, north), (number, 2))
    weight = 1 / np.arange(1, number + 1) ** 0.8
    homes = rng.choice(number, count, p=weight / weight.sum())
    points = towns[homes] + rng.normal(0, SPREAD, (count, 2))
    return Crowd(towns, points, rng.choice(len(KINDS), count, p=(0.7, 0.1, 0.2)))


def fill_ledger(db: Database, crowd: Crowd) -> None:
    """Discrepancies as the daemon keeps them, all published, each with the history of its opening and publishing."""
    with db.transaction() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # spares the check of foreign keys
        when, indexes = str(OPENED), _drop_indexes(cursor, "discrepancy", "discrepancy_history")
        for rows in _rows(crowd):
            keys = [row[0] for row in rows]
            _copy(cursor, "discrepancy (key, detector, kind, state, osm, confidence, shift_east_m, shift_north_m, "
                  "geometry, bbox, lon, lat, evidence, opened, updated, last_seen)", rows)
            for event, state in (("opened", "open"), ("published", "published")):
                _copy(cursor, "discrepancy_history (key, at, event, state)",
                      [(key, when, event, state) for key in keys])
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        cursor.execute(";".join(indexes))  # at once, and not with every row
    _tidy(db, "discrepancy", "discrepancy_history")


def _rows(crowd: Crowd) -> Iterator[list[tuple[str, ...]]]:
    half, when = 0.00005, str(OPENED)
    evidence = json.dumps({
        "area_m2": 110.4, "probability": 0.91, "imagery": "orthophoto", "acquired": "2025-06-14",
        "model": "building@1f0c9a3b", "offset_m": [0.4, -0.2], "offset_trust": 0.8, "zoom": 19,
    })
    for first in range(0, len(crowd.points), ROWS_AT_ONCE):
        points = crowd.points[first:first + ROWS_AT_ONCE]
        lon, lat = points.T
        houses = shapely.box(lon - half, lat - half, lon + half, lat + half)
        rows = []
        for i, (wkb, x, y) in enumerate(zip(shapely.to_wkb(houses, hex=True), lon.tolist(), lat.tolist(), strict=True)):
            number = first + i
            kind = KINDS[crowd.kinds[number]][0]
            shift = ("3.1", "-2.2") if kind == "misplaced" else (r"\N", r"\N")
            rows.append((
                key_of(number), "building", kind, "published",
                r"\N" if kind == "missing" else f"way/{1_000_000 + number}", "0.87", *shift, rf"\\x{wkb}",
                f"({x + half},{y + half}),({x - half},{y - half})", repr(x), repr(y), evidence, when, when, when,
            ))
        yield rows


def fill_osmose(db: Database, crowd: Crowd) -> None:
    """The same as an Osmose server keeps it: markers with columns lat and lon, joined with what they belong to."""
    with db.transaction() as cursor:
        cursor.execute(OSMOSE_TABLES)
    subtitle = json.dumps({"en": "Building footprint of about 110 m², imagery orthophoto 2025-06-14"})
    element = r'{\\"type\\": \\"W\\", \\"id\\": NUMBER, \\"tags\\": {\\"building\\": \\"yes\\"}}'
    for first in range(0, len(crowd.points), ROWS_AT_ONCE):
        rows = []
        for i, (lon, lat) in enumerate(crowd.points[first:first + ROWS_AT_ONCE].tolist()):
            number = first + i
            kind, classs, _ = KINDS[crowd.kinds[number]]
            quoted = element.replace("NUMBER", str(1_000_000 + number))
            rows.append((
                uuid_of(number), "1", str(ITEM), str(classs),
                f"{lat:.7f}", f"{lon:.7f}", "{}" if kind == "missing" else f'{{"{quoted}"}}',
                subtitle,
            ))
        with db.transaction() as cursor:
            _copy(cursor, "markers (uuid, source_id, item, class, lat, lon, elems, subtitle)", rows)
    with db.transaction() as cursor:
        cursor.execute(OSMOSE_INDEXES)
    _tidy(db, "markers")


#: Columns and keys that the query of the Osmose server names; its spatial index is the one that its condition can use.
OSMOSE_TABLES = f"""
CREATE TABLE items (item int PRIMARY KEY, marker_color text, menu jsonb);
CREATE TABLE sources (id int PRIMARY KEY, country text, analyser text);
CREATE TABLE updates_last (source_id int PRIMARY KEY, timestamp timestamp NOT NULL);
CREATE TABLE class (item int, class int, level int, tags text[], title jsonb, PRIMARY KEY (item, class));
CREATE TABLE markers (
    uuid uuid NOT NULL, source_id int NOT NULL, item int NOT NULL, class int NOT NULL, lat numeric(9, 7) NOT NULL,
    lon numeric(10, 7) NOT NULL, elems jsonb[], fixes jsonb[], subtitle jsonb
);
INSERT INTO items VALUES ({ITEM}, '#ff00ff', '{{"en": "building"}}');
INSERT INTO sources VALUES (1, 'country', 'analyser');
INSERT INTO updates_last VALUES (1, now());
INSERT INTO class VALUES ({ITEM}, 1, 3, '{{building}}', '{{"en": "Building missing in OSM"}}'),
    ({ITEM}, 2, 2, '{{building}}', '{{"en": "Mapped building not on imagery"}}'),
    ({ITEM}, 3, 3, '{{building,geom}}', '{{"en": "Building shifted or badly outlined"}}');
"""
OSMOSE_INDEXES = """
ALTER TABLE markers ADD PRIMARY KEY (uuid);
CREATE INDEX markers_point ON markers USING gist (point(lon, lat));
CREATE INDEX markers_source ON markers (source_id, class);
CREATE INDEX markers_item ON markers (item);
"""


def _copy(cursor, table: str, rows: list[tuple[str, ...]]) -> None:
    cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO("".join("\t".join(row) + "\n" for row in rows)))


def _drop_indexes(cursor, *tables: str) -> list[str]:
    """All but those of keys; returns what makes them again."""
    cursor.execute(
        "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index AS i "
        "WHERE i.indrelid = ANY(%s::regclass[]) AND NOT i.indisprimary", (list(tables),),
    )
    found = cursor.fetchall()
    cursor.execute(f"DROP INDEX {', '.join(name for name, _ in found)}")
    return [definition for _, definition in found]


def _tidy(db: Database, *tables: str) -> None:
    """What autovacuum does in time."""
    link = db.connect()
    link.autocommit = True
    with link.cursor() as cursor:
        for table in tables:
            cursor.execute(f"VACUUM ANALYZE {table}")
    link.close()
