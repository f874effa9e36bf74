"""From what a label file holds to a mask of classes: codes, colours, and polygons burned in.

Whatever cannot be told becomes UNKNOWN, and is said in the log with how many pixels it is; labels of which nothing can
be told are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from detectors.datasets.place import UNKNOWN
from detectors.errors import DatasetInvalid

log = logging.getLogger(__name__)

Colour = tuple[int, int, int]


def classes_of_codes(codes: Mapping[str, str]) -> tuple[str, ...]:
    """The classes that a table of code -> class name leads to, each once, in the order of the table."""
    return tuple(dict.fromkeys(codes.values()))


def decode_codes(path: Path, plane: np.ndarray, codes: Mapping[str, str]) -> np.ndarray:
    """Integer codes [H, W] -> uint8 mask of indices of `classes_of_codes(codes)`; other codes are UNKNOWN.

    Raises:
        DatasetInvalid: the codes are no integers, or none of the table occurs.
    """
    classes = classes_of_codes(codes)
    if plane.dtype.kind not in "ui":
        raise DatasetInvalid(f"{path}: labels of {plane.dtype}; codes of classes are integers")
    mask = np.full(plane.shape, UNKNOWN, dtype=np.uint8)
    for code, name in codes.items():
        try:
            mask[plane == int(code)] = classes.index(name)
        except ValueError:
            raise DatasetInvalid(f"{path}: label_classes names the code {code!r}; a raster's codes are integers"
                                 ) from None
    _tell(path, mask, plane)
    return mask


def decode_colours(path: Path, image: np.ndarray, colours: Mapping[Colour, int]) -> np.ndarray:
    """RGB labels uint8 [H, W, 3] -> uint8 mask of class indices; other colours are UNKNOWN.

    Raises:
        DatasetInvalid: no colour of the table occurs, or the image is not RGB of uint8.
    """
    if image.shape[2] < 3 or image.dtype != np.uint8:
        raise DatasetInvalid(f"{path}: {image.shape[2]} bands of {image.dtype}; colour-coded labels are RGB of uint8")
    packed = image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
    mask = np.full(packed.shape, UNKNOWN, dtype=np.uint8)
    for (red, green, blue), index in colours.items():
        mask[packed == (red << 16 | green << 8 | blue)] = index
    _tell(path, mask, packed)
    return mask


def decode_binary(path: Path, image: np.ndarray) -> np.ndarray:
    """A mask of one thing, [H, W, C]: 0 is background, 1 or 255 (or at least half of it, after JPEG) is the thing.

    In an RGB mask the largest band counts: published ones paint the thing red, or white.

    Raises:
        DatasetInvalid: not uint8, or values between that are neither.
    """
    if image.dtype != np.uint8:
        raise DatasetInvalid(f"{path}: a mask of {image.dtype}; one of uint8 with 0 and 1 or 255 is expected")
    plane = image[..., :3].max(axis=2) if image.shape[2] >= 3 else image[..., 0]
    top = int(plane.max(initial=0))
    if top <= 1:
        return plane.astype(np.uint8)
    odd = int(((plane > 16) & (plane < 239)).sum())
    if top < 239 or odd > 0.02 * plane.size:
        raise DatasetInvalid(f"{path}: {odd or 'all'} pixels are neither 0 nor 255 nearly; this is no mask of one "
                             "thing (for codes of classes use label_classes)")
    return (plane >= 128).astype(np.uint8)


def burn(
    shapes: Sequence[tuple[Mapping[str, Any], BaseGeometry]], key: str, codes: Mapping[str, str],
    shape: tuple[int, int], path: Path,
) -> np.ndarray:
    """Polygons in pixel coordinates -> uint8 mask [H, W]; ground under none is UNKNOWN, as under attributes unnamed.

    Later features lie over earlier ones. A pixel belongs to the polygon that holds its centre.

    Args:
        key: attribute that names the class.
        codes: its values -> class names.

    Raises:
        DatasetInvalid: no feature has a value that `codes` names.
    """
    classes = classes_of_codes(codes)
    drawn = [
        (geometry, classes.index(codes[str(properties.get(key))]))
        for properties, geometry in shapes if str(properties.get(key)) in codes
    ]
    if not drawn:
        found = sorted({str(properties.get(key)) for properties, _ in shapes})[:12]
        raise DatasetInvalid(f"{path}: no feature whose {key!r} is one of {', '.join(codes)}; found "
                             f"{', '.join(found) or 'no features'}")
    return rasterize(drawn, out_shape=shape, fill=UNKNOWN, dtype="uint8")


def _tell(path: Path, mask: np.ndarray, values: np.ndarray) -> None:
    lost = mask == UNKNOWN
    if lost.all():
        found = ", ".join(map(str, np.unique(values)[:12]))
        raise DatasetInvalid(f"{path}: none of its values is a class that was named; it has {found}")
    strange = int((lost & (values != UNKNOWN)).sum())
    if strange:
        log.info("%s: %d of %d pixels have values that are no class; taken as unknown", path, strange, lost.size)
