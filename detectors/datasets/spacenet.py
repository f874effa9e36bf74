"""SpaceNet: GeoTIFFs of 8 or 16 bits, one band or many, with a GeoJSON of buildings or of road centre lines each.

Image and labels of a chip share the end of their names, as in SpaceNet 1 to 3 ("..._AOI_2_Vegas_img123.tif",
"buildings_AOI_2_Vegas_img123.geojson"). A directory with one image and one GeoJSON is a chip, too. Roads are as wide as
`detectors.datasets.roads` says from their lanes. Pixels that are 0 in all bands have no imagery.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.picture import find_files, find_images, read_picture
from detectors.datasets.place import Place
from detectors.datasets.roads import LINES, draw_roads
from detectors.datasets.vectors import pixel_projection, polygons_of, read_vectors
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source

CHIP = re.compile(r"((?:AOI_\d+_[A-Za-z]+_)?img\d+)$", re.IGNORECASE)


def read_spacenet(directory: Path, source: Source) -> Sequence[Place]:
    """SpaceNet 1 to 3: 8 or 16 bit GeoTIFF chips with GeoJSON buildings, or road centre lines, of the same imgNNN

    Raises:
        DatasetInvalid: no images or no labels, an image without labels, or several images of one chip.
    """
    images = find_images(directory, source.images or "**/*")
    labels = find_files(directory, source.label_file or "**/*", (".geojson",))
    pairs = [(images[0], labels[0])] if len(images) == len(labels) == 1 else _pair(directory, images, labels)
    roads = _are_roads(pairs, source)
    return LazyPlaces([lambda image=image, label=label: _read(image, label, roads, source) for image, label in pairs])


def _pair(directory: Path, images: Sequence[Path], files: Sequence[Path]) -> list[tuple[Path, Path]]:
    labels: dict[str, Path] = {}
    for path in files:
        first = labels.setdefault(_chip_of(path), path)
        if first != path:
            raise DatasetInvalid(f"{path}: {first} labels the same chip; choose one kind by label_file = "
                                 '"geojson/buildings/*"')
    pairs: dict[str, tuple[Path, Path]] = {}
    for image in images:
        chip = _chip_of(image)
        if chip not in labels:
            raise DatasetInvalid(f"{image}: no .geojson of that imgNNN below {directory}")
        if chip in pairs:
            raise DatasetInvalid(f"{image}: {pairs[chip][0]} shows the same chip; choose one product by images = "
                                 '"PAN/*.tif"')
        pairs[chip] = image, labels[chip]
    return list(pairs.values())


def _chip_of(path: Path) -> str:
    match = CHIP.search(path.stem)
    return (match[1] if match else path.stem).lower()


def _are_roads(pairs: Sequence[tuple[Path, Path]], source: Source) -> bool:
    """Chips without any feature do not tell, so the first one with features does for all."""
    if source.foreground:
        return source.foreground == "road"
    for _, label in pairs:
        for _, geometry in read_vectors(label)[0]:
            if not geometry.is_empty:
                return geometry.geom_type in LINES
    raise DatasetInvalid(f"{pairs[0][1].parent}: no label has a feature; set foreground to building or road")


def _read(path: Path, label: Path, roads: bool, source: Source) -> Place:
    picture = read_picture(path, source.bands, source.band_order, source.dtype)
    valid = picture.valid & (picture.pixels > 0).any(axis=2)
    features, crs = read_vectors(label)
    onto = pixel_projection(crs, picture, label)
    bounds = picture.bounds(path, source.gsd_m)
    if not roads:
        frame = shapely.box(0, 0, picture.shape[1], picture.shape[0])
        outlines = [part for _, g in features for part in polygons_of(onto(g)) if part.intersects(frame)]
        return Place(path.stem, picture.pixels, valid, bounds, ("background", source.foreground or "building"),
                     outlines=np.array(outlines, dtype=object), columns=source.columns)
    mask = draw_roads(features, onto, picture.shape, picture.gsd, source.width_m)
    return Place(path.stem, picture.pixels, valid, bounds, ("background", "road"), mask, columns=source.columns)
