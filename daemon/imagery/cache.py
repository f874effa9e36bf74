"""A disk cache with a quota, for imagery and for anything else that can be had again.

An entry is one file below a directory, named by the SHA-256 of its key (so a key cannot lead out of the directory):

    4 bytes magic, 4 bytes CRC-32 of all that follows, 8 bytes expiry (float64, Unix seconds), then the content

Files are written beside and renamed, so readers see whole entries or none; the checksum finds what a power cut left.
A file's modification time is its last use, set when it is read; the least recently used go first. Several processes
may share a directory: each keeps its own count of the bytes, and counts anew after it has written a twentieth of the
quota, so the directory exceeds the quota by at most that for each process.

A cache must not stop the work: when the disk is full or not writable, this is logged once and nothing is kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_MAGIC = b"MGC1"
_HEAD = struct.Struct("<4sId")
_PARTIAL = ".partial"
#: When the quota is reached, entries go until this share of it is left.
KEEP = 0.9
#: After writing this share of the quota, the directory is counted anew.
RECOUNT = 0.05
#: A partial file older than this many seconds belongs to a process that died.
ABANDONED = 3600.0


class Cache:
    """Bytes by key. Safe to share between threads and processes.

    Args:
        directory: made when first needed; nothing else may lie in it.
        quota_bytes: most that all entries together may take; 0: nothing is kept.
        max_age: seconds after which an entry is no longer given; None: never.
        clock: Unix seconds.
    """

    def __init__(
        self,
        directory: Path | str,
        quota_bytes: int,
        max_age: float | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self.directory = Path(directory)
        self.quota_bytes = quota_bytes
        self.max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._used: int | None = None  # bytes; None: not counted yet
        self._written = 0  # bytes since the last count
        self._failing = False

    def get(self, key: str) -> bytes | None:
        """The content put under `key`, None if there is none, it is too old or damaged."""
        return self._get(key, stale=False)

    def get_stale(self, key: str) -> bytes | None:
        """As `get`, but however old; for asking a server whether it still holds."""
        return self._get(key, stale=True)

    def put(self, key: str, content: bytes, max_age: float | None = None) -> None:
        """Keep `content` under `key`, for at most `max_age` seconds (the cache's own limit holds too)."""
        size = _HEAD.size + len(content)
        if size > self.quota_bytes:
            return
        now = self._clock()
        ages = [age for age in (max_age, self.max_age) if age is not None]
        body = struct.pack("<d", now + min(ages) if ages else float("inf")) + content
        path = self._path(key)
        with self._lock:
            try:
                self._make_room(size)
                path.parent.mkdir(parents=True, exist_ok=True)
                replaced = path.stat().st_size if path.exists() else 0
                self._write(path, _MAGIC + struct.pack("<I", zlib.crc32(body)) + body, now)
            except OSError as error:
                self._used = None
                if not self._failing:
                    log.warning("%s: cache cannot be written (%s); going on without", self.directory, error.strerror)
                self._failing = True
                return
            if self._failing:
                log.info("%s: cache can be written again", self.directory)
            self._failing = False
            self._used = (self._used or 0) + size - replaced
            self._written += size

    def drop(self, key: str) -> None:
        """Forget what is kept under `key`."""
        self._remove(self._path(key))

    def used_bytes(self) -> int:
        """Bytes that the entries take now, counted on disk."""
        return sum(size for _, size, _ in self._entries())

    def _get(self, key: str, stale: bool) -> bytes | None:
        if self.quota_bytes <= 0:
            return None
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if len(data) < _HEAD.size or data[:4] != _MAGIC:
            return self._drop_damaged(path)
        _, checksum, expires = _HEAD.unpack_from(data)
        if zlib.crc32(memoryview(data)[8:]) != checksum:
            return self._drop_damaged(path)
        now = self._clock()
        if not stale and expires <= now:
            return None
        try:
            os.utime(path, (now, now))
        except OSError as error:  # evicted by another process meanwhile, or a read-only disk: the content is good
            log.debug("%s: last use not noted (%s)", path, error.strerror)
        return data[_HEAD.size :]

    def _drop_damaged(self, path: Path) -> None:
        log.warning("%s: damaged cache entry dropped", path)
        self._remove(path)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        return self.directory / name[:2] / name[2:]

    def _write(self, path: Path, data: bytes, now: float) -> None:
        descriptor, partial = tempfile.mkstemp(_PARTIAL, dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.utime(partial, (now, now))
            os.replace(partial, path)
        except BaseException:
            self._remove(Path(partial))
            raise

    def _make_room(self, size: int) -> None:
        """Count if it is time to, and drop the least recently used entries if `size` more bytes would be too many."""
        if self._used is None or self._written > RECOUNT * self.quota_bytes:
            self._used = self.used_bytes()
            self._written = 0
        if self._used + size <= self.quota_bytes:
            return
        entries = sorted(self._entries())
        self._used = sum(entry[1] for entry in entries)
        self._written = 0
        keep = min(KEEP * self.quota_bytes, self.quota_bytes - size)
        for _, length, path in entries:
            if self._used <= keep:
                break
            self._remove(path)
            self._used -= length

    def _entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of every entry; abandoned partial files are removed on the way."""
        entries = []
        for shelf in _scan(self.directory):
            for entry in _scan(shelf.path):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.name.endswith(_PARTIAL) and status.st_mtime < time.time() - ABANDONED:
                    self._remove(Path(entry.path))
                else:
                    entries.append((status.st_mtime, status.st_size, Path(entry.path)))
        return entries

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.debug("%s: cannot be removed (%s)", path, error.strerror)


def _scan(directory: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
