"""Tiles of an HTTP server, through the cache."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.fetch import Fetcher, FetchError, shown
from daemon.imagery.cache import Cache
from daemon.imagery.header import read_header
from daemon.imagery.template import TileTemplate
from daemon.tiling.grid import Tile

log = logging.getLogger(__name__)

#: Answers that mean that a server has no such tile.
NO_IMAGERY = frozenset({404, 410})
#: "No such tile" is asked again after this many seconds: 7 days.
NO_IMAGERY_LIFE = 7 * 86400.0
#: Seconds for which an answer is kept in memory, and how many are: several tiles may be cut from one large image.
RECENT_LIFE = 60.0
RECENT = 16


class HttpTiles:
    """Image files of a server.

    Args:
        location: URL template, http:// or https://.
        tms: rows are counted from the south.
        max_bytes: a larger answer is refused.
        fetcher: does the asking, with the manners it was given.
        cache: keeps answers, "no such tile" among them.
    """

    def __init__(self, location: str, tms: bool, max_bytes: int, fetcher: Fetcher, cache: Cache):
        self.template = TileTemplate(location, tms)
        self._max_bytes = max_bytes
        self._fetcher = fetcher
        self._cache = cache
        self._stripes = [threading.Lock() for _ in range(64)]
        self._recent: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._recent_lock = threading.Lock()

    @property
    def problem(self) -> str | None:
        """What is wrong with the location, None if nothing is."""
        return f"{shown(self.template.text)}: {self.template.problem}" if self.template.problem else None

    def read(self, tile: Tile) -> tuple[bytes, str] | None:
        """The tile's file and its URL without secrets; None where the server has none (404, 410, 204, empty).

        Raises:
            ImageInvalid: what came is no image, damaged or too large.
            ImageryUnavailable: no answer, or one that says nothing about the tile.
        """
        url = self.template.fill(tile)
        with self._stripes[hash(url) % len(self._stripes)]:  # two threads that want the same file ask once
            data = self._recall(url)
            if data is None:
                data = self._load(url)
                self._remember(url, data)
        return (data, shown(url)) if data else None

    def _load(self, url: str) -> bytes:
        """The file, b"" for no imagery."""
        key = f"tile {url}"
        kept = self._cache.get(key)
        if kept is not None:
            return _unpack(kept)[1]
        kept = self._cache.get_stale(key)
        known, old = _unpack(kept) if kept is not None else ({}, b"")
        try:
            answer = self._fetcher.get(url, max_bytes=self._max_bytes, headers=known)
        except FetchError as error:
            if error.status in NO_IMAGERY:
                self._cache.put(key, _pack({}, b""), NO_IMAGERY_LIFE)
                return b""
            if old and error.transient:
                log.info("%s; an older copy is used", error)
                return old
            if error.status is not None and 200 <= error.status < 300:
                raise ImageInvalid(str(error)) from None
            hint = "; are the key and the permission right?" if error.status in (401, 402, 403) else ""
            raise ImageryUnavailable(f"{error}{hint}") from None
        if answer.status == 304:
            self._cache.put(key, kept or b"")
            return old
        if answer.content:
            read_header(answer.content, shown(url))  # error pages and broken files are not kept
        tokens = {
            wanted: answer.headers[given]
            for wanted, given in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
            if answer.headers.get(given)
        }
        life = None if answer.content else NO_IMAGERY_LIFE
        self._cache.put(key, _pack(tokens if answer.content else {}, answer.content), life)
        return answer.content

    def _recall(self, url: str) -> bytes | None:
        with self._recent_lock:
            kept = self._recent.get(url)
        return kept[1] if kept is not None and time.monotonic() - kept[0] < RECENT_LIFE else None

    def _remember(self, url: str, data: bytes) -> None:
        with self._recent_lock:
            self._recent[url] = (time.monotonic(), data)
            self._recent.move_to_end(url)
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)


def _pack(tokens: dict[str, str], data: bytes) -> bytes:
    """Request headers that ask whether the file changed, and the file."""
    return json.dumps(tokens).encode() + b"\n" + data


def _unpack(kept: bytes) -> tuple[dict[str, str], bytes]:
    head, _, data = kept.partition(b"\n")
    return json.loads(head), data
