"""Several workers that train one network, by MXNet's kvstore "dist_sync"; or one worker alone.

Who takes part is said by the environment, as everywhere with MXNet: DMLC_ROLE (scheduler, server or worker),
DMLC_PS_ROOT_URI and DMLC_PS_ROOT_PORT (address of the scheduler), DMLC_NUM_WORKER, DMLC_NUM_SERVER.

MXNet waits for ever for a worker that has died. So every worker has a deadline for each step: one that comes no
further ends itself, and says why.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from detectors.errors import EngineUnavailable
from detectors.segmentation.mxnet_runtime import load_mxnet

log = logging.getLogger(__name__)

#: What a worker's process returns when its deadline has passed (EX_TEMPFAIL of sysexits.h).
DEADLINE_CODE = 75
#: Key of the number that is added up; beyond those of the weights.
NUMBER_KEY = 1_000_000
NEEDED = ("DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER", "DMLC_NUM_SERVER")


class Team:
    """One worker alone; see `DistributedTeam`.

    Attributes:
        rank: 0 writes files, the others only learn.
        size: number of workers.
        store: the kvstore, None for one alone.
    """

    rank, size, store = 0, 1, None

    def add(self, value: float) -> float:
        """The sum of a number over all workers."""
        return value

    def beat(self) -> None:
        """Say that the work goes on."""

    def leave(self) -> None:
        """Part from the others."""


class DistributedTeam(Team):
    """A worker among others. As long as it is not left, the process ends itself where `deadline_s` pass unheard."""

    def __init__(self, deadline_s: float):
        mx = load_mxnet()
        self._deadline_s, self._beat, self._over = deadline_s, time.monotonic(), threading.Event()
        self._watch = threading.Thread(target=self._wait, daemon=True)
        self._watch.start()
        self.store = mx.kv.create("dist_sync")
        self.rank, self.size = self.store.rank, self.store.num_workers
        self._number = mx.nd.zeros((1,))
        self.store.init(NUMBER_KEY, self._number)
        self.beat()

    def add(self, value: float) -> float:
        self.beat()
        self._number[:] = value
        self.store.pushpull(NUMBER_KEY, self._number)
        total = float(self._number.asscalar())
        self.beat()
        return total

    def beat(self) -> None:
        self._beat = time.monotonic()

    def leave(self) -> None:
        self.beat()
        self.store = None
        gc.collect()  # MXNet waits for the others where the store is freed
        self._over.set()

    def _wait(self) -> None:
        while not self._over.wait(min(1.0, self._deadline_s / 4)):
            silent = time.monotonic() - self._beat
            if silent > self._deadline_s:
                log.critical("no step was finished for %.0f s: another worker, the server or the scheduler has died or "
                             "cannot be reached; this worker gives up. Start all again: they go on from the "
                             "last checkpoint", silent)
                logging.shutdown()
                os._exit(DEADLINE_CODE)


def check_environment(role: str, environment: Mapping[str, str]) -> None:
    """Raises:
        EngineUnavailable: a variable is missing or no number.
    """
    for name in NEEDED:
        value = environment.get(name, "")
        if not value:
            raise EngineUnavailable(f"role {role}: {name} is not set; needed are {', '.join(NEEDED)}")
        if name != "DMLC_PS_ROOT_URI" and not value.isdigit():
            raise EngineUnavailable(f"role {role}: {name} = {value!r} is no number")


def serve(role: str, deadline_s: float) -> None:
    """Be the scheduler or a server until the workers are done; does not return: MXNet ends the process.

    Args:
        deadline_s: so long after one of the connections to the others was lost, the process ends itself.

    Raises:
        EngineUnavailable: the environment is incomplete.
    """
    check_environment(role, os.environ)
    os.environ["DMLC_ROLE"] = role
    threading.Thread(target=_watch_connections, args=(role, deadline_s), daemon=True).start()
    load_mxnet()


def _watch_connections(role: str, deadline_s: float) -> None:
    most, whole = 0, time.monotonic()
    while True:
        time.sleep(min(1.0, deadline_s / 4))
        now = count_connections()
        if now >= most:
            most, whole = now, time.monotonic()
        elif time.monotonic() - whole > deadline_s:
            log.critical("%s: %d of %d connections are left since %.0f s: a worker has died; giving up", role, now,
                         most, deadline_s)
            logging.shutdown()
            os._exit(DEADLINE_CODE)


def count_connections() -> int:
    """Established TCP connections of this process; 0 where there is no /proc."""
    mine = set()
    try:
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                mine.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
        lines = [line.split() for name in ("tcp", "tcp6") if (table := Path("/proc/self/net") / name).exists()
                 for line in table.read_text().splitlines()[1:]]
    except OSError:
        return 0
    # Columns of proc(5): the fourth is the state, 01 for established, the tenth the socket's inode.
    return sum(line[3] == "01" and line[9] in mine for line in lines)


def join(deadline_s: float) -> DistributedTeam:
    """Be a worker.

    Raises:
        EngineUnavailable: the environment is incomplete.
    """
    check_environment("worker", os.environ)
    os.environ["DMLC_ROLE"] = "worker"
    return DistributedTeam(deadline_s)
