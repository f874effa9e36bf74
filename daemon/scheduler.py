"""The daemon: APScheduler drives the stages, one job a stage and never two of a kind at once.

    follow     every replication.poll_interval; what it brings wakes look
    sweep      every schedule.look_interval
    look       every schedule.look_interval; what it finds wakes publish
    publish    every schedule.publish_interval
    (channel)  every channel (`daemon.publish.channels`) in its own interval
    heartbeat  says that the daemon lives, keeps its lock, writes down what failed
    watchdog   pings systemd for as long as the stages make progress

Beside the stages may work companions, each in a thread of its own: the web server is one.

A stage's failure never ends the daemon: it is logged, written down for `mapgap status`, and the stage is tried again,
with growing rests. One that needs somebody's help is logged once, until it is another one. Only the loss of the lock to
another daemon ends it, and SIGTERM or SIGINT: then the stage in hand finishes or gives back its block, and the process
is gone within ten seconds. SIGHUP is ignored; to read a changed configuration, restart.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import psycopg2
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from daemon.config import Config
from daemon.db import DaemonLock, Database, hold_daemon_lock, open_database, query
from daemon.errors import DatabaseLocked, MapgapError
from daemon.facts import read_facts, write_fact
from daemon.log import without_secrets
from daemon.notify import Notifier
from daemon.publish.channels import Channel
from daemon.signals import stop_on_signals
from daemon.tiling.queue import release_worker

log = logging.getLogger(__name__)

#: Seconds between two heartbeats in the database.
HEARTBEAT = 10.0
#: Least rest of a companion that fails, and what is waited for one beyond the stages' grace; seconds.
COMPANION_REST, COMPANION_GRACE = 1.0, 2.0
#: Which stage's work is news for which.
WAKES = {"follow": "look", "look": "publish"}


class Stages(Protocol):
    """What the scheduler drives.

    Attributes:
        stages: by name, in order; each does one portion and returns True if there is more to do at once.
        worker: the name under which tiles are leased.
        channels: those of the stages that are channels.
    """

    worker: str
    channels: Sequence[Channel]

    @property
    def stages(self) -> Mapping[str, Callable[[], bool]]: ...

    def close(self) -> None: ...


class Companion(Protocol):
    """What works beside the stages; its failure is written down as a stage's is, and it is begun anew after a rest.

    Attributes:
        name: as of a stage.
    """

    name: str

    def run(self, stop: threading.Event, works: Callable[[], None]) -> None:
        """Work until `stop` is set, then end within schedule.grace.

        Args:
            works: to be called once it does what it should.
        """
        ...


def run(
    config: Config, pipeline_factory: Callable[[Database, threading.Event], Stages],
    companions: Sequence[Companion] = (),
) -> int:
    """Be the daemon until told to stop; must be called in the main thread.

    Args:
        companions: work beside the stages.

    Returns:
        0 after SIGTERM or SIGINT.

    Raises:
        DatabaseLocked: another daemon works on the database, now or since the lock was lost.
        MapgapError, ModelError: what the configuration names cannot be opened.
    """
    stop = threading.Event()
    notifier = Notifier.from_environment()
    with stop_on_signals(stop):
        notifier.status("opening the database")
        with open_database(config) as db, hold_daemon_lock(db) as lock:
            pipeline = pipeline_factory(db, stop)
            runner = Runner(config, db, lock, pipeline, stop, notifier, companions)
            idle = runner.run()
            if idle:
                pipeline.close()
            else:
                runner.give_back()
        log.info("stopped")
        if not idle:  # a thread that does not come back would keep the interpreter from ending
            logging.shutdown()
            sys.stdout.flush()
            os._exit(runner.fatal.exit_code if runner.fatal else 0)
    if runner.fatal:
        raise runner.fatal
    return 0


class Runner:
    """One run of the daemon."""

    def __init__(
        self, config: Config, db: Database, lock: DaemonLock, pipeline: Stages, stop: threading.Event,
        notifier: Notifier, companions: Sequence[Companion] = (),
    ):
        self._config = config
        self._db = db
        self._lock = lock
        self._pipeline = pipeline
        self._stop = stop
        self._notifier = notifier
        self._state = threading.Condition()
        self._beating = threading.Lock()
        self._progress: dict[str, float] = {}  # stages under way: monotonic time of their last progress
        self._errors: dict[str, dict[str, object]] = {}
        self._told: dict[str, str] = {}  # what was last logged of the stages that fail
        self._beside = {companion.name: threading.Thread(
            target=self._accompany, args=(companion,), name=companion.name, daemon=True
        ) for companion in companions}
        self._started = datetime.now(UTC)
        #: What ends the daemon from within.
        self.fatal: MapgapError | None = None
        names = list(pipeline.stages)
        self._intervals = {
            "follow": config.replication.poll_interval,
            "sweep": config.schedule.look_interval,
            "look": config.schedule.look_interval,
            "publish": config.schedule.publish_interval,
            **{channel.name: channel.interval for channel in pipeline.channels},
        }
        # A thread of its own for each: the networks of `look` want to be asked by one and the same thread for ever.
        self._scheduler = BackgroundScheduler(
            executors={name: ThreadPoolExecutor(1) for name in [*names, "heartbeat", "watchdog"]},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )

    def run(self) -> bool:
        """Work until told to stop. Returns whether the stages came back in time (schedule.grace)."""
        self._take_over()
        for name in self._pipeline.stages:
            self._add(name, lambda name=name: self._run_stage(name), self._intervals[name])
        self._add("heartbeat", self._beat, HEARTBEAT)
        if self._notifier.watchdog:
            self._add("watchdog", self._watch, self._notifier.watchdog / 3)
        self._scheduler.start()
        for thread in self._beside.values():
            thread.start()
        self._notifier.ready()
        log.info("running", extra={"worker": self._pipeline.worker})
        self._stop.wait()
        self._notifier.stopping()
        log.info("stopping; %s", ", ".join(sorted(self._progress)) or "nothing in hand")
        with self._state:
            self._scheduler.shutdown(wait=False)
            idle = self._state.wait_for(lambda: not self._progress, self._config.schedule.grace)
        idle = self._wait_for_companions() and idle
        idle = self._beating.acquire(timeout=1.0) and idle  # a beat now could take the lock again after its release
        if not self.fatal:
            self._write_down(stopped=True)
        return idle

    def give_back(self) -> None:
        """Return the tiles in hand to the queue, where the stage that holds them does not come back to do it."""
        late = ", ".join(sorted(self._progress)) or "a companion"
        log.warning("%s did not finish in time; what it had in hand is given back", late)
        try:
            with self._db.transaction() as cursor:
                cursor.execute(query("give_back_all"), {"worker": self._pipeline.worker})
        except MapgapError as error:
            log.warning("could not give back tiles, their lease will run out: %s", error)

    def _add(self, name: str, function: Callable[[], None], interval: float) -> None:
        self._scheduler.add_job(
            function, IntervalTrigger(seconds=interval, timezone=UTC), id=name, executor=name,
            next_run_time=datetime.now(UTC),
        )

    def _take_over(self) -> None:
        """What an earlier daemon left: its errors stand until the stages succeed, its tiles return to the queue."""
        with self._db.transaction() as cursor:
            facts = read_facts(cursor)
            if "errors" in facts:
                known = {*self._pipeline.stages, *self._beside}
                self._errors = {name: error for name, error in facts["errors"].value.items() if name in known}
            before = facts["daemon"].value if "daemon" in facts else {}
            if before.get("worker", self._pipeline.worker) != self._pipeline.worker and not before.get("stopped"):
                released = release_worker(cursor, before["worker"])
                log.info("the last daemon ended without notice; %d tiles it had in hand are queued again", released)
        self._write_down()

    def _run_stage(self, name: str) -> None:
        with self._state:  # once `run` saw that nothing is under way, nothing may begin
            if self._stop.is_set():
                return
            self._progress[name] = time.monotonic()
        worked = False
        try:
            while self._pipeline.stages[name]():
                worked = True
                with self._state:
                    self._progress[name] = time.monotonic()
                if self._stop.is_set():
                    break
        except Exception as error:
            self._failed(name, error)
        else:
            self._recovered(name)
            if name == "follow" or worked:
                self._wake(WAKES.get(name))
        finally:
            with self._state:
                self._progress.pop(name, None)
                self._state.notify_all()

    def _accompany(self, companion: Companion) -> None:
        """Keep a companion working until told to stop."""
        while not self._stop.is_set():
            try:
                companion.run(self._stop, lambda: self._recovered(companion.name))
            except Exception as error:
                self._stop.wait(self._failed(companion.name, error))

    def _wait_for_companions(self) -> bool:
        """Whether they ended in time; they were told when the stages were, and have a moment more."""
        for thread in self._beside.values():
            thread.join(COMPANION_GRACE)
        late = [name for name, thread in self._beside.items() if thread.is_alive()]
        if late:
            log.warning("%s did not end in time", ", ".join(late))
        return not late

    def _recovered(self, name: str) -> None:
        self._told.pop(name, None)
        if self._errors.pop(name, None):
            log.info("%s works again", name)
            self._write_down()

    def _failed(self, name: str, error: Exception) -> float:
        """Write a failure down; returns the seconds until the next try."""
        if self._stop.is_set():
            log.info("%s was cut short by the stop: %s", name, error)
            return 0.0
        transient = bool(getattr(error, "transient", False))
        failures = int(self._errors.get(name, {}).get("failures", 0)) + 1
        interval = self._intervals.get(name, COMPANION_REST)
        rest = max(interval, min(interval * 2 ** min(failures - 1, 30), self._config.schedule.retry_most))
        self._errors[name] = {
            "stage": name,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "kind": type(error).__name__,
            "message": without_secrets(str(error) or type(error).__name__),
            "transient": transient,
            "failures": failures,
        }
        expected = isinstance(error, MapgapError) or hasattr(error, "exit_code")
        level = logging.WARNING if transient else logging.ERROR
        if not transient and self._told.get(name) == str(error):
            level = logging.DEBUG
        self._told[name] = str(error)
        log.log(
            level, "%s failed, next try in %.0f s: %s", name, rest, error,
            extra={"stage": name, "failures": failures}, exc_info=not expected,
        )
        if name in self._pipeline.stages:
            self._reschedule(name, rest)
        self._write_down()
        return rest

    def _wake(self, name: str | None) -> None:
        if name in self._pipeline.stages and name not in self._errors:
            self._reschedule(name, 0.0)

    def _reschedule(self, name: str, rest: float) -> None:
        with self._state:
            if not self._stop.is_set():
                self._scheduler.modify_job(name, next_run_time=datetime.now(UTC) + timedelta(seconds=rest))

    def _beat(self) -> None:
        with self._beating:
            if not self._stop.is_set():
                self._say_alive()

    def _say_alive(self) -> None:
        try:
            self._lock.ensure()
        except DatabaseLocked as error:
            log.error("%s", error)
            self.fatal = error
            self._stop.set()
            return
        except MapgapError as error:
            log.warning("the database does not answer: %s", error)
            return
        self._write_down()
        now = time.monotonic()
        with self._state:
            busy = [f"{name} for {now - since:.0f} s" for name, since in self._progress.items()]
        failing = [f"{name} fails: {error['message']}" for name, error in list(self._errors.items())]
        self._notifier.status("; ".join(["working: " + ", ".join(busy) if busy else "waiting", *failing]))

    def _write_down(self, stopped: bool = False) -> None:
        """The heartbeat and the errors; where the database is away, the next heartbeat makes up for it."""
        mine = {
            "worker": self._pipeline.worker,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": self._started.isoformat(timespec="seconds"),
            "stopped": datetime.now(UTC).isoformat(timespec="seconds") if stopped else None,
        }
        try:
            with self._db.transaction() as cursor:
                write_fact(cursor, "daemon", mine)
                write_fact(cursor, "errors", dict(self._errors))
        except (MapgapError, psycopg2.Error) as error:
            log.warning("cannot write down the daemon's state: %s", error)

    def _watch(self) -> None:
        """Ping while no stage is stuck."""
        limit = self._config.schedule.stuck_after
        now = time.monotonic()
        with self._state:
            stuck = {name: now - since for name, since in self._progress.items() if now - since > limit}
        if not stuck:
            self._notifier.ping()
            return
        for name, since in stuck.items():
            log.error("%s made no progress for %.0f s (schedule.stuck_after); the watchdog is not fed", name, since)
