"""A detector with what it sees through: a network and a memory of what it has seen, or nothing but the pixels.

Imagery changes rarely, the map every minute: the network's answer for a block is kept, keyed by the pixels and the
model, so that an edit costs a comparison and no segmentation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from daemon.config import Config
from daemon.imagery.cache import Cache
from detectors.base import Chip, Claim, Detector, OsmFeature, Probabilities, Scene, Shape
from detectors.errors import BundleMismatch
from detectors.registry import registry
from detectors.segmentation import Bundle, Engine, open_engine, segment
from detectors.segmentation.dates import look_at_each
from detectors.segmentation.stitching import check_fit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Eye:
    """One detector that reads the pixels themselves."""

    detector: Detector

    @property
    def identity(self) -> str:
        """What it sees through, for the record; another name where the same pixels may lead to another answer."""
        return f"{self.detector.name}@pixels"

    def look(self, chip: Chip) -> Probabilities:
        """No classes: the detector takes what it needs from `Scene.chip`."""
        return Probabilities(np.zeros((0, *chip.valid.shape), np.float16), (), self.identity)

    def judge(
        self,
        chip: Chip,
        answer: Probabilities,
        features: Sequence[OsmFeature],
        removed: Sequence[OsmFeature],
        owned: tuple[float, float, float, float],
    ) -> list[Claim]:
        """What the detector claims of a block; `answer` is that of `look`, for the rest see `detectors.base.Scene`."""
        selected = [f for f in features if self.detector.selects(f.tags)]
        gone = [f for f in removed if self.detector.selects(f.tags)]
        return self.detector.compare(Scene(chip, answer, selected, gone, owned))


@dataclass(frozen=True, slots=True)
class NetworkEye(Eye):
    """One detector, its network, and the cache of the network's answers (None: nothing is kept).

    `augment`: look at everything eight times, turned and mirrored, and average.
    `bands`: those of the imagery that the network takes, in its order, counted from 1; none: all of them. Several times
        as many as it takes are several dates (`detectors.segmentation.dates`).
    """

    bundle: Bundle
    engine: Engine
    cache: Cache | None
    augment: bool = False
    bands: tuple[int, ...] = ()

    @property
    def identity(self) -> str:
        return self.bundle.identity

    def look(self, chip: Chip) -> Probabilities:
        """Segment a chip, or remember having done so.

        Probabilities are kept in 1/255 steps; a fresh answer is rounded the same, so that both are equal.

        Raises:
            BundleMismatch: the model was not made for such imagery, whatever the cache still holds.
        """
        return look_at_each(select_bands(chip, self.bands), self.bundle.card.bands, self._look_at)

    def _look_at(self, chip: Chip) -> Probabilities:
        """One date."""
        check_fit(chip, self.bundle)
        known = _recall(self.cache, self.bundle, chip, self.augment) if self.cache else None
        if known is not None:
            return known
        values = segment(chip, self.bundle, self.engine, augment=self.augment).values
        steps = np.rint(values.astype(np.float32) * 255).astype(np.uint8)
        if self.cache:
            self.cache.put(_key(self.bundle, chip, self.augment), _encode(steps))
        return _probabilities(steps, self.bundle)


class _Forgotten(Exception):
    """An answer is not kept."""


def remember(
    cache: Cache, bundle: Bundle, chip: Chip, *, augment: bool = False, bands: Sequence[int] = ()
) -> Probabilities | None:
    """What a network said of a chip when it last looked at these very pixels; None where that is not kept.

    Raises:
        BundleMismatch: the chip's bands are not those of the model.
    """

    def recall(one: Chip) -> Probabilities:
        known = _recall(cache, bundle, one, augment)
        if known is None:
            raise _Forgotten
        return known

    try:
        return look_at_each(select_bands(chip, bands), bundle.card.bands, recall)
    except _Forgotten:
        return None


def select_bands(chip: Chip, bands: Sequence[int]) -> Chip:
    """The chip with these of its bands, counted from 1, in this order; all of them where none is named.

    Raises:
        BundleMismatch: the imagery has not so many.
    """
    count = chip.pixels.shape[2]
    if not bands or tuple(bands) == tuple(range(1, count + 1)):
        return chip
    if max(bands) > count:
        raise BundleMismatch(
            f"a detector's `bands` asks for band {max(bands)}, but imagery {chip.source} gives {count}; see bands of "
            "[[imagery]]"
        )
    return dataclasses.replace(chip, pixels=np.ascontiguousarray(chip.pixels[:, :, [band - 1 for band in bands]]))


def _recall(cache: Cache, bundle: Bundle, chip: Chip, augment: bool) -> Probabilities | None:
    kept = cache.get(_key(bundle, chip, augment))
    steps = _decode(kept, len(bundle.card.classes), chip.valid.shape) if kept else None
    return None if steps is None else _probabilities(steps, bundle)


@dataclass(frozen=True, slots=True)
class Interest:
    """What several detectors together want to know of OSM."""

    detectors: Sequence[Detector]

    def selects(self, tags: Mapping[str, str]) -> bool:
        """Whether any detector asks for OSM objects with these tags."""
        return any(detector.selects(tags) for detector in self.detectors)

    def relevant(self, tags: Mapping[str, str], shape: Shape) -> Mapping[str, Mapping[str, str]] | None:
        """What of an OSM object matters to a look, by detector; None where nothing does."""
        return {
            detector.name: detector.relevant(tags)
            for detector in self.detectors
            if shape in detector.shapes and detector.selects(tags)
        } or None

    @property
    def selection(self) -> dict[str, str]:
        """Names what is selected, by detector: a store made for another selection lacks objects."""
        return {detector.name: detector.selection for detector in self.detectors}


def detectors_of(config: Config) -> list[Detector]:
    """The enabled detectors, without their networks: enough to know which OSM objects matter."""
    trusts = config.detectors.unknown_date == "trust_imagery"
    return [
        registry().plugins[name].make(trust_undated_imagery=trusts, **table.knobs)
        for name, table in config.detectors.running.items()
    ]


def open_eyes(config: Config, cache: Cache | None) -> list[Eye]:
    """The enabled detectors with their networks loaded.

    Raises:
        ModelError: a bundle is broken, does not fit or has seen the map, or no engine runs here.
    """
    settings = config.detectors
    eyes: list[Eye] = []
    for detector in detectors_of(config):
        if not registry().plugins[detector.name].looks:
            continue
        table = settings.running[detector.name]
        model = getattr(table, "model", None)
        if model is None:
            eyes.append(Eye(detector))
            continue
        bundle = Bundle.load(model)
        if bundle.card.osm_bands:
            raise BundleMismatch(
                f"model {bundle.identity} was shown the map ({', '.join(bundle.card.osm_bands)}), so it cannot say "
                f"whether the map is right; set detectors.{detector.name}.model to one that sees imagery only"
            )
        memory = config.data_dir if cache else None
        engine = open_engine(bundle, settings.engine, settings.threads, memory=memory)
        log.info("%s sees through %s", detector.name, bundle.identity)
        eyes.append(NetworkEye(detector, bundle, engine, cache, settings.augment, tuple(table.bands)))
    return eyes


def _key(bundle: Bundle, chip: Chip, augment: bool) -> str:
    return f"probabilities{'-augmented' if augment else ''}/{bundle.identity}/{_digest(chip)}"


def _probabilities(steps: np.ndarray, bundle: Bundle) -> Probabilities:
    """From steps of 1/255, uint8 [K, H, W]."""
    return Probabilities(
        (steps.astype(np.float32) / 255).astype(np.float16), tuple(bundle.card.classes), bundle.identity
    )


def _digest(chip: Chip) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(chip.pixels))
    digest.update(np.packbits(chip.valid))
    digest.update(repr((chip.pixels.shape, round(chip.frame.gsd, 6))).encode())
    return digest.hexdigest()


def _encode(steps: np.ndarray) -> bytes:
    """uint8 [K, H, W] -> PNG of the planes one below the other."""
    planes, height, width = steps.shape
    ok, png = cv2.imencode(".png", steps.reshape(planes * height, width), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert ok, "OpenCV encodes every 8-bit grey image"
    return png.tobytes()


def _decode(png: bytes, planes: int, shape: tuple[int, int]) -> np.ndarray | None:
    """The planes uint8 [K, H, W], None where the entry is damaged or of another form."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != (planes * shape[0], shape[1]):
        return None
    return image.reshape(planes, *shape)
