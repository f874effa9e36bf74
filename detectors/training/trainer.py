"""Training: from a config and labelled places to a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detectors.datasets import Place, equator_bounds
from detectors.errors import DatasetInvalid, EngineUnavailable
from detectors.evaluation.scoring import record_folds
from detectors.segmentation.bundle import CARD, Bundle
from detectors.segmentation.mxnet_runtime import gpu_count, load_mxnet
from detectors.training.checkpoint import Checkpoint
from detectors.training.config import TrainingConfig
from detectors.training.crops import CropSampler, training_places
from detectors.training.finishing import finish
from detectors.training.loop import fit
from detectors.training.rendered import draw_town
from detectors.training.team import Team
from detectors.training.validation import Validation, check_validation, set_aside


def train(config_path: Path, *, data: Path, out: Path, fold: int = -1, steps: int | None = None,
          gpus: Sequence[int] = (), cpus: int = 1, resume: bool | None = None, team: Team | None = None,
          progress: bool = True) -> Bundle | None:
    """Train a network, export it, score it on what it has not seen, and write the bundle.

    The same seed gives the same crops and the same first weights; what differs between two runs is the order of
    floating-point sums. A training that was cut off goes on where its last checkpoint stands, on the same crops.

    Args:
        config_path: TOML, see `detectors.training.config`.
        data: directory that the sources' paths start from.
        out: directory of the bundle; made if absent. training.jsonl, training.png and, as long as the training lasts,
            a checkpoint are written beside the model.
        fold: the spatial fold to hold out and score; -1 trains on everything.
        steps: overrides optimiser.steps; the card says so.
        gpus: numbers of the GPUs that share each batch; none: the first GPU if there is one, else the CPU.
        cpus: without GPUs: so many contexts of the CPU share each batch. Of no use but to try several devices.
        resume: True: go on from the checkpoint, which must be there; False: begin anew; None: go on if there is one.
        team: the other workers, if there are any; only its first worker exports.
        progress: show a progress bar on stderr.

    Returns:
        The bundle; None for workers other than the first.

    Raises:
        DatasetInvalid: config, data or checkpoint unusable, or no such fold.
        EngineUnavailable: MXNet, a GPU or onnx is not there.
    """
    config = _with_steps(TrainingConfig.load(config_path), steps)
    if not -1 <= fold < config.split.folds:
        raise DatasetInvalid(f"fold {fold}: the config has folds 0..{config.split.folds - 1}; -1 trains on everything")
    check_validation(config, fold)
    team, out = team or Team(), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    recipe = {"config": config.model_dump(mode="json"), "fold": fold, "workers": team.size}
    start = find_checkpoint(out, recipe, resume)
    places = training_places(config, Path(data))
    held_out = [place.held_out(fold, config.split.columns) for place in places]
    if fold >= 0 and not any(mask.any() for mask in held_out):
        raise DatasetInvalid(f"fold {fold} holds out nothing: no training place has so many tile columns")
    aside = set_aside(config, places, held_out)
    validation = Validation(config, places, aside) if config.optimiser.evaluate_every else None
    learnable = [(place, held | mask) for place, held, mask in zip(places, held_out, aside, strict=True)
                 if not (held | mask | ~place.valid).all()]
    if not learnable:
        raise DatasetInvalid("nothing is left to train on: all known ground is held out")
    sampler = CropSampler(config, *zip(*learnable, strict=True), rendered_places(config, fold))
    fitted = fit(config, sampler, out, validation=validation, contexts=contexts_of(gpus, cpus), team=team, start=start,
                 recipe=recipe, progress=progress)
    first = team.rank == 0
    team.leave()
    if not first:
        return None
    bundle = finish(fitted.network, config, sampler, out, fold=fold, data=Path(data), course=fitted.summary)
    Checkpoint.remove(out)
    return bundle


def find_checkpoint(out: Path, recipe: Mapping[str, Any], resume: bool | None) -> Checkpoint | None:
    """Where to go on from; see `train`.

    Raises:
        DatasetInvalid: resume is True and there is no checkpoint, or the one there is belongs to another training.
    """
    start = None if resume is False else Checkpoint.load(out)
    if start:
        start.check(recipe, out)
    elif resume:
        raise DatasetInvalid(f"{out}: no checkpoint to resume from")
    return start


def contexts_of(gpus: Sequence[int], cpus: int = 1) -> list:
    """MXNet's devices; none: `fit` chooses.

    Raises:
        EngineUnavailable: there is no such GPU.
    """
    if not gpus:
        return [load_mxnet().cpu(number) for number in range(cpus)] if cpus > 1 else []
    there = gpu_count()
    if beyond := [number for number in gpus if not 0 <= number < there]:
        raise EngineUnavailable(f"GPU {beyond[0]}: MXNet sees {there} GPUs"
                                f"{f', 0 to {there - 1}' if there else '; leave --gpus out to train on the CPU'}")
    return [load_mxnet().gpu(number) for number in dict.fromkeys(gpus)]


def cross_validate(config_path: Path, *, data: Path, out: Path, folds_dir: Path, steps: int | None = None,
                   gpus: Sequence[int] = (), resume: bool | None = None, progress: bool = True) -> Bundle:
    """Train every fold, then the model on everything, whose card gets the scores of the folds.

    Args:
        out: directory of the model trained on everything.
        folds_dir: the folds' bundles go to fold0, fold1, ... below; those made from the same config are kept.
        steps, gpus, resume: as for `train`; with resume = True, what has no checkpoint is begun.

    Raises:
        as `train`.
    """
    config = _with_steps(TrainingConfig.load(config_path), steps)
    check_validation(config, -1)
    settings = {"data": data, "steps": steps, "gpus": gpus, "resume": resume and None, "progress": progress}
    folds = []
    for fold in range(config.split.folds):
        directory = folds_dir / f"fold{fold}"
        if resume is not False and (directory / CARD).exists():
            bundle = Bundle.load(directory)
            if bundle.card.training.get("config") == config.model_dump(mode="json"):
                folds.append(bundle)
                continue
        folds.append(train(config_path, out=directory, fold=fold, **settings))
    return record_folds(train(config_path, out=out, **settings), folds)


def _with_steps(config: TrainingConfig, steps: int | None) -> TrainingConfig:
    """The config with other optimiser.steps.

    Raises:
        DatasetInvalid: not a positive number.
    """
    if steps is None:
        return config
    if steps < 1:
        raise DatasetInvalid(f"steps: {steps}; at least 1 is needed")
    return config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"steps": steps})})


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

