"""How far pixels are from objects: what the losses that care for outlines want to know of a crop's labels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from detectors.datasets.osm_bands import signed_distance


def gap_weights(ids: np.ndarray, w0: float, sigma_px: float) -> np.ndarray:
    """float32 [H, W]: w0 exp(-(d1 + d2)^2 / (2 sigma^2)), d1 and d2 the distances to the nearest two objects.

    The U-Net's weight map (Ronneberger et al. 2015, arXiv:1505.04597, equation 2) without its class weights: high in
    narrow gaps. Distances are exact, from pixel centre to pixel centre; farther than 4 sigma an object is not felt.

    Args:
        ids: uint16 [H, W], 0 or the number of an object.
    """
    reach = int(np.ceil(4 * sigma_px))
    nearest = np.full(ids.shape, np.inf, dtype=np.float32)
    second = nearest.copy()
    for number, (rows, columns) in _extents(ids):
        window = (slice(max(0, rows.start - reach), rows.stop + reach),
                  slice(max(0, columns.start - reach), columns.stop + reach))
        apart = cv2.distanceTransform((ids[window] != number).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        first, then = nearest[window], second[window]
        np.minimum(then, np.maximum(first, apart), out=then)
        np.minimum(first, apart, out=first)
    return (w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma_px**2))).astype(np.float32)


def components_of(target: np.ndarray) -> np.ndarray:
    """uint16 [H, W]: the connected parts of each class but 0, for labels that know no single objects."""
    ids = np.zeros(target.shape, dtype=np.uint16)
    for value in np.unique(target[target > 0]):
        _, parts = cv2.connectedComponents((target == value).astype(np.uint8), connectivity=4)
        ids += np.where(parts > 0, parts + int(ids.max()), 0).astype(np.uint16)
    return ids


def distances_of(target: np.ndarray, planes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """float32 [P, H, W]: signed distance in pixels to the edge of each plane, negative inside; 0 where it has none."""
    maps = []
    for members in planes:
        inside = np.isin(target, members)
        has_edge = inside.any() and not inside.all()
        maps.append(-signed_distance(inside) if has_edge else np.zeros(target.shape, dtype=np.float32))
    return np.stack(maps)


def _extents(ids: np.ndarray):
    """(number, (rows, columns)) of each object."""
    for number in np.unique(ids[ids > 0]):
        mask = ids == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        yield number, (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
