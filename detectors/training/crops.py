"""Random crops of labelled places: turned, flipped, scaled, recoloured.

Crop number n of a seed is always the same, whatever was drawn before it and by whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detectors.datasets import Place, read_source
from detectors.errors import DatasetInvalid
from detectors.training.augmentation import recolour
from detectors.training.config import TrainingConfig
from detectors.training.gaps import distances_of
from detectors.training.ground import Ground, renumber
from detectors.training.losses import planes_of

__all__ = ["Batch", "CropSampler", "renumber"]


class Batch(NamedTuple):
    """pixels uint8 or uint16 [N, C, S, S]; target uint8 and weight float32 [N, S, S], 0 where nothing is learned.

    distances: float32 [N, P, S, S] if the loss wants them (loss.boundary), else [N, 0, S, S].
    """

    pixels: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    distances: np.ndarray


class CropSampler:
    """Draws training crops from places, without ever showing what a fold holds out."""

    def __init__(self, config: TrainingConfig, places: Sequence[Place], held_out: Sequence[np.ndarray],
                 rendered: Sequence[Place] = ()):
        """
        Args:
            places: at least one.
            held_out: bool [H, W] for each place: pixels blanked out, their labels not learned.
            rendered: drawn towns; config.rendered.share of the crops come from them.

        Raises:
            DatasetInvalid: no place, or one that does not fit the model.
        """
        if not places:
            raise DatasetInvalid("no place to train on: the sources with use = \"train\" gave none")
        self.config = config
        self._rendered = [Ground(town, ~town.valid, config) for town in rendered]
        self._grounds = [Ground(place, mask, config) for place, mask in zip(places, held_out, strict=True)]
        areas = np.array([ground.area for ground in self._grounds], dtype=np.float64)
        self._shares = areas / areas.sum()

    def batch(self, number: int, part: int = 0, parts: int = 1) -> Batch:
        """Batch `number`, counted from 0, of worker `part` of `parts`.

        Their batches side by side are the batch that one worker with `parts` times the crops would draw.
        """
        size = self.config.optimiser.batch
        first = (number * parts + part) * size
        return self.gather([self.crop(first + i) for i in range(size)])

    def gather(self, crops: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Batch:
        """Crops side by side, with what the loss wants to know of them besides."""
        pixels, target, weight = map(np.stack, zip(*crops, strict=True))
        if self.config.loss.boundary:
            planes = planes_of(self.config.model.classes)
            distances = np.stack([distances_of(one, planes) for one in target])
        else:
            distances = np.zeros((len(target), 0, *target.shape[1:]), dtype=np.float32)
        return Batch(pixels, target, weight, distances)

    def crop(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop `number`: (pixels [C, S, S], target uint8 [S, S], weight float32 [S, S])."""
        random = np.random.default_rng([self.config.seed, number])
        if self._rendered and random.random() < self.config.rendered.share:
            ground = self._rendered[random.integers(len(self._rendered))]
        else:
            ground = self._grounds[int(random.choice(len(self._grounds), p=self._shares))]
        to_place = ground.placement(self.config, random)
        map_random = np.random.default_rng([self.config.seed, number, 1])
        pixels, target, weight, drawn = ground.cut(self.config, to_place, map_random)
        pixels = np.dstack([recolour(pixels, self.config.colour, random), drawn])
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)), target, weight


def training_places(config: TrainingConfig, data: Path) -> list[Place]:
    """The places with use = "train"."""
    return [
        place for source in config.sources if source.use == "train" for place in read_source(data, source)
    ]
