"""What one record holds: a rectangle of a labelled place, with all that is known of it.

    "MGPIECE1"  crc32 uint32 of all that follows  length uint32 of the header
    header      JSON: the place, where the piece lies in it, how the rest is written, the length of each section
    sections    pixels, valid, mask, outlines, unsure

Arrays are written as they lie in memory, little-endian ("raw"), or as differences from the pixel to the left, deflated
("deflate"): on aerial imagery that is smaller than PNG and quicker to read, and takes any number of bands. Outlines are
WKB in the pixel coordinates of the whole place, with their numbers there.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import shapely

from detectors.datasets.place import DTYPES, Place, Provenance
from detectors.datasets.recordio import RecordCorrupt

Coding = Literal["raw", "deflate"]
CODINGS: tuple[Coding, ...] = ("raw", "deflate")

MAGIC = b"MGPIECE1"
HEAD = struct.Struct("<8sII")
SECTIONS = ("pixels", "valid", "mask", "outlines", "unsure")
MOST_SIDE, MOST_BANDS, MOST_HEADER = 1 << 20, 64, 1 << 20
#: Pixels of all bands together that a record may claim to have.
MOST_BYTES = 1 << 30
MOST_CLASSES = 255


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of a place.

    Attributes:
        whole: the place without its arrays: name, shape, bounds, classes, columns, provenance.
        corner: row and column of the upper left pixel in the whole place.
        pixels, valid, mask: as those of `Place`, of the rectangle.
        outlines, unsure: polygons that touch the rectangle, in pixel coordinates of the whole place.
        outline_ids, unsure_ids: int64, which of the place's polygons each is.
    """

    whole: Whole
    corner: tuple[int, int]
    pixels: np.ndarray
    valid: np.ndarray
    mask: np.ndarray | None = None
    outlines: np.ndarray = field(default_factory=lambda: np.array([], dtype=object))
    outline_ids: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))
    unsure: np.ndarray = field(default_factory=lambda: np.array([], dtype=object))
    unsure_ids: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))

    def place(self) -> Place:
        """The rectangle as a place of its own, called "NAME row column" unless it is the whole one."""
        (row, column), (height, width) = self.corner, self.valid.shape
        if self.whole.shape == (height, width):
            name, bounds = self.whole.name, self.whole.bounds
        else:
            minx, miny, maxx, maxy = self.whole.bounds
            across, down = (maxx - minx) / self.whole.shape[1], (maxy - miny) / self.whole.shape[0]
            name = f"{self.whole.name} {row} {column}"
            bounds = (minx + column * across, maxy - (row + height) * down, minx + (column + width) * across,
                      maxy - row * down)
        outlines, unsure = (
            shapely.transform(polygons, lambda points: points - (column, row)) if len(polygons) else polygons
            for polygons in (self.outlines, self.unsure)
        )
        return Place(name, self.pixels, self.valid, bounds, self.whole.classes, self.mask, outlines, unsure, 1,
                     self.whole.provenance)

    def held_out(self, fold: int, columns: int) -> np.ndarray:
        """bool [H, W]: as `Place.held_out` of the whole place."""
        mask = np.zeros(self.valid.shape, dtype=bool)
        if fold >= 0:
            side = self.whole.shape[1] // self.whole.columns
            first = fold * columns * side - self.corner[1]
            mask[:, max(0, first) : max(0, first + columns * side)] = True
        return mask


@dataclass(frozen=True, slots=True)
class Whole:
    """A place without its pixels and labels; `number` counts the places of a pack."""

    number: int
    name: str
    shape: tuple[int, int]
    bounds: tuple[float, float, float, float]
    classes: tuple[str, ...]
    columns: int
    provenance: Provenance | None


def encode_piece(piece: Piece, coding: Coding) -> bytes:
    """A piece as bytes; the same piece gives the same bytes."""
    sections = {
        "pixels": _encode_array(piece.pixels, coding),
        "valid": b"" if piece.valid.all() else zlib.compress(np.packbits(piece.valid).tobytes(), 1),
        "mask": b"" if piece.mask is None else _encode_array(piece.mask[..., None], coding),
        "outlines": _encode_polygons(piece.outlines, piece.outline_ids),
        "unsure": _encode_polygons(piece.unsure, piece.unsure_ids),
    }
    whole = piece.whole
    owner = whole.provenance
    header = {
        "place": whole.number, "name": whole.name, "shape": list(whole.shape), "bounds": list(whole.bounds),
        "classes": list(whole.classes), "columns": whole.columns,
        "provenance": None if owner is None else [owner.imagery, owner.imagery_licence, owner.labels,
                                                  owner.labels_licence],
        "corner": list(piece.corner), "size": list(piece.valid.shape), "bands": piece.pixels.shape[2],
        "dtype": str(piece.pixels.dtype), "gsd_m": piece.place().gsd, "coding": coding,
        "labels": "outlines" if piece.mask is None else "mask",
        "sections": [len(sections[name]) for name in SECTIONS],
    }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    body = b"".join([struct.pack("<I", len(text)), text, *sections.values()])
    return struct.pack("<8sI", MAGIC, zlib.crc32(body)) + body


def decode_piece(data: memoryview) -> Piece:
    """The piece that `encode_piece` wrote. Arrays of "raw" records are views of `data`.

    Raises:
        RecordCorrupt: no piece, damaged, or impossible.
    """
    if len(data) < HEAD.size:
        raise RecordCorrupt("cut short")
    magic, checksum, length = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise RecordCorrupt("no piece of a labelled place")
    if zlib.crc32(data[12:]) != checksum:
        raise RecordCorrupt("wrong checksum")
    if length > min(MOST_HEADER, len(data) - HEAD.size):
        raise RecordCorrupt(f"a header of {length} bytes")
    # The checksum is right, but whoever wrote the record may have meant harm.
    try:
        header = json.loads(bytes(data[HEAD.size : HEAD.size + length]))
        whole, corner, shape, dtype = _read_header(header)
        parts = _split(data[HEAD.size + length :], header["sections"])
        pixels = _decode_array(parts["pixels"], shape, dtype, header["coding"])
        valid, mask = np.ones(shape[:2], dtype=bool), None
        if parts["valid"]:
            packed = np.frombuffer(_inflate(parts["valid"], (shape[0] * shape[1] + 7) // 8), np.uint8)
            valid = np.unpackbits(packed, count=shape[0] * shape[1]).reshape(shape[:2]).astype(bool)
        if header["labels"] == "mask":
            mask = _decode_array(parts["mask"], (*shape[:2], 1), "uint8", header["coding"])[..., 0]
        return Piece(whole, corner, pixels, valid, mask, *_decode_polygons(parts["outlines"]),
                     *_decode_polygons(parts["unsure"]))
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error, shapely.errors.ShapelyError) as error:
        raise RecordCorrupt(f"{type(error).__name__}: {error}") from error


def _read_header(header: dict[str, Any]) -> tuple[Whole, tuple[int, int], tuple[int, int, int], str]:
    """The place, the corner, the shape (height, width, bands) and the type of the pixels."""
    height, width = (_whole_number(side, 1, MOST_SIDE) for side in header["size"])
    rows, columns = (_whole_number(side, 1, MOST_SIDE) for side in header["shape"])
    row, column = (_whole_number(side, 0, MOST_SIDE) for side in header["corner"])
    bands = _whole_number(header["bands"], 1, MOST_BANDS)
    if row + height > rows or column + width > columns:
        raise RecordCorrupt("the piece lies outside of its place")
    if header["dtype"] not in DTYPES or header["coding"] not in CODINGS or header["labels"] not in ("mask", "outlines"):
        raise RecordCorrupt(f"unknown type {header['dtype']}, coding {header['coding']} or labels {header['labels']}")
    if height * width * bands * np.dtype(header["dtype"]).itemsize > MOST_BYTES:
        raise RecordCorrupt(f"{bands} bands of {width} x {height} px are too large")
    bounds = tuple(float(side) for side in header["bounds"])
    if len(bounds) != 4 or not np.isfinite(bounds).all() or bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
        raise RecordCorrupt("impossible bounds")
    classes = header["classes"]
    if not 1 <= len(classes) <= MOST_CLASSES or not all(isinstance(name, str) for name in classes):
        raise RecordCorrupt("impossible classes")
    owner = None if header["provenance"] is None else Provenance(*map(str, header["provenance"]))
    whole = Whole(_whole_number(header["place"], 0, MOST_SIDE), str(header["name"]), (rows, columns), bounds,
                  tuple(classes), _whole_number(header["columns"], 1, columns), owner)
    return whole, (row, column), (height, width, bands), header["dtype"]


def _whole_number(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise RecordCorrupt(f"{value!r} is not a whole number {least}..{most}")
    return value


def _split(data: memoryview, lengths: list[int]) -> dict[str, memoryview]:
    ends = np.cumsum([0, *(_whole_number(length, 0, MOST_BYTES) for length in lengths)])
    if len(ends) != len(SECTIONS) + 1 or ends[-1] != len(data):
        raise RecordCorrupt(f"sections of {lengths} bytes in {len(data)}")
    return {name: data[ends[i] : ends[i + 1]] for i, name in enumerate(SECTIONS)}


def _encode_array(array: np.ndarray, coding: Coding) -> bytes:
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if coding == "raw":
        return array.tobytes()
    # Unsigned differences wrap around, and so do the sums that undo them.
    return zlib.compress(np.diff(array, axis=1, prepend=array.dtype.type(0)).tobytes(), 1)


def _decode_array(data: memoryview, shape: tuple[int, ...], dtype: str, coding: Coding) -> np.ndarray:
    kind = np.dtype(dtype).newbyteorder("<")
    length = int(np.prod(shape)) * kind.itemsize
    raw = data if coding == "raw" else _inflate(data, length)
    if len(raw) != length:
        raise RecordCorrupt(f"{len(raw)} bytes of pixels, expected {length}")
    array = np.frombuffer(raw, kind).reshape(shape).astype(dtype, copy=False)
    return array if coding == "raw" else np.cumsum(array, axis=1, dtype=dtype)


def _inflate(data: memoryview, length: int) -> bytes:
    """Exactly so many bytes, and never more."""
    inflater = zlib.decompressobj()
    out = inflater.decompress(data, length + 1)
    if len(out) != length or not inflater.eof or inflater.unused_data:
        raise RecordCorrupt(f"deflated bytes that do not hold {length} bytes")
    return out


def _encode_polygons(polygons: np.ndarray, ids: np.ndarray) -> bytes:
    if len(polygons) == 0:
        return b""
    texts = shapely.to_wkb(polygons, byte_order=1)
    lengths = np.array([len(text) for text in texts], dtype="<u4")
    return b"".join([struct.pack("<I", len(texts)), ids.astype("<u4").tobytes(), lengths.tobytes(), *texts])


def _decode_polygons(data: memoryview) -> tuple[np.ndarray, np.ndarray]:
    if not data:
        return np.array([], dtype=object), np.array([], dtype=np.int64)
    (count,) = struct.unpack_from("<I", data)
    first = 4 + 8 * count
    if first > len(data):
        raise RecordCorrupt(f"{count} outlines in {len(data)} bytes")
    ids, lengths = np.frombuffer(data[4:first], "<u4").reshape(2, count)
    ends = first + np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if ends[-1] != len(data):
        raise RecordCorrupt("outlines longer or shorter than said")
    polygons = np.empty(count, dtype=object)
    polygons[:] = shapely.from_wkb([bytes(data[ends[i] : ends[i + 1]]) for i in range(count)])
    if count and set(shapely.get_type_id(polygons)) - {3}:
        raise RecordCorrupt("an outline that is no polygon")
    if not np.isfinite(shapely.get_coordinates(polygons)).all():
        raise RecordCorrupt("an outline that is nowhere")
    return polygons, ids.astype(np.int64)
