"""What is read of an answer: as much as was bargained for, on the wire and unpacked, and not a byte more."""

from __future__ import annotations

import errno
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import requests

from daemon.errors import StorageFull

#: Bytes read from the network at a time.
PIECE = 64 * 1024
#: An answer that is of no use is read to its end if it has at most so many bytes, to keep the connection.
WORTH_DRAINING = 64 * 1024


class Unwanted(Exception):
    """The answer came, but it is not one to take; the message says why."""


def pieces(response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    """The body as it comes from the wire, never more than `max_bytes` of it."""
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared[:20]) > max_bytes:
        raise Unwanted(f"{declared[:20]} bytes announced, more than the {max_bytes} allowed; refused")
    total = 0
    while piece := response.raw.read1(PIECE, decode_content=False):
        total += len(piece)
        if total > max_bytes:
            raise Unwanted(f"more than the {max_bytes} bytes allowed; refused")
        yield piece


def decoder(coding: str, max_bytes: int) -> Callable[[bytes], bytes]:
    """Undoes a Content-Encoding piece by piece; b"" ends it. Never makes more than `max_bytes`."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return lambda piece: piece
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Unwanted(f"Content-Encoding {coding[:40]!r}, which was not asked for")
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    made = 0

    def decode(piece: bytes) -> bytes:
        nonlocal made
        if not piece and not stream.eof:
            raise Unwanted(f"Content-Encoding {coding}: the stream breaks off")
        try:
            content = stream.decompress(piece, max_bytes - made + 1)
        except zlib.error as error:
            raise Unwanted(f"Content-Encoding {coding}: {error}") from None
        made += len(content)
        if made > max_bytes:
            raise Unwanted(f"unpacks to more than the {max_bytes} bytes allowed; refused")
        return content

    return decode


def drain(response: requests.Response) -> bytes:
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared[:20]) <= WORTH_DRAINING:
        return b"".join(pieces(response, WORTH_DRAINING))
    return b""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place when all went well, and goes when not."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                yield file
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{path}: {error.strerror}; make room in {path.parent}") from None
        raise
