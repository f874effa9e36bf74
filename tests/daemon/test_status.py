"""`mapgap status` tells the truth, daemon or no daemon."""

from __future__ import annotations

import io
import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from daemon.config import Config, parse
from daemon.db import Database, EmbeddedServer, embedded, hold_daemon_lock, open_database
from daemon.facts import write_fact
from daemon.status import find_status, read_status, show_status

NOW = datetime(2026, 9, 10, 12, 0, tzinfo=UTC)
FAILURE = {"stage": "follow", "time": "2026-09-10T11:00:00+00:00", "kind": "SequenceGap", "message": "gap [at 12]",
           "transient": False, "failures": 3}


def config_of(tmp_path: Path, dsn: str = "") -> Config:
    return parse({"database": {"dsn": dsn}, "replication": {"fresh_within": 300}}, "test", tmp_path)


def bootstrap(db: Database, timestamp: datetime | None = NOW, sequence: int | None = 7) -> None:
    with db.transaction() as cursor:
        cursor.execute(
            "INSERT INTO replication_state (sequence, timestamp, area) VALUES (%s, %s, '{}')", (sequence, timestamp)
        )


@pytest.mark.parametrize(
    ("age", "verdict", "code"), [(10, "fresh", 0), (300, "fresh", 0), (301, "behind", 1), (90_000, "behind", 1)]
)
def test_the_verdict_follows_the_lag(database: Database, tmp_path: Path, age: int, verdict: str, code: int) -> None:
    bootstrap(database, NOW - timedelta(seconds=age))
    status = read_status(database, config_of(tmp_path), NOW)
    assert (status.verdict, status.exit_code, status.lag_seconds) == (verdict, code, age)
    assert (status.sequence, status.running, status.heartbeat) == (7, False, None)


def test_before_the_first_change_file_it_is_behind(database: Database, tmp_path: Path) -> None:
    bootstrap(database, timestamp=None, sequence=None)
    assert read_status(database, config_of(tmp_path), NOW).verdict == "behind"


def test_an_empty_store_is_broken_and_says_what_to_do(
    database: Database, empty_database: Database, tmp_path: Path
) -> None:
    for db in (database, empty_database):
        status = read_status(db, config_of(tmp_path), NOW)
        assert status.exit_code == 2 and "mapgap bootstrap" in status.reason


@pytest.mark.parametrize(("transient", "verdict"), [(False, "broken"), (True, "fresh")])
def test_only_a_failure_that_will_not_pass_breaks(
    database: Database, tmp_path: Path, transient: bool, verdict: str
) -> None:
    bootstrap(database)
    with database.transaction() as cursor:
        older = {**FAILURE, "stage": "look", "time": "2026-09-10T10:00:00+00:00", "transient": True}
        write_fact(cursor, "errors", {"follow": {**FAILURE, "transient": transient}, "look": older})
    status = read_status(database, config_of(tmp_path), NOW)
    assert status.verdict == verdict
    assert status.last_error is not None and status.last_error["stage"] == "follow"


def test_queue_discrepancies_and_daemon_are_counted(database: Database, tmp_path: Path) -> None:
    bootstrap(database)
    with database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO dirty_tile (z, x, y, state, reason, first_seen, last_seen, not_before, error) "
            "SELECT 19, x, 1, CASE WHEN x < 3 THEN 'queued' ELSE 'dead' END::tile_state, 'change', now(), now(), "
            "now(), CASE WHEN x = 3 THEN 'odd' ELSE 'imagery away' END FROM generate_series(1, 6) AS x"
        )
        cursor.execute(
            "INSERT INTO discrepancy (key, detector, kind, confidence, geometry, bbox, lon, lat, evidence, opened, "
            "updated, last_seen) SELECT 'bld-000' || i, 'building', CASE WHEN i < 3 THEN 'gone' ELSE 'missing' END, "
            "0.5, '', '((0,0),(1,1))', 0, 0, '{}', now(), now(), now() FROM generate_series(1, 3) AS i"
        )
        write_fact(cursor, "daemon", {"worker": "w", "pid": 42, "host": "here", "started": "x", "stopped": None})
        write_fact(cursor, "server", {"sequence": 9, "timestamp": "2026-09-10T12:01:00Z"})
    with hold_daemon_lock(database):
        status = read_status(database, config_of(tmp_path), NOW)
    assert status.running and status.heartbeat is not None and status.heartbeat["pid"] == 42
    assert status.tiles == {"queued": 2, "leased": 0, "dead": 4}
    assert [(one["reason"], one["tiles"], one["example"]) for one in status.dead] == [
        ("imagery away", 3, "19/4/1"), ("odd", 1, "19/3/1"),
    ]
    assert status.discrepancies == {"building": {"gone": {"open": 2}, "missing": {"open": 1}}}
    assert status.server == {"sequence": 9, "timestamp": "2026-09-10T12:01:00Z"}
    assert status.models == {"building": "building"}
    assert not read_status(database, config_of(tmp_path), NOW).running


def test_it_is_shown_as_a_table_and_as_json(database: Database, tmp_path: Path) -> None:
    bootstrap(database, datetime.now(UTC))
    with database.transaction() as cursor:
        write_fact(cursor, "errors", {"follow": FAILURE})
    config = config_of(tmp_path, database.dsn)
    for as_json in (True, False):
        out = io.StringIO()
        assert show_status(config, as_json, Console(file=out, width=100)) == 2
        if as_json:
            told = json.loads(out.getvalue())
            assert (told["verdict"], told["sequence"], told["last_error"]["kind"]) == ("broken", 7, "SequenceGap")
        else:
            assert "broken" in out.getvalue() and "gap [at 12]" in out.getvalue() and "sequence 7" in out.getvalue()


def test_a_database_out_of_reach_is_broken(tmp_path: Path) -> None:
    status = find_status(config_of(tmp_path, f"host={tmp_path} user=me dbname=x"))
    assert status.exit_code == 2 and "database" in status.reason


def test_asking_makes_no_database(tmp_path: Path) -> None:
    status = find_status(config_of(tmp_path))
    assert status.exit_code == 2 and "no database yet" in status.reason
    assert not (tmp_path / "mapgap-data").exists()


def test_an_embedded_server_is_left_as_it_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SETTINGS", {**embedded.SETTINGS, "fsync": "off"})
    config = config_of(tmp_path)
    pid_file = config.data_dir / "postgres" / "data" / "postmaster.pid"
    with open_database(config) as db:
        bootstrap(db, datetime.now(UTC))
        before = pid_file.read_text().split()[0]
        assert find_status(config).verdict == "fresh"
        assert pid_file.read_text().split()[0] == before
        with db.transaction() as cursor:
            cursor.execute("SELECT 1")
    assert not pid_file.exists()
    assert find_status(config).verdict == "fresh"
    assert not pid_file.exists()
    with EmbeddedServer(config.data_dir) as server:
        os.kill(server.pid or 0, signal.SIGKILL)
        assert find_status(config).verdict == "fresh"


def test_too_far_behind_is_a_state_with_instructions(database: Database, tmp_path: Path) -> None:
    bootstrap(database, NOW - timedelta(days=2))
    config = config_of(tmp_path, database.dsn)
    with database.transaction() as cursor:
        gone = {**FAILURE, "kind": "TooFarBehind", "message": "removed; bootstrap from a newer extract"}
        write_fact(cursor, "errors", {"follow": gone})
    status = read_status(database, config, NOW)
    assert (status.verdict, status.exit_code) == ("too_far_behind", 2)
    assert status.reason == "removed; bootstrap from a newer extract"
    with database.transaction() as cursor:
        write_fact(cursor, "errors", {})
    assert read_status(database, config, NOW).verdict == "behind"


@pytest.mark.parametrize(("days", "verdict"), [(89, "behind"), (91, "too_far_behind")])
def test_being_many_days_behind_the_server_asks_for_a_newer_extract(
    database: Database, tmp_path: Path, days: int, verdict: str
) -> None:
    bootstrap(database, NOW - timedelta(days=days))
    with database.transaction() as cursor:
        write_fact(cursor, "server", {"sequence": 9, "timestamp": NOW.isoformat()})
    status = read_status(database, config_of(tmp_path), NOW)
    assert status.verdict == verdict and ("newer extract" in status.reason) is (days > 90)


def test_old_data_of_a_server_that_has_nothing_newer_is_not_too_far_behind(database: Database, tmp_path: Path) -> None:
    bootstrap(database, NOW - timedelta(days=900))
    with database.transaction() as cursor:
        write_fact(cursor, "server", {"sequence": 7, "timestamp": (NOW - timedelta(days=900)).isoformat()})
    assert read_status(database, config_of(tmp_path), NOW).verdict == "behind"


def test_the_lag_is_told_in_full(database: Database, tmp_path: Path) -> None:
    bootstrap(database, NOW - timedelta(minutes=10))
    config = config_of(tmp_path)
    with database.transaction() as cursor:
        write_fact(cursor, "server", {"sequence": 12, "timestamp": (NOW - timedelta(minutes=1)).isoformat()})
        write_fact(cursor, "followed", {"applied": 3})
    status = read_status(database, config, NOW)
    assert (status.lag_seconds, status.behind_seconds, status.files_behind) == (600, 540, 5)
    assert status.source == "planet.openstreetmap.org/replication/minute"
    assert status.last_success and status.server_asked
    with database.transaction() as cursor:  # in the middle of catching up by days
        day = "planet.openstreetmap.org/replication/day"
        cursor.execute("UPDATE replication_state SET sequence = 99, server = %s", (day,))
    status = read_status(database, config, NOW)
    assert (status.files_behind, status.behind_seconds, status.sequence) == (None, 540, 99)
    assert status.source == "planet.openstreetmap.org/replication/day"
