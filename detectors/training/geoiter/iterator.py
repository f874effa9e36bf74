"""The iterator that MXNet's modules and training loops take. Importing this module loads MXNet.

After the GeoIter of O. Courtin's talk "OSM quality and deep learning" (2018), with its arguments in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np

from detectors.errors import DatasetInvalid
from detectors.segmentation.mxnet_runtime import MXNET_INPUT, load_mxnet
from detectors.training.geoiter.database import TileDatabase
from detectors.training.geoiter.grid import TileGrid
from detectors.training.geoiter.queries import Query
from detectors.training.geoiter.stream import LabelledTile, TileReader, TileStream

mx = load_mxnet()


class GeoIter(mx.io.DataIter):
    """Batches of random square tiles inside an extent: imagery from raster tables, labels burned from vectors.

    Every batch is a `DataBatch` with data [N, C, H, W] (uint8, or int32 for imagery of 16 bits, which MXNet lacks) and
    label uint8 [N, H, W]; `batch.index` holds the tiles' numbers, `batch.bounds` their (xmin, ymin, xmax, ymax) in
    `srid`. A tile without labels has zeros; one without any imagery is skipped and counted (`skipped`). Missing pixels
    within a tile are 0.

    The same seed gives the same batches, whatever the number of threads. `reset()` begins the next epoch, with other
    tiles; before the first batch it changes nothing. Use it as a context manager, or call `close()`.

    Args:
        dsn: of a database with PostGIS and postgis_raster; it is only read, in read-only transactions.
        extent: (xmin, ymin, xmax, ymax) in `srid`.
        srid: of the extent and the tiles; a projected one, whose unit is the metre of `resolution`.
        size: width and height of a tile in pixels, or (width, height).
        resolution: (native, resampled) metres a pixel. Tiles have the resampled one, and start on whole native pixels.
        label_sql, image_sql: what they may use and must give is said in `detectors.training.geoiter.queries`.
        batch_size: tiles a batch.
        max_iter: batches an epoch.
        seed: of the tiles.
        threads: that read ahead, each with a connection.
        unknown: label of pixels without imagery, as in detectors.datasets.UNKNOWN; None leaves them as label_sql says.
        timeout_s: seconds that the server may take for one query.
        retries, backoff_s: a lost connection is made anew so often, after pauses that double from `backoff_s` seconds.
        data_name, label_name: names in provide_data and provide_label.

    Raises (`next()`, too):
        DatasetInvalid: an argument makes no sense, PostgreSQL refuses a query (the message names which, with its first
            lines), it gives no image or no label, or there is no imagery.
        DatabaseLost: no connection.
    """

    def __init__(self, dsn: str, extent: Sequence[float], srid: int, size: int | Sequence[int],
                 resolution: Sequence[float], label_sql: str, image_sql: str, batch_size: int, max_iter: int, *,
                 seed: int = 0, threads: int = 2, unknown: int | None = None, timeout_s: float = 60.0, retries: int = 5,
                 backoff_s: float = 0.2, data_name: str = "data", label_name: str = "softmax_label"):
        for name, value in (("batch_size", batch_size), ("max_iter", max_iter), ("threads", threads)):
            if not isinstance(value, int) or value < 1:
                raise DatasetInvalid(f"{name} {value!r}: a whole number from 1")
        super().__init__(batch_size)
        self._grid = TileGrid.of(extent, srid, size, resolution)
        image, label = Query.of("image_sql", image_sql), Query.of("label_sql", label_sql)
        self._max_iter, self._unknown, self._done = max_iter, unknown, 0
        database = TileDatabase(dsn, connections=threads, timeout_s=timeout_s, retries=retries, backoff_s=backoff_s)
        try:
            if database.coordinate_system(srid).startswith(("GEOGCS", "GEOGCRS")):
                raise DatasetInvalid(f"SRID {srid} is in degrees, but resolution in metres: take a projected one, and "
                                     "ST_Transform in the SQL")
            reader = TileReader(self._grid, database, image, label)
            database.release()
        except BaseException:
            database.close()
            raise
        self._stream = TileStream(self._grid, database, reader, threads=threads, seed=seed,
                                  ahead=max(2 * batch_size, 2 * threads))
        try:
            # Bands and type are known from the first tile only; it is the first of the first batch, too.
            self._first: LabelledTile | None = self._stream.take(max_iter * batch_size)
        except BaseException:
            self.close()
            raise
        height, width, bands = self._first.pixels.shape
        self._dtype, self._bands = self._first.pixels.dtype, bands
        self.provide_data = [mx.io.DataDesc(data_name, (batch_size, bands, height, width),
                                            np.dtype(MXNET_INPUT[str(self._dtype)]), layout="NCHW")]
        self.provide_label = [mx.io.DataDesc(label_name, (batch_size, height, width), np.dtype("uint8"), layout="NHW")]
        self._batch: mx.io.DataBatch | None = None

    @property
    def skipped(self) -> int:
        """Tiles without imagery so far."""
        return self._stream.skipped

    @property
    def epoch(self) -> int:
        return self._stream.epoch

    def reset(self) -> None:
        """Begin the next epoch; nothing changes before the first batch of one."""
        if self._done:
            self._done, self._first, self._batch = 0, None, None
            self._stream.begin(self._stream.epoch + 1)

    def iter_next(self) -> bool:
        """Move on to the next batch; False at the end of the epoch."""
        if self._done >= self._max_iter:
            return False
        tiles = [self._take(self.batch_size * (self._max_iter - self._done) - n) for n in range(self.batch_size)]
        data = np.stack([tile.pixels for tile in tiles]).transpose(0, 3, 1, 2)
        labels = np.stack([tile.label for tile in tiles])
        if self._unknown is not None:
            labels[~np.stack([tile.known for tile in tiles])] = self._unknown
        self._batch = mx.io.DataBatch(
            [mx.nd.array(data, dtype=self.provide_data[0].dtype)], [mx.nd.array(labels, dtype="uint8")], pad=0,
            index=np.array([tile.tile.number for tile in tiles]), provide_data=self.provide_data,
            provide_label=self.provide_label,
        )
        self._batch.bounds = [tile.tile.bounds for tile in tiles]
        self._done += 1
        return True

    def next(self) -> mx.io.DataBatch:
        """The next batch; StopIteration after `max_iter` of them."""
        if not self.iter_next():
            raise StopIteration
        return self._batch

    def getdata(self) -> list:
        return self._batch.data

    def getlabel(self) -> list:
        return self._batch.label

    def getindex(self) -> np.ndarray:
        return self._batch.index

    def getpad(self) -> int:
        return 0

    def close(self) -> None:
        """Stop the threads and close the connections. Closing twice does no harm."""
        self._stream.close()

    def __enter__(self) -> GeoIter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _take(self, wanted: int) -> LabelledTile:
        if self._first is not None:
            tile, self._first = self._first, None
            return tile
        tile = self._stream.take(wanted)
        if tile.pixels.dtype != self._dtype or tile.pixels.shape[2] != self._bands:
            raise DatasetInvalid(
                f"image_sql gave {tile.pixels.shape[2]} bands of {tile.pixels.dtype} for the tile at "
                f"{tile.tile.bounds}, but {self._bands} of {self._dtype} before"
            )
        return tile
