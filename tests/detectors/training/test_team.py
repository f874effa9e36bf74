"""Several workers learn what one would with all their crops; and none waits for the dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from detectors.datasets.tiles import read_tiles
from detectors.errors import EngineUnavailable, TrainingStopped
from detectors.training.checkpoint import CHECKPOINT
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler
from detectors.training.curve import read_course
from detectors.training.launch import end, train_locally, watch
from detectors.training.loop import fit
from detectors.training.team import DEADLINE_CODE, NEEDED, check_environment
from detectors.training.trainer import contexts_of

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def recipe(workshop, tmp_path):
    """Crops of 32 px, four a worker and step, for so many steps that the log has two lines."""
    path = tmp_path / "team.toml"
    text = workshop.recipe.read_text().replace("widths = [8, 16, 16]", "widths = [4, 8]")
    path.write_text(text.replace("size = 64", "size = 32").replace("batch = 4", "batch = 4\ncheckpoint_every = 4"))
    return path


def losses(directory):
    return [(record["step"], record["loss"]) for record in read_course(directory) if "loss" in record]


def test_workers_divide_the_crops_of_one_with_the_larger_batch(workshop, recipe):
    config = TrainingConfig.load(recipe)
    double = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"batch": 8})})
    place = read_tiles(workshop.data / "town", 19, 3)
    half, whole = (CropSampler(c, [place], [place.held_out(-1, 1)]) for c in (config, double))
    for number in (0, 3):
        parts = [half.batch(number, part, 2) for part in (0, 1)]
        for one, both in zip(whole.batch(number), zip(*parts, strict=True), strict=True):
            assert np.array_equal(one, np.concatenate(both))


def test_two_workers_learn_what_one_learns_with_twice_the_crops(workshop, recipe, tmp_path):
    """Batch normalisation sees each worker's crops alone: beside one worker that divides its double batch among two
    devices the curves are the same, beside one that does not divide it they agree within a quarter.
    """
    bundle = train_locally(recipe, workers=2, servers=1, deadline_s=60, data=workshop.data, out=tmp_path / "two",
                           fold=2, progress=False)
    config = TrainingConfig.load(recipe)
    double = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"batch": 8})})
    place = read_tiles(workshop.data / "town", 19, 3)
    two = losses(tmp_path / "two")
    assert [step for step, _ in two] == [20, 40]
    for name, devices, tolerance in (("divided", 2, 0.02), ("whole", 1, 0.25)):
        (tmp_path / name).mkdir()
        sampler = CropSampler(double, [place], [place.held_out(2, 1)])
        fit(double, sampler, tmp_path / name, contexts=contexts_of((), cpus=devices), progress=False)
        one = losses(tmp_path / name)
        assert [step for step, _ in one] == [20, 40]
        np.testing.assert_allclose([loss for _, loss in two], [loss for _, loss in one], rtol=tolerance, err_msg=name)
    assert bundle.card.training["course"]["workers"] == 2 and bundle.card.training["course"]["crops_a_step"] == 8
    assert bundle.card.metrics["held_out"]["town"]["f1"] > 0.7
    assert not (tmp_path / "two" / "checkpoint.npz").exists()


def test_a_worker_that_dies_ends_the_job_with_its_name(workshop, recipe, tmp_path):
    """All but the killed one would wait for ever."""
    recipe.write_text(recipe.read_text().replace("steps = 40", "steps = 100000"))
    program = ("import sys; sys.path.insert(0, sys.argv[1])\nfrom pathlib import Path\n"
               "from detectors.training.launch import train_locally\n"
               "train_locally(Path(sys.argv[2]), workers=2, deadline_s=300, data=Path(sys.argv[3]),"
               " out=Path(sys.argv[4]), progress=False)")
    out = tmp_path / "out"
    job = subprocess.Popen([sys.executable, "-c", program, str(REPOSITORY), str(recipe), str(workshop.data), str(out)],
                           stderr=subprocess.PIPE, text=True)
    while job.poll() is None and not (out / CHECKPOINT).exists():
        with suppress(subprocess.TimeoutExpired):
            job.wait(0.05)
    roles = {pid: role for pid, role in children_of(job.pid)}
    victim = [pid for pid, role in roles.items() if role == "worker"][-1]
    os.kill(victim, signal.SIGKILL)
    _, words = job.communicate(timeout=60)
    assert job.returncode
    assert "TrainingStopped: worker 1 was killed by SIGKILL" in words and "goes on from the last checkpoint" in words
    assert len(roles) == 4 and not any(Path(f"/proc/{pid}").exists() for pid in roles)


def children_of(parent):
    """(pid, DMLC_ROLE) of a process's children, in the order in which they were started."""
    for pid in sorted(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()):
        with suppress(OSError, StopIteration):
            status = (Path("/proc") / str(pid) / "status").read_text()
            if f"PPid:\t{parent}\n" in status:
                environment = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
                yield pid, next(v for v in environment if v.startswith(b"DMLC_ROLE=")).decode().split("=")[1]


def test_a_worker_whose_peer_died_ends_itself(workshop, recipe, tmp_path):
    """As on two machines: nobody watches over all; server and scheduler end, too."""
    recipe.write_text(recipe.read_text().replace("steps = 40", "steps = 100000"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": str(port), "DMLC_NUM_WORKER": "2",
              "DMLC_NUM_SERVER": "1", "DMLC_INTERFACE": "lo", "DMLC_NODE_HOST": "127.0.0.1", "OMP_NUM_THREADS": "1"}

    def start(role):
        return subprocess.Popen(
            [sys.executable, "-m", "daemon", "train", str(recipe), "--role", role, "--deadline", "8", "--data",
             str(workshop.data), "--out", str(tmp_path / "out")],
            cwd=REPOSITORY, env=common, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    team = {name: start(name.split()[0]) for name in ("scheduler", "server", "worker 0", "worker 1")}
    try:
        while not (tmp_path / "out" / CHECKPOINT).exists():
            with suppress(subprocess.TimeoutExpired):
                assert team["worker 0"].wait(0.1) is None
        team["worker 1"].kill()
        assert team["worker 0"].wait(60) == DEADLINE_CODE
        assert team["server"].wait(60) == DEADLINE_CODE and team["scheduler"].wait(60) == DEADLINE_CODE
    finally:
        end(team)


def test_a_worker_that_fails_is_named():
    failing = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    waiting = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with pytest.raises(TrainingStopped, match="worker 1 failed with code 7"):
            watch({"worker 0": waiting, "worker 1": failing})
    finally:
        end({"worker 0": waiting, "worker 1": failing})
    assert waiting.poll() is not None


def test_an_incomplete_environment_is_named():
    whole = {"DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9000", "DMLC_NUM_WORKER": "2",
             "DMLC_NUM_SERVER": "1"}
    check_environment("worker", whole)
    for name in NEEDED:
        with pytest.raises(EngineUnavailable, match=f"{name} is not set"):
            check_environment("worker", {k: v for k, v in whole.items() if k != name})
    with pytest.raises(EngineUnavailable, match="DMLC_NUM_WORKER = 'two' is no number"):
        check_environment("worker", {**whole, "DMLC_NUM_WORKER": "two"})
