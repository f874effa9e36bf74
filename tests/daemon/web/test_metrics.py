"""What monitors ask: metrics, health, readiness."""

from __future__ import annotations

from pathlib import Path

import pytest
from claims import NOW, Ledger, house, later, misplaced, missing
from prometheus_client.parser import text_string_to_metric_families
from web_server import Served, backend_of, serving

from daemon.db import Database
from daemon.discrepancies.life import publish
from daemon.facts import write_fact
from daemon.pace import Pace
from daemon.publish.outbox import open_channel
from daemon.reviews import record_review
from daemon.web.metrics import Metrics


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels, as Prometheus' own parser reads it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text) for sample in family.samples
    }


@pytest.fixture
def busy(ledger: Ledger) -> Ledger:
    """A ledger with something of everything that is told."""
    one, two, three, four = ledger.open(
        *[missing(house(30 * i, 10)) for i in range(3)], misplaced(house(150, 10), "way/8")
    )
    with ledger.cursor() as cursor:
        cursor.execute("TRUNCATE replication_state, dirty_tile; DELETE FROM daemon_state")
        cursor.execute("INSERT INTO replication_state (sequence, timestamp, area) VALUES (7, %s, '{}')", (later(-90),))
        cursor.execute(
            "INSERT INTO dirty_tile (z, x, y, reason, first_seen, last_seen, not_before) "
            "SELECT 19, i, 1, 'change', now(), now(), now() FROM generate_series(1, 5) AS i"
        )
        publish(cursor, [one], now=NOW)
        open_channel(cursor, "maproulette", NOW)
        for key, verdict, second in (
            (one, "false_positive", 1), (two, "false_positive", 1), (two, "fixed", 2), (three, "too_hard", 1),
            (four, "already_fixed", 1),
        ):
            record_review(cursor, key, verdict, who="m", reason=None, came_by="osmose", now=later(second))
        pace = Pace()
        pace.count("judged", 12)
        write_fact(cursor, "look", pace.as_json() | {"recent": {"engine": 0.75, "imagery": 0.125}})
        write_fact(cursor, "errors", {"look": {
            "stage": "look", "time": "t", "kind": "StorageFull", "message": 'a "quoted"\nline', "transient": True,
            "failures": 3,
        }})
    yield ledger
    with ledger.cursor() as cursor:
        cursor.execute("TRUNCATE replication_state, dirty_tile; DELETE FROM daemon_state")


def test_everything_is_told_in_the_words_of_prometheus(busy: Ledger, tmp_path: Path) -> None:
    with serving(backend_of(busy.database, tmp_path)) as served:
        answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = values(answer.text)
    building = lambda kind, **labels: tuple(sorted({"detector": "building", "kind": kind, **labels}.items()))  # noqa: E731
    assert found["mapgap_replication_sequence", ()] == 7
    assert found["mapgap_replication_lag_seconds", ()] > 90 - 86400 * 3650
    assert found["mapgap_tiles", (("state", "queued"),)] == 5 and found["mapgap_tiles", (("state", "dead"),)] == 0
    assert found["mapgap_looked_tiles_total", (("result", "judged"),)] == 12
    assert found["mapgap_engine_busy_ratio", ()] == 0.75 and found["mapgap_download_wait_ratio", ()] == 0.125
    assert found["mapgap_discrepancies", building("missing", state="open", closed_as="")] == 1
    assert found["mapgap_discrepancies", building("missing", state="closed", closed_as="false_positive")] == 2
    assert found["mapgap_reviews_total", building("missing", verdict="false_positive")] == 2
    assert found["mapgap_review_precision_ratio", building("missing")] == 0.5  # the latest verdict counts
    assert found["mapgap_review_precision_ratio", building("misplaced")] == 1
    assert found["mapgap_outbox", (("channel", "maproulette"),)] >= 1
    assert found["mapgap_publish_errors", (("channel", "maproulette"),)] == 0
    assert found["mapgap_stage_failures", (("kind", "StorageFull"), ("stage", "look"))] == 3
    assert found["mapgap_database_up", ()] == 1 and found["mapgap_daemon_up", ()] == 0
    assert found["process_resident_memory_bytes", ()] > 1e6
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation and family.type in ("gauge", "counter"), family.name
    assert "quoted" not in answer.text


def test_an_engine_that_was_busy_long_ago_is_not_busy(busy: Ledger, tmp_path: Path) -> None:
    with busy.cursor() as cursor:
        cursor.execute("UPDATE daemon_state SET updated = now() - interval '10 minutes'")
    found = values(Metrics(backend_of(busy.database, tmp_path)).text().decode())
    assert found["mapgap_engine_busy_ratio", ()] == 0


def test_a_database_that_never_was_used_tells_little_and_fails_not(empty_database: Database, tmp_path: Path) -> None:
    found = values(Metrics(backend_of(empty_database, tmp_path)).text().decode())
    assert found["mapgap_database_up", ()] == 0 and found["process_resident_memory_bytes", ()] > 1e6


def test_what_was_read_is_kept_for_a_moment(busy: Ledger, tmp_path: Path) -> None:
    now = [100.0]
    metrics = Metrics(backend_of(busy.database, tmp_path), clock=lambda: now[0])
    name = "mapgap_tiles", (("state", "queued"),)
    assert values(metrics.text().decode())[name] == 5
    with busy.cursor() as cursor:
        cursor.execute("TRUNCATE dirty_tile")
    assert values(metrics.text().decode())[name] == 5
    now[0] += 60
    assert values(metrics.text().decode())[name] == 0


def test_the_pace_adds_up_and_knows_what_is_recent() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    with pace.spend("engine"):
        now[0] = 30.0
    now[0] = 60.0
    assert pace.as_json()["recent"]["engine"] == 0.5 and pace.as_json()["seconds"]["engine"] == 30
    now[0] = 135.0  # of the last 120 s, 15 to 30 were work
    assert pace.as_json()["recent"]["engine"] == 0.125
    now[0] = 1000.0
    with pace.spend("imagery"):
        now[0] = 1060.0
    assert pace.as_json()["recent"] == {"imagery": 0.5, "engine": 0.0, "wait": 0.0, "judge": 0.0}
    assert pace.as_json()["seconds"] == {"imagery": 60.0, "engine": 30.0, "wait": 0.0, "judge": 0.0}


def test_the_process_is_up_and_ready(served: Served) -> None:
    assert served.json("/healthz") == {"status": "up"}
    assert served.json("/readyz") == {"ready": True, "reason": ""}
    assert served.ask("HEAD", "/readyz").status_code == 200


def test_an_old_schema_is_not_ready_and_says_so(empty_database: Database, tmp_path: Path) -> None:
    with serving(backend_of(empty_database, tmp_path)) as served:
        assert served.json("/healthz") == {"status": "up"}
        answer = served.get("/readyz")
    assert answer.status_code == 503 and answer.json() == {
        "ready": False, "reason": "the database has another schema than this program; see the log",
    }
