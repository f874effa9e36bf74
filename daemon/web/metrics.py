"""/metrics: what the database and this process say of themselves, in Prometheus' text format.

Everything is read from the database when it is asked for, and kept for a moment; so any process that serves can be
scraped, whether the daemon runs in it, beside it, or not at all. Names: https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import psycopg2
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.life import count
from daemon.errors import MapgapError
from daemon.facts import Fact, read_facts
from daemon.lag import read_lag
from daemon.pace import RECENT, WORK
from daemon.publish.outbox import backlogs
from daemon.web.backend import Backend

log = logging.getLogger(__name__)

#: Seconds for which what was read is given again: two scrapers cost as much as one.
KEPT = 5.0
RESULTS = ("judged", "no_imagery", "failed")
TILE_STATES = ("queued", "leased", "dead")


class Metrics:
    """The metrics of one backend; safe to share between threads."""

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.monotonic):
        self._backend = backend
        self._clock = clock
        self._lock = threading.Lock()
        self._read: tuple[float, list[Metric]] | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)  # type: ignore[arg-type]
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """For prometheus_client."""
        with self._lock:
            if self._read is None or self._clock() - self._read[0] >= KEPT:
                self._read = self._clock(), list(self._families())
            return self._read[1]

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised: asking for it would ask the database."""
        return []

    def _families(self) -> Iterator[Metric]:
        found: list[Metric] = []
        try:
            with self._backend.db.transaction() as cursor:
                facts = read_facts(cursor)
                for part in (_replication, _tiles, _looking, _discrepancies, _reviews, _publishing, _stages):
                    found += part(cursor, self._backend, facts)
        except (MapgapError, psycopg2.Error) as error:
            log.warning("metrics: the database cannot be read: %s", error)
            found = []
        yield _gauge("database_up", "Whether the database could be read.", float(bool(found)))
        yield from found


def _gauge(name: str, help_text: str, value: float | None = None, *, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"mapgap_{name}", help_text, labels=list(labels))
    if value is not None:
        family.add_metric([], value)
    return family


def _counter(name: str, help_text: str, *, labels: Iterable[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"mapgap_{name}", help_text, labels=list(labels))


def _replication(cursor: Cursor, backend: Backend, facts: dict[str, Fact]) -> Iterator[Metric]:
    lag = read_lag(cursor, facts, backend.config.replication, backend.clock())
    known = (
        ("sequence", "Sequence of the last change file applied.", lag and lag.sequence),
        ("server_sequence", "Newest sequence of the replication server, as last seen.", lag and lag.server_sequence),
        ("lag_seconds", "How old the data in the store is.", lag and lag.lag_seconds),
        ("behind_seconds", "How much older it is than the server's newest.", lag and lag.behind_seconds),
        ("files_behind", "Change files that the server has and the store has not.", lag and lag.files_behind),
        ("last_success_timestamp_seconds", "When following last ended well.", lag and _seconds(lag.last_success)),
    )
    for name, help_text, value in known:
        if value is not None:  # what is not known is left out: a 0 would say that all is well
            yield _gauge(f"replication_{name}", help_text, float(value))


def _tiles(cursor: Cursor, backend: Backend, facts: dict[str, Fact]) -> Iterator[Metric]:
    cursor.execute(query("status_tiles"))
    found = dict(cursor.fetchall())
    family = _gauge("tiles", "Tiles in the queue, by state; dead ones were put aside.", labels=["state"])
    for state in TILE_STATES:
        family.add_metric([state], found.get(state, 0))
    yield family


def _looking(cursor: Cursor, backend: Backend, facts: dict[str, Fact]) -> Iterator[Metric]:
    fact = facts.get("look")
    if fact is None:
        return
    tiles = _counter("looked_tiles", "Tiles looked at since the daemon started, by what came of it.", labels=["result"])
    for result in RESULTS:
        tiles.add_metric([result], fact.value["tiles"].get(result, 0))
    yield tiles
    spent = _counter(
        "look_seconds", "Time of the look stage since the daemon started: imagery, engine, wait (for a block to be "
        "seen), judge.", labels=["work"],
    )
    for work in WORK:
        spent.add_metric([work], fact.value["seconds"].get(work, 0.0))
    yield spent
    idle = (backend.clock() - fact.updated).total_seconds() > RECENT
    shares = {} if idle else fact.value["recent"]
    yield _gauge(
        "engine_busy_ratio", "Share of the last two minutes in which a network looked.", shares.get("engine", 0)
    )
    yield _gauge(
        "download_wait_ratio", "Share of the last two minutes in which imagery was fetched or read.",
        shares.get("imagery", 0),
    )


def _discrepancies(cursor: Cursor, backend: Backend, facts: dict[str, Fact]) -> Iterator[Metric]:
    family = _gauge(
        "discrepancies", "Discrepancies by detector, kind, state, and why they were closed.",
        labels=["detector", "kind", "state", "closed_as"],
    )
    for (detector, kind, state, closed_as), number in count(cursor).items():
        family.add_metric([detector, kind, state, closed_as or ""], number)
    yield family


def _reviews(cursor: Cursor, backend: Backend, facts: dict[str, Fact]) -> Iterator[Metric]:
    cursor.execute(query("metric_verdicts"))
    verdicts = _counter("reviews", "Verdicts of people.", labels=["detector", "kind", "verdict"])
    for detector, kind, verdict, number in cursor:
        verdicts.add_metric([detector, kind, verdict], number)
    yield verdicts
    cursor.execute(query("metric_precision"))
    precision = _gauge(
        "review_precision_ratio", "Of what people decided on, the share that was no false positive.",
        labels=["detector", "kind"],
    )
    for detector, kind, right, wrong in cursor:
        precision.add_metric([detector, kind], right / (right + wrong))
    yield precision


def _publishing(cursor: Cursor, backend: Backend, facts: dict[str, Fact]) -> Iterator[Metric]:
    waiting = _gauge("outbox", "Discrepancies that a channel has still to be told of.", labels=["channel"])
    failing = _gauge("publish_errors", "Those of them that could not be told so far.", labels=["channel"])
    for channel, backlog in backlogs(cursor).items():
        waiting.add_metric([channel], backlog.waiting)
        failing.add_metric([channel], backlog.failing)
    yield waiting
    yield failing


def _stages(cursor: Cursor, backend: Backend, facts: dict[str, Fact]) -> Iterator[Metric]:
    failures = _gauge(
        "stage_failures", "How often in a row a stage that fails now has failed.", labels=["stage", "kind"]
    )
    for stage, error in (facts["errors"].value if "errors" in facts else {}).items():
        failures.add_metric([stage, error["kind"]], error["failures"])
    yield failures
    cursor.execute(query("daemon_lock_holder"))
    yield _gauge("daemon_up", "Whether a daemon works on the database.", float(cursor.fetchone() is not None))
    beat = facts.get("daemon")
    if beat is not None:
        yield _gauge(
            "daemon_heartbeat_timestamp_seconds", "When a daemon last said that it lives.", _seconds(beat.updated)
        )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
