"""Pictures of single discrepancies: imagery, mask, OSM and claim over each other, as PNG.

Nothing is looked at here: the mask is what a network said when the daemon looked at these very pixels, as long as that
is kept. Imagery that is not on this machine is fetched with the manners of all fetching, in a thread that goes on after
the client was told to come again; so the next time it is there.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from daemon.discrepancies.life import find
from daemon.discrepancies.model import Discrepancy
from daemon.errors import NotHere, NotNow
from daemon.eyes import remember
from daemon.picture import draw_layers, lay_over
from daemon.publish.feed import fact
from daemon.tiling.grid import TILE_PX, Block, tile_at
from daemon.web.backend import Backend
from detectors.base import Chip, Detector, OsmFeature, Probabilities
from detectors.errors import ModelError
from detectors.landcover_tags import SUBJECTS
from detectors.segmentation.bundle import Bundle

log = logging.getLogger(__name__)

LAYERS = ("imagery", "mask", "osm", "claim")
#: Layers for which the ground must be seen.
OF_THE_GROUND = {"imagery", "mask"}
#: Pictures that are fetched for at a time, and that wait for it.
FETCHERS, WAITING = 2, 16
#: Seconds to queue up for waiting; half of all requests that are worked on may wait for imagery.
QUEUEING = 1.0
#: How much of its picture a large geometry may fill.
FILL = 0.7
#: Seconds for which a picture is kept; without a mask, which the next look may bring, shorter.
LIFE, LIFE_UNMASKED = 86_400.0, 60.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, and which of the layers that were asked for it has."""

    png: bytes
    layers: tuple[str, ...]


class Pictures:
    """Draws them. Safe to share between threads."""

    def __init__(self, backend: Backend):
        self._backend = backend
        self._lock = threading.RLock()  # what came at once says so within the lock
        self._coming: dict[Block, Future[Chip]] = {}
        self._pool = ThreadPoolExecutor(FETCHERS, "pictures")
        self._patience = threading.BoundedSemaphore(max(1, backend.web.workers // 2))
        self._bundles: dict[str, Bundle] = {}

    def draw(self, key: str, layers: Sequence[str], size: int) -> Drawn:
        """The picture of a discrepancy.

        Args:
            layers: of `LAYERS`. Without "imagery" the ground is transparent.
            size: pixels of its sides at most.

        Raises:
            DiscrepancyUnknown: there is none with this key.
            NotHere: a layer that needs imagery is asked for, and there is none of the place.
            NotNow: it is not on this machine and did not come in time.
            ImageryUnavailable: nor will it soon.
        """
        backend = self._backend
        tiling = backend.config.tiling
        with backend.db.transaction() as cursor:
            discrepancy = find(cursor, key)
            block = Block.of(tile_at(*discrepancy.point, tiling.zoom), tiling.block)
            features = backend.current_map.store.features_in(cursor, block.lonlat(tiling.margin))
        detector = self._detector(discrepancy)
        features = [f for f in features if detector is not None and detector.selects(f.tags)]
        name = _name(discrepancy, layers, size, features)
        cache = backend.imagery.cache if backend.imagery else None
        kept = cache.get(name) if cache else None
        if kept:
            had, _, png = kept.partition(b"\n")
            return Drawn(png, tuple(had.decode().split()))
        chip = self._chip(block) if OF_THE_GROUND & set(layers) else _blank(block, tiling.margin)
        mask = self._mask(chip, discrepancy) if "mask" in layers else None
        drawn = _draw(discrepancy, chip, mask, features, layers, size)
        if cache:
            life = LIFE if set(drawn.layers) == set(layers) else LIFE_UNMASKED
            cache.put(name, " ".join(drawn.layers).encode() + b"\n" + drawn.png, life)
        return drawn

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _detector(self, discrepancy: Discrepancy) -> Detector | None:
        detectors = self._backend.current_map.detectors
        return next((detector for detector in detectors if detector.name == discrepancy.detector), None)

    def _chip(self, block: Block) -> Chip:
        """The block as the daemon sees it; whoever wants the same waits for the same."""
        if self._backend.imagery is None:
            raise NotHere("there is no imagery here that could be shown")
        with self._lock:
            coming = self._coming.get(block)
            if coming is None:
                if len(self._coming) >= WAITING:
                    raise NotNow("too many pictures are being fetched; try again later")
                margin = self._backend.config.tiling.margin
                coming = self._coming[block] = self._pool.submit(self._backend.imagery.chip, block, margin)
                coming.add_done_callback(lambda _: self._arrived(block))
        if not self._patience.acquire(timeout=QUEUEING):  # whoever asks for something else must be answered meanwhile
            raise NotNow("too many wait for imagery; try again in a while")
        try:
            chip = coming.result(self._backend.web.picture_timeout)
        except Late:
            raise NotNow("the imagery is being fetched; try again in a while") from None
        finally:
            self._patience.release()
        if not chip.valid.any():
            raise NotHere("there is no imagery of this place")
        return chip

    def _arrived(self, block: Block) -> None:
        with self._lock:
            self._coming.pop(block, None)

    def _mask(self, chip: Chip, discrepancy: Discrepancy) -> Probabilities | None:
        """What a network said of what is claimed, if that is kept."""
        imagery, settings = self._backend.imagery, self._backend.config.detectors
        table = settings.running.get(discrepancy.detector)
        model = getattr(table, "model", "")
        if imagery is None or table is None or not model:  # without a model the pixels themselves are read
            return None
        try:
            with self._lock:
                bundle = self._bundles[model] = self._bundles.get(model) or Bundle.load(model)
        except ModelError as error:
            log.warning("no mask can be shown: %s", error)
            return None
        try:
            known = remember(imagery.cache, bundle, chip, augment=settings.augment, bands=table.bands)
        except ModelError as error:
            log.warning("no mask can be shown: %s", error)
            return None
        return None if known is None else _claimed(known, discrepancy)


def _claimed(answer: Probabilities, discrepancy: Discrepancy) -> Probabilities | None:
    """How likely the ground is what a claim is about, under the detector's name; None where the network knows no such.

    That is the network's class of this name or, where the claim names a cover, those by which networks call it.
    """
    cover = fact(discrepancy.evidence, "cover")
    called = SUBJECTS.get(cover, (cover,)) if cover else (discrepancy.detector,)
    planes = [answer.of(name) for name in called if name in answer.classes]
    return Probabilities(sum(planes)[np.newaxis], (discrepancy.detector,), answer.model) if planes else None


def _blank(block: Block, margin: int) -> Chip:
    """A block of which nothing but its place is known."""
    side = block.side * TILE_PX + 2 * margin
    return Chip(np.zeros((side, side, 3), np.uint8), np.zeros((side, side), bool), block.mercator(margin), None, "")


def _name(discrepancy: Discrepancy, layers: Sequence[str], size: int, features: Sequence[OsmFeature]) -> str:
    """Under which a picture is kept: another as soon as claim or map are."""
    mapped = hashlib.sha256(repr(sorted((f.ref, f.version, f.timestamp) for f in features)).encode()).hexdigest()
    return f"picture/{discrepancy.key}/{discrepancy.updated.isoformat()}/{'+'.join(layers)}/{size}/{mapped}"


def _draw(
    discrepancy: Discrepancy, chip: Chip, mask: Probabilities | None, features: Sequence[OsmFeature],
    layers: Sequence[str], size: int,
) -> Drawn:
    rows, columns = _window(discrepancy, chip, size)
    chip = _cut(chip, rows, columns)
    if mask is not None:
        mask = Probabilities(mask.values[:, rows, columns], mask.classes, mask.model)
    picture = draw_layers(chip, mask, features, [discrepancy], discrepancy.detector)
    planes = {"mask": picture.mask, "osm": picture.osm, "claim": picture.discrepancies}
    had = tuple(layer for layer in layers if layer != "mask" or mask is not None)
    if not had:
        raise NotHere("no mask of this place is kept; the next look at it makes one")
    over = [planes[layer] for layer in LAYERS if layer in had and layer in planes]
    if "imagery" in had:
        flat = cv2.cvtColor(lay_over(picture.imagery, *over), cv2.COLOR_RGB2BGR)
    else:
        flat = cv2.cvtColor(_merge(over), cv2.COLOR_RGBA2BGRA)
    if max(flat.shape[:2]) > size:
        flat = cv2.resize(flat, (size, size), interpolation=cv2.INTER_AREA)
    _, png = cv2.imencode(".png", flat, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return Drawn(png.tobytes(), had)


def _window(discrepancy: Discrepancy, chip: Chip, size: int) -> tuple[slice, slice]:
    """Rows and columns of a square around the geometry, within the chip."""
    frame, most = chip.frame, min(chip.valid.shape)
    points = frame.local_to_pixels(shapely.get_coordinates(frame.to_local(discrepancy.geometry)))
    low, high = points.min(axis=0), points.max(axis=0)
    side = int(min(most, max(size, (high - low).max() / FILL)))
    left, top = (int(np.clip(middle - side / 2, 0, most - side)) for middle in (low + high) / 2)
    return slice(top, top + side), slice(left, left + side)


def _cut(chip: Chip, rows: slice, columns: slice) -> Chip:
    minx, _, _, maxy = chip.bounds
    step = (chip.bounds[2] - minx) / chip.valid.shape[1]
    bounds = (
        minx + columns.start * step, maxy - rows.stop * step, minx + columns.stop * step, maxy - rows.start * step
    )
    return Chip(chip.pixels[rows, columns], chip.valid[rows, columns], bounds, chip.acquired, chip.source)


def _merge(planes: Sequence[np.ndarray]) -> np.ndarray:
    """RGBA planes over each other on nothing, the last on top; uint8 [H, W, 4], alpha not premultiplied."""
    merged = planes[0].astype(np.float32)
    for plane in planes[1:]:
        above, alpha = plane.astype(np.float32), plane[:, :, 3:].astype(np.float32) / 255
        below = merged[:, :, 3:] / 255 * (1 - alpha)
        whole = alpha + below
        with np.errstate(invalid="ignore", divide="ignore"):
            colour = np.where(whole > 0, (above[:, :, :3] * alpha + merged[:, :, :3] * below) / whole, 0)
        merged = np.concatenate([colour, whole * 255], axis=2)
    return np.round(merged).astype(np.uint8)
