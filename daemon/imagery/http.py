"""Tiles of an HTTP server, through the cache."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from datetime import date

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.fetch import Fetcher, FetchError, shown
from daemon.imagery.address import Address
from daemon.imagery.cache import Cache
from daemon.imagery.dates import oldest_day
from daemon.imagery.document import service_error
from daemon.imagery.files import TileFile
from daemon.imagery.header import read_header
from daemon.imagery.key import Key
from daemon.tiling.grid import Tile

log = logging.getLogger(__name__)

#: Answers that mean that a server has no such tile.
NO_IMAGERY = frozenset({404, 410})
#: "No such tile" is asked again after this many seconds: 7 days.
NO_IMAGERY_LIFE = 7 * 86400.0
#: Seconds for which an answer is kept in memory, and how many are: several tiles may be cut from one large image.
RECENT_LIFE = 60.0
RECENT = 16
#: Beside the request headers that are kept with a file: its day, in ISO 8601.
ACQUIRED = "acquired"


class HttpTiles:
    """Image files of a server.

    Args:
        address: where each tile lies.
        max_bytes: a larger answer is refused.
        fetcher: does the asking, with the manners it was given.
        cache: keeps answers, "no such tile" among them.
        key: what {apikey} stands for.
        no_tile_header: "Name: value" of an answer that is no imagery.
        date_header: name of the header that tells a tile's day or days.
    """

    def __init__(
        self, address: Address, max_bytes: int, fetcher: Fetcher, cache: Cache, key: Key | None = None,
        no_tile_header: str = "", date_header: str = "",
    ):
        self.address = address
        self._max_bytes = max_bytes
        self._fetcher = fetcher
        self._cache = cache
        self._key = key or Key()
        self._no_tile = tuple(part.strip() for part in no_tile_header.partition(":")[::2])
        self._date_header = date_header
        self._stripes = [threading.Lock() for _ in range(64)]
        self._recent: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._recent_lock = threading.Lock()

    @property
    def problem(self) -> str | None:
        return f"{shown(self.address.text)}: {self.address.problem}" if self.address.problem else None

    def read(self, tile: Tile) -> TileFile | None:
        """As `TileFiles.read`: none is 404, 410, 204, an empty answer, one with `no_tile_header`, a TileOutOfRange."""
        url = self.address.fill(tile)
        if url is None:
            return None
        with self._stripes[hash(url) % len(self._stripes)]:  # two threads that want the same file ask once
            kept = self._recall(url)
            if kept is None:
                kept = self._load(url)
                self._remember(url, kept)
        head, data = _unpack(kept)
        day = date.fromisoformat(head[ACQUIRED]) if ACQUIRED in head else None
        return TileFile(data, shown(url), day) if data else None

    def zooms(self) -> set[int] | None:
        return self.address.zooms()

    def tiles(self, zoom: int, since: float | None = None) -> None:
        return None

    def state(self, zoom: int) -> tuple[str, float | None]:
        return "", None

    def check(self) -> list[str]:
        return [self.problem] if self.problem else self.address.check()

    def close(self) -> None:
        """The connections are the fetcher's."""

    def _load(self, url: str) -> bytes:
        """The file as it is kept, see `_pack`; without content for no imagery."""
        key = f"tile {url}"
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        kept = self._cache.get_stale(key)
        known, old = _unpack(kept) if kept is not None else ({}, b"")
        asks = {name: value for name, value in known.items() if name != ACQUIRED}
        try:
            answer = self._fetcher.get(
                self._key.fill(url), max_bytes=self._max_bytes, headers=asks, foreign=self.address.foreign
            )
        except FetchError as error:
            if error.status in NO_IMAGERY or _is_beyond(error.said, shown(url)):
                return self._keep(key, _pack({}, b""), NO_IMAGERY_LIFE)
            said = self._key.hide(str(error))
            if old and error.transient:
                log.info("%s; an older copy is used", said)
                return kept or b""
            if error.status is not None and 200 <= error.status < 300:
                raise ImageInvalid(said) from None
            raise ImageryUnavailable(f"{said}{self._key.hint(error.status)}") from None
        if answer.status == 304:
            return self._keep(key, kept or b"")
        name, value = self._no_tile
        no_tile = name and answer.headers.get(name, "").strip() == value
        if not answer.content or no_tile or _is_beyond(answer.content, shown(url)):
            return self._keep(key, _pack({}, b""), NO_IMAGERY_LIFE)
        self._require_image(answer.content, shown(url))
        head = {
            wanted: answer.headers[given]
            for wanted, given in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
            if answer.headers.get(given)
        }
        day = oldest_day(answer.headers.get(self._date_header)) if self._date_header else None
        return self._keep(key, _pack(head | ({ACQUIRED: day.isoformat()} if day else {}), answer.content))

    def _keep(self, key: str, kept: bytes, life: float | None = None) -> bytes:
        self._cache.put(key, kept, life)
        return kept

    def _require_image(self, content: bytes, origin: str) -> None:
        """Error pages and broken files are not kept.

        Raises:
            ImageryUnavailable: a service tells of a failure, which says nothing of the tile.
            ImageInvalid: it is no image.
        """
        told = service_error(content, origin)
        if told is not None:
            raise ImageryUnavailable(f"{origin}: the server answers with an error: {self._key.hide(told)}")
        try:
            read_header(content, origin)
        except ImageInvalid as error:  # quotes what came, which may quote what was asked
            raise ImageInvalid(self._key.hide(str(error))) from None

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


def _is_beyond(content: bytes, origin: str) -> bool:
    """Whether a WMTS says that a tile lies beyond what it has, which it does with status 400 (OGC 07-057r7, 8.3.4)."""
    return b"TileOutOfRange" in content and service_error(content, origin) is not None


def _pack(tokens: dict[str, str], data: bytes) -> bytes:
    """Request headers that ask whether the file changed, its day where it is known, and the file."""
    return json.dumps(tokens).encode() + b"\n" + data


def _unpack(kept: bytes) -> tuple[dict[str, str], bytes]:
    head, _, data = kept.partition(b"\n")
    return json.loads(head), data
