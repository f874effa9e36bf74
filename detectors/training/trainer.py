"""Training: from a config and labelled places to a bundle."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from detectors.datasets import Place, equator_bounds, read_source
from detectors.errors import DatasetInvalid
from detectors.evaluation.scoring import evaluate_bundle, record_folds
from detectors.segmentation.bundle import CARD, Bundle
from detectors.segmentation.export import write_bundle
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, default_context, load_mxnet
from detectors.segmentation.networks import build, count_parameters
from detectors.training.config import TrainingConfig
from detectors.training.crops import Batch, CropSampler
from detectors.training.losses import segmentation_loss
from detectors.training.rendered import draw_town

log = logging.getLogger(__name__)

#: Steps between two lines of the metrics log.
LOG_EVERY = 20


def train(config_path: Path, *, data: Path, out: Path, fold: int = -1, steps: int | None = None,
          progress: bool = True) -> Bundle:
    """Train a network, export it, score it on what it has not seen, and write the bundle.

    The same seed gives the same crops and the same first weights; what differs between two runs is the order of
    floating-point sums.

    Args:
        config_path: TOML, see `detectors.training.config`.
        data: directory that the sources' paths start from.
        out: directory of the bundle; made if absent. A metrics log, training.jsonl, is written beside the model.
        fold: the spatial fold to hold out and score; -1 trains on everything.
        steps: overrides optimiser.steps; the card says so.
        progress: show a progress bar on stderr.

    Raises:
        DatasetInvalid: config or data unusable, or no such fold.
        EngineUnavailable: MXNet or onnx is not installed.
    """
    config = TrainingConfig.load(config_path)
    if steps is not None:
        config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"steps": steps})})
    if not -1 <= fold < config.split.folds:
        raise DatasetInvalid(f"fold {fold}: the config has folds 0..{config.split.folds - 1}; -1 trains on everything")
    places = training_places(config, Path(data))
    held_out = [place.held_out(fold, config.split.columns) for place in places]
    if fold >= 0 and not any(mask.any() for mask in held_out):
        raise DatasetInvalid(f"fold {fold} holds out nothing: no training place has so many tile columns")
    sampler = CropSampler(config, places, held_out, rendered_places(config, fold))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    network = fit(config, sampler, out / "training.jsonl", progress)
    bundle = write_bundle(network, config, out, fold=fold, sample=_sample(config, places))
    return evaluate_bundle(bundle, Path(data))


def cross_validate(config_path: Path, *, data: Path, out: Path, folds_dir: Path, progress: bool = True) -> Bundle:
    """Train every fold, then the model on everything, whose card gets the scores of the folds.

    Args:
        out: directory of the model trained on everything.
        folds_dir: the folds' bundles go to fold0, fold1, ... below; those made from the same config are kept.

    Raises:
        as `train`.
    """
    config = TrainingConfig.load(config_path)
    folds = []
    for fold in range(config.split.folds):
        directory = folds_dir / f"fold{fold}"
        if (directory / CARD).exists():
            bundle = Bundle.load(directory)
            if bundle.card.training.get("config") == config.model_dump(mode="json"):
                folds.append(bundle)
                continue
        folds.append(train(config_path, data=data, out=directory, fold=fold, progress=progress))
    return record_folds(train(config_path, data=data, out=out, progress=progress), folds)


def training_places(config: TrainingConfig, data: Path) -> list[Place]:
    """The places with use = "train"."""
    return [
        place for source in config.sources if source.use == "train" for place in read_source(data, source)
    ]


def rendered_places(config: TrainingConfig, fold: int) -> list[Place]:
    """The drawn towns that a training sees; bounds lie at the equator, where mercator metres are true metres."""
    settings = config.rendered
    if not settings.share or (fold >= 0 and not settings.in_folds):
        return []
    places = []
    for seed in range(settings.seed, settings.seed + settings.towns):
        town = draw_town(seed, settings.side, config.model.gsd_m)
        shape = town.pixels.shape[:2]
        places.append(Place(
            f"rendered-{seed}", town.pixels, np.ones(shape, dtype=bool), equator_bounds(shape, town.gsd_m),
            outlines=np.array([building.geometry for building in town.buildings]),
        ))
    return places


def fit(config: TrainingConfig, sampler: CropSampler, log_path: Path, progress: bool = True):
    """The training loop.

    Args:
        log_path: file of JSON lines: step, mean loss since the line before, rate, tiles a second.

    Returns:
        The network with averaged weights, an initialised Gluon block that gives logits.
    """
    mx = load_mxnet()
    context = default_context()
    mx.random.seed(config.seed)
    model, settings, steps = config.model, config.optimiser, config.optimiser.steps
    network = build(model, context)
    network.hybridize(static_alloc=True, static_shape=True)
    loss_of = segmentation_loss(config.loss.dice)
    loss_of.hybridize(static_alloc=True, static_shape=True)
    size = config.crops.size
    network(mx.nd.zeros((1, model.bands, size, size), ctx=context, dtype=MXNET_INPUT[model.dtype]))
    log.info("training %s: %d parameters, %d steps of %d crops on %s", model.name, count_parameters(network), steps,
             settings.batch, context)
    trainer = mx.gluon.Trainer(network.collect_params(), "adam", {"learning_rate": settings.rate})
    decayed = [p for name, p in network.collect_params().items() if name.endswith("weight")]
    average = WeightAverage(network, settings.ema)
    started, losses = time.perf_counter(), []
    with log_path.open("w") as lines, tqdm(total=steps, disable=not progress, unit="step") as bar:
        for step, batch in enumerate(_ahead(sampler, steps)):
            rate = learning_rate(step, steps, settings.rate, settings.warmup)
            pixels = mx.nd.array(batch.pixels, ctx=context, dtype=MXNET_INPUT[model.dtype])
            target, weight = (mx.nd.array(a, ctx=context, dtype=a.dtype) for a in batch[1:])
            with mx.autograd.record():
                loss = loss_of(network(pixels), target.astype("float32"), weight)
            loss.backward()
            for parameter in decayed:
                parameter.data()[:] *= 1 - rate * settings.weight_decay
            trainer.set_learning_rate(rate)
            trainer.step(1)
            average.update(step)
            losses.append(loss.asscalar())
            if not math.isfinite(losses[-1]):
                raise DatasetInvalid(f"the loss is {losses[-1]} at step {step}: lower optimiser.rate, check the data")
            bar.update()
            if (step + 1) % LOG_EVERY == 0 or step + 1 == steps:
                mean = float(np.mean(losses[-LOG_EVERY:]))
                speed = settings.batch * (step + 1) / (time.perf_counter() - started)
                bar.set_postfix(loss=f"{mean:.4f}", tiles_per_s=f"{speed:.1f}")
                record = {"step": step + 1, "loss": round(mean, 5), "rate": rate, "tiles_per_s": round(speed, 2)}
                lines.write(json.dumps(record) + "\n")
                lines.flush()
    average.apply()
    return network


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear rise over `warmup` steps, then half a cosine down to zero at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class WeightAverage:
    """Exponential moving average of all weights and of the running statistics of batch normalisation."""

    def __init__(self, network, decay: float):
        self._decay = decay
        named = network.collect_params().items()
        self._parameters = [p for name, p in named if p.grad_req != "null" or "_running_" in name]
        self._average = [p.data().copy() for p in self._parameters]

    def update(self, step: int) -> None:
        """Young averages follow quickly, so that the first random weights are soon forgotten."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, parameter in zip(self._average, self._parameters, strict=True):
            average *= decay
            average += (1 - decay) * parameter.data()

    def apply(self) -> None:
        """Put the averages into the network."""
        for average, parameter in zip(self._average, self._parameters, strict=True):
            parameter.set_data(average)


def _ahead(sampler: CropSampler, steps: int) -> Iterator[Batch]:
    """Batches 0..steps-1, drawn in a thread while the network works on the one before."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(sampler.batch, 0)
        for number in range(steps):
            batch = coming.result()
            if number + 1 < steps:
                coming = pool.submit(sampler.batch, number + 1)
            yield batch


def _sample(config: TrainingConfig, places: Sequence[Place]) -> np.ndarray:
    """Real pixels uint8 [N, C, S, S] on which the exported model is compared with the trained one."""
    size = config.crops.size
    cuts = []
    for place in places:
        height, width = place.valid.shape
        if height >= size and width >= size:
            for row, column in ((0, 0), ((height - size) // 2, (width - size) // 2), (height - size, width - size)):
                cuts.append(place.pixels[row : row + size, column : column + size].transpose(2, 0, 1))
    if not cuts:
        raise DatasetInvalid(f"no training place is as large as a crop, {size} x {size} px")
    return np.stack(cuts)
