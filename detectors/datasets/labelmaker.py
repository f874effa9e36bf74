"""label-maker's data.npz: x_train, y_train, x_test, y_test (https://github.com/developmentseed/label-maker).

y is [N, H, W] for segmentation (indices of classes) or [N, K] for classification (one-hot). label_classes names them:
{"0" = "background", "1" = "building"}. Detection's boxes are arrays of Python objects, which are never unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detectors.datasets.labels import classes_of_codes, decode_codes
from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.picture import check_size
from detectors.datasets.place import DTYPES, UNKNOWN, Place, equator_bounds
from detectors.datasets.raster import inside
from detectors.datasets.spool import spool_array
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source


def read_labelmaker(directory: Path, source: Source) -> Sequence[Place]:
    """label-maker's data.npz with x_train, y_train, x_test, y_test; `use` says which half

    Raises:
        DatasetInvalid: no such file, arrays of objects, arrays that do not fit each other, too large, cut off.
    """
    path = inside(directory, source.images or "data.npz")
    if not source.label_classes or not source.gsd_m:
        raise DatasetInvalid(f"{path}: reader 'labelmaker' needs label_classes (index -> name) and gsd_m in its source")
    pixels, answers = _read_array(path, f"x_{source.use}"), _read_array(path, f"y_{source.use}")
    if pixels.ndim != 4 or answers.ndim not in (2, 3) or len(pixels) != len(answers) or (
        answers.ndim == 3 and answers.shape[1:] != pixels.shape[1:3]
    ):
        raise DatasetInvalid(f"{path}: x {list(pixels.shape)} and y {list(answers.shape)} do not fit; expected "
                             "[N, H, W, C] with [N, H, W] or [N, K]")
    wanted = source.band_order or tuple(range(1, source.bands + 1))
    if pixels.dtype.name not in DTYPES or max(wanted) > pixels.shape[3]:
        raise DatasetInvalid(f"{path}: {pixels.shape[3]} bands of {pixels.dtype}, the source asks for "
                             f"{', '.join(map(str, wanted))} of {' or '.join(DTYPES)}")
    check_size(path, pixels.shape[1], pixels.shape[2], pixels.shape[3])
    classes = classes_of_codes(source.label_classes)

    def read(number: int) -> Place:
        shape = pixels.shape[1:3]
        picture = np.ascontiguousarray(np.asarray(pixels[number])[..., [band - 1 for band in wanted]])
        if answers.ndim == 3:
            mask = decode_codes(path, np.asarray(answers[number]), source.label_classes)
        else:
            hot = np.flatnonzero(answers[number])
            name = source.label_classes.get(str(hot[0])) if len(hot) == 1 else None
            mask = np.full(shape, UNKNOWN if name is None else classes.index(name), dtype=np.uint8)
        return Place(f"{source.use}_{number}", picture, np.ones(shape, dtype=bool),
                     equator_bounds(shape, source.gsd_m), classes, mask)

    return LazyPlaces([lambda number=number: read(number) for number in range(len(pixels))])


def _read_array(path: Path, name: str) -> np.ndarray:
    """An array of an .npz, on disk."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = reader(member)
            if dtype.hasobject:
                raise DatasetInvalid(f"{path}: {name} holds Python objects, which are not read: they may run code; "
                                     "save it as a plain array of numbers")
            return spool_array(member.read, dtype, shape, "F" if fortran else "C", path)
    except KeyError:
        raise DatasetInvalid(f"{path}: no array {name}") from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetInvalid(f"{path}: not a readable .npz, or cut off: {error}") from error
