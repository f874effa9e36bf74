"""Reading a packed data set: any record at once, many at a time, in a new order every epoch, a share for each worker.

What cannot be read is left out, counted and listed (`RecordSet.damage`), never a crash.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.packing import FORMAT, MANIFEST, VERSION, checksum
from detectors.datasets.piece import MOST_BANDS, MOST_SIDE, Piece, decode_piece
from detectors.datasets.place import UNKNOWN, Place, Provenance
from detectors.datasets.recordio import MOST, RecordCorrupt, find_records, read_index, unframe
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source

log = logging.getLogger(__name__)

#: Bytes that a whole place may have; larger ones are read piece by piece.
MOST_PLACE_BYTES = 8 << 30
MOST_MANIFEST_BYTES = 256 << 20
SHARD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.rec")


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ShardEntry(Entry):
    file: str = Field(pattern=rf"^{SHARD.pattern}$")
    records: int = Field(ge=1)
    sha256: str


class PlaceEntry(Entry):
    name: str
    shape: tuple[int, int]
    bounds: tuple[float, float, float, float]
    columns: int = Field(ge=1)
    pieces: int = Field(ge=1)
    labels: Literal["mask", "outlines"]
    provenance: Provenance | None


class Manifest(Entry):
    """What a pack says of itself; see `detectors.datasets.packing`."""

    classes: tuple[str, ...] = Field(min_length=1, max_length=255)
    bands: int = Field(ge=1, le=MOST_BANDS)
    dtype: Literal["uint8", "uint16"]
    gsd_m: tuple[float, float]
    records: int = Field(ge=1)
    shards: tuple[ShardEntry, ...] = Field(min_length=1)
    places: tuple[PlaceEntry, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Damage:
    """file: of which shard; key: of which record, None for the whole file; reason: what is wrong."""

    file: str
    key: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.key is None else f', record {self.key}'}: {self.reason}"


class RecordSet:
    """A packed data set; a context manager. Threads may share it.

    Args:
        threads: that decode in `pieces`; 0: one for each usable core.

    Raises:
        DatasetInvalid: no such data set, or a newer one than this version knows.
    """

    def __init__(self, directory: Path, threads: int = 0):
        self.directory = Path(directory)
        self.manifest = read_manifest(self.directory)
        self.damage: list[Damage] = []
        self._threads = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        self._lock = threading.Lock()
        self._told: set[tuple[str, int | None]] = set()
        self._files: dict[str, int] = {}
        #: Of every record: its shard, key, first byte and the byte after it.
        self._records: list[tuple[str, int, int, int]] = []
        for shard in self.manifest.shards:
            self._open(shard)
        self._by_key = {key: index for index, (_, key, _, _) in enumerate(self._records)}
        self._first_keys = [0, *accumulate(place.pieces for place in self.manifest.places)]
        self._end = weakref.finalize(self, _close, self._files)

    def __len__(self) -> int:
        """How many records the files have."""
        return len(self._records)

    def read(self, index: int) -> Piece | None:
        """Record `index` of 0..len-1; None where it is damaged."""
        file, key, first, end = self._records[index]
        try:
            piece = decode_piece(unframe(memoryview(os.pread(self._files[file], max(0, end - first), first))))
            self._agree(piece)
        except (RecordCorrupt, OSError) as error:
            self._note(file, key, str(error))
            return None
        return piece

    def pieces(self, indices: Iterable[int] | None = None) -> Iterator[Piece]:
        """Records in the given order, all by default, decoded ahead in threads; damaged ones are left out."""
        wanted = iter(range(len(self)) if indices is None else indices)
        with ThreadPoolExecutor(self._threads, "records") as pool:
            coming: deque[Future] = deque()
            try:
                for index in wanted:
                    coming.append(pool.submit(self.read, int(index)))
                    if len(coming) > 2 * self._threads and (piece := coming.popleft().result()) is not None:
                        yield piece
                while coming:
                    if (piece := coming.popleft().result()) is not None:
                        yield piece
            finally:
                for future in coming:
                    future.cancel()

    def order(self, seed: int, epoch: int, rank: int = 0, workers: int = 1) -> np.ndarray:
        """The records of an epoch for one of several workers, shuffled; int64.

        All workers get equally many, so that none waits for another in the end; up to workers - 1 records are left
        out, other ones each epoch.
        """
        if not 0 <= rank < workers <= len(self):
            raise DatasetInvalid(f"worker {rank} of {workers} for {len(self)} records of {self.directory}")
        whole = np.random.default_rng([seed, epoch]).permutation(len(self))
        return whole[: len(self) // workers * workers][rank::workers]

    def place(self, number: int) -> Place:
        """Place `number` of the manifest, put together; what is damaged is neither valid nor known there.

        Raises:
            DatasetInvalid: it is too large to be held at once; use `pieces`.
        """
        building = _Building(self.manifest, number)
        first = self._first_keys[number]
        keys = range(first, first + self.manifest.places[number].pieces)
        for piece in self.pieces(self._by_key[key] for key in keys if key in self._by_key):
            if piece.whole.number == number:
                building.add(piece)
        return building.finish()

    def places(self) -> LazyPlaces:
        """All places of which anything can be read, each put together when it is asked for. Reads everything once."""
        there = sorted({piece.whole.number for piece in self.pieces()})
        return LazyPlaces([lambda number=number: self.place(number) for number in there])

    def verify(self) -> list[Damage]:
        """Compare every shard with its checksum in the manifest; those that differ go to `damage`, too."""
        for shard in self.manifest.shards:
            path = self.directory / shard.file
            if path.is_file() and checksum(path) != shard.sha256:
                self._note(shard.file, None, "its SHA-256 is not that of the manifest")
        return self.damage

    def close(self) -> None:
        """Close the files; forgetting the data set does it, too."""
        self._end()

    def __enter__(self) -> RecordSet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _open(self, shard: ShardEntry) -> None:
        path = self.directory / shard.file
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError as error:
            self._note(shard.file, None, f"cannot be opened: {error.strerror}; {shard.records} records are lost")
            return
        self._files[shard.file] = file
        size = os.fstat(file).st_size
        try:
            index = read_index(path)
        except RecordCorrupt as error:
            self._note(shard.file, None, f"{error}; its records are searched for")
            index = list(find_records(file))
        ends = [position for _, position in index[1:]] + [size]
        for (key, first), end in zip(index, ends, strict=True):
            # A record that starts beyond the file or after a lost one is found out when it is read.
            self._records.append((shard.file, key, first, min(end, size, first + MOST + (1 << 20))))
        if len(index) != shard.records:
            self._note(shard.file, None, f"{len(index)} of {shard.records} records are there")

    def _agree(self, piece: Piece) -> None:
        """
        Raises:
            RecordCorrupt: a piece of another pack.
        """
        manifest, whole = self.manifest, piece.whole
        entry = manifest.places[whole.number] if whole.number < len(manifest.places) else None
        if entry is None or (entry.name, entry.shape, entry.bounds, entry.columns, entry.provenance) != (
            whole.name, whole.shape, whole.bounds, whole.columns, whole.provenance
        ):
            raise RecordCorrupt("a piece of a place that the manifest does not list")
        if (entry.labels == "mask") != (piece.mask is not None):
            raise RecordCorrupt("labels of another form than the manifest says")
        kind = (whole.classes, piece.pixels.shape[2], str(piece.pixels.dtype))
        if kind != (manifest.classes, manifest.bands, manifest.dtype):
            raise RecordCorrupt("classes, bands or type are not those of the manifest")

    def _note(self, file: str, key: int | None, reason: str) -> None:
        with self._lock:
            if key is not None and (file, key) in self._told:
                return
            self._told.add((file, key))
            found = Damage(file, key, reason)
            if found not in self.damage:
                self.damage.append(found)
                log.warning("%s: left out: %s", self.directory, found)


def _close(files: dict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])


class _Building:
    """A place that is being put together."""

    def __init__(self, manifest: Manifest, number: int):
        self._manifest, self._entry = manifest, manifest.places[number]
        shape = self._entry.shape
        if shape[0] * shape[1] * manifest.bands * np.dtype(manifest.dtype).itemsize > MOST_PLACE_BYTES:
            raise DatasetInvalid(f"{self._entry.name}: {shape[1]} x {shape[0]} px are too many to hold at once")
        self._pixels = np.zeros((*shape, manifest.bands), dtype=manifest.dtype)
        self._valid = np.zeros(shape, dtype=bool)
        self._mask = None if self._entry.labels == "outlines" else np.full(shape, UNKNOWN, dtype=np.uint8)
        self._outlines: dict[int, object] = {}
        self._unsure: dict[int, object] = {}

    def add(self, piece: Piece) -> None:
        (row, column), (height, width) = piece.corner, piece.valid.shape
        window = np.s_[row : row + height, column : column + width]
        self._pixels[window], self._valid[window] = piece.pixels, piece.valid
        if self._mask is not None:
            self._mask[window] = piece.mask
        self._outlines |= zip(piece.outline_ids.tolist(), piece.outlines, strict=True)
        self._unsure |= zip(piece.unsure_ids.tolist(), piece.unsure, strict=True)

    def finish(self) -> Place:
        entry = self._entry
        return Place(entry.name, self._pixels, self._valid, entry.bounds, self._manifest.classes, self._mask,
                     _in_order(self._outlines), _in_order(self._unsure), entry.columns, entry.provenance)


def _in_order(polygons: dict[int, object]) -> np.ndarray:
    ordered = np.empty(len(polygons), dtype=object)
    ordered[:] = [polygons[number] for number in sorted(polygons)]
    return ordered


def read_manifest(directory: Path) -> Manifest:
    """
    Raises:
        DatasetInvalid: there is none, it is not readable, or of a newer version.
    """
    path = Path(directory) / MANIFEST
    try:
        if path.stat().st_size > MOST_MANIFEST_BYTES:
            raise DatasetInvalid(f"{path}: too large for a manifest")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetInvalid(f"{path} is not the manifest of a packed data set: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or not isinstance(raw.get("version"), int):
        raise DatasetInvalid(f'{path} is not the manifest of a packed data set: "format" must be "{FORMAT}"')
    if raw["version"] > VERSION:
        raise DatasetInvalid(f"{path}: version {raw['version']} of the format, this mapgap knows up to {VERSION}; "
                             "update it")
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise DatasetInvalid(f"{path}: {problems}") from error
    if any(not 1 <= side <= MOST_SIDE for place in manifest.places for side in place.shape):
        raise DatasetInvalid(f"{path}: a place of an impossible size")
    return manifest


def read_records(directory: Path, source: Source) -> Sequence[Place]:
    """packed data set: manifest.json with .rec and .idx, as `mapgap dataset pack` writes it

    All its bands, unless `source` names how many.

    Raises:
        DatasetInvalid: no such data set, a newer one, fewer bands than asked for, or nothing in it is readable.
    """
    records = RecordSet(directory)
    bands = source.bands if "bands" in source.model_fields_set else records.manifest.bands
    if bands > records.manifest.bands:
        raise DatasetInvalid(f"{directory}: {records.manifest.bands} bands, {bands} are asked for")
    records.verify()
    places = records.places()
    if not places:
        listed = "\n".join(f"  - {damage}" for damage in records.damage[:20])
        raise DatasetInvalid(f"{directory}: none of {records.manifest.records} records is readable\n{listed}")
    if bands == records.manifest.bands:
        return places

    def first_bands(index: int) -> Place:
        place = places[index]
        return replace(place, pixels=np.ascontiguousarray(place.pixels[..., :bands]))

    return LazyPlaces([lambda index=index: first_bands(index) for index in range(len(places))])
