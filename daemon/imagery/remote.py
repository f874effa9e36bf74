"""A file of a server, read in parts: what a cloud-optimised GeoTIFF (COG) is made for.

GDAL could do this by itself, but would ask without turns, without saying who asks, and wherever a redirect leads. So
it reads through a file that is ours: parts are asked for by range (RFC 9110, 14) with the manners of `daemon.fetch`,
and kept in the cache, block by block.
"""

from __future__ import annotations

import io
import itertools
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import rasterio

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.fetch import Fetched, Fetcher, FetchError, shown
from daemon.imagery.cache import Cache
from daemon.imagery.key import Key
from daemon.imagery.raster_file import Done
from daemon.imagery.source import Content

#: Bytes of a block: what is asked for at once, and kept.
BLOCK = 128 * 1024
#: Blocks that one request asks for at most.
BLOCKS_AT_ONCE = 32
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class RemoteTiff:
    """A GeoTIFF on a server. See `RasterFile`. Safe to share between threads.

    Args:
        url: with {apikey} where the key goes.
        foreign: it was found in something on the open internet, so it must not lead into a private network.
    """

    kind = "a GeoTIFF"
    near = False

    def __init__(self, url: str, fetcher: Fetcher, cache: Cache, key: Key, foreign: bool = False):
        self.origin = shown(url)
        self._url, self._fetcher, self._cache, self._key, self._foreign = url, fetcher, cache, key, foreign
        self._lock = threading.RLock()
        self._stamp: str | None = None
        self._failure: Exception | None = None
        self._recent: dict[int, bytes] = {}
        self._names = itertools.count()
        self._thread: ThreadPoolExecutor | None = None
        self.size = 0

    def open(self, **options: Any) -> rasterio.DatasetReader:
        """Another dataset, to be opened, used and closed within `run`."""
        self._greet()
        name = f"remote{next(self._names)}.tif"  # GDAL never sees the URL

        def opener(wanted: str, mode: str = "rb") -> _Reader:
            if wanted != name:  # GDAL looks for files beside; there are none
                raise FileNotFoundError(wanted)
            return _Reader(self)

        return rasterio.open(name, driver="GTiff", opener=opener, **options)

    def run(self, work: Callable[[], Done]) -> Done:
        """Do it in the one thread that GDAL knows the file in: rasterio keeps its openers thread by thread."""
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="remote")
            thread = self._thread
        return thread.submit(work).result()

    def close(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()

    def content(self) -> Content:
        self._greet()
        return Content(self._stamp or "")

    def failure(self) -> Exception | None:
        failure, self._failure = self._failure, None
        return failure

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes of the file, fewer at its end.

        Raises:
            ImageInvalid: the server has no such file, or does not give parts of it.
            ImageryUnavailable: no answer, or the file is another than it was.
        """
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        with self._lock:
            blocks = self._blocks(first, last)
        start = offset - first * BLOCK
        return b"".join(blocks)[start : start + length]

    def _greet(self) -> None:
        """Learn how large the file is, and of which state."""
        with self._lock:
            if self._stamp is None:
                self._ask(0, 1)

    def _blocks(self, first: int, last: int) -> list[bytes]:
        found: dict[int, bytes] = {}
        for number in range(first, last + 1):
            kept = self._recent.get(number) or self._cache.get(self._cache_key(number))
            if kept is not None:
                found[number] = kept
        number = first
        while number <= last:
            if number in found:
                number += 1
                continue
            end = number
            while end < last and end + 1 not in found and end + 1 - number < BLOCKS_AT_ONCE:
                end += 1
            found |= self._ask(number, end - number + 1)
            number = end + 1
        self._recent = {n: found[n] for n in range(max(first, last - BLOCKS_AT_ONCE), last + 1)}
        return [found[n] for n in range(first, last + 1)]

    def _ask(self, first: int, count: int) -> dict[int, bytes]:
        """Blocks from the server, kept in the cache."""
        wanted = f"bytes={first * BLOCK}-{(first + count) * BLOCK - 1}"
        try:
            answer = self._fetcher.get(
                self._key.fill(self._url), max_bytes=count * BLOCK, headers={"Range": wanted}, foreign=self._foreign
            )
        except FetchError as error:
            said = self._key.hide(str(error))
            if error.status == 200:
                raise ImageInvalid(f"{self.origin}: the server sends the whole file where a part was asked for (no "
                                   f"range requests); download it and name the copy ({said})") from None
            if error.status in (404, 410, 416):
                raise ImageInvalid(said) from None
            raise ImageryUnavailable(f"{said}{self._key.hint(error.status)}") from None
        content = self._content(answer, first, count)
        parts = {first + i: content[i * BLOCK : (i + 1) * BLOCK] for i in range(-(-len(content) // BLOCK))}
        for number, part in parts.items():
            self._cache.put(self._cache_key(number), part)
        return parts

    def _content(self, answer: Fetched, first: int, count: int) -> bytes:
        """What came, once it is certain that it is the part that was asked for, of the file that was asked before."""
        if answer.status == 206:
            told = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
            start, end, size = map(int, told.groups()) if told else (-1, -1, 0)
            expected = min((first + count) * BLOCK, size) - first * BLOCK
            if start != first * BLOCK or len(answer.content) != expected or end != start + expected - 1:
                raise ImageInvalid(f"{self.origin}: asked for a part, the server sent another one or does not say "
                                   "which; download the file and name the copy")
        else:  # a small file, sent whole
            size = len(answer.content)
            if first != 0:
                raise ImageInvalid(f"{self.origin}: the server sends the whole file where a part was asked for")
        stamp = f"{answer.headers.get('ETag') or answer.headers.get('Last-Modified') or ''} {size}"
        if self._stamp is not None and stamp != self._stamp:
            self._recent = {}
            self._stamp, self.size = stamp, size
            raise ImageryUnavailable(f"{self.origin}: the file became another while it was read")
        self._stamp, self.size = stamp, size
        return answer.content

    def _cache_key(self, number: int) -> str:
        return f"range {self._url} {self._stamp} {number}"

    def note(self, failure: Exception) -> None:
        """Remember why a read failed: GDAL has no way to pass it on."""
        self._failure = failure


class _Reader(io.RawIOBase):
    """The file as GDAL reads it. Never raises: GDAL would lose what it was, so it gets nothing and fails itself."""

    def __init__(self, file: RemoteTiff):
        super().__init__()
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        try:
            content = self._file.read_at(self._at, self._file.size if size < 0 else size)
        except (ImageInvalid, ImageryUnavailable) as error:
            self._file.note(error)
            return b""
        self._at += len(content)
        return content
