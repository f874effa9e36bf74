"""Random crops of labelled places: turned, flipped, scaled, recoloured; outlines are rasterised after the turning.

Crop number n of a seed is always the same, whatever was drawn before it and by whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import shapely

from detectors.datasets import UNKNOWN, Place
from detectors.datasets.targets import classes_of, contacts_of, draw_ids, draw_mask
from detectors.errors import DatasetInvalid
from detectors.training.augmentation import recolour
from detectors.training.config import TrainingConfig

#: Crops are cut at twice their resolution and area-averaged, as imagery servers make lower zooms.
OVERSAMPLING = 2


class Batch(NamedTuple):
    """pixels uint8 or uint16 [N, C, S, S]; target uint8 and weight float32 [N, S, S], 0 where nothing is learned."""

    pixels: np.ndarray
    target: np.ndarray
    weight: np.ndarray


class CropSampler:
    """Draws training crops from places, without ever showing what a fold holds out."""

    def __init__(self, config: TrainingConfig, places: Sequence[Place], held_out: Sequence[np.ndarray],
                 rendered: Sequence[Place] = ()):
        """
        Args:
            places: at least one.
            held_out: bool [H, W] for each place: pixels blanked out, their labels not learned.
            rendered: drawn towns; config.rendered.share of the crops come from them.
        """
        self.config = config
        self._rendered = [_Ground(town, ~town.valid, config) for town in rendered]
        self._grounds = [_Ground(place, mask, config) for place, mask in zip(places, held_out, strict=True)]
        areas = np.array([ground.area for ground in self._grounds], dtype=np.float64)
        self._shares = areas / areas.sum()

    def batch(self, number: int) -> Batch:
        """Batch `number`, counted from 0."""
        size = self.config.optimiser.batch
        return Batch(*map(np.stack, zip(*[self.crop(number * size + i) for i in range(size)], strict=True)))

    def crop(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop `number`: (pixels [C, S, S], target uint8 [S, S], weight float32 [S, S])."""
        random = np.random.default_rng([self.config.seed, number])
        if self._rendered and random.random() < self.config.rendered.share:
            ground = self._rendered[random.integers(len(self._rendered))]
        else:
            ground = self._grounds[int(random.choice(len(self._grounds), p=self._shares))]
        pixels, target, weight = ground.cut(self.config, random)
        return np.ascontiguousarray(recolour(pixels, self.config.colour, random).transpose(2, 0, 1)), target, weight


class _Ground:
    """A place made ready for cutting."""

    def __init__(self, place: Place, held_out: np.ndarray, config: TrainingConfig):
        model = config.model
        if place.pixels.dtype != model.dtype or place.pixels.shape[2] != model.bands:
            raise DatasetInvalid(f"{place.name}: {place.pixels.shape[2]} bands of {place.pixels.dtype}, model "
                                 f"{model.name} takes {model.bands} of {model.dtype}")
        self.known = place.valid & ~held_out
        self.area = self.known.sum() * place.gsd**2
        self.fill = np.round(model.mean).astype(model.dtype)
        self.pixels = np.where(self.known[..., None], place.pixels, self.fill)
        #: OpenCV warps four bands at a time at most.
        self.bands = [slice(first, first + 4) for first in range(0, len(self.fill), 4)]
        self.gsd = place.gsd
        self.buildings = place.outlines
        self.tree = shapely.STRtree(place.outlines)
        self.unsure = place.unsure
        self.mask = None if place.mask is None else renumber(place, model.classes)
        #: Rows and columns of known ground, coarsely: where crops may be centred; and those of each class.
        step = max(1, min(16, min(place.valid.shape) // 64))
        self.centres = np.argwhere(self.known[::step, ::step]) * step + step // 2
        if not len(self.centres):
            raise DatasetInvalid(f"{place.name}: nothing is left to train on; hold out fewer columns")
        truth = place.truth() if self.mask is None else self.mask
        self.of_class = {
            int(c): np.argwhere((truth == c) & self.known) for c in np.unique(truth[self.known]) if c != UNKNOWN
        } if config.crops.balanced else {}

    def cut(self, config: TrainingConfig, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = config.crops.size
        to_place = self._placement(config, random)
        fine = size * OVERSAMPLING
        half = np.array([[1 / OVERSAMPLING, 0], [0, 1 / OVERSAMPLING]])
        linear, offset = to_place[:, :2] @ half, to_place[:, 2]
        # OpenCV counts from pixel centres, everything else here from pixel corners.
        matrix = np.column_stack([linear, offset + linear @ (0.5, 0.5) - 0.5])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = np.dstack([
            cv2.warpAffine(self.pixels[..., four], matrix, (fine, fine), flags=flags, borderMode=cv2.BORDER_CONSTANT,
                           borderValue=self.fill[four].tolist())
            for four in self.bands
        ])
        known = cv2.warpAffine(self.known.astype(np.uint8), matrix, (fine, fine), flags=flags, borderValue=0)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        known = cv2.resize(known * 255, (size, size), interpolation=cv2.INTER_AREA) > 250
        if self.mask is None:
            target, weight = self._draw(config, to_place, size)
        else:
            target, weight = self._warp(config, to_place, size)
        weight[~known | draw_mask(self._project(self.unsure, to_place), (size, size))] = 0
        return image.reshape(size, size, -1), target, weight

    def _draw(self, config: TrainingConfig, to_place: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Target and weight from outlines."""
        ids = draw_ids(self._project(self.buildings[self._near(to_place, size)], to_place), (size, size))
        target = classes_of(ids, config.model.border_px)
        weight = np.asarray(config.loss.class_weights, dtype=np.float32)[target]
        weight[contacts_of(ids)] *= config.loss.contact
        return target, weight

    def _warp(self, config: TrainingConfig, to_place: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Target and weight from a mask, each pixel that of the nearest centre."""
        linear, offset = to_place[:, :2], to_place[:, 2]
        matrix = np.column_stack([linear, offset + linear @ (0.5, 0.5) - 0.5])
        target = cv2.warpAffine(self.mask, matrix, (size, size), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
                                borderMode=cv2.BORDER_CONSTANT, borderValue=UNKNOWN)
        unknown = target == UNKNOWN
        target[unknown] = 0
        weight = np.asarray(config.loss.class_weights, dtype=np.float32)[target]
        weight[unknown] = 0
        return target, weight

    def _placement(self, config: TrainingConfig, random: np.random.Generator) -> np.ndarray:
        """Affine [2, 3] from crop pixels to mosaic pixels."""
        low, high = np.log(config.crops.scale)
        scale = np.exp(random.uniform(low, high)) * config.model.gsd_m / self.gsd
        turn = random.integers(4) * 90 + random.uniform(-config.crops.rotation, config.crops.rotation)
        cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        linear = scale * np.array([[cos, -sin], [sin, cos]])
        if random.random() < 0.5:
            linear[:, 0] *= -1
        centres = self.centres
        if self.of_class and random.random() < config.crops.balanced:
            centres = self.of_class[int(random.choice(list(self.of_class)))]
        row, column = centres[random.integers(len(centres))]
        half = config.crops.size / 2
        return np.column_stack([linear, np.array([column, row]) - linear @ (half, half)])

    def _near(self, to_place: np.ndarray, size: int) -> np.ndarray:
        corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ to_place[:, :2].T + to_place[:, 2]
        return np.sort(self.tree.query(shapely.box(*corners.min(axis=0), *corners.max(axis=0))))

    @staticmethod
    def _project(polygons: np.ndarray, to_place: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(to_place[:, :2])
        return shapely.transform(polygons, lambda points: (points - to_place[:, 2]) @ inverse.T)


def renumber(place: Place, classes: Sequence[str]) -> np.ndarray:
    """The mask of a place in the numbers of a model's classes; UNKNOWN where the model has no such class.

    Raises:
        DatasetInvalid: the mask has numbers that the place has no class for, or the two share no class.
    """
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    for index, name in enumerate(place.classes):
        if name in classes:
            table[index] = classes.index(name)
    beyond = np.unique(place.mask[(place.mask >= len(place.classes)) & (place.mask != UNKNOWN)])
    if beyond.size:
        raise DatasetInvalid(f"{place.name}: class {beyond[0]} in the mask, but there are only {len(place.classes)}")
    if (table == UNKNOWN).all():
        raise DatasetInvalid(f"{place.name}: classes {', '.join(place.classes)}, the model has {', '.join(classes)}")
    return table[place.mask]
