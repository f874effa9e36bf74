"""Training crops straight from a packed data set that need not fit into memory.

Each crop is cut from one record, in the shuffled order of `RecordSet`: turned, flipped, scaled and recoloured together
with its labels, whose outlines are rasterised after the turning. Records should be larger than crops, for a crop sees
nothing beyond its record. Data sets that do fit are better read as places (reader "records") and given to `CropSampler`
itself, whose crops may lie anywhere.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np

from detectors.datasets.records import RecordSet
from detectors.errors import DatasetInvalid
from detectors.training.config import TrainingConfig
from detectors.training.crops import Batch, CropSampler


class RecordSampler(CropSampler):
    """Draws from records as `CropSampler` does from places; a context manager, for its threads' sake.

    Crop n takes record n of the epochs laid end to end, so the batches of several workers (`part` of `parts`) share no
    record within an epoch.

    Args:
        fold: what this spatial fold holds out is never shown; -1 holds out nothing.
        threads: that read and cut; 0: one for each usable core.
    """

    def __init__(self, config: TrainingConfig, records: RecordSet, *, fold: int = -1, threads: int = 0):
        if not len(records):
            raise DatasetInvalid(f"{records.directory}: no record; {len(records.damage)} files are damaged")
        self.config = config
        self._records, self._fold = records, fold
        self._order: tuple[int, np.ndarray] = (-1, np.array([], dtype=np.int64))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        self._pool = ThreadPoolExecutor(threads or cores, "record-crops")

    def batch(self, number: int, part: int = 0, parts: int = 1) -> Batch:
        """As `CropSampler.batch`, cut in threads.

        Raises:
            DatasetInvalid: the records do not fit the model, or none of them has ground to train on.
        """
        size = self.config.optimiser.batch
        first = (number * parts + part) * size
        return self.gather(list(self._pool.map(self.crop, range(first, first + size))))

    def crop(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `CropSampler.crop`. A record that is damaged or held out gives way to the next one in order."""
        count = len(self._records)
        for place in range(number, number + count):
            piece = self._records.read(int(self._turn(place // count)[place % count]))
            if piece is None:
                continue
            held_out = piece.held_out(self._fold, self.config.split.columns)
            if (piece.valid & ~held_out).any():
                return CropSampler(self.config, [piece.place()], [held_out]).crop(number)
        raise DatasetInvalid(f"{self._records.directory}: none of {count} records has ground to train on; "
                             f"{len(self._records.damage)} are damaged")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> RecordSampler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _turn(self, epoch: int) -> np.ndarray:
        kept = self._order  # read once: another thread may put that of another epoch there
        if kept[0] != epoch:
            kept = self._order = (epoch, self._records.order(self.config.seed, epoch))
        return kept[1]
