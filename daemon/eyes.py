"""A detector with the network it sees through, and a memory of what it has seen.

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
from daemon.sections.detectors import DetectorSection
from detectors.base import Chip, Claim, Detector, OsmFeature, Probabilities, Scene, Shape
from detectors.errors import BundleMismatch
from detectors.registry import registry
from detectors.segmentation import Bundle, Engine, open_engine, segment
from detectors.segmentation.stitching import check_fit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Eye:
    """One detector, its network, and the cache of the network's answers (None: nothing is kept).

    `augment`: look at everything eight times, turned and mirrored, and average.
    `bands`: those of the imagery that the network takes, in its order, counted from 1; none: all of them.
    """

    detector: Detector
    bundle: Bundle
    engine: Engine
    cache: Cache | None
    augment: bool = False
    bands: tuple[int, ...] = ()

    def look(self, chip: Chip) -> Probabilities:
        """Segment a chip, or remember having done so.

        Probabilities are kept in 1/255 steps; a fresh answer is rounded the same, so that both are equal.

        Raises:
            BundleMismatch: the model was not made for such imagery, whatever the cache still holds.
        """
        chip = self._of_bands(chip)
        check_fit(chip, self.bundle)
        kind = "probabilities-augmented" if self.augment else "probabilities"
        key = f"{kind}/{self.bundle.identity}/{_digest(chip)}"
        kept = self.cache.get(key) if self.cache else None
        steps = _decode(kept, len(self.bundle.card.classes), chip.valid.shape) if kept else None
        if steps is None:
            values = segment(chip, self.bundle, self.engine, augment=self.augment).values
            steps = np.rint(values.astype(np.float32) * 255).astype(np.uint8)
            if self.cache:
                self.cache.put(key, _encode(steps))
        return Probabilities(
            (steps.astype(np.float32) / 255).astype(np.float16), tuple(self.bundle.card.classes), self.bundle.identity
        )

    def _of_bands(self, chip: Chip) -> Chip:
        """The chip as the network takes it."""
        count = chip.pixels.shape[2]
        if not self.bands or self.bands == tuple(range(1, count + 1)):
            return chip
        if max(self.bands) > count:
            raise BundleMismatch(f"detectors.{self.detector.name}.bands asks for band {max(self.bands)}, but imagery "
                                 f"{chip.source} gives {count}; see bands of [[imagery]]")
        chosen = np.ascontiguousarray(chip.pixels[:, :, [band - 1 for band in self.bands]])
        return dataclasses.replace(chip, pixels=chosen)

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
    everybodys = set(DetectorSection.model_fields)
    return [
        registry().plugins[name].make(trust_undated_imagery=trusts, **table.model_dump(exclude=everybodys))
        for name, table in config.detectors.running.items()
    ]


def open_eyes(config: Config, cache: Cache | None) -> list[Eye]:
    """The enabled detectors with their networks loaded.

    Raises:
        ModelError: a bundle is broken, does not fit or has seen the map, or no engine runs here.
    """
    eyes, settings = [], config.detectors
    for detector in detectors_of(config):
        table = getattr(settings, detector.name)
        bundle = Bundle.load(table.model)
        if bundle.card.osm_bands:
            raise BundleMismatch(
                f"model {bundle.identity} was shown the map ({', '.join(bundle.card.osm_bands)}), so it cannot say "
                f"whether the map is right; set detectors.{detector.name}.model to one that sees imagery only"
            )
        memory = config.data_dir if cache else None
        engine = open_engine(bundle, settings.engine, settings.threads, memory=memory)
        log.info("%s sees through %s", detector.name, bundle.identity)
        eyes.append(Eye(detector, bundle, engine, cache, settings.augment, tuple(table.bands)))
    return eyes


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
