"""A place finer than a model can take, at the resolution that the model takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from detectors.datasets import UNKNOWN, Place


def match_resolution(place: Place, mask: np.ndarray, finest: float) -> tuple[Place, np.ndarray]:
    """A place finer than `finest` metres a pixel, area-averaged to half its resolution as often as needed.

    A last odd row or column is left out. Of a raster of classes the most frequent of four pixels is kept, the lowest of
    equals; four pixels of which one is unknown are unknown.

    Args:
        mask: bool [H, W] on the grid of the place; shrunk with it, True where all four pixels are.
    """
    while place.gsd < finest and min(place.valid.shape) > 1:
        place, mask = _halve(place), _quarters(mask).all(axis=2)
    return place, mask


def _halve(place: Place) -> Place:
    height, width = (side // 2 * 2 for side in place.valid.shape)
    west, south, east, north = place.bounds
    step_x, step_y = (east - west) / place.valid.shape[1], (north - south) / place.valid.shape[0]
    four = _quarters(place.pixels)
    pixels = (four.sum(axis=2, dtype=np.uint32) + 2) // 4
    return replace(
        place, pixels=pixels.astype(place.pixels.dtype), valid=_quarters(place.valid).all(axis=2),
        bounds=(west, north - height * step_y, west + width * step_x, north),
        mask=None if place.mask is None else _most_frequent(_quarters(place.mask)),
        outlines=shapely.transform(place.outlines, lambda points: points / 2),
        unsure=shapely.transform(place.unsure, lambda points: points / 2),
    )


def _quarters(array: np.ndarray) -> np.ndarray:
    """[H, W, ...] -> [H // 2, W // 2, 4, ...]"""
    height, width = array.shape[0] // 2, array.shape[1] // 2
    even = array[: height * 2, : width * 2]
    blocks = even.reshape(height, 2, width, 2, *array.shape[2:]).swapaxes(1, 2)
    return blocks.reshape(height, width, 4, *array.shape[2:])


def _most_frequent(four: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4] -> uint8 [H, W]"""
    four = np.sort(four, axis=2)
    frequency = (four[..., :, None] == four[..., None, :]).sum(axis=3)
    best = np.take_along_axis(four, frequency.argmax(axis=2)[..., None], axis=2)[..., 0]
    return np.where((four == UNKNOWN).any(axis=2), np.uint8(UNKNOWN), best)
