"""Tiles of an MBTiles file (an SQLite database), which may come from anywhere.

Format: MBTiles 1.3: table or view `tiles` with rows counted from the south, table `metadata`. The file is opened
read-only; extensions stay unloaded, its own schema is not trusted with functions, a value may not be larger than an
image, and a query that goes on for too long (a view can be a query without end) is called off.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.directory import local_path
from daemon.imagery.document import shorten
from daemon.imagery.files import TileFile
from daemon.tiling.grid import Tile

#: Seconds after which a query for one tile, or for all of a zoom, is called off.
TILE_PATIENCE, ZOOM_PATIENCE = 5.0, 120.0
#: Steps of SQLite's virtual machine between two looks at the clock.
STEPS = 10_000
#: What a statement may do: read.
ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
FORMATS = ("png", "jpg", "jpeg", "webp")


class MbtilesFile:
    """See `TileFiles` for what its methods mean.

    Args:
        location: path or file:// URL.
        max_bytes: a larger image is refused.
    """

    def __init__(self, location: str, max_bytes: int):
        self._path = Path(local_path(location))
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._until = 0.0

    @property
    def problem(self) -> str | None:
        return None if self._path.is_file() else f"{self._path}: no such file"

    def read(self, tile: Tile) -> TileFile | None:
        row = (1 << tile.z) - 1 - tile.y
        where = "FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 1"
        with self._asking(TILE_PATIENCE) as connection:
            found = connection.execute(f"SELECT tile_data {where}", (tile.z, tile.x, row)).fetchone()
        if found is None or not found[0]:
            return None
        origin = f"{self._path}#{tile}"
        if not isinstance(found[0], bytes):
            raise ImageInvalid(f"{origin}: not an image but a {type(found[0]).__name__}")
        if len(found[0]) > self._max_bytes:
            raise ImageInvalid(f"{origin}: {len(found[0])} bytes, more than client.max_image = {self._max_bytes}")
        return TileFile(found[0], origin)

    def zooms(self) -> set[int]:
        with self._asking(ZOOM_PATIENCE) as connection:
            found = connection.execute("SELECT DISTINCT zoom_level FROM tiles").fetchall()
        return {zoom for (zoom,) in found if isinstance(zoom, int) and 0 <= zoom <= 30}

    def tiles(self, zoom: int, since: float | None = None) -> set[Tile]:
        if since is not None and (self.state(zoom)[1] or 0.0) <= since:
            return set()
        last = (1 << zoom) - 1
        with self._asking(ZOOM_PATIENCE) as connection:
            found = connection.execute(
                "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ?", (zoom,)
            ).fetchall()
        return {
            Tile(zoom, x, last - row)
            for x, row in found
            if isinstance(x, int) and isinstance(row, int) and 0 <= x <= last and 0 <= row <= last
        }

    def state(self, zoom: int) -> tuple[str, float | None]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise ImageryUnavailable(f"{self._path}: {error.strerror}; is its disk mounted?") from None
        return f"{status.st_size} {status.st_mtime_ns}", max(status.st_mtime, status.st_ctime)

    def check(self) -> list[str]:
        if self.problem:
            return [self.problem]
        with self._asking(TILE_PATIENCE) as connection:
            # Some writers leave the table out; the images themselves say what they are.
            told = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'metadata'").fetchone()
            found = told and connection.execute("SELECT value FROM metadata WHERE name = 'format'").fetchone()
        kind = str(found[0]).lower() if found else ""
        if kind and kind not in FORMATS:
            return [f"{self._path}: its tiles are {shorten(kind)!r}, no pictures; {', '.join(FORMATS)} are read"]
        return []

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def _asking(self, patience: float) -> Iterator[sqlite3.Connection]:
        """The database, for one query at a time that takes no longer than `patience` seconds.

        Raises:
            ImageInvalid: not an MBTiles file, damaged, a value too large, or a query without end.
            ImageryUnavailable: the file is gone or the disk failing.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                self._until = time.monotonic() + patience
                yield self._connection
            except sqlite3.Error as error:
                if not self._path.is_file():
                    raise ImageryUnavailable(f"{self._path}: the file is gone; is its disk mounted?") from None
                code = getattr(error, "sqlite_errorname", "")
                if code == "SQLITE_TOOBIG":
                    raise ImageInvalid(f"{self._path}: holds a value larger than client.max_image = {self._max_bytes}; "
                                       "refused") from None
                if code == "SQLITE_INTERRUPT":
                    raise ImageInvalid(f"{self._path}: a query took longer than {patience:g} s and was called off; is "
                                       "`tiles` a table with an index?") from None
                if code.startswith(("SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_CANTOPEN")):
                    raise ImageryUnavailable(f"{self._path}: cannot be read: {error}") from None
                raise ImageInvalid(f"{self._path}: not an MBTiles file that can be read: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True, check_same_thread=False)
        for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._max_bytes + 64 * 1024)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY
        )
        connection.set_progress_handler(lambda: time.monotonic() > self._until, STEPS)
        return connection
