"""ISPRS 2D semantic labelling, Vaihingen and Potsdam: IR-R-G pictures and labels in six colours, as published.

Pictures and labels are matched by name without _RGB, _IRRG, _RGBIR, _label, _noBoundary; the labels are those files
that lie in a directory of LABELS or are called _label. Other colours (the black boundaries of the noBoundary labels)
are UNKNOWN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detectors.datasets.labels import decode_colours
from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.picture import IMAGES, find_images, image_shape, read_picture, read_plane, squeeze
from detectors.datasets.place import Place
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source

CLASSES = ("impervious", "building", "low_vegetation", "tree", "car", "clutter")
COLOURS = {
    (255, 255, 255): 0, (0, 0, 255): 1, (0, 255, 255): 2, (0, 255, 0): 3, (255, 255, 0): 4, (255, 0, 0): 5,
}
LABELS = ("gts_for_participants", "gts", "gt", "labels", "masks")
SUFFIX = re.compile(r"(?:_RGB|_IRRG|_RGBIR|_label|_noBoundary)+$", re.IGNORECASE)
#: Vaihingen says its resolution in the name ("top_mosaic_09cm_area1"), Potsdam has 5 cm.
CENTIMETRES = re.compile(r"_(\d\d)cm_")
POTSDAM_GSD_M = 0.05


def read_isprs(directory: Path, source: Source) -> Sequence[Place]:
    """ISPRS Vaihingen and Potsdam: IR-R-G pictures, six classes in colours as published

    Raises:
        DatasetInvalid: no pictures, or none that has labels.
    """
    files = find_images(directory, "**/*")
    labels: dict[str, Path] = {}
    for path in find_images(directory, source.label_file) if source.label_file else files:
        if source.label_file or _is_label(directory, path):
            first = labels.setdefault(SUFFIX.sub("", path.stem), path)
            if first != path:
                raise DatasetInvalid(f"{path}: {first} labels the same picture; choose by label_file = "
                                     '"**/*_noBoundary.tif"')
    images = find_images(directory, source.images) if source.images else files
    images = [path for path in images if not _is_label(directory, path) and SUFFIX.sub("", path.stem) in labels]
    if not images:
        raise DatasetInvalid(f"{directory}: no picture with labels of its name in {', '.join(LABELS)} "
                             f"({len(files)} files {', '.join(IMAGES)})")
    keys = [SUFFIX.sub("", path.stem) for path in images]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise DatasetInvalid(f'{directory}: several pictures of {twice}; choose by images = "**/*_IRRG.tif"')
    return LazyPlaces([
        lambda image=image, key=key: _read(image, labels[key], source) for image, key in zip(images, keys, strict=True)
    ])


def _is_label(directory: Path, path: Path) -> bool:
    return path.relative_to(directory).parts[0].lower() in LABELS or "_label" in path.stem.lower() or any(
        part.lower() in LABELS for part in path.relative_to(directory).parts[:-1])


def _read(path: Path, label: Path, source: Source) -> Place:
    picture = read_picture(path, source.bands, source.band_order, source.dtype)
    said = CENTIMETRES.search(path.stem)
    gsd = source.gsd_m or (int(said[1]) / 100 if said else POTSDAM_GSD_M if "potsdam" in path.stem.lower() else 0)
    mask = decode_colours(label, read_plane(label, image_shape(path)), COLOURS)
    return Place(path.stem, picture.pixels, picture.valid, picture.bounds(path, gsd), CLASSES,
                 squeeze(mask, picture.shape), columns=source.columns)
