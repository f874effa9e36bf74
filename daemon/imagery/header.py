"""What an image file says of itself, read before anything is decoded.

A hostile file can unpack to gigabytes, and decoders fill what a truncated or damaged file lacks with grey. So the
dimensions are read here first, and the file's structure is walked to its end: every PNG chunk with its checksum, every
JPEG marker up to the end of the image, the length that WebP states.

Formats: ITU-T T.81 annex B (JPEG), W3C PNG third edition, RFC 9649 (WebP).
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from daemon.errors import ImageInvalid

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
#: Next marker within entropy-coded JPEG data: not a stuffed 00, a restart marker or a fill byte.
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
#: Start-of-frame markers that carry the dimensions; without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers that may follow a scan: tables, another scan, comments, the number of lines.
_JPEG_BETWEEN_SCANS = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE}) | frozenset(range(0xE0, 0xF0))
#: Other files that turn up where an image should be, by how they begin.
_STRANGERS = (
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a zip file"),
    (b"%PDF", "a PDF file"),
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Attributes: format: "jpeg", "png" or "webp"; width, height: pixels."""

    format: str
    width: int
    height: int


def read_header(data: bytes, origin: str) -> ImageHeader:
    """Format and dimensions of an image file that is whole and undamaged as far as its structure tells.

    Args:
        data: the file.
        origin: file name or URL for messages.

    Raises:
        ImageInvalid: not JPEG, PNG or WebP; truncated; damaged; animated; JPEG of 12 bits.
    """
    try:
        if data.startswith(_JPEG):
            return _walk_jpeg(data)
        if data.startswith(_PNG):
            return _walk_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _walk_webp(data)
    except (struct.error, IndexError):
        raise ImageInvalid(f"{origin}: image file is truncated ({len(data)} bytes)") from None
    except _Damaged as damage:
        raise ImageInvalid(f"{origin}: {damage}") from None
    raise ImageInvalid(f"{origin}: not an image but {_what(data)}; JPEG, PNG and WebP are read")


class _Damaged(Exception):
    """What is wrong with the file."""


def _walk_jpeg(data: bytes) -> ImageHeader:
    header: ImageHeader | None = None
    position, scans = 2, 0
    while True:
        if data[position] != 0xFF:
            raise _Damaged(f"damaged JPEG: no marker at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xD9:
            if header is None or scans == 0:
                raise _Damaged("damaged JPEG: ends before its pixels")
            return header
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _JPEG_FRAMES:
            precision, height, width, bands = struct.unpack_from(">BHHB", data, position + 4)
            if precision != 8:
                raise _Damaged(f"JPEG with {precision} bits a band; 8 are read")
            if bands not in (1, 3, 4):
                raise _Damaged(f"JPEG with {bands} bands; grey, RGB and CMYK are read")
            if header is not None:
                raise _Damaged("damaged JPEG: two frames")
            header = ImageHeader("jpeg", width, height)
        position += 2 + length
        if marker == 0xDA:
            scans += 1
            found = _JPEG_MARKER.search(data, position)
            if found is None:
                raise _Damaged(f"JPEG is truncated ({len(data)} bytes): its pixels do not end")
            position = found.start()
            if data[position + 1] != 0xD9 and data[position + 1] not in _JPEG_BETWEEN_SCANS:
                raise _Damaged(f"damaged JPEG: stray marker at byte {position}")


def _walk_png(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    if data[12:16] != b"IHDR":
        raise _Damaged("damaged PNG: does not begin with IHDR")
    position, pixels = len(_PNG), False
    while True:
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(memoryview(data)[position + 4 : position + 8 + length]) != checksum:
            raise _Damaged(f"damaged PNG: wrong checksum of {kind.decode('latin-1')!r} at byte {position}")
        if kind == b"acTL":
            raise _Damaged("animated PNG; single images are read")
        pixels |= kind == b"IDAT"
        if kind == b"IEND":
            if not pixels:
                raise _Damaged("damaged PNG: has no pixels")
            return ImageHeader("png", width, height)
        position += 12 + length


def _walk_webp(data: bytes) -> ImageHeader:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise _Damaged(f"WebP is truncated: {len(data)} of {size + 8} bytes")
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise _Damaged("animated WebP; single images are read")
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise _Damaged(f"damaged WebP: begins with {kind.decode('latin-1')!r}")
    return ImageHeader("webp", width, height)


def _what(data: bytes) -> str:
    """What a file that is no image seems to be, in words."""
    if not data:
        return "an empty file"
    for beginning, name in _STRANGERS:
        if data.startswith(beginning):
            return name
    if data[4:8] == b"ftyp":
        return "an AVIF, HEIF or MP4 file"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<":
        return "an HTML page or XML document" + _excerpt(start)
    if start[:1] in (b"{", b"["):
        return "JSON" + _excerpt(start)
    if start.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "text" + _excerpt(start)
    return f"something that begins with {data[:8].hex(' ')}"


def _excerpt(start: bytes) -> str:
    text = " ".join(re.sub(r"<[^>]*>?", " ", start.decode("utf-8", "replace")).split())
    printable = "".join(c for c in text if c.isprintable())
    return f" ({printable[:80]!r})" if printable else ""
