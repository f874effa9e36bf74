"""What it costs to tell a frontend: writing XML, and a whole round of the channel over a real ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from daemon.config import parse
from daemon.db import Database
from daemon.publish.osmose.channel import OsmoseChannel, open_frontend

pytestmark = pytest.mark.benchmark

REPOSITORY = Path(__file__).resolve().parents[3]
SIZES = (1_000, 10_000, 50_000)
#: What a source is meant to hold at most, and more.
ROUNDS = (1_000, 5_000, 50_000)

#: Writes so many errors to nowhere, in a process of its own; prints seconds, seconds of CPU, bytes, peak memory in kB.
WRITE = """
import json, resource, sys, time
from datetime import UTC, datetime
from shapely.geometry import box
from daemon.discrepancies.model import Discrepancy, State
from daemon.publish import ExportContext
from daemon.publish.osmose import write

NOW = datetime(2026, 11, 22, tzinfo=UTC)
EVIDENCE = {"imagery": "aerial", "acquired": "2025-06-14"}
KINDS = (("missing", None, None), ("gone", "way/%d", None), ("misplaced", "way/%d", (3.0, -2.0)))

def crowd(count):
    for i in range(count):
        kind, osm, shift = KINDS[i % 3]
        lon, lat = 80 + i % 1000 / 200, 26 + i // 1000 / 200
        yield Discrepancy(
            f"bld-{i:016x}", "building", kind, State.PUBLISHED, None, osm % i if osm else None, 0.9, shift,
            box(lon, lat, lon + 1e-4, lat + 1e-4), (lon + 5e-5, lat + 5e-5), EVIDENCE, NOW, NOW, NOW, None, None, 1, 0,
        )

class Sink:
    size = 0
    def write(self, content):
        self.size += len(content)

sink, begun, busy = Sink(), time.perf_counter(), time.process_time()
count = write(crowd(int(sys.argv[1])), sink, ExportContext("country", NOW))
spent = [time.perf_counter() - begun, time.process_time() - busy]
print(json.dumps([*spent, sink.size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def test_writing_xml_takes_the_same_memory_however_much_it_is(show: Callable[..., None]) -> None:
    rows = []
    for size in SIZES:
        done = subprocess.run(
            [sys.executable, "-c", WRITE, str(size)], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        seconds, busy, written, peak = json.loads(done.stdout)
        rows.append([size, seconds, busy, written / 1e6, written / 1e6 / busy, size / busy, peak / 1024])
    show("analyser XML, four languages", ("issues", "s", "s of CPU", "MB", "MB / s", "issues / s", "peak MB"), rows)


@pytest.fixture
def sink() -> Iterator[tuple[str, list[int]]]:
    """A frontend that says OK to everything, and the sizes of what it got: the time is the producer's own."""
    sizes: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(404, b'{"detail":"Not Found"}')

        def do_POST(self) -> None:
            sizes.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(200, b"OK")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", sizes
    server.shutdown()
    server.server_close()


FILL = """
INSERT INTO discrepancy (key, detector, kind, state, osm, confidence, shift_east_m, shift_north_m, geometry, bbox, lon,
                         lat, evidence, opened, updated, last_seen)
SELECT 'bld-' || lpad(to_hex(i), 16, '0'), 'building', (ARRAY['missing', 'gone', 'misplaced'])[i %% 3 + 1], 'published',
       CASE WHEN i %% 3 > 0 THEN 'way/' || i + 1 END, 0.9, CASE WHEN i %% 3 = 2 THEN 3.0 END,
       CASE WHEN i %% 3 = 2 THEN -2.0 END,
       decode('0103000000010000000500000000000000000054400000000000003a4066666666660654400000000000003a40'
           '66666666660654403333333333b33a4000000000000054403333333333b33a4000000000000054400000000000003a40', 'hex'),
       box(point(80 + i %% 1000 / 200.0, 26), point(80 + i %% 1000 / 200.0, 26)), 80 + i %% 1000 / 200.0,
       26 + i / 1000 / 200.0, '{"imagery": "aerial", "acquired": "2025-06-14"}', now(), now(), now()
FROM generate_series(0, %(count)s - 1) AS i
"""
#: One issue about an element, and so something that a change can say.
CHANGE = """
UPDATE discrepancy SET confidence = confidence - 0.1 WHERE key = 'bld-0000000000000001';
INSERT INTO outbox (channel, key, not_before) VALUES ('osmose', 'bld-0000000000000001', now())
ON CONFLICT (channel, key) DO UPDATE SET generation = outbox.generation + 1;
"""


@pytest.mark.parametrize("count", ROUNDS)
def test_a_round(count: int, database: Database, sink: tuple[str, list[int]], show: Callable[..., None]) -> None:
    url, sizes = sink
    with database.transaction() as cursor:
        cursor.execute(FILL, {"count": count})
    rows = []
    for mode in ("snapshot", "change"):
        values = {"area": {"name": "country"}, "osmose": {"url": url, "mode": mode, "region_most": 10**6}}
        config = parse(values, "benchmark", Path())
        with open_frontend(config, threading.Event(), with_code=False) as frontend:
            channel = OsmoseChannel(config, database, frontend, threading.Event(), lambda: datetime.now(UTC))
            first = _rounds(channel, sizes) if mode == "snapshot" else None
            with database.transaction() as cursor:
                cursor.execute(CHANGE)
            one = _rounds(channel, sizes)
            idle = _rounds(channel, sizes)
        if first:
            rows.append(["all for the first time", *first])
        rows += [[f"one issue is another, mode {mode}", *one], ["nothing is new", *idle]]
    show(f"a source of {count} issues", ("round", "s", "uploads", "kB sent"), rows)


def _rounds(channel: OsmoseChannel, sizes: list[int]) -> tuple[float, int, float]:
    """Seconds, uploads and kB until there is nothing more to do."""
    sizes.clear()
    begun = time.perf_counter()
    while channel.cycle():
        pass
    return time.perf_counter() - begun, len(sizes), sum(sizes) / 1000
