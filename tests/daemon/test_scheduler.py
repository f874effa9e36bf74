"""The daemon drives its stages, survives their failures, tells systemd, and leaves in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from daemon.config import Config, parse
from daemon.db import Database, hold_daemon_lock
from daemon.errors import DatabaseLocked, NotBootstrapped, ReplicationUnavailable
from daemon.facts import read_facts, write_fact
from daemon.notify import Notifier
from daemon.scheduler import Runner

REPOSITORY = Path(__file__).resolve().parents[2]

#: A daemon whose `look` is chosen by its second argument; it says on stdout what it does.
DAEMON = """
import logging, sys, threading
from pathlib import Path
from daemon.config import load
from daemon.db import embedded
from daemon.errors import MapgapError
from daemon.log import set_up_log
from daemon.scheduler import run

embedded.SETTINGS = {**embedded.SETTINGS, "fsync": "off"}  # kills of processes lose nothing that way either
config = load(sys.argv[1])
set_up_log(config.log)

class Stages:
    worker = "test:1"
    def __init__(self, db, stop):
        self.db, self.stop = db, stop
        self.channels = ()
        self.stages = {"follow": lambda: False, "look": getattr(self, sys.argv[2]), "publish": lambda: False}
    def idle(self):
        return False
    def polite(self):
        print("busy", flush=True)
        self.stop.wait()
        print("finished", flush=True)
        return True
    def stuck(self):
        with self.db.transaction() as cursor:
            cursor.execute("INSERT INTO dirty_tile (z, x, y, state, reason, first_seen, last_seen, not_before, worker, "
                           "leased_until) VALUES (19, 1, 2, 'leased', 'change', now(), now(), now(), 'test:1', now())")
        print("busy", flush=True)
        threading.Event().wait()
    def close(self):
        print("closed", flush=True)

try:
    sys.exit(run(config, Stages))
except MapgapError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Toy:
    """Stages that are plain functions."""

    worker = "toy:1"

    def __init__(self, **stages: Callable[[], bool]):
        self.channels = ()
        self.stages: Mapping[str, Callable[[], bool]] = {
            name: stages.get(name, lambda: False) for name in ("follow", "look", "publish")
        }

    def close(self) -> None:
        pass


def config_for(db: Database, tmp_path: Path, **schedule: float) -> Config:
    quick = {"look_interval": 0.1, "publish_interval": 0.1, **schedule}
    values = {"database": {"dsn": db.dsn}, "schedule": quick, "replication": {"poll_interval": 1.0}}
    return parse(values, "test", tmp_path)


def drive(db: Database, config: Config, stages: Toy, stop: threading.Event) -> Runner:
    """Run until a stage sets `stop`; a daemon that does not get there is stopped after a minute."""
    rescue = threading.Timer(60, stop.set)
    rescue.start()
    try:
        with hold_daemon_lock(db) as lock:
            runner = Runner(config, db, lock, stages, stop, Notifier())
            assert runner.run(), "a stage did not come back"
    finally:
        rescue.cancel()
        rescue.join()
    return runner


def errors(db: Database) -> dict[str, dict[str, object]]:
    with db.transaction() as cursor:
        return read_facts(cursor)["errors"].value


def test_a_stage_goes_on_as_long_as_there_is_more_and_wakes_the_next(database: Database, tmp_path: Path) -> None:
    stop = threading.Event()
    portions = iter([True, True, True, False])
    looked, calls = [], []

    def look() -> bool:
        looked.append(threading.get_ident())
        return next(portions, False)

    def publish() -> bool:
        calls.append(len(looked))
        if len(looked) >= 4:
            stop.set()
        return False

    config = config_for(database, tmp_path, look_interval=3600, publish_interval=3600)
    drive(database, config, Toy(look=look, publish=publish), stop)
    assert len(looked) >= 4 and len(set(looked)) == 1
    assert calls[-1] >= 4


def test_a_transient_failure_is_written_down_tried_again_and_forgotten(database: Database, tmp_path: Path) -> None:
    stop = threading.Event()
    seen = []

    def look() -> bool:
        if len(seen) >= 2:
            seen.append(dict(errors(database)["look"]))
            return False
        seen.append(None)
        raise ReplicationUnavailable("server https://me:hunter2@x.org away")

    def publish() -> bool:
        if len(seen) >= 3 and not errors(database):
            stop.set()
        return False

    drive(database, config_for(database, tmp_path), Toy(look=look, publish=publish), stop)
    error = seen[2]
    assert (error["stage"], error["kind"], error["transient"], error["failures"]) == (
        "look", "ReplicationUnavailable", True, 2,
    )
    assert "hunter2" not in str(error)
    assert errors(database) == {}


@pytest.mark.parametrize("failure", [NotBootstrapped("run bootstrap"), ZeroDivisionError("a mistake")])
def test_a_failure_that_will_not_pass_stays_visible_and_the_others_go_on(
    database: Database, tmp_path: Path, failure: Exception
) -> None:
    stop = threading.Event()
    published = []

    def look() -> bool:
        raise failure

    def publish() -> bool:
        published.append(1)
        if len(published) >= 3 and "look" in errors(database):
            stop.set()
        return False

    drive(database, config_for(database, tmp_path), Toy(look=look, publish=publish), stop)
    assert errors(database)["look"]["transient"] is False
    assert errors(database)["look"]["kind"] == type(failure).__name__


def test_a_daemon_that_loses_its_lock_to_another_stops(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.scheduler.HEARTBEAT", 0.1)
    rival = Database(database.dsn).connect()
    waiting = threading.Thread(target=lambda: rival.cursor().execute("SELECT pg_advisory_lock(1298229104, 2)"))

    def look() -> bool:
        if not waiting.ident:
            waiting.start()
            with database.transaction() as cursor:
                held: list[tuple[bool, int]] = []
                while len(held) < 2:
                    cursor.execute("SELECT granted, pid FROM pg_locks WHERE locktype = 'advisory' ORDER BY granted")
                    held = cursor.fetchall()
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (held[1][1],))
            waiting.join()
        return False

    try:
        runner = drive(database, config_for(database, tmp_path), Toy(look=look), threading.Event())
    finally:
        rival.close()
    assert isinstance(runner.fatal, DatabaseLocked)


def test_tiles_of_a_daemon_that_was_killed_return_to_the_queue(database: Database, tmp_path: Path) -> None:
    with database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO dirty_tile (z, x, y, state, reason, first_seen, last_seen, not_before, worker, leased_until) "
            "VALUES (19, 1, 2, 'leased', 'change', now(), now(), now(), 'dead:1', now() + interval '1 hour')"
        )
        write_fact(cursor, "daemon", {"worker": "dead:1", "stopped": None})
    stop = threading.Event()
    stop.set()
    drive(database, config_for(database, tmp_path), Toy(), stop)
    with database.transaction() as cursor:
        cursor.execute("SELECT state::text, worker FROM dirty_tile")
        assert cursor.fetchall() == [("queued", None)]


class Process:
    """A daemon in a process of its own, with a socket for its notifications."""

    def __init__(self, tmp_path: Path, config: str, look: str, **environment: str):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(tmp_path / "notify"))
        self.socket.settimeout(60)
        (tmp_path / "config.toml").write_text(config)
        self.process = subprocess.Popen(
            [sys.executable, "-c", DAEMON, str(tmp_path / "config.toml"), look], text=True, cwd=REPOSITORY,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), **environment},
        )

    def wait_for(self, state: str) -> None:
        while self.socket.recv(4096).decode() != state:
            pass

    def read_log_until(self, text: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"ended without saying {text!r}")

    def terminate(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


@pytest.fixture
def start(tmp_path: Path, database: Database) -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def start(look: str, schedule: str = "", dsn: str | None = None, **environment: str) -> Process:
        directory = tmp_path / str(len(processes))
        directory.mkdir()
        dsn = database.dsn if dsn is None else dsn
        config = f"[database]\ndsn = \"{dsn}\"\n[schedule]\nlook_interval = 0.1\n{schedule}\n"
        processes.append(Process(directory, config, look, **environment))
        return processes[-1]

    yield start
    for one in processes:
        one.process.kill()
        one.process.communicate()
        one.socket.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_systemd_hears_of_its_whole_life(start: Callable[..., Process], number: int) -> None:
    daemon = start("idle", WATCHDOG_USEC="300000")
    daemon.wait_for("READY=1")
    daemon.wait_for("WATCHDOG=1")
    daemon.wait_for("WATCHDOG=1")
    code, out, err = daemon.terminate(number)
    daemon.wait_for("STOPPING=1")
    assert (code, out) == (0, "closed\n"), err


def test_the_stage_in_hand_finishes_when_told_to_stop(start: Callable[..., Process]) -> None:
    daemon = start("polite")
    assert daemon.process.stdout is not None and daemon.process.stdout.readline() == "busy\n"
    code, out, err = daemon.terminate()
    assert (code, out) == (0, "finished\nclosed\n"), err


def test_a_stage_that_does_not_come_back_gives_its_tiles_back(
    start: Callable[..., Process], database: Database
) -> None:
    daemon = start("stuck", "grace = 0.5")
    assert daemon.process.stdout is not None and daemon.process.stdout.readline() == "busy\n"
    code, _, err = daemon.terminate()
    assert code == 0, err
    with database.transaction() as cursor:
        cursor.execute("SELECT state::text, worker, attempts FROM dirty_tile")
        assert cursor.fetchall() == [("queued", None, 0)]


def test_a_stuck_stage_silences_the_watchdog(start: Callable[..., Process]) -> None:
    daemon = start("stuck", "stuck_after = 0.5\ngrace = 0.1", WATCHDOG_USEC="300000")
    daemon.wait_for("WATCHDOG=1")
    daemon.read_log_until("look made no progress")
    daemon.socket.setblocking(False)
    heard = []

    def drain() -> None:
        while True:
            try:
                heard.append(daemon.socket.recv(4096).decode())
            except BlockingIOError:
                return

    drain()
    heard.clear()
    for _ in range(3):
        daemon.read_log_until("look made no progress")
    drain()
    assert "WATCHDOG=1" not in heard
    assert daemon.terminate()[0] == 0


def test_hanging_up_does_not_end_it(start: Callable[..., Process]) -> None:
    daemon = start("idle", WATCHDOG_USEC="300000")
    daemon.wait_for("READY=1")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("WATCHDOG=1")
    daemon.wait_for("WATCHDOG=1")
    assert daemon.terminate()[0] == 0


def test_a_second_daemon_is_refused(start: Callable[..., Process]) -> None:
    first = start("idle")
    first.wait_for("READY=1")
    second = start("idle")
    _, err = second.process.communicate(timeout=60)
    assert second.process.returncode == DatabaseLocked.exit_code
    assert "another mapgap daemon works on this database already" in err
    assert first.terminate()[0] == 0


def test_with_an_embedded_server_it_survives_kills_and_leaves_nothing_running(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    daemon = start("idle", dsn="", WATCHDOG_USEC="300000")
    daemon.wait_for("READY=1")
    pid_file = tmp_path / "0" / "mapgap-data" / "postgres" / "data" / "postmaster.pid"
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
    daemon.wait_for("WATCHDOG=1")
    code, _, err = daemon.terminate()
    assert code == 0, err
    again = subprocess.Popen(
        daemon.process.args, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,  # type: ignore[arg-type]
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "0" / "notify")},
    )
    daemon.wait_for("READY=1")
    server = int(pid_file.read_text().split()[0])
    again.kill()
    again.communicate()
    assert os.path.exists(f"/proc/{server}")
    last = subprocess.Popen(
        daemon.process.args, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,  # type: ignore[arg-type]
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "0" / "notify")},
    )
    daemon.wait_for("READY=1")
    last.terminate()
    _, err = last.communicate(timeout=10)
    assert last.returncode == 0, err
    assert not pid_file.exists()
