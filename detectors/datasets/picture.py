"""An image file of a data set with where it lies: read with limits, brought to square pixels, measured in metres.

Only plain image formats are opened: a file that merely calls itself .tif, and is a recipe that draws on other files
(GDAL's VRT), is refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import transform as transform_points

from detectors.base import EARTH_RADIUS_M
from detectors.datasets.place import DTYPES, equator_bounds
from detectors.errors import DatasetInvalid

#: Largest image that is read, in pixels times bands: 2 GiB of uint16. A larger one is to be cut into parts.
MAX_VALUES = 1 << 30
#: Largest side; OpenCV's warping, which cuts the crops, goes no further.
MAX_SIDE = 32767
#: First bytes of a file -> the one driver of GDAL that may open it.
DRIVERS = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff", b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
#: Pixels that are longer than wide by more than this share, on the ground, are made square.
SQUARE_SLACK = 0.02
MERCATOR = CRS.from_epsg(3857)


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels and where they lie.

    Attributes:
        pixels: uint8 or uint16 [H, W, C].
        valid: bool [H, W]; False where the file says no data (its no-data value, mask or alpha).
        transform: pixel corners (column, row) -> coordinates of `crs`; None where the file does not say.
        crs: None where the file does not say.
        step_m: (width, height) of a pixel in true metres; (0, 0) where the file does not say.
    """

    pixels: np.ndarray
    valid: np.ndarray
    transform: Affine | None
    crs: CRS | None
    step_m: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid.shape

    @property
    def gsd(self) -> float:
        """True metres a pixel; 0 where the file does not say."""
        return math.sqrt(self.step_m[0] * self.step_m[1])

    def bounds(self, path: Path, gsd_m: float) -> tuple[float, float, float, float]:
        """Bounds as a Place has them.

        Args:
            gsd_m: what the configuration says a pixel measures; used where the file does not say.

        Raises:
            DatasetInvalid: neither says.
        """
        height, width = self.shape
        if self.transform is not None and self.crs == MERCATOR and _upright(self.transform):
            left, top = self.transform * (0, 0)
            right, bottom = self.transform * (width, height)
            return left, bottom, right, top
        gsd = self.gsd or gsd_m
        if not gsd:
            raise DatasetInvalid(f"{path}: the file does not say where it lies or how large its pixels are; set "
                                 "gsd_m (metres a pixel) in the source")
        return equator_bounds(self.shape, gsd)


def find_images(directory: Path, pattern: str = "*") -> list[Path]:
    """The image files of a directory that match a pattern, by name.

    Raises:
        DatasetInvalid: the pattern leaves the directory, or there is none.
    """
    found = find_files(directory, pattern, IMAGES)
    if not found:
        raise DatasetInvalid(f"{directory}: no images {pattern} ({', '.join(IMAGES)})")
    return found


def find_files(directory: Path, pattern: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a directory that match a pattern and have one of the suffixes, by name.

    Raises:
        DatasetInvalid: the pattern leaves the directory, or is none.
    """
    if pattern.startswith("/") or ".." in Path(pattern).parts or "\0" in pattern:
        raise DatasetInvalid(f"{directory}: images = {pattern!r} leaves the data set; name files below it")
    try:
        return sorted(p for p in directory.glob(pattern) if p.suffix.lower() in suffixes and p.is_file())
    except (ValueError, NotImplementedError, IndexError) as error:
        raise DatasetInvalid(f"{directory}: images = {pattern!r} is no pattern: {error}") from error


@contextmanager
def open_image(path: Path) -> Iterator[rasterio.DatasetReader]:
    """A GeoTIFF, PNG or JPEG by its first bytes, whatever its name.

    Raises:
        DatasetInvalid: it is none, or what is read of it is broken.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
        driver = next((driver for magic, driver in DRIVERS.items() if head.startswith(magic)), None)
        if driver is None:
            raise DatasetInvalid(f"{path}: not a GeoTIFF, PNG or JPEG, whatever its name says")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver=driver) as image:
                yield image
    except (OSError, RasterioError, MemoryError) as error:
        raise DatasetInvalid(f"{path}: not a readable image, or cut off: {error}") from error


def read_picture(path: Path, bands: int, order: tuple[int, ...] = (), dtype: str | None = None) -> Picture:
    """Read the first `bands` bands of a GeoTIFF, PNG or JPEG, or those that `order` names, counted from 1.

    Pixels that are not square on the ground by more than 2 % (geographic coordinates far from the equator) are
    area-averaged along their shorter side until they are.

    Raises:
        DatasetInvalid: unreadable, cut off, too large, too few bands, or pixels of another type.
    """
    wanted = order or tuple(range(1, bands + 1))
    if len(wanted) != bands:
        raise DatasetInvalid(f"{path}: band_order names {len(wanted)} bands, bands = {bands}")
    with open_image(path) as image:
        check_size(path, image.height, image.width, bands)
        kinds = {"uint16" if kind == "int16" else kind for kind in image.dtypes}
        if image.count < max(wanted) or kinds - set(DTYPES) or (dtype and kinds != {dtype}):
            raise DatasetInvalid(f"{path}: {image.count} bands of {', '.join(sorted(kinds))}, the source asks "
                                 f"for bands {', '.join(map(str, wanted))} of {dtype or ' or '.join(DTYPES)}")
        pixels = image.read(wanted)
        valid = image.read_masks(wanted).any(axis=0)
        alpha = [i + 1 for i, c in enumerate(image.colorinterp) if c == ColorInterp.alpha]
        for band in alpha:
            valid &= image.read(band) > 0
        crs, transform = image.crs, None if image.transform == Affine.identity() else image.transform
        step = _step_m(image.crs, image.transform, image.shape)
    if pixels.dtype == np.int16:
        valid &= (pixels >= 0).all(axis=0)
        pixels = np.maximum(pixels, 0).astype(np.uint16)
    pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return square_up(Picture(pixels, valid, transform, crs, step))


def read_plane(path: Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """The pixels of a label image, [H, W, C] of its own type.

    Raises:
        DatasetInvalid: unreadable, too large, or not of `shape` (height, width).
    """
    with open_image(path) as image:
        if shape is not None and image.shape != shape:
            raise DatasetInvalid(f"{path}: {image.width} x {image.height} px, but its image has "
                                 f"{shape[1]} x {shape[0]}; labels must be on the image's grid")
        check_size(path, image.height, image.width, image.count)
        return image.read().transpose(1, 2, 0)


def image_shape(path: Path) -> tuple[int, int]:
    """(height, width) as the file declares it, without reading pixels.

    Raises:
        DatasetInvalid: no image.
    """
    with open_image(path) as image:
        return image.shape


def check_size(path: Path, height: int, width: int, bands: int) -> None:
    """
    Raises:
        DatasetInvalid: an image of that size is not read; a small file may declare a huge one.
    """
    if max(height, width) > MAX_SIDE or height * width * bands > MAX_VALUES:
        raise DatasetInvalid(f"{path}: {width} x {height} px with {bands} bands; at most {MAX_SIDE} px a side and "
                             f"{MAX_VALUES} values in all are read, cut it into parts (gdal_retile)")


def square_up(picture: Picture) -> Picture:
    """The picture with pixels as wide as high on the ground; itself where they nearly are."""
    across, down = picture.step_m
    if not across or abs(across / down - 1) <= SQUARE_SLACK:
        return picture
    height, width = picture.shape
    coarse = max(across, down)
    new_width, new_height = max(1, round(width * across / coarse)), max(1, round(height * down / coarse))
    pixels = np.dstack([
        cv2.resize(picture.pixels[..., band], (new_width, new_height), interpolation=cv2.INTER_AREA)
        for band in range(picture.pixels.shape[2])
    ])
    transform = picture.transform and picture.transform @ Affine.scale(width / new_width, height / new_height)
    return replace(picture, pixels=pixels, valid=squeeze(picture.valid.view(np.uint8), (new_height, new_width)) > 0,
                   transform=transform, step_m=(across * width / new_width, down * height / new_height))


def squeeze(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A mask uint8 [H, W] on a grid of (height, width) over the same ground: the nearest pixel's value."""
    if mask.shape == shape:
        return mask
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _upright(transform: Affine) -> bool:
    return transform.b == transform.d == 0 and transform.a > 0 > transform.e


def _step_m(crs: CRS | None, transform: Affine, shape: tuple[int, int]) -> tuple[float, float]:
    """(width, height) in true metres of the pixel in the middle."""
    across, down = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    if crs is None or transform == Affine.identity():
        return 0.0, 0.0
    y = (transform * (shape[1] / 2, shape[0] / 2))[1]
    if crs.is_geographic:
        degree = math.radians(1) * EARTH_RADIUS_M
        return across * degree * math.cos(math.radians(y)), down * degree
    if crs == MERCATOR:
        scale = 1 / math.cosh(y / EARTH_RADIUS_M)
        return across * scale, down * scale
    factor = crs.linear_units_factor[1]
    return across * factor, down * factor


def project(crs: CRS, target: CRS, points: np.ndarray) -> np.ndarray:
    """Points [N, 2] from one coordinate system into another, x first."""
    if crs == target or not len(points):
        return points
    return np.column_stack(transform_points(crs, target, points[:, 0], points[:, 1]))
