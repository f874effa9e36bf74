"""Starting a scheduler, servers and workers on this machine, and watching over them.

    python -m detectors.training.launch ORDER       what each worker runs; ORDER is JSON, the arguments of `train`
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors.errors import ModelError, TrainingStopped
from detectors.segmentation.bundle import Bundle
from detectors.segmentation.mxnet_runtime import usable_cpus
from detectors.training.team import DEADLINE_CODE, join, serve

#: Seconds between two looks at the processes, and until those told to end are made to.
LOOK_EVERY_S, GRACE_S = 0.2, 5.0
ROOT = Path(__file__).resolve().parents[2]


def train_locally(config_path: Path, *, workers: int, servers: int = 1, deadline_s: float = 300.0,
                  **order: Any) -> Bundle:
    """`train` by several workers on this machine, each with its own optimiser.batch and its share of the cores.

    Gradients are added up, so weights are the same everywhere. Batch normalisation is not: each worker normalises by
    its own crops, and the model gets the first worker's running statistics.

    Args:
        deadline_s: a worker ends itself where a step takes longer.
        order: as for `train`.

    Raises:
        TrainingStopped: a worker, server or the scheduler has died; all others have been ended.
    """
    words = json.dumps({"config_path": str(Path(config_path).resolve()), "deadline_s": deadline_s, **{
        key: str(Path(value).resolve()) if isinstance(value, Path) else value for key, value in order.items()
    }})
    common = {
        "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": str(_free_port()), "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers), "DMLC_INTERFACE": "lo", "DMLC_NODE_HOST": "127.0.0.1",
    }
    threads = str(max(1, usable_cpus() // workers))
    processes: dict[str, subprocess.Popen] = {}
    try:
        for name, environment in _cast(workers, servers).items():
            processes[name] = subprocess.Popen(
                [sys.executable, "-m", "detectors.training.launch", words], cwd=ROOT,
                env={"OMP_NUM_THREADS": threads, **os.environ, **common, **environment},
            )
        watch(processes)
    finally:
        end(processes)
    return Bundle.load(order["out"])


def watch(processes: Mapping[str, subprocess.Popen]) -> None:
    """Wait until all workers are done.

    Raises:
        TrainingStopped: a process ended otherwise.
    """
    while True:
        codes = {name: process.poll() for name, process in processes.items()}
        failed = {name: code for name, code in codes.items() if code}
        if failed:
            name, code = next(iter(failed.items()))
            raise TrainingStopped(f"{name} {_fate(code)}; the others were stopped. Run the same command again: it goes "
                                  "on from the last checkpoint")
        if all(code == 0 for name, code in codes.items() if name.startswith("worker")):
            return
        time.sleep(LOOK_EVERY_S)


def end(processes: Mapping[str, subprocess.Popen]) -> None:
    """End what still runs, gently first."""
    for process in processes.values():
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + GRACE_S
    for process in processes.values():
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cast(workers: int, servers: int) -> dict[str, dict[str, str]]:
    """Name of each process -> what only its environment says."""
    roles = ["scheduler", *["server"] * servers, *["worker"] * workers]
    names = ["scheduler", *(f"server {k}" for k in range(servers)), *(f"worker {k}" for k in range(workers))]
    return {name: {"DMLC_ROLE": role} for name, role in zip(names, roles, strict=True)}


def _fate(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    if code == DEADLINE_CODE:
        return "waited in vain for the others"
    return f"failed with code {code} (its message is above)"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(arguments: Sequence[str]) -> int:
    """One process of a team, as DMLC_ROLE says."""
    role = os.environ["DMLC_ROLE"]
    if role != "worker":
        serve(role, json.loads(arguments[0])["deadline_s"])
        return 0
    from detectors.training.trainer import train

    order = json.loads(arguments[0])
    config_path, deadline_s = Path(order.pop("config_path")), order.pop("deadline_s")
    try:
        train(config_path, team=join(deadline_s), **{**order, "data": Path(order["data"]), "out": Path(order["out"])})
    except ModelError as error:
        print(f"worker: {error}", file=sys.stderr, flush=True)
        # MXNet would wait for the others on the way out, and they for this one.
        os._exit(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
