"""Imagery of one or several dates over the same ground, with one set of labels for all.

    <images>        GeoTIFFs below the data set, a glob: "scene*_13band.tif"; each becomes a place named by its stem
    <label_file>    a raster on the same grid, its codes named by label_classes {"1" = "cultivated", ...};
                    or polygons (.geojson, .gpkg) whose attribute label_key label_classes names

Every scene is a place of its own, so that two sources with different `images` hold out a date; `columns` holds out
ground. Codes and attributes that label_classes does not name are UNKNOWN, as is ground under no polygon.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detectors.datasets.labels import burn, classes_of_codes, decode_codes
from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.picture import Picture, find_images, image_shape, read_picture, read_plane, squeeze
from detectors.datasets.place import Place
from detectors.datasets.vectors import pixel_projection, read_vectors
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source


def read_scenes(directory: Path, source: Source) -> Sequence[Place]:
    """Scenes (images) of the same ground with one label raster or polygons (label_file, label_classes)

    Raises:
        DatasetInvalid: no images, no labels, or labels that are not on the images' grid.
    """
    if not source.label_file or not source.label_classes:
        raise DatasetInvalid(f"{directory}: reader {source.reader!r} needs label_file and label_classes (code or "
                             "attribute -> class name) in its source")
    labels = inside(directory, source.label_file)
    images = [path for path in find_images(directory, source.images or "*") if path.resolve() != labels.resolve()]
    if not images:
        raise DatasetInvalid(f"{directory}: no images besides the labels")
    return LazyPlaces([lambda path=path: _read_scene(path, labels, source) for path in images])


def inside(directory: Path, name: str) -> Path:
    """A file below a directory, named by someone else.

    Raises:
        DatasetInvalid: the name leads out of the directory.
    """
    path = directory / name
    if "\0" in name or "\\" in name or not path.resolve().is_relative_to(directory.resolve()):
        raise DatasetInvalid(f"{directory}: the file name {name!r} leads out of the data set")
    return path


def _read_scene(path: Path, labels: Path, source: Source) -> Place:
    picture = read_picture(path, source.bands, source.band_order, source.dtype)
    return Place(
        path.stem, picture.pixels, picture.valid, picture.bounds(path, source.gsd_m),
        classes_of_codes(source.label_classes), read_mask(path, picture, labels, source), columns=source.columns,
    )


def read_mask(path: Path, picture: Picture, labels: Path, source: Source) -> np.ndarray:
    """The mask of a picture from a label raster or from polygons; see `source.label_classes`."""
    if labels.suffix.lower() in (".geojson", ".json", ".gpkg"):
        features, crs = read_vectors(labels)
        onto = pixel_projection(crs, picture, labels)
        shapes = [(properties, onto(geometry)) for properties, geometry in features]
        return burn(shapes, source.label_key, source.label_classes, picture.shape, labels)
    plane = read_plane(labels, image_shape(path))
    return squeeze(decode_codes(labels, plane[..., 0], source.label_classes), picture.shape)
