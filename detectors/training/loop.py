"""The training loop: batches in, an averaged network out, and a trace of how it went."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from detectors.errors import DatasetInvalid
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, default_context, load_mxnet
from detectors.segmentation.networks import build, count_parameters
from detectors.training.checkpoint import Checkpoint
from detectors.training.config import TrainingConfig
from detectors.training.crops import Batch, CropSampler
from detectors.training.curve import Course
from detectors.training.learner import Learner
from detectors.training.precision import use_amp
from detectors.training.schedule import WeightAverage, learning_rate
from detectors.training.team import Team
from detectors.training.validation import Patience, Validation

log = logging.getLogger(__name__)

#: Steps between two lines of the metrics log, and seconds between two pictures of it.
LOG_EVERY, DRAW_EVERY_S = 20, 30


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training gave.

    Attributes:
        network: initialised Gluon block with averaged weights; gives logits.
        summary: JSON-able: steps done, what was computed in, and with validation the best F1 and its step.
    """

    network: Any
    summary: Mapping[str, Any]


def fit(config: TrainingConfig, sampler: CropSampler, out: Path, *, validation: Validation | None = None,
        contexts: Sequence = (), team: Team | None = None, start: Checkpoint | None = None,
        recipe: Mapping[str, Any] | None = None, progress: bool = True) -> Fitted:
    """Train a network.

    Args:
        out: directory of training.jsonl, training.png and the checkpoint; written by the first worker of a team only.
        validation: what `optimiser.evaluate_every` looks at.
        contexts: MXNet's devices; the first GPU, else the CPU, if none are named.
        start: go on from here.
        recipe: what checkpoints are marked with.

    Raises:
        DatasetInvalid: the loss became infinite, or memory is too small for a single crop.
    """
    mx = load_mxnet()
    team = team or Team()
    contexts = list(contexts) or [default_context()]
    mx.random.seed(config.seed)
    computed_in = use_amp(config, contexts) if config.precision == "amp" else "float32"
    network = _network(config, contexts)
    learner = Learner(config, network, contexts, team, computed_in)
    average = WeightAverage(network, config.optimiser.ema)
    settings, steps = config.optimiser, config.optimiser.steps
    patience = Patience(settings.patience)
    best: list[np.ndarray] = []
    losses: list[float] = []
    first = 0
    if start:
        first, losses = start.step, list(start.state["losses"])
        learner.write(start.arrays, first)
        average.write(_numbered(start.arrays, "average"))
        best = _numbered(start.arrays, "best")
        patience = Patience(settings.patience, **start.state["patience"])
        log.info("going on after step %d", first)
    if team.add(first) != first * team.size:
        raise DatasetInvalid("the workers stand at different steps: --out must be a directory that all of them share")
    log.info("training %s: %d parameters, %d steps of %d crops on %s in %s", config.model.name,
             count_parameters(network), steps, settings.batch * team.size, ", ".join(map(str, contexts)), computed_in)
    writes = team.rank == 0
    course = Course(out, first) if writes else None

    def remember(done: int) -> None:
        arrays = {**learner.read(), **_named("average", average.read()), **_named("best", best)}
        state = {"losses": losses, "patience": {"best": patience.best, "best_step": patience.best_step,
                                                "in_vain": patience.in_vain}}
        Checkpoint(done, recipe or {}, state, arrays).save(out)

    started = drawn = time.perf_counter()
    done = first
    try:
        with tqdm(total=steps, initial=first, disable=not (progress and writes), unit="step") as bar:
            for step, batch in _ahead(sampler, first, 0 if patience.over else steps, team):
                rate = learning_rate(step, steps, settings.rate, settings.warmup)
                losses.append(learner.step(batch, rate, step))
                average.update(step)
                team.beat()
                done = step + 1
                bar.update()
                if validation and (done % settings.evaluate_every == 0 or done == steps):
                    with average.in_place():
                        # Statistics of batch normalisation are each worker's own, but all must come to one decision.
                        f1 = team.add(validation.f1(network, contexts[0])) / team.size
                    if patience.look(done, f1):
                        best = average.read()
                    if course:
                        course.add({"step": done, "held_out_f1": round(f1, 5)})
                if done % LOG_EVERY == 0 or done == steps or patience.over:
                    mean = float(np.mean(losses))
                    speed = settings.batch * team.size * (done - first) / (time.perf_counter() - started)
                    bar.set_postfix(loss=f"{mean:.4f}", rate=f"{rate:.2g}", tiles_per_s=f"{speed:.1f}",
                                    **({"f1": f"{patience.best:.3f}"} if patience.best >= 0 else {}))
                    losses = []
                    if course:
                        course.add({"step": done, "loss": round(mean, 5), "rate": rate, "tiles_per_s": round(speed, 2)})
                    if course and time.perf_counter() - drawn > DRAW_EVERY_S:
                        course.draw(config.model.name)
                        drawn = time.perf_counter()
                if writes and (done % settings.checkpoint_every == 0 or done == steps or patience.over):
                    remember(done)
                if patience.over:
                    log.info("no better held-out F1 than %.4f (step %d) in %d looks: stopping after step %d",
                             patience.best, patience.best_step, patience.in_vain, done)
                    break
    finally:
        if course:
            course.draw(config.model.name)
            course.close()
    if best:
        average.write(best)
    average.apply()
    learner.release()
    summary = {"steps": done, "computed_in": computed_in, "workers": team.size,
               "crops_a_step": settings.batch * team.size}
    if best:
        summary["best"] = {"step": patience.best_step, "held_out_f1": round(patience.best, 4),
                           "on": f"{config.validation.share:g} of the training ground" if config.validation.share else
                           "the fold's held-out columns, which its scores are therefore not independent of"}
    return Fitted(network, summary)


def _network(config: TrainingConfig, contexts: Sequence):
    """A network with known shapes on all devices, the same for the same seed."""
    mx = load_mxnet()
    model, size = config.model, config.crops.size
    network = build(model, contexts if len(contexts) > 1 else contexts[0])
    with mx.autograd.predict_mode():
        network(mx.nd.zeros((1, model.bands, size, size), ctx=contexts[0], dtype=MXNET_INPUT[model.dtype]))
    return network


def _ahead(sampler: CropSampler, first: int, steps: int, team: Team) -> Iterator[tuple[int, Batch]]:
    """Batches first..steps-1, drawn in a thread while the network works on the one before."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(sampler.batch, first, team.rank, team.size) if first < steps else None
        for number in range(first, steps):
            batch = coming.result()
            if number + 1 < steps:
                coming = pool.submit(sampler.batch, number + 1, team.rank, team.size)
            yield number, batch


def _named(kind: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{kind}/{index}": array for index, array in enumerate(arrays)}


def _numbered(arrays: Mapping[str, np.ndarray], kind: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{kind}/") for name in arrays)
    return [arrays[f"{kind}/{index}"] for index in range(count)]
