"""The feed at 10 000, 100 000 and a million discrepancies: tiles and lists at 50 requests a second, beside a writer.

First over HTTP: `mapgap serve` in a process of its own, with PostgreSQL as mapgap runs it. Then the queries alone,
beside those of the Osmose server, in the same PostgreSQL, over the same crowd and the same places: its markers carry
lat and lon, each row is joined with its item, class, source and last update, and what is first found is shown.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
from crowd import COUNTRY, KINDS, Crowd, fill_ledger, fill_osmose, key_of, make_crowd, uuid_of
from load import Sender, Senders, http_senders, run_load

from daemon.config import parse, render
from daemon.db import Database, EmbeddedServer, migrate, query
from daemon.discrepancies.life import close, publish, reopen
from daemon.tiling.grid import Block, Tile, tile_at
from daemon.web.osmose.feed import read_spots, snapshot
from daemon.web.osmose.parameters import Wanted
from daemon.web.osmose.places import stretch_of_tile

pytestmark = pytest.mark.benchmark

#: Discrepancies; others by the environment, e.g. "10000,100000".
SIZES = tuple(map(int, os.environ.get("MAPGAP_BENCH_FEED", "10000,100000,1000000").split(",")))
RATE, SECONDS, WARM = 50.0, 20.0, 3.0
#: For each query alone.
QUERY_SECONDS = 4.0
#: Ledger changes a second beside it, in one transaction.
CHANGES = 20
BAR_MS, BAR_MB = 50.0, 300.0
EVERY = tuple(("building", kind) for kind, _, _ in KINDS)
LIMIT = 100
ROOT = Path(__file__).resolve().parents[3]
#: What the Osmose server asks its database for: of a list, and of a full one.
OSMOSE_BRIEF = """
SELECT markers.uuid, markers.item, markers.class, markers.lat::float, markers.lon::float
FROM markers
JOIN items ON markers.item = items.item
JOIN updates_last ON markers.source_id = updates_last.source_id
WHERE point(markers.lon, markers.lat) <@ box(point(%s, %s), point(%s, %s))
  AND updates_last.timestamp > now() - interval '3 months'
LIMIT %s"""
OSMOSE_FULL = """
SELECT markers.uuid, markers.item, markers.class, markers.lat::float, markers.lon::float, markers.source_id,
       markers.elems, markers.subtitle, sources.country, sources.analyser, class.title, class.level,
       updates_last.timestamp, items.menu, markers.fixes
FROM markers
JOIN class ON markers.item = class.item AND markers.class = class.class
JOIN sources ON markers.source_id = sources.id
JOIN items ON markers.item = items.item
JOIN updates_last ON markers.source_id = updates_last.source_id
WHERE point(markers.lon, markers.lat) <@ box(point(%s, %s), point(%s, %s))
  AND updates_last.timestamp > now() - interval '3 months'
LIMIT %s"""


def test_feed(tmp_path: Path, show: Callable[..., None]) -> None:
    over_http: list[list[object]] = []
    queries: list[list[object]] = []
    for size in SIZES:
        crowd = make_crowd(size)
        with EmbeddedServer(tmp_path / str(size)) as embedded:
            db = Database(embedded.dsn, statement_timeout=0)
            migrate(db)
            fill_ledger(db, crowd)
            over_http += _over_http(db, crowd, tmp_path / f"{size}.toml")
            fill_osmose(db, crowd)
            queries += _queries(db, crowd)
            db.close()
    show(
        f"The feed over HTTP: {RATE:.0f} requests/s for {SECONDS:.0f} s beside {CHANGES} ledger changes/s; "
        f"bar: p95 < {BAR_MS:.0f} ms, {BAR_MB:.0f} MB",
        ["discrepancies", "request", "p50 ms", "p95 ms", "p99 ms", "most MB", "CPU ms a request"], over_http,
    )
    show(
        f"The queries alone, {RATE:.0f}/s beside the same writer: mapgap | Osmose server, p95 ratio",
        ["discrepancies", "query", "p50 ms", "p95 ms", "p99 ms", "p50 ms", "p95 ms", "p99 ms", "times"], queries,
    )


# -- over HTTP ------------------------------------------------------------------------------------------------------


def _over_http(db: Database, crowd: Crowd, config: Path) -> Iterator[list[object]]:
    with _serving(db.dsn, config) as (port, process), _writing(lambda: _change_ledger(db, len(crowd.points))):
        count, before = round(RATE * (SECONDS + WARM)), _cpu_seconds(process.pid)
        found = run_load(http_senders(port, list(_requests(crowd))), RATE, count, round(RATE * WARM))
        memory, cpu = _peak_mb(process.pid), (_cpu_seconds(process.pid) - before) / count * 1000
    for kind in sorted(found.seconds):
        yield [len(crowd.points), kind, *found.percentiles(kind), memory, cpu]


def _requests(crowd: Crowd) -> Iterator[tuple[str, str]]:
    """(kind, path): what editors and maps ask for, at places where there is something and anywhere."""
    chance = random.Random(3)
    for _ in range(20_000):
        lon, lat = _place(crowd, chance)
        what = chance.random()
        if what < 0.5:
            tile = tile_at(lon, lat, 14)
            ending = chance.choice(("geojson", "json", "mvt"))
            yield "tile z14", f"/api/0.3/issues/{tile}.{ending}?item=8540"
        elif what < 0.65:
            yield "tile z7-18", f"/api/0.3/issues/{tile_at(lon, lat, chance.randint(7, 18))}.mvt?item=xxxx&limit=500"
        else:
            full = chance.random() < 0.5
            bbox = ",".join(f"{v:.6f}" for v in _box(lon, lat, chance))
            yield f"list{' full' * full}", f"/api/0.3/issues?bbox={bbox}&limit={LIMIT}&full={str(full).lower()}"


def _place(crowd: Crowd, chance: random.Random) -> tuple[float, float]:
    if chance.random() < 0.7:
        lon, lat = crowd.points[chance.randrange(len(crowd.points))]
        return float(lon), float(lat)
    west, south, east, north = COUNTRY
    return chance.uniform(west, east), chance.uniform(south, north)


def _box(lon: float, lat: float, chance: random.Random) -> tuple[float, float, float, float]:
    """From a street to a province."""
    half = 10 ** chance.uniform(-3, -0.3)
    return lon - half, lat - half, lon + half, lat + half


@contextmanager
def _serving(dsn: str, path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`mapgap serve` in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {"database": {"dsn": dsn}, "web": {"port": port}, "data_dir": str(path.with_suffix(".data"))}
    path.write_text(render(parse(values, "a benchmark", path.parent)))
    command = [sys.executable, "-m", "daemon", "serve", "--config", str(path)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, "the server ended"
                time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        process.wait(60)


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- the queries alone ----------------------------------------------------------------------------------------------


def _queries(db: Database, crowd: Crowd) -> Iterator[list[object]]:
    count = round(RATE * QUERY_SECONDS)
    for name, boxes, full in _kinds_of_query(crowd, count):
        with _writing(lambda: _change_ledger(db, len(crowd.points))):
            ours = run_load(_ours(db.dsn, boxes, full), RATE, count, round(RATE))
        with _writing(lambda: _change_markers(db, len(crowd.points))):
            theirs = run_load(_theirs(db.dsn, boxes, full), RATE, count, round(RATE))
        mine, other = ours.percentiles("query"), theirs.percentiles("query")
        yield [len(crowd.points), name, *mine, *other, f"{other[1] / mine[1]:.1f}"]


Where = Tile | tuple[float, float, float, float]


def _kinds_of_query(crowd: Crowd, count: int) -> Iterator[tuple[str, list[Where], bool]]:
    chance = random.Random(5)
    places = [_place(crowd, chance) for _ in range(count)]
    yield "tile z14", [tile_at(lon, lat, 14) for lon, lat in places], False
    yield "tile z8", [tile_at(lon, lat, 8) for lon, lat in places], False
    boxes: list[Where] = [_box(lon, lat, chance) for lon, lat in places]
    yield "list", boxes, False
    yield "list full", boxes, True
    yield "list full, whole country", [COUNTRY], True


def _ours(dsn: str, places: Sequence[Where], full: bool) -> Senders:
    @contextmanager
    def sender() -> Iterator[Sender]:
        with closing(Database(dsn, pool=1)) as db:

            def send(number: int) -> str:
                place = places[number % len(places)]
                stretches = [stretch_of_tile(place)] if isinstance(place, Tile) else None
                wanted = Wanted(kinds=EVERY, boxes=() if stretches else (place,))
                with snapshot(db) as cursor:
                    spots = read_spots(cursor, wanted, LIMIT, stretches)
                    if full:
                        cursor.execute(query("discrepancies_by_key"), {"keys": [spot.key for spot in spots]})
                        cursor.fetchall()
                return "query"

            yield send

    return sender


def _theirs(dsn: str, places: Sequence[Where], full: bool) -> Senders:
    @contextmanager
    def sender() -> Iterator[Sender]:
        with closing(psycopg2.connect(dsn)) as link:
            link.autocommit = True

            def send(number: int) -> str:
                place = places[number % len(places)]
                box = Block(place.z, place.x, place.y, 1).lonlat() if isinstance(place, Tile) else place
                with link.cursor() as cursor:
                    cursor.execute(OSMOSE_FULL if full else OSMOSE_BRIEF, (*box, LIMIT))
                    cursor.fetchall()
                return "query"

            yield send

    return sender


# -- the writer beside it -------------------------------------------------------------------------------------------


@contextmanager
def _writing(change: Callable[[], None]) -> Iterator[None]:
    """Changes go on, one transaction a second, until the end of the block."""
    stop, failures = threading.Event(), []

    def write() -> None:
        try:
            while not stop.wait(1.0):
                change()
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()
    assert not failures, failures


def _change_ledger(db: Database, count: int) -> None:
    """Some are fixed, and found and published again in time, as a daemon does it."""
    now = datetime.now(UTC)
    with db.transaction() as cursor:
        cursor.execute("SELECT key FROM discrepancy WHERE state = 'closed' ORDER BY closed LIMIT %s", (CHANGES // 2,))
        keys = [key for (key,) in cursor.fetchall()]
        reopen(cursor, keys, now=now)
        publish(cursor, keys, now=now)
        chosen = [key_of(random.randrange(count)) for _ in range(CHANGES - len(keys))]
        cursor.execute("SELECT key FROM discrepancy WHERE key = ANY(%s) AND state = 'published'", (chosen,))
        close(cursor, [key for (key,) in cursor.fetchall()], "fixed", now=now)


def _change_markers(db: Database, count: int) -> None:
    """As many markers go, and come back, as an upload does it."""
    with db.transaction() as cursor:
        cursor.execute(
            "WITH gone AS (DELETE FROM markers WHERE uuid = ANY(%s::uuid[]) RETURNING *) "
            "INSERT INTO markers SELECT * FROM gone",
            ([uuid_of(random.randrange(count)) for _ in range(CHANGES // 2)],),
        )
