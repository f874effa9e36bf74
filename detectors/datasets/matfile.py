"""Numeric arrays of MATLAB's level 5 MAT-files ("MATLAB 5.0 MAT-file format", MathWorks), compressed or not.

Only what DeepSat's files hold is read: full real matrices of numbers. No cells, structs or objects.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from detectors.datasets.spool import spool_array
from detectors.errors import DatasetInvalid

#: Data types of elements -> NumPy's; mi* of the format's table 1-1.
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
#: Classes of arrays that hold numbers: mxDOUBLE_CLASS .. mxUINT64_CLASS.
NUMERIC = range(6, 16)
HEADER = 128
MAX_DIMENSIONS = 8


def read_matrices(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of these names, as far as the file has them; on disk, read where they are touched.

    Raises:
        DatasetInvalid: not a level 5 file (newer ones are HDF5), cut off, or too large.
    """
    found: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as file:
            head = file.read(HEADER)
            if b"MATLAB 7.3" in head or head.startswith(b"\x89HDF"):
                raise DatasetInvalid(f"{path}: a MATLAB 7.3 file, which is HDF5; save it with `save(..., '-v7')`")
            order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
            if len(head) < HEADER or not head.startswith(b"MATLAB 5.0") or order is None:
                raise DatasetInvalid(f"{path}: not a MATLAB level 5 file")
            while len(tag := file.read(8)) == 8 and len(found) < len(names):
                kind, size = struct.unpack(order + "II", tag)
                end = file.tell() + size
                if kind in (MATRIX, COMPRESSED):
                    named = _read_element(file, kind, size, order, names, path)
                    if named:
                        found[named[0]] = named[1]
                file.seek(end + (0 if kind == COMPRESSED else -size % 8))
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise DatasetInvalid(f"{path}: not readable, or cut off: {error}") from error
    return found


def _read_element(
    file: IO[bytes], kind: int, size: int, order: str, names: tuple[str, ...], path: Path
) -> tuple[str, np.ndarray] | None:
    """(name, array) of a matrix that is wanted."""
    stream = _Inflated(file, size) if kind == COMPRESSED else _Limited(file, size)
    if kind == COMPRESSED:
        inner, _ = struct.unpack(order + "II", stream.exactly(8))
        if inner != MATRIX:
            return None
    flags = _sub_element(stream, order)[1]
    array_class = struct.unpack(order + "II", flags[:8])[0] & 0xFF
    dimensions = np.frombuffer(_sub_element(stream, order)[1], order + "i4")
    name = _sub_element(stream, order)[1].decode("ascii")
    if name not in names:
        return None
    if array_class not in NUMERIC or not 2 <= len(dimensions) <= MAX_DIMENSIONS or (dimensions < 0).any():
        raise DatasetInvalid(f"{path}: {name} is no full array of numbers")
    data_kind, small = _tag(stream, order)
    if data_kind not in TYPES:
        raise DatasetInvalid(f"{path}: {name} holds elements of type {data_kind}, not numbers")
    dtype = np.dtype(order + TYPES[data_kind])
    if isinstance(small, bytes):
        return name, np.frombuffer(small, dtype).reshape(dimensions, order="F")
    return name, spool_array(stream.read, dtype, tuple(map(int, dimensions)), "F", path)


class _Limited:
    """The next `size` bytes of a file."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        piece = self._file.read(min(size, self._left))
        self._left -= len(piece)
        return piece

    def exactly(self, size: int) -> bytes:
        piece = b""
        while len(piece) < size and (more := self.read(size - len(piece))):
            piece += more
        if len(piece) < size:
            raise struct.error(f"{size} bytes expected, {len(piece)} are left")
        return piece


class _Inflated(_Limited):
    """What the next `size` bytes of a file inflate to, a piece at a time."""

    def __init__(self, file: IO[bytes], size: int):
        super().__init__(file, size)
        self._zlib = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._zlib.eof:
            packed = self._zlib.unconsumed_tail or super().read(1 << 16)
            piece = self._zlib.decompress(packed, size)
            if piece:
                return piece
            if not packed:
                raise zlib.error("the compressed element ends too early")
        return b""


def _tag(stream: _Limited, order: str) -> tuple[int, int | bytes]:
    """(type, size of the data that follow), or (type, the data itself) of a small element."""
    raw = stream.exactly(8)
    word, size = struct.unpack(order + "II", raw)
    if word >> 16:
        return word & 0xFFFF, raw[4 : 4 + min(4, word >> 16)]
    return word, size


def _sub_element(stream: _Limited, order: str) -> tuple[int, bytes]:
    kind, size = _tag(stream, order)
    if isinstance(size, bytes):
        return kind, size
    if size > 4096:
        raise struct.error(f"a header of {size} bytes")
    data = stream.exactly(size)
    stream.exactly(-size % 8)
    return kind, data
