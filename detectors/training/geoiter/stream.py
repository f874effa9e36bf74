"""Random labelled tiles from PostGIS, read ahead in threads, in an order that no thread has a say in."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from detectors.errors import DatabaseLost, DatasetInvalid
from detectors.training.geoiter.database import TileDatabase
from detectors.training.geoiter.grid import Tile, TileGrid
from detectors.training.geoiter.queries import Query, parameters
from detectors.training.geoiter.raster_wkb import MOST_PIXELS, RasterInvalid, read_raster

#: So many tiles without imagery in a row: there is none.
MOST_EMPTY = 1000
#: All rasters of a tile may be so many times as large as it: outlines and scenes reach beyond it.
OVERSIZE = 64
MOST_BANDS = 64
#: Seconds that a closed stream waits for its threads; their queries are cancelled before.
PATIENCE_S = 5.0
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class LabelledTile:
    """pixels uint8 or uint16 [H, W, C]; known bool [H, W], False where there is no imagery; label uint8 [H, W]."""

    tile: Tile
    pixels: np.ndarray
    known: np.ndarray
    label: np.ndarray


class TileReader:
    """Reads single tiles; of everything here the only part that threads share."""

    def __init__(self, grid: TileGrid, database: TileDatabase, image: Query, label: Query):
        self._grid, self._database = grid, database
        self._queries: Mapping[str, Query] = {"image": image, "label": label}

    def read(self, tile: Tile) -> LabelledTile | None:
        """A tile, None where it has no imagery at all.

        Raises:
            DatasetInvalid: a query failed, or gave what is no image or no label.
            DatabaseLost: as `TileDatabase.rasters`.
        """
        width, height = self._grid.size
        most = min(MOST_PIXELS, OVERSIZE * MOST_BANDS * max(width, 64) * max(height, 64))
        found = self._database.rasters(self._queries, parameters(self._grid, tile, most))
        image = self._lay("image", found["image"], tile)
        if image is None or not image[1].any():
            return None
        pixels, known = image
        if pixels.dtype not in (np.uint8, np.uint16):
            raise DatasetInvalid(self._queries["image"].failed(
                f"pixels of {pixels.dtype}; networks take 8BUI and 16BUI: use ST_Reclass, or ST_MapAlgebra(rast, "
                "'16BUI', ...)"
            ))
        return LabelledTile(tile, pixels, known, self._label(found["label"], tile))

    def _label(self, data: list[memoryview], tile: Tile) -> np.ndarray:
        laid = self._lay("label", data, tile)
        if laid is None:
            return np.zeros(self._grid.size[::-1], dtype=np.uint8)
        values = laid[0]
        if values.shape[2] != 1:
            raise DatasetInvalid(self._queries["label"].failed(f"{values.shape[2]} bands; labels have one"))
        label = np.clip(np.nan_to_num(values[..., 0]), 0, 255).astype(np.uint8)
        if (label != values[..., 0]).any():
            wrong = values[..., 0][label != values[..., 0]][0]
            raise DatasetInvalid(self._queries["label"].failed(f"the value {wrong}; labels are whole numbers 0..255"))
        return label

    def _lay(self, name: str, data: list[memoryview], tile: Tile) -> tuple[np.ndarray, np.ndarray] | None:
        query = self._queries[name]
        try:
            rasters = [raster for raster in map(read_raster, data) if raster.bands and 0 not in raster.shape]
        except RasterInvalid as error:
            raise DatasetInvalid(query.failed(str(error))) from error
        return self._grid.lay(rasters, tile, query.failed) if rasters else None


class TileStream:
    """Labelled tiles of one epoch after another.

    Args:
        threads: that read ahead.
        ahead: how many tiles at most.
        seed: the same gives the same tiles in the same order.
    """

    def __init__(self, grid: TileGrid, database: TileDatabase, reader: TileReader, *, threads: int, ahead: int,
                 seed: int):
        self._grid, self._seed, self._ahead = grid, seed, ahead
        self.epoch = 0
        self.skipped = 0
        self._next = 0
        self._coming: deque[Future] = deque()
        self._jobs: SimpleQueue = SimpleQueue()
        self._threads = [
            # Daemons, for a query under way must not hold up the interpreter's exit.
            threading.Thread(target=_work, args=(self._jobs, reader, database), daemon=True, name=f"geoiter-{number}")
            for number in range(threads)
        ]
        #: Runs once: when called, when the stream is forgotten, or at the interpreter's exit.
        self._end = weakref.finalize(self, _end, self._jobs, self._coming, self._threads, database)
        for thread in self._threads:
            thread.start()

    def take(self, wanted: int) -> LabelledTile:
        """The next tile that has imagery.

        Args:
            wanted: how many will still be taken in this epoch, with this one: no more are read ahead.

        Raises:
            DatasetInvalid: as `TileReader.read`, or there is no imagery anywhere.
            DatabaseLost: as `TileReader.read`, or the stream was closed.
        """
        for _ in range(MOST_EMPTY):
            while self._end.alive and len(self._coming) < min(self._ahead, max(1, wanted)):
                self._submit()
            if not self._end.alive:
                raise DatabaseLost("this GeoIter has been closed")
            try:
                found = self._coming.popleft().result()
            except CancelledError:
                raise DatabaseLost("this GeoIter has been closed") from None
            if found is not None:
                return found
            self.skipped += 1
        raise DatasetInvalid(f"{MOST_EMPTY} random tiles in a row have no imagery: does image_sql find any in the "
                             f"extent {self._grid.extent} of SRID {self._grid.srid}?")

    def begin(self, epoch: int) -> None:
        """Forget what was read ahead, and begin an epoch."""
        while self._coming:
            self._coming.popleft().cancel()
        self.epoch, self._next = epoch, 0

    def close(self) -> None:
        """Stop the threads and close the connections; closing twice does no harm."""
        self._end()

    def _submit(self) -> None:
        future: Future = Future()
        self._coming.append(future)
        self._jobs.put((future, self._grid.tile(self._seed, self.epoch, self._next)))
        self._next += 1


def _work(jobs: SimpleQueue, reader: TileReader, database: TileDatabase) -> None:
    while (job := jobs.get()) is not None:
        future, tile = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(reader.read(tile))
        except BaseException as error:  # raised again where the tile is wanted
            future.set_exception(error)
        del future, job
    database.release()


def _end(jobs: SimpleQueue, coming: deque[Future], threads: list[threading.Thread], database: TileDatabase) -> None:
    for future in list(coming):
        future.cancel()
    for _ in threads:
        jobs.put(None)
    alive = [thread for thread in threads if thread.ident and thread is not threading.current_thread()]
    for _ in range(round(PATIENCE_S / PAUSE_S)):
        # Again and again, for a query may have begun just after the others were cancelled.
        database.interrupt()
        alive = [thread for thread in alive if thread.is_alive()]
        if not alive:
            break
        alive[0].join(PAUSE_S)
    database.close()
