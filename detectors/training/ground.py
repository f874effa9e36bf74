"""A labelled place made ready for cutting: pieces of it, turned and scaled, with what is to be learned from them.

Outlines are rasterised after the turning, so that walls stay sharp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import shapely

from detectors.datasets import UNKNOWN, Place
from detectors.datasets.osm_bands import REACH_M, check_drawable, draw_osm_bands, spoil_outlines
from detectors.datasets.targets import classes_of, contacts_of, draw_ids, draw_mask
from detectors.errors import DatasetInvalid
from detectors.training.config import TrainingConfig
from detectors.training.gaps import components_of, gap_weights

#: Crops are cut at twice their resolution and area-averaged, as imagery servers make lower zooms.
OVERSAMPLING = 2


class Ground:
    """A place made ready for cutting."""

    def __init__(self, place: Place, held_out: np.ndarray, config: TrainingConfig, learned: np.ndarray | None = None):
        """
        Args:
            held_out: bool [H, W]; neither shown nor learned.
            learned: bool [H, W]; what of the rest has a weight, None for all of it.

        Raises:
            DatasetInvalid: bands, type or labels are not what the model takes, or all is held out.
        """
        model = config.model
        optical = model.bands - len(model.osm_bands)
        if place.pixels.dtype != model.dtype or place.pixels.shape[2] != optical:
            raise DatasetInvalid(f"{place.name}: {place.pixels.shape[2]} bands of {place.pixels.dtype}, model "
                                 f"{model.name} takes {optical} of {model.dtype}")
        if model.osm_bands:
            check_drawable(place, model.osm_bands)
        self.known = place.valid & ~held_out
        self.learned = learned
        self.area = self.known.sum() * place.gsd**2
        self.fill, self.no_map = np.split(np.round(model.mean).astype(model.dtype), [optical])
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

    def cut(self, config: TrainingConfig, to_place: np.ndarray, map_random: np.random.Generator
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pixels [S, S, C], target uint8, weight float32 [S, S], and the map as bands [S, S, B], which may be none.

        Args:
            to_place: affine [2, 3] from crop pixels to the place's, as `placement` draws it.
        """
        size = config.crops.size
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

        def wholly(mask: np.ndarray) -> np.ndarray:
            warped = cv2.warpAffine(mask.astype(np.uint8), matrix, (fine, fine), flags=flags, borderValue=0)
            return cv2.resize(warped * 255, (size, size), interpolation=cv2.INTER_AREA) > 250

        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        known = wholly(self.known)
        if self.mask is None:
            target, weight = self._draw(config, to_place, size)
        else:
            target, weight = self._warp(config, to_place, size)
        weight[~known | draw_mask(self._project(self.unsure, to_place), (size, size))] = 0
        if self.learned is not None:
            weight[~wholly(self.learned)] = 0
        return image.reshape(size, size, -1), target, weight, self._map(config, to_place, known, map_random)

    def windows(self, config: TrainingConfig) -> Iterator[np.ndarray]:
        """Upright placements at the model's resolution that tile what is learned of the place, without overlap."""
        side = config.crops.size * config.model.gsd_m / self.gsd
        where = self.known if self.learned is None else self.known & self.learned
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        if not len(rows):
            return
        scale = np.eye(2) * config.model.gsd_m / self.gsd
        for top in np.arange(rows[0], rows[-1] + 1, side):
            for left in np.arange(columns[0], columns[-1] + 1, side):
                if where[int(top):int(np.ceil(top + side)), int(left):int(np.ceil(left + side))].any():
                    yield np.column_stack([scale, (left, top)])

    def _map(self, config: TrainingConfig, to_place: np.ndarray, known: np.ndarray, random: np.random.Generator
             ) -> np.ndarray:
        """The OSM bands, of the type of the pixels; what is not known ground has no map either."""
        bands, settings = config.model.osm_bands, config.osm
        if not bands or random.random() < settings.dropout:
            return np.broadcast_to(self.no_map, (*known.shape, len(bands)))
        gsd = self.gsd * np.sqrt(abs(np.linalg.det(to_place[:, :2])))
        near = self.buildings[self._near(to_place, len(known), margin=REACH_M / gsd)]
        mapped = spoil_outlines(self._project(near, to_place), settings.omission, settings.jitter_m / gsd, random)
        return np.where(known[..., None], draw_osm_bands(mapped, known.shape, gsd, bands), self.no_map)

    def _draw(self, config: TrainingConfig, to_place: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Target and weight from outlines."""
        ids = draw_ids(self._project(self.buildings[self._near(to_place, size)], to_place), (size, size))
        target = classes_of(ids, config.model.border_px)
        weight = np.asarray(config.loss.class_weights, dtype=np.float32)[target]
        weight[contacts_of(ids)] *= config.loss.contact
        if config.loss.gap:
            weight += gap_weights(ids, config.loss.gap, config.loss.gap_sigma_px)
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
        if config.loss.gap:
            weight += gap_weights(components_of(target), config.loss.gap, config.loss.gap_sigma_px)
        weight[unknown] = 0
        return target, weight

    def placement(self, config: TrainingConfig, random: np.random.Generator) -> np.ndarray:
        """A random affine [2, 3] from crop pixels to the place's pixels."""
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

    def _near(self, to_place: np.ndarray, size: int, margin: float = 0.0) -> np.ndarray:
        """Indices of the buildings within `margin` crop pixels of the crop."""
        low, high = -margin, size + margin
        corners = np.array([[low, low], [high, low], [low, high], [high, high]]) @ to_place[:, :2].T + to_place[:, 2]
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
