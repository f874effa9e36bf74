"""Large arrays of packed files, laid on disk while they are used, so that memory stays small whatever their size."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from detectors.errors import DatasetInvalid

#: An array that unpacks to more is refused: SAT-4, the largest of the published ones, has 1.3 GB.
MAX_BYTES = 4 << 30
PIECE = 1 << 22
#: The disk is not filled to the last byte.
SPARE_BYTES = 64 << 20


def spool_array(read: Callable[[int], bytes], dtype: np.dtype, shape: tuple[int, ...], order: str, path: Path
                ) -> np.ndarray:
    """An array, read-only, in a file without a name that vanishes with it.

    Args:
        read: gives the next bytes, at most so many; none at the end.
        order: "C" or "F", how the array lies in them.
        path: of the packed file, for messages.

    Raises:
        DatasetInvalid: more than MAX_BYTES, more than the disk has room for, or fewer bytes than the array needs.
    """
    size = int(np.prod([dtype.itemsize, *map(int, shape)], dtype=object))
    room = min(MAX_BYTES, shutil.disk_usage(tempfile.gettempdir()).free - SPARE_BYTES)
    with tempfile.TemporaryFile() as file:
        done = 0
        while piece := read(PIECE):
            done += len(piece)
            if done > room:
                raise DatasetInvalid(f"{path}: unpacks to more than {room} bytes, the limit or the room in "
                                     f"{tempfile.gettempdir()}")
            file.write(piece)
        if done < size:
            raise DatasetInvalid(f"{path}: cut off: an array of {list(shape)} {dtype} needs {size} bytes, there are "
                                 f"{done}")
        file.flush()
        if not size:
            return np.zeros(shape, dtype)
        return np.memmap(file, dtype=dtype, mode="r", shape=shape, order=order)
