"""How good a network is, while it is trained, on ground that it does not learn from; and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.datasets import Place
from detectors.errors import DatasetInvalid
from detectors.evaluation.pixels import PixelCounts
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, load_mxnet
from detectors.training.config import TrainingConfig
from detectors.training.ground import Ground
from detectors.training.losses import planes_of


def check_validation(config: TrainingConfig, fold: int) -> None:
    """Raises:
        DatasetInvalid: the config wants looks at held-out ground, and there is none.
    """
    if config.optimiser.evaluate_every and not config.validation.share and fold < 0:
        raise DatasetInvalid("optimiser.evaluate_every needs ground that is not learned from: set validation.share, or "
                             "train a fold")


def set_aside(config: TrainingConfig, places: Sequence[Place], held_out: Sequence[np.ndarray]) -> list[np.ndarray]:
    """bool [H, W] for each place: what validation looks at; nothing where the config wants no looks.

    With `validation.share`: every so manieth place as a whole if that makes two or more, else the right end of each
    place. Without: what the fold holds out.
    """
    share = config.validation.share
    if not config.optimiser.evaluate_every:
        return [np.zeros_like(mask) for mask in held_out]
    if not share:
        return list(held_out)
    masks = [np.zeros_like(mask) for mask in held_out]
    count = round(share * len(places))
    if count >= 2:
        for index in np.linspace(0, len(places) - 1, count).round().astype(int):
            masks[index][:] = True
    else:
        for mask in masks:
            mask[:, mask.shape[1] - max(1, round(share * mask.shape[1])):] = True
    return [mask & ~held for mask, held in zip(masks, held_out, strict=True)]


class Validation:
    """Windows of the ground set aside, seen upright and unchanged."""

    def __init__(self, config: TrainingConfig, places: Sequence[Place], masks: Sequence[np.ndarray]):
        """
        Args:
            masks: as `set_aside` gives them; around them the places are seen, but not judged.

        Raises:
            DatasetInvalid: there is nothing to be found in them: no pixel of any class but the background.
        """
        self._config, self._planes = config, planes_of(config.model.classes)
        spots = []
        for place, mask in zip(places, masks, strict=True):
            if mask.any():
                ground = Ground(place, np.zeros_like(mask), config, learned=mask)
                spots += [(ground, to_place) for to_place in ground.windows(config)]
        limit = config.validation.windows
        chosen = np.unique(np.linspace(0, len(spots) - 1, min(limit, len(spots))).astype(int)) if spots else []
        self._windows = []
        for index in chosen:
            ground, to_place = spots[index]
            pixels, target, weight, drawn = ground.cut(config, to_place, np.random.default_rng([config.seed, index, 2]))
            if (weight > 0).any():
                whole = np.ascontiguousarray(np.dstack([pixels, drawn]).transpose(2, 0, 1))
                self._windows.append((whole, target, weight > 0))
        members = [index for plane in self._planes for index in plane]
        if not any(np.isin(target[known], members).any() for _, target, known in self._windows):
            names = ", ".join(config.model.classes[index] for index in members)
            raise DatasetInvalid(f"validation: the ground set aside has no labelled pixel of {names}, so F1 means "
                                 "nothing there; hold out another fold or a larger validation.share")

    def f1(self, network, context) -> float:
        """F1 of the planes, from counts over all windows; the mean over planes that are there, 0..1."""
        mx, model = load_mxnet(), self._config.model
        counts = [PixelCounts() for _ in self._planes]
        size = self._config.optimiser.batch
        for first in range(0, len(self._windows), size):
            pixels, target, known = map(np.stack, zip(*self._windows[first : first + size], strict=True))
            logits = network(mx.nd.array(pixels, ctx=context, dtype=MXNET_INPUT[model.dtype]))
            chances = mx.nd.softmax(logits.astype("float32"), axis=1).asnumpy()
            likeliest = chances.argmax(axis=1)
            for index, members in enumerate(self._planes):
                found = chances[:, members].sum(axis=1) > 0.5 if len(members) > 1 else likeliest == members[0]
                counts[index] += count(found, np.isin(target, members), known)
        there = [c.f1 for c in counts if c.true_positive + c.false_negative]
        return float(np.mean(there))


def count(found: np.ndarray, truth: np.ndarray, known: np.ndarray) -> PixelCounts:
    """Confusion of bool arrays of one shape, where `known`."""
    return PixelCounts(
        int((found & truth & known).sum()), int((found & ~truth & known).sum()),
        int((~found & truth & known).sum()), int((~found & ~truth & known).sum()),
    )


@dataclass(slots=True)
class Patience:
    """Remembers the best F1, and has had enough after `limit` looks without a better one (0: never)."""

    limit: int
    best: float = -1.0
    best_step: int = 0
    in_vain: int = 0

    def look(self, step: int, f1: float) -> bool:
        """Whether this is the best so far."""
        if f1 > self.best:
            self.best, self.best_step, self.in_vain = f1, step, 0
            return True
        self.in_vain += 1
        return False

    @property
    def over(self) -> bool:
        return bool(self.limit) and self.in_vain >= self.limit
