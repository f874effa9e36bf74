"""One image file and one label file a place, of the same name.

    images/NAME.tif     or sat/NAME.tiff, as the Massachusetts sets have it (Mnih, 2013)
    masks/NAME.tif|png  or map/NAME.tif: 0 and 1 or 255; or codes that label_classes names
    train/NAME.tiff     and train_labels/NAME.tif; test/ and test_labels/: `use` says which
    labels/NAME.geojson|gpkg, or one labels.geojson|gpkg for all: polygons
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import shapely

from detectors.datasets.labels import classes_of_codes, decode_binary
from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.picture import IMAGES, Picture, find_images, image_shape, read_picture, read_plane, squeeze
from detectors.datasets.place import Place
from detectors.datasets.raster import inside, read_mask
from detectors.datasets.roads import LINES, draw_roads
from detectors.datasets.vectors import pixel_projection, polygons_of, read_vectors
from detectors.errors import DatasetInvalid

if TYPE_CHECKING:
    from detectors.datasets.source import Source

IMAGE_DIRECTORIES = ("images", "sat", "image")
MASK_DIRECTORIES = ("masks", "map", "labels", "label", "gt")
VECTORS = (".geojson", ".gpkg", ".json")
#: Pieces of a Massachusetts picture that are at least so white in all bands, so large, and touch its edge have no
#: imagery. JPEG leaves them not quite 255; white roofs are smaller or lie inside.
WHITE, WHITE_AREA_PX = 250, 1000


def read_geotiff(directory: Path, source: Source) -> Sequence[Place]:
    """GeoTIFF, PNG or JPEG images/ with masks/ of the same names, or with vector labels to be burned in

    Raises:
        DatasetInvalid: no images, an image without labels, or labels of another size.
    """
    pairs = find_pairs(directory, source)
    return LazyPlaces([lambda image=image, label=label: _read_pair(image, label, source) for image, label in pairs])


def read_massachusetts(directory: Path, source: Source) -> Sequence[Place]:
    """Massachusetts roads or buildings (Mnih): sat/ + map/, or images/ + masks/; 1 m RGB

    White areas at the edges of a picture are no imagery. Pixels measure 1 m where the files do not say.

    Raises:
        DatasetInvalid: as `read_geotiff` says.
    """
    source = source.model_copy(update={"foreground": source.foreground or "road", "gsd_m": source.gsd_m or 1.0})
    pairs = find_pairs(directory, source)
    return LazyPlaces([
        lambda image=image, label=label: _read_pair(image, label, source, white_is_empty=True) for image, label in pairs
    ])


def find_pairs(directory: Path, source: Source) -> list[tuple[Path, Path]]:
    """(image, label file) of every image, by name.

    Raises:
        DatasetInvalid: no images, or one without labels.
    """
    if source.images:
        images = find_images(directory, source.images)
    else:
        names = (*IMAGE_DIRECTORIES, source.use)
        holder = next((directory / name for name in names if (directory / name).is_dir()), None)
        if holder is None:
            raise DatasetInvalid(f"{directory}: none of the directories {', '.join(IMAGE_DIRECTORIES)}; name the "
                                 'images by images = "GLOB" in the source')
        images = find_images(holder)
    common = next((p for p in ((directory / f"labels{suffix}") for suffix in VECTORS) if p.is_file()), None)
    if source.label_file:
        common = inside(directory, source.label_file)
    pairs, bare = [], []
    for image in images:
        label = common if source.label_file else _label_of(directory, image) or common
        (pairs if label else bare).append((image, label))
    if bare:
        raise DatasetInvalid(f"{bare[0][0]}: no labels of that name in {', '.join(MASK_DIRECTORIES)} ({len(bare)} "
                             f"images of {len(images)} have none)")
    return pairs


def empty_white(pixels: np.ndarray) -> np.ndarray:
    """bool [H, W]: large white areas at the edges of an 8-bit picture, where there is no imagery."""
    white = (pixels >= WHITE).all(axis=2).view(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(white, connectivity=4)
    height, width = white.shape
    edge = np.zeros(count, dtype=bool)
    edge[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = True
    empty = edge & (stats[:, cv2.CC_STAT_AREA] >= min(WHITE_AREA_PX, height * width))
    empty[0] = False
    return empty[parts]


def _label_of(directory: Path, image: Path) -> Path | None:
    for name in (*MASK_DIRECTORIES, f"{image.parent.name}_labels"):
        for suffix in (*IMAGES, *VECTORS):
            path = directory / name / (image.stem + suffix)
            if path.is_file() and path != image:
                return path
    return None


def _read_pair(path: Path, label: Path, source: Source, white_is_empty: bool = False) -> Place:
    picture = read_picture(path, source.bands, source.band_order, source.dtype)
    valid = picture.valid & ~empty_white(picture.pixels) if white_is_empty else picture.valid
    bounds = picture.bounds(path, source.gsd_m)
    binary = ("background", source.foreground or "building")
    if source.label_classes:
        return Place(path.stem, picture.pixels, valid, bounds, classes_of_codes(source.label_classes),
                     read_mask(path, picture, label, source), columns=source.columns)
    if label.suffix.lower() in VECTORS and source.foreground == "road":
        features, crs = read_vectors(label)
        mask = draw_roads(features, pixel_projection(crs, picture, label), picture.shape, picture.gsd, source.width_m)
        return Place(path.stem, picture.pixels, valid, bounds, binary, mask, columns=source.columns)
    if label.suffix.lower() in VECTORS:
        return Place(path.stem, picture.pixels, valid, bounds, binary, outlines=read_outlines(label, picture),
                     columns=source.columns)
    mask = squeeze(decode_binary(label, read_plane(label, image_shape(path))), picture.shape)
    return Place(path.stem, picture.pixels, valid, bounds, binary, mask, columns=source.columns)


def read_outlines(label: Path, picture: Picture) -> np.ndarray:
    """The polygons of a vector file that touch a picture, in its pixels; none is an answer, too."""
    features, crs = read_vectors(label)
    onto = pixel_projection(crs, picture, label)
    if any(geometry.geom_type in LINES for _, geometry in features):
        raise DatasetInvalid(f'{label}: has lines; centre lines of roads are widened with foreground = "road"')
    frame = shapely.box(0, 0, picture.shape[1], picture.shape[0])
    found = [part for _, geometry in features for part in polygons_of(onto(geometry)) if part.intersects(frame)]
    return np.array(found, dtype=object)
