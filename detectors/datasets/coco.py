"""COCO's JSON with images beside it, as the mapping challenge has it (crowdAI, 2018): annotation.json, images/.

Outlines come as polygons [[x1, y1, x2, y2, ...], ...] in pixels, or as run lengths (cocoapi, common/maskApi.c). Crowds
are UNKNOWN. All categories are one class, `foreground`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from rasterio.features import shapes as trace
from shapely.geometry import shape

from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.picture import check_size, read_picture
from detectors.datasets.place import Place
from detectors.datasets.raster import inside
from detectors.datasets.vectors import polygons_of
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source

#: Larger annotations are not read: JSON takes many times its size in memory.
MAX_BYTES = 1 << 30
FILES = ("annotation.json", "annotation-small.json", "annotations.json", "instances.json")


def read_coco(directory: Path, source: Source) -> Sequence[Place]:
    """COCO JSON (annotation.json, images/), as the mapping challenge has it

    Raises:
        DatasetInvalid: no or unreadable JSON, a file name that leaves images/, an image of another size than said.
    """
    path = inside(directory, source.label_file) if source.label_file else next(
        (directory / name for name in FILES if (directory / name).is_file()), directory / FILES[0])
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetInvalid(f"{path}: {path.stat().st_size} bytes, {MAX_BYTES} at most are read; split it")
        document = json.loads(path.read_bytes())
        images = {int(image["id"]): image for image in document["images"]}
        of_image: dict[int, list[Mapping[str, Any]]] = {number: [] for number in images}
        for annotation in document["annotations"]:
            of_image[int(annotation["image_id"])].append(annotation)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetInvalid(f"{path}: not COCO's JSON (images, annotations with image_id): {error!r}") from error
    holder = directory / "images" if (directory / "images").is_dir() else directory
    return LazyPlaces([
        lambda image=image, number=number: _read(path, holder, image, of_image[number], source)
        for number, image in images.items()
    ])


def _read(path: Path, holder: Path, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]],
          source: Source) -> Place:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise DatasetInvalid(f"{path}: image {image.get('id')} has no file_name")
    file = inside(holder, name)
    picture = read_picture(file, source.bands, source.band_order, source.dtype)
    said = image.get("height", picture.shape[0]), image.get("width", picture.shape[1])
    if said != picture.shape:
        raise DatasetInvalid(f"{file}: {picture.shape[1]} x {picture.shape[0]} px, but {path.name} says {said[1]} x "
                             f"{said[0]}")
    outlines, unsure = [], []
    for annotation in annotations:
        try:
            parts = _polygons(annotation["segmentation"], picture.shape)
        except (KeyError, ValueError, TypeError, IndexError, shapely.errors.ShapelyError) as error:
            raise DatasetInvalid(f"{path}: annotation {annotation.get('id')} of {name}: no readable segmentation: "
                                 f"{error}") from error
        (unsure if annotation.get("iscrowd") else outlines).extend(parts)
    return Place(str(Path(name).with_suffix("")), picture.pixels, picture.valid, picture.bounds(file, source.gsd_m),
                 ("background", source.foreground or "building"), outlines=np.array(outlines, dtype=object),
                 unsure=np.array(unsure, dtype=object))


def _polygons(segmentation: Any, size: tuple[int, int]) -> list[shapely.Polygon]:
    if isinstance(segmentation, Mapping):
        mask = decode_runs(segmentation, size)
        return [shape(geometry) for geometry, value in trace(mask, mask > 0) if value]
    rings = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in segmentation if len(ring) >= 6]
    if any(not np.isfinite(ring).all() for ring in rings):
        raise ValueError("coordinates that are no numbers")
    return [part for ring in rings for part in polygons_of(shapely.Polygon(ring))]


def decode_runs(segmentation: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] of run lengths {"size": [H, W], "counts": [...] or text}: runs of 0 and 1 in turn, down the columns.

    Raises:
        ValueError: they do not add up to the image.
    """
    counts = segmentation["counts"]
    if tuple(segmentation["size"]) != size:
        raise ValueError(f"run lengths for {segmentation['size']}, the image is {list(size)}")
    check_size(Path("run lengths"), *size, 1)
    runs = _inflate(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise ValueError(f"run lengths add up to {sum(runs)}, the image has {size[0] * size[1]} pixels")
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    return np.ascontiguousarray(flat.reshape(size, order="F"))


def _inflate(text: str) -> list[int]:
    """Run lengths in COCO's compact text: 5 bits a character from code 48 on, bit 6 where more follow, the differences
    to the last but one from the third on."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError("run lengths of other characters than COCO's")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths are cut off")
    return runs
