"""Writing a packed data set: places cut into pieces, one a record, in shards of RecordIO with a manifest.

    DIR/manifest.json       what is in it, and whose it is
    DIR/000000.rec, .idx    records, as MXNet reads and writes them; 000001 and so on
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from detectors.datasets.piece import CODINGS, MOST_BYTES, Coding, Piece, Whole, encode_piece
from detectors.datasets.place import DTYPES, UNKNOWN, Place
from detectors.datasets.recordio import RecordWriter, index_path
from detectors.errors import DatasetInvalid

MANIFEST, FORMAT, VERSION = "manifest.json", "mapgap-records", 1


def pack_places(places: Iterable[Place], out: Path, *, side: int = 512, shard_mb: int = 256, coding: Coding = "raw",
                progress: Callable[[int], Any] = lambda records: None) -> dict[str, Any]:
    """Write places into a new directory; it appears when it is complete, and not before.

    Args:
        places: at least one, all with the same classes, bands and type; taken one at a time.
        side: pieces are so many pixels wide and high at most.
        shard_mb: a new shard is begun once one has so many megabytes.
        coding: "raw" is the quickest to read; "deflate" is a third smaller on aerial imagery, and loses nothing either.
        progress: called with the number of records just written.

    Returns:
        The manifest.

    Raises:
        DatasetInvalid: nothing to pack, places that differ, an impossible place, or a directory with something in it.
    """
    out = Path(out)
    if coding not in CODINGS or not 16 <= side <= 8192 or shard_mb < 1:
        raise DatasetInvalid(f"side {side} must be 16..8192, coding {coding!r} one of {', '.join(CODINGS)}, and shards "
                             "have 1 MB or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetInvalid(f"{out} is not empty; name a new directory")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        with _Packer(scratch, side, shard_mb * 10**6, coding, progress) as packer:
            manifest = packer.pack(places)
        scratch.chmod(0o755)
        os.replace(scratch, out)  # over an empty directory, or none
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


def cut_place(place: Place, number: int, side: int) -> Iterator[Piece]:
    """A place in pieces, row by row; every outline is in at least one of them."""
    whole = Whole(number, place.name, place.valid.shape, tuple(map(float, place.bounds)), tuple(place.classes),
                  place.columns, place.provenance)
    height, width = place.valid.shape
    corners = list(product(range(0, height, side), range(0, width, side)))
    windows = np.array([shapely.box(c, r, min(width, c + side), min(height, r + side)) for r, c in corners])
    outlines, unsure = (_share_out(polygons, windows) for polygons in (place.outlines, place.unsure))
    for i, (row, column) in enumerate(corners):
        window = np.s_[row : row + side, column : column + side]
        yield Piece(whole, (row, column), np.ascontiguousarray(place.pixels[window]), place.valid[window],
                    None if place.mask is None else np.ascontiguousarray(place.mask[window]),
                    place.outlines[outlines[i]], outlines[i], place.unsure[unsure[i]], unsure[i])


def _share_out(polygons: np.ndarray, windows: np.ndarray) -> list[np.ndarray]:
    """For each window the indices of the polygons that touch it; what touches none goes to the first."""
    if len(polygons) == 0:
        return [np.array([], dtype=np.int64)] * len(windows)
    which, touched = shapely.STRtree(windows).query(polygons, predicate="intersects")
    stray = np.setdiff1d(np.arange(len(polygons)), which)
    shares = [np.sort(which[touched == window]).astype(np.int64) for window in range(len(windows))]
    shares[0] = np.sort(np.concatenate([shares[0], stray])).astype(np.int64)
    return shares


class _Packer:
    def __init__(self, directory: Path, side: int, shard_bytes: int, coding: Coding, progress: Callable[[int], Any]):
        self._directory, self._side, self._shard_bytes = directory, side, shard_bytes
        self._coding, self._progress = coding, progress
        self._shards: list[dict[str, Any]] = []
        self._writer: RecordWriter | None = None
        self._key = 0

    def __enter__(self) -> _Packer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.abandon()

    def pack(self, places: Iterable[Place]) -> dict[str, Any]:
        listed: list[dict[str, Any]] = []
        first: Place | None = None
        for place in places:
            first = first or place
            _check(place, first, self._side)
            count = 0
            for piece in cut_place(place, len(listed), self._side):
                self._write(encode_piece(piece, self._coding))
                count += 1
            owner = place.provenance
            listed.append({
                "name": place.name, "shape": list(place.valid.shape), "bounds": list(map(float, place.bounds)),
                "gsd_m": place.gsd, "columns": place.columns, "labels": "outlines" if place.mask is None else "mask",
                "pieces": count, "provenance": None if owner is None else asdict(owner),
            })
        self._finish()
        if first is None:
            raise DatasetInvalid("nothing to pack: no places")
        resolutions = [place["gsd_m"] for place in listed]
        manifest = {
            "format": FORMAT, "version": VERSION, "classes": list(first.classes), "bands": first.pixels.shape[2],
            "dtype": str(first.pixels.dtype), "gsd_m": [min(resolutions), max(resolutions)], "side": self._side,
            "coding": self._coding, "records": self._key, "shards": self._shards, "places": listed,
        }
        with (self._directory / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        return manifest

    def _write(self, payload: bytes) -> None:
        if self._writer is None:
            self._writer = RecordWriter(self._directory / f"{len(self._shards):06}.rec")
        self._writer.write(self._key, payload)
        self._key += 1
        self._progress(1)
        if self._writer.bytes >= self._shard_bytes:
            self._finish()

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        path = self._writer.path
        self._shards.append({
            "file": path.name, "index": index_path(path).name, "records": len(self._writer.keys),
            "bytes": path.stat().st_size, "sha256": checksum(path),
        })
        self._writer = None


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(place: Place, first: Place, side: int) -> None:
    """
    Raises:
        DatasetInvalid: arrays of different sizes, classes out of range, or not of the kind of the first place.
    """
    pixels, shape = place.pixels, place.valid.shape
    if pixels.ndim != 3 or pixels.shape[:2] != shape or not pixels.size or str(pixels.dtype) not in DTYPES:
        raise DatasetInvalid(f"{place.name}: pixels {pixels.dtype} {pixels.shape} over {shape}; they are "
                             f"{' or '.join(DTYPES)} [H, W, C]")
    if min(side, shape[0]) * min(side, shape[1]) * pixels.shape[2] * pixels.itemsize > MOST_BYTES // 4:
        raise DatasetInvalid(f"{place.name}: {pixels.shape[2]} bands of {side} px a side are too much for a record")
    if place.mask is not None:
        if place.mask.shape != shape or place.mask.dtype != np.uint8:
            raise DatasetInvalid(f"{place.name}: a mask of {place.mask.dtype} {place.mask.shape}, expected uint8 "
                                 f"{shape}")
        beyond = place.mask[(place.mask >= len(place.classes)) & (place.mask != UNKNOWN)]
        if beyond.size:
            raise DatasetInvalid(f"{place.name}: class {beyond[0]} in the mask, but there are only "
                                 f"{len(place.classes)}")
    for polygons in (place.outlines, place.unsure):
        if any(getattr(polygon, "geom_type", "") != "Polygon" for polygon in polygons):
            raise DatasetInvalid(f"{place.name}: an outline that is no polygon")
    kinds = [(p.classes, p.pixels.shape[2], str(p.pixels.dtype)) for p in (first, place)]
    if kinds[0] != kinds[1]:
        raise DatasetInvalid(
            f"{place.name} has {kinds[1][1]} bands of {kinds[1][2]} and the classes {', '.join(kinds[1][0])}, but "
            f"{first.name} {kinds[0][1]} of {kinds[0][2]} and {', '.join(kinds[0][0])}: pack them apart"
        )
