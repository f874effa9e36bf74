"""What goes wrong at home: the database is killed, the disk is full, the configuration is wrong all over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from installation import RESTING, Installation

from daemon.config import Config
from daemon.db import Database, embedded, open_database
from daemon.errors import ConfigError, DatabaseUnavailable
from daemon.pipeline import Pipeline

State = dict[str, Any]


@pytest.fixture
def at_home(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A pipeline over an embedded server of its own, at sequence 2 of 4, with tiles in the queue."""
    monkeypatch.setattr(embedded, "SETTINGS", {**embedded.SETTINGS, "fsync": "off"})
    config = installation.configure(database={"dsn": ""})
    whole_again = installation.withhold_after(2)
    with open_database(config) as db:
        installation.database = db
        with Pipeline(config, db) as pipeline:
            pipeline.store.bootstrap(db, installation.base)
            pipeline.follow()
        whole_again()
        with Pipeline(config, db) as pipeline:  # another one, since the first lets the server rest for a while
            yield pipeline


def kill_server(config: Config) -> None:
    """kill -9 of the server and of all that it started."""
    pid = int((config.data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


@contextmanager
def killing_after(owner: object, name: str, config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The first call of a method does its work and then finds the database killed."""
    real: Callable[..., Any] = getattr(owner, name)
    calls: list[str] = []

    def deadly(*arguments: Any, **named: Any) -> Any:
        answer = real(*arguments, **named)
        calls.append(name)
        if len(calls) == 1:
            kill_server(config)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, deadly)
        yield calls


def test_a_server_killed_between_the_stages_costs_one_try_at_most(
    at_home: Pipeline, installation: Installation, undisturbed: State
) -> None:
    for stage in at_home.stages.values():
        kill_server(at_home.config)
        with suppress(DatabaseUnavailable):  # a server can die so late that it is asked once more
            stage()
        while stage():
            pass
    state = installation.state()
    assert (state["position"], state["store"], state["queue"]) == (4, undisturbed["store"], [])
    assert state["ledger"] and {state for *_, state, _ in state["ledger"]} <= {"published", "closed"}
    assert (installation.feed / "osmose.xml").exists()


def test_a_server_killed_while_a_change_file_is_applied_loses_and_repeats_none(
    at_home: Pipeline, installation: Installation, undisturbed: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installation.state()
    with killing_after(at_home.store, "apply", at_home.config, monkeypatch), pytest.raises(DatabaseUnavailable):
        at_home.follow()
    assert installation.state() == before
    at_home.follow()
    assert installation.state() == undisturbed


def test_a_server_killed_during_a_look_leaves_the_block_in_the_queue(
    at_home: Pipeline, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home.follow()
    before = installation.state()
    with killing_after(at_home.eyes[0].detector, "compare", at_home.config, monkeypatch) as calls:
        with suppress(DatabaseUnavailable):
            at_home.look()
        if installation.state()["queue"]:
            assert installation.state() == before
            at_home.look()
    assert calls
    state = installation.state()
    assert state["queue"] == [] and state["ledger"]


def test_a_database_out_of_reach_is_named_and_the_next_cycle_works(following: Installation, undisturbed: State) -> None:
    before = following.state()
    following.configure(**RESTING, database={"dsn": f"host={following.directory} dbname=x user=me"})
    for command in (["once"], ["backfill"], ["export"], ["bootstrap", following.base]):
        answer = following.mapgap(*command)
        assert answer.exit_code == 3 and answer.stderr.startswith("mapgap: database "), answer.output
        assert "Traceback" not in answer.output
    assert following.mapgap("status").exit_code == 2
    following.configure(**RESTING)
    assert following.state() == before
    assert following.mapgap("once").exit_code == 0
    assert following.state() == undisturbed


def test_a_database_that_lets_nobody_make_tables_is_named(installation: Installation, empty_database: Database) -> None:
    with empty_database.transaction() as cursor:
        cursor.execute("CREATE ROLE guest LOGIN")
    installation.configure(database={"dsn": f"{empty_database.dsn} user=guest"})
    answer = installation.mapgap("bootstrap", installation.base)
    with empty_database.transaction() as cursor:
        cursor.execute("DROP ROLE guest")
    assert answer.exit_code == 3 and "permission denied" in answer.stderr, answer.output
    assert "Traceback" not in answer.output


FULL = """
    import sys
    sys.path.insert(0, TESTS)
    from click.testing import CliRunner
    from daemon.__main__ import main
    def mapgap(*words):
        return CliRunner().invoke(main, [*words, "--config", CONFIG])
    filler = DISK / "filler"
    def fill():
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                pass
"""


def test_a_full_disk_stops_following_and_loses_nothing(
    following: Installation, undisturbed: State, small_disk: Callable[..., None]
) -> None:
    disk = following.directory.parent / "disk"
    following.configure(**RESTING, data_dir=str(disk / "data"))
    code = FULL + """
    (DISK / "data" / "scratch").mkdir(parents=True)
    fill()
    answer = mapgap("once")
    assert answer.exit_code == 8 and "make room" in answer.stderr, answer.output
    assert "Traceback" not in answer.output
    filler.unlink()
    """
    before = following.state()
    small_disk(code, CONFIG=str(following.config_path), TESTS=str(Path(__file__).parents[1]))
    assert following.state() == before
    following.configure(**RESTING)
    assert following.mapgap("once").exit_code == 0
    assert following.state() == undisturbed


def test_a_full_disk_for_the_feeds_leaves_the_old_ones_and_all_unpublished(
    installation: Installation, small_disk: Callable[..., None]
) -> None:
    disk = installation.directory.parent / "disk"
    installation.configure(publish={"dir": str(disk / "feed")})
    installation.bootstrap()
    code = FULL + """
    (DISK / "feed").mkdir()
    (DISK / "feed" / "osmose.xml").write_text("old")
    fill()
    for words in (("once",), ("export", "--out", str(DISK / "export.geojson"))):
        answer = mapgap(*words)
        assert answer.exit_code == 8 and "make room" in answer.stderr, answer.output
        assert "Traceback" not in answer.output
        assert sorted(p.name for p in DISK.iterdir()) == ["feed", "filler"]
        assert [p.name for p in (DISK / "feed").iterdir()] == ["osmose.xml"]
        assert (DISK / "feed" / "osmose.xml").read_text() == "old"
    """
    small_disk(code, CONFIG=str(installation.config_path), TESTS=str(Path(__file__).parents[1]))
    assert {state for *_, state, _ in installation.state()["ledger"]} == {"open"}
    installation.configure()
    assert installation.mapgap("once").exit_code == 0
    assert {state for *_, state, _ in installation.state()["ledger"]} == {"published"}


def test_standard_output_that_is_full_is_named(installation: Installation) -> None:
    installation.bootstrap()
    with open("/dev/full", "wb") as full:
        process = installation.popen("export", stdout=full)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 8, said
    assert "standard output: no space left on device" in said and "Traceback" not in said


TEN_ERRORS = """
data_dirr = "x"
[area]
bbox = [10.0, 50.0, 9.0, 51.0]
[replication]
url = "ftp://example.org"
poll_interval = 0
[tiling]
zoom = 99
mode = "sideways"
[client]
rate = -1.0
[[imagery]]
name = "Bad Name"
kind = "gdal"
url = "tiles"
attribution = "somebody"
osm_permission = "yes"
[detectors.building]
missing = 1.5
[log]
level = "loud"
"""


def test_ten_wrong_keys_are_told_at_once_and_nothing_is_touched(following: Installation) -> None:
    before = following.state()
    good = following.config_path.read_text()
    following.config_path.write_text(TEN_ERRORS)
    for command in (["once"], ["run"], ["backfill"], ["check"], ["status"], ["export"]):
        answer = following.mapgap(*command)
        assert answer.exit_code == ConfigError.exit_code
        lines = answer.stderr.splitlines()
        keys = [line.removeprefix("  - ").partition(":")[0] for line in lines[1:]]
        assert sorted(keys) == [
            "area.bbox", "client.rate", "data_dirr", "detectors.building.missing", "imagery[0].kind",
            "imagery[0].licence (Bad Name)", "imagery[0].name", "log.level", "replication.poll_interval",
            "replication.url", "tiling.mode", "tiling.zoom",
        ]
        assert lines[0] == f"mapgap: {following.config_path}: 12 problems"
    following.config_path.write_text(good)
    assert following.state() == before
    assert following.mapgap("once").exit_code == 0
