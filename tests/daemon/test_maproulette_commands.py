"""`mapgap maproulette` and what `mapgap status` says of it, as somebody meets them who sets it up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from claims import Ledger, house, missing
from click.testing import CliRunner, Result
from fake_maproulette import FakeMapRoulette

from daemon.__main__ import main
from daemon.config import parse, render
from daemon.db import Database, hold_daemon_lock
from daemon.discrepancies.life import publish
from daemon.publish.outbox import due, postpone


@pytest.fixture
def mapgap(database: Database, maproulette: FakeMapRoulette, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Gives a command to an installation that publishes into the fake server."""
    monkeypatch.setenv("MAPROULETTE_KEY", maproulette.owner.key)
    (tmp_path / "tiles").mkdir()
    path = tmp_path / "config.toml"

    def give(*words: str, **knobs) -> Result:
        values = {
            "database": {"dsn": database.dsn},
            "imagery": [{
                "name": "aerial", "kind": "xyz", "url": "tiles", "licence": "CC-BY-4.0", "attribution": "© Somebody",
                "osm_permission": "made up",
            }],
            "publish": {"min_confidence": 0.0},
            "maproulette": {
                "enabled": True, "url": maproulette.url, "project": "town", "api_key_env": "MAPROULETTE_KEY",
                "rate": 100, "retries": 0, "change_files": 1.0, **knobs,
            },
        }
        path.write_text(render(parse(values, "test", tmp_path)))
        return CliRunner().invoke(main, [*words, "--config", str(path)], prog_name="mapgap")

    return give


@pytest.fixture
def published(database: Database) -> list[str]:
    """Keys of three discrepancies that are shown."""
    ledger = Ledger(database)
    keys = ledger.open(*(missing(house(20 * i, 20)) for i in (1, 2, 3)), now=datetime.now(UTC))
    with ledger.cursor() as cursor:
        publish(cursor, keys, now=datetime.now(UTC))
    return keys


def test_the_key_and_what_is_there_are_looked_at_without_a_change(mapgap, maproulette, published) -> None:
    first = mapgap("maproulette", "check")
    assert first.exit_code == 0 and "mapgap-bot" in first.output and "the first round makes it" in first.output
    assert maproulette.writes == []
    assert mapgap("maproulette", "sync").exit_code == 0
    then = mapgap("maproulette", "check").output
    assert "with 1 challenges" in then and "Building missing in OSM - area (shown)" in then
    assert maproulette.owner.key not in first.output + then


def test_one_round_tells_all_and_its_standing_is_told(mapgap, maproulette, published) -> None:
    before = json.loads(mapgap("maproulette", "status", "--json").output)
    assert (before["url"], before["waiting"], before["open"]) == (None, 3, 0)
    assert mapgap("maproulette", "sync").exit_code == 0
    assert sorted(task.name for task in maproulette.tasks()) == sorted(published)
    after = json.loads(mapgap("maproulette", "status", "--json").output)
    assert (after["url"], after["project"], after["waiting"], after["open"], after["backlog"]) == (
        maproulette.url, "town", 0, 3, 0,
    )
    assert "3 open tasks in 1 challenges of town" in mapgap("maproulette", "status").output
    assert "3 open tasks in 1 challenges of town" in mapgap("status").output


def test_what_is_paused_and_what_failed_is_told_with_its_reason(mapgap, database, maproulette, published) -> None:
    mapgap("maproulette", "sync")
    now = datetime.now(UTC)
    with database.transaction() as cursor:
        cursor.execute("UPDATE maproulette_challenge SET paused = now(), pause_reason = '12 of 20 were not an issue'")
        cursor.execute(
            "INSERT INTO outbox (channel, key, not_before) VALUES ('maproulette', %s, %s)", (published[0], now)
        )
        postpone(cursor, "maproulette", due(cursor, "maproulette", now, 9), "somebody has the task open", now)
    said = mapgap("maproulette", "status").output
    assert "paused since" in said and "12 of 20 were not an issue" in said
    assert "1 could not be told: somebody has the task open" in said
    told = json.loads(mapgap("status", "--json").output)["maproulette"]
    assert told["challenges"][0]["pause_reason"] == "12 of 20 were not an issue" and told["failing"] == 1
    assert "goes on" in mapgap("maproulette", "resume").output
    assert "nothing is paused" in mapgap("maproulette", "resume").output


def test_a_dry_run_sends_nothing(mapgap, maproulette, published) -> None:
    assert mapgap("maproulette", "sync", dry_run=True).exit_code == 0
    assert maproulette.writes == [] and maproulette.tasks() == []
    assert json.loads(mapgap("maproulette", "status", "--json").output)["waiting"] == 3


def test_without_leave_nothing_is_asked(mapgap, maproulette) -> None:
    for command in ("sync", "check", "resume"):
        refused = mapgap("maproulette", command, enabled=False)
        assert refused.exit_code == 2 and "maproulette.enabled" in refused.output
    assert maproulette.requests == []
    assert json.loads(mapgap("status", "--json", enabled=False).output)["maproulette"] is None


def test_a_round_by_hand_waits_for_no_daemon(mapgap, database, maproulette) -> None:
    with hold_daemon_lock(database):
        refused = mapgap("maproulette", "sync")
    assert refused.exit_code == 3 and maproulette.requests == []


def test_a_key_that_is_none_is_named(mapgap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAPROULETTE_KEY", "17|0123456789abcdef0123456789abcdef")
    refused = mapgap("maproulette", "check")
    assert refused.exit_code == 12 and "401" in refused.output and "0123456789abcdef" not in refused.output
