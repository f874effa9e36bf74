"""Chip -> probabilities: padded, cut into overlapping windows where it is large, and blended without seams."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from detectors.base import EARTH_RADIUS_M, Chip, Probabilities
from detectors.errors import BundleMismatch
from detectors.segmentation.bundle import Bundle, Card
from detectors.segmentation.engines import Engine
from detectors.segmentation.resampling import factor_for, resample, restore

#: A chip with both sides up to this is one window: a block of 4 x 4 tiles with its margin is.
WINDOW_PX = 1280
#: Neighbouring windows share so many pixels, and fade into each other there. Wider than what a pixel's answer depends
#: on, nearly: what is lost at a window's edge gets next to no weight.
OVERLAP_PX = 192
#: Chips a little outside of the card's range are let through: latitude changes the resolution inside one block.
RANGE_SLACK = 0.01


def segment(chip: Chip, bundle: Bundle, engine: Engine, *, window: int = WINDOW_PX, overlap: int = OVERLAP_PX,
            augment: bool = False) -> Probabilities:
    """Class probabilities of every pixel of a chip.

    Invalid pixels are shown to the network as the training's mean colour, and come back as background with
    probability 1. A network that standardises each picture by itself is shown no more of them than it must be, in the
    mean colour of the rest: else a place at the edge of the imagery would look more even than it is. Imagery finer or
    coarser than the training is resampled, and the answer brought back.

    Args:
        window: largest side given to the network at once; pixels, rounded down to the card's stride.
        overlap: pixels shared by neighbouring windows; less than half a window.
        augment: average over the chip as it is, turned and mirrored: eight answers, at eight times the cost.

    Returns:
        float16 values [K, H, W] on the chip's grid.

    Raises:
        BundleMismatch: bands or resolution of the chip do not fit the bundle.
    """
    card = bundle.card
    check_fit(chip, bundle)
    factor = factor_for(chip.frame.gsd, card)
    rows, columns = _extent(chip.valid) if card.standardise else np.s_[:, :]
    part = replace(chip, pixels=chip.pixels[rows, columns], valid=chip.valid[rows, columns])
    if factor != 1:
        values = restore(_look(resample(part, factor), bundle, engine, window, overlap, augment), part.valid.shape)
    else:
        values = _look(part, bundle, engine, window, overlap, augment)
    if part.valid.shape != chip.valid.shape:
        within, values = values, np.zeros((len(card.classes), *chip.valid.shape), dtype=np.float16)
        values[:, rows, columns] = within
    if not chip.valid.all():
        nothing = ~chip.valid
        for index, plane in enumerate(values):
            plane[nothing] = index == bundle.background
    return Probabilities(values, card.classes, bundle.identity)


def _extent(valid: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest part of a chip that holds all its imagery; all of them where it has none."""
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if not rows.size:
        return np.s_[:, :]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _look(chip: Chip, bundle: Bundle, engine: Engine, window: int, overlap: int, augment: bool) -> np.ndarray:
    """float16 [K, H, W] of a chip as it is; what lies under invalid pixels has no meaning."""
    card = bundle.card
    height, width = chip.valid.shape
    window = max(card.stride, window // card.stride * card.stride)
    whole = np.s_[:height, :width]
    if not chip.valid.any():
        return np.zeros((len(card.classes), height, width), dtype=np.float16)
    if height <= window and width <= window:  # nothing to blend: the network's answer as it comes
        return _ask(engine, _batch(chip, bundle, whole), augment)[:, :height, :width]
    return _blend(chip, bundle, engine, window, overlap, augment)


def _blend(chip: Chip, bundle: Bundle, engine: Engine, window: int, overlap: int, augment: bool) -> np.ndarray:
    """float16 [K, H, W] put together from overlapping windows; 0 where no window has any imagery."""
    height, width = chip.valid.shape
    values = np.zeros((len(bundle.card.classes), height, width), dtype=np.float32)
    weights = np.zeros((height, width), dtype=np.float32)
    for rows, columns in _windows(height, width, window, overlap, bundle.card.stride):
        if not chip.valid[rows, columns].any():
            continue
        answer = _ask(engine, _batch(chip, bundle, (rows, columns)), augment)
        weight = np.outer(_ramp(rows, height, overlap), _ramp(columns, width, overlap))
        answer = answer[:, : rows.stop - rows.start, : columns.stop - columns.start]
        values[:, rows, columns] += answer * weight
        weights[rows, columns] += weight
    values /= np.maximum(weights, np.finfo(np.float32).tiny)
    return values.astype(np.float16)


def _ask(engine: Engine, batch: np.ndarray, augment: bool) -> np.ndarray:
    """float16 [K, H, W] for the one image of a batch."""
    if not augment:
        return engine.predict(batch)[0]
    total = 0.0
    for turns in range(4):
        for mirrored in (False, True):
            seen = np.rot90(batch[..., ::-1] if mirrored else batch, turns, axes=(2, 3))
            answer = np.rot90(engine.predict(seen)[0], -turns, axes=(1, 2))
            total = total + (answer[..., ::-1] if mirrored else answer).astype(np.float32)
    return (total / 8).astype(np.float16)


def _batch(chip: Chip, bundle: Bundle, part: tuple[slice, slice]) -> np.ndarray:
    """A part of a chip as the network takes it: [1, C, h, w] of the card's type.

    Invalid pixels have the mean colour, of the training or of this part (see `segment`), and what is missing to
    multiples of the stride is filled by repeating the last row and column.
    """
    card = bundle.card
    pixels, valid = chip.pixels[part], chip.valid[part]
    height, width = valid.shape
    batch = np.empty((1, card.bands, height + -height % card.stride, width + -width % card.stride), dtype=card.dtype)
    nothing = None if valid.all() else ~valid
    for band, mean in enumerate(card.mean):
        plane = batch[0, band]
        plane[:height, :width] = pixels[..., band]
        if nothing is not None:
            seen = pixels[..., band][valid].mean() if card.standardise and valid.any() else mean
            plane[:height, :width][nothing] = round(seen)
        plane[height:, :width] = plane[height - 1, :width]
        plane[:, width:] = plane[:, width - 1 : width]
    return batch


def check_fit(chip: Chip, bundle: Bundle) -> None:
    """Whether a chip is something the model was made for.

    Raises:
        BundleMismatch: it is not; says what to do.
    """
    card = bundle.card
    if chip.pixels.ndim != 3 or chip.pixels.dtype != card.dtype or chip.pixels.shape[:2] != chip.valid.shape:
        raise BundleMismatch(f"imagery {chip.source}: pixels must be {card.dtype} [H, W, C] of the size of "
                             f"`valid`, not {chip.pixels.dtype} {list(chip.pixels.shape)} with "
                             f"{list(chip.valid.shape)}")
    bands = chip.pixels.shape[2]
    if bands != card.bands:
        raise BundleMismatch(
            f"imagery {chip.source} has {bands} bands, model {bundle.identity} takes {card.bands}; "
            "use a model trained on such imagery"
        )
    low, high = card.gsd_range_m
    gsd = chip.frame.gsd
    if not low * (1 - RANGE_SLACK) <= gsd <= high * (1 + RANGE_SLACK):
        best = zoom_for(card, 2 * math.pi * EARTH_RADIUS_M * chip.frame.scale / 256)
        advice = "use a model trained at this resolution" if best is None else f"set tiling.zoom = {best}"
        raise BundleMismatch(
            f"imagery {chip.source} comes at {gsd:.2f} m a pixel, model {bundle.identity} works at "
            f"{low:g} to {high:g} m; {advice}"
        )


def zoom_for(card: Card, whole_m: float) -> int | None:
    """The zoom of 256 px tiles that suits a model best where zoom 0 has `whole_m` metres a pixel; None: none does."""
    low, high = card.gsd_range_m
    fitting = [z for z in range(25) if low <= whole_m / 2**z <= high]
    return min(fitting, key=lambda z: abs(math.log(whole_m / 2**z / card.gsd_m)), default=None)


def _windows(height: int, width: int, window: int, overlap: int, step: int) -> Iterator[tuple[slice, slice]]:
    for top in _starts(height, window, overlap, step):
        for left in _starts(width, window, overlap, step):
            yield slice(top, min(top + window, height)), slice(left, min(left + window, width))


def _starts(length: int, window: int, overlap: int, step: int) -> list[int]:
    """First pixels of the windows of one axis, multiples of `step` so that pooling falls on the same pixels."""
    if length <= window:
        return [0]
    stride = max(step, (window - overlap) // step * step)
    last = -(-(length - window) // step) * step
    return [*range(0, last, stride), last]


def _ramp(extent: slice, length: int, overlap: int) -> np.ndarray:
    """Weight of each pixel of a window along one axis: falls towards edges that have a neighbour, never to zero."""
    size = extent.stop - extent.start
    weight = np.ones(size, dtype=np.float32)
    reach = min(overlap, size)
    if reach:
        rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(reach) + 0.5) / reach)).astype(np.float32)
        if extent.start > 0:
            weight[:reach] *= rise
        if extent.stop < length:
            weight[size - reach:] *= rise[::-1]
    return np.maximum(weight, 1e-4)
