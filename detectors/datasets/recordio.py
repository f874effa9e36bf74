"""RecordIO, MXNet's container of binary records, with its index file: `NAME.rec` and `NAME.idx`.

Format: dmlc-core, include/dmlc/recordio.h. A record is a magic number uint32, a word uint32 of 3 bits (is it whole, 0,
or the first, 1, a middle, 2, or the last, 3, of a record in parts) and 29 of length, the bytes, and zeros up to a
multiple of 4; all little-endian. Where the magic number itself stands in a record, on a multiple of 4, the record is
parted there and the number left out, so that a reader can find the next record behind damaged bytes. The index has a
line for each record: key, tab, position. What a record holds begins as mx.recordio.pack writes it: flag uint32 (0),
label float32, id and a second id uint64.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

MAGIC = struct.pack("<I", 0xCED7230A)
FRAME = struct.Struct("<4sI")
HEADER = struct.Struct("<IfQQ")
#: A record must be shorter than this.
MOST = 1 << 29
WHOLE, FIRST, MIDDLE, LAST = range(4)
LINE = re.compile(r"(\d{1,18})\t(\d{1,18})")


class RecordCorrupt(ValueError):
    """Bytes that are no such record."""


class RecordWriter:
    """Writes records one after the other, and their index in the end; a context manager."""

    def __init__(self, path: Path):
        self.path = path
        self.keys: list[int] = []
        self._positions: list[int] = []
        self._file = path.open("wb")

    @property
    def bytes(self) -> int:
        return self._file.tell()

    def write(self, key: int, payload: bytes) -> None:
        """
        Raises:
            ValueError: the record is 512 MB or longer.
        """
        self._positions.append(self._file.tell())
        self.keys.append(key)
        self._file.write(frame(HEADER.pack(0, 0.0, key, 0) + payload))

    def close(self) -> None:
        """Write the index; both files are on the disk then."""
        with index_path(self.path).open("w", encoding="ascii") as index:
            index.writelines(f"{k}\t{p}\n" for k, p in zip(self.keys, self._positions, strict=True))
            index.flush()
            os.fsync(index.fileno())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file without an index."""
        self._file.close()


def index_path(path: Path) -> Path:
    """Where the index of a .rec file is."""
    return path.with_suffix(".idx")


def frame(record: bytes) -> bytes:
    """A record as it stands in the file."""
    if len(record) >= MOST:
        raise ValueError(f"a record of {len(record)} bytes; RecordIO takes less than {MOST}: cut into smaller pieces")
    parts, start, at = [], 0, record.find(MAGIC)
    while at >= 0:
        if at % 4 == 0:
            parts += [FRAME.pack(MAGIC, (FIRST if start == 0 else MIDDLE) << 29 | at - start), record[start:at]]
            start = at + 4
        at = record.find(MAGIC, at + (4 if at % 4 == 0 else 1))
    last = WHOLE if start == 0 else LAST
    parts += [FRAME.pack(MAGIC, last << 29 | len(record) - start), record[start:], bytes(-len(record) % 4)]
    return b"".join(parts)


def unframe(data: memoryview) -> memoryview:
    """The payload of the record that starts at the beginning of `data`, which may go on after it.

    Raises:
        RecordCorrupt: no record starts there, or it is cut short.
    """
    parts: list[memoryview] = []
    at = 0
    while True:
        if at + FRAME.size > len(data):
            raise RecordCorrupt("cut short")
        magic, word = FRAME.unpack_from(data, at)
        kind, length = word >> 29, word & (MOST - 1)
        if magic != MAGIC:
            raise RecordCorrupt("no record starts here: wrong magic number")
        if kind not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
            raise RecordCorrupt("its parts are out of order")
        body = data[at + FRAME.size : at + FRAME.size + length]
        if len(body) < length:
            raise RecordCorrupt("cut short")
        parts.append(body)
        if kind in (WHOLE, LAST):
            break
        at += FRAME.size + length + -length % 4
    record = parts[0] if len(parts) == 1 else memoryview(MAGIC.join(parts))
    if len(record) < HEADER.size or HEADER.unpack_from(record)[0] != 0:
        raise RecordCorrupt("no header as mx.recordio.pack writes it")
    return record[HEADER.size :]


def read_index(path: Path) -> list[tuple[int, int]]:
    """(key, position) of every record, in the order of the positions.

    Raises:
        RecordCorrupt: there is no index, or it is none.
    """
    try:
        lines = index_path(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordCorrupt(f"{index_path(path).name} cannot be read: {error}") from error
    found = [LINE.fullmatch(line) for line in lines]
    if not all(found):
        raise RecordCorrupt(f"{index_path(path).name}, line {found.index(None) + 1}: not a key, a tab and a position")
    pairs = sorted(((int(m[1]), int(m[2])) for m in found if m), key=lambda pair: pair[1])
    if len({position for _, position in pairs}) != len(pairs):
        raise RecordCorrupt(f"{index_path(path).name}: two records at the same position")
    return pairs


def find_records(file: int) -> Iterator[tuple[int, int]]:
    """(key, position) of every record of an open file whose index is lost; damaged ones are leapt over."""
    position, size = 0, os.fstat(file).st_size
    while position + FRAME.size <= size:
        magic, word = FRAME.unpack(os.pread(file, FRAME.size, position))
        if magic != MAGIC:
            position = _next_magic(file, position + 4, size)
            continue
        if word >> 29 in (WHOLE, FIRST):
            head = os.pread(file, HEADER.size, position + FRAME.size)
            if len(head) == HEADER.size:
                yield HEADER.unpack(head)[2], position
        length = word & (MOST - 1)
        position += FRAME.size + length + -length % 4


def _next_magic(file: int, position: int, size: int) -> int:
    while position < size:
        chunk = os.pread(file, 1 << 20, position)
        at = chunk.find(MAGIC)
        while at >= 0 and at % 4:
            at = chunk.find(MAGIC, at + 1)
        if at >= 0:
            return position + at
        position += len(chunk) & ~3 or 4
    return size
