"""Imagery finer or coarser than a network has seen, brought to what it knows, and the answer brought back.

A network knows objects by their size in pixels. `Card.trained_range_m` says at which resolutions it has seen them;
where `Card.gsd_range_m` is wider, imagery beyond is averaged down, or enlarged, to the nearer end of what was trained.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from detectors.base import Chip
from detectors.segmentation.bundle import Card

#: Sizes within so much of each other count as the same: latitude changes the resolution inside one block.
SLACK = 0.02


def factor_for(gsd: float, card: Card) -> float:
    """By how much a chip of `gsd` metres a pixel is enlarged for the network; 1 within what was trained."""
    low, high = card.trained_range_m or card.gsd_range_m
    fitting = min(max(gsd, low), high)
    return 1.0 if abs(gsd / fitting - 1) <= SLACK else gsd / fitting


def resample(chip: Chip, factor: float) -> Chip:
    """A chip of the same ground with `factor` times as many pixels along each side; at least one.

    Pixels without imagery are left out of the averages; a new pixel is valid where most of it was.
    """
    height, width = chip.valid.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    share = cv2.resize(chip.valid.astype(np.float32), size, interpolation=how)
    weighted = [
        cv2.resize(np.where(chip.valid, chip.pixels[..., band], 0).astype(np.float32), size, interpolation=how)
        for band in range(chip.pixels.shape[2])
    ]
    limits = np.iinfo(chip.pixels.dtype)
    pixels = np.clip(np.rint(np.dstack(weighted) / np.maximum(share, 1e-6)[..., None]), limits.min, limits.max)
    return replace(chip, pixels=pixels.astype(chip.pixels.dtype), valid=share > 0.5)


def restore(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Probabilities float16 [K, h, w] on a grid [K, H, W] of the same ground, float16; they still add up to 1."""
    height, width = shape
    how = cv2.INTER_AREA if values.shape[1] > height else cv2.INTER_LINEAR
    planes = [cv2.resize(plane.astype(np.float32), (width, height), interpolation=how) for plane in values]
    return np.stack(planes).astype(np.float16)
