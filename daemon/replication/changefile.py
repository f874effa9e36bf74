"""What a change file must be before anyone reads it: one whole gzip stream of osmChange XML, of bearable size.

The elements themselves are read by osmium later, inside the transaction that applies them; what is found wrong there
rolls back. Here is caught what must not reach an XML parser or a disk at all.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon.config import Replication
from daemon.errors import ChangeFileInvalid
from daemon.replication.measure import Measure
from daemon.replication.state import as_utc

#: Bytes read, and unpacked, at a time.
PIECE = 256 * 1024
#: The root element must begin within so many bytes; comments and declarations before it are no place to hide in.
PROLOGUE = 64 * 1024

_TIMESTAMP = re.compile(rb"timestamp=[\"'](\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)[\"']")
_TIMESTAMP_BYTES = 40


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """A change file that has been checked and lies on the local disk.

    Attributes:
        sequence: its replication sequence.
        timestamp: aware, UTC; all edits before it are in this file or an earlier one. From the sequence's own state
            file; where the server has none, the time of the newest object in the file; None if there is no object.
        path: a gzip-compressed osmChange file, there only as long as whoever handed it out says.
        server: whose sequence it is, as `config.server_of` names it; "" is that of replication.url.
        since: of the first file on a server that was not followed before: the time of the sequence before it.
    """

    sequence: int
    timestamp: datetime | None
    path: Path
    server: str = ""
    since: datetime | None = None


def check(path: Path, origin: str, limits: Replication) -> None:
    """Refuse a file that is not a complete, gzip-compressed osmChange within the limits.

    All of the file is unpacked (and forgotten piece by piece), so that truncation and damage show by the check sum.

    Args:
        path: the file.
        origin: where it came from, for the message; without secrets.
        limits: its max_uncompressed, max_objects and max_object count.

    Raises:
        ChangeFileInvalid: says what is wrong.
    """
    problem = _problem(path, limits)
    if problem:
        raise ChangeFileInvalid(f"{origin}: {problem}; nothing of it was applied")


def newest_object(path: Path) -> datetime | None:
    """The time of the latest edit in a checked change file, None where no object carries one. UTC."""
    newest, rest = b"", b""
    with gzip.open(path) as file:
        while piece := file.read(PIECE):
            newest = max([newest, *_TIMESTAMP.findall(rest + piece)])
            rest = piece[-_TIMESTAMP_BYTES:]
    try:
        return as_utc(datetime.fromisoformat(newest.decode())) if newest else None
    except ValueError:
        return None


def _problem(path: Path, limits: Replication) -> str | None:
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    measure = Measure(limits.max_objects, limits.max_object)
    head, tail, size = b"", b"", 0
    with path.open("rb") as file:
        packed = file.read(PIECE)
        if packed[:2] != b"\x1f\x8b":
            return _not_gzip(packed)
        try:
            while packed or not stream.eof:
                if stream.eof:  # another member, or padding
                    packed = packed.lstrip(b"\0")
                    if packed and not b"\x1f\x8b".startswith(packed[:2]):
                        return "something follows the end of the gzip stream"
                    if packed:
                        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                if packed:
                    plain = stream.decompress(packed, PIECE)
                    packed = stream.unused_data if stream.eof else stream.unconsumed_tail
                    size += len(plain)
                    if size > limits.max_uncompressed:
                        return f"unpacks to more than the {limits.max_uncompressed} bytes allowed"
                    if wrong := measure.feed(plain):
                        return wrong
                    if len(head) < PROLOGUE:
                        head += plain
                        if len(head) >= PROLOGUE and (wrong := _wrong_root(head)):
                            return wrong
                    tail = (tail + plain)[-PROLOGUE:]
                if not packed:
                    packed = file.read(PIECE)
                    if not packed and not stream.eof:
                        return f"truncated: the gzip stream breaks off after {size} unpacked bytes"
        except zlib.error as error:
            return f"damaged: {error}"
    return _wrong_root(head) or _wrong_end(tail)


def _not_gzip(start: bytes) -> str:
    if not start:
        return "an empty file"
    text = start.lstrip()[:200].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a gzip file"
    if text.startswith((b"<?xml", b"<osmchange")):
        return "XML that is not compressed; expected gzip"
    return f"not a gzip file: begins with {start[:8].hex(' ')}"


def _wrong_root(head: bytes) -> str | None:
    """What is wrong with the beginning of the XML; DOCTYPE and with it all entity declarations can stand only there."""
    head = head[:PROLOGUE].removeprefix(b"\xef\xbb\xbf").lstrip()
    while head.startswith((b"<?", b"<!--")):
        end = b"?>" if head.startswith(b"<?") else b"-->"
        _, found, head = head.partition(end)
        if not found:
            return f"no osmChange within its first {PROLOGUE} bytes"
        head = head.lstrip()
    if head.startswith(b"<!"):
        return "an XML document type or entity declaration, which an osmChange has none of"
    if not re.match(rb"<osmChange[\s/>]", head):
        return f"not an osmChange: begins with {head[:40]!r}"
    return None


def _wrong_end(tail: bytes) -> str | None:
    """Gzip may be whole although the XML in it is not: written by a program that was cut short."""
    tail = tail.rstrip()
    while tail.endswith(b"-->") and b"<!--" in tail:
        tail = tail[: tail.rindex(b"<!--")].rstrip()
    if re.search(rb"</osmChange\s*>\Z", tail) or re.search(rb"<osmChange[^<>]*/>\Z", tail):
        return None
    return f"the XML breaks off: ends with {tail[-40:]!r}"
