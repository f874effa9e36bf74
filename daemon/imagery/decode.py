"""Image file -> pixels with a mask, in memory, trusting nothing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from daemon.errors import ImageInvalid
from daemon.imagery.blank import find_blank
from daemon.imagery.header import read_header
from daemon.imagery.source import TileImage

#: Alpha from which a pixel counts as imagery; below, it is mostly transparent.
OPAQUE = 128


def decode(data: bytes, origin: str, *, max_pixels: int, size: int | None = None) -> TileImage:
    """Pixels of a JPEG, PNG or WebP file; grey and palettes become RGB, transparent pixels become invalid.

    Args:
        data: the file.
        origin: file name or URL (without secrets) for messages.
        max_pixels: an image with more is refused before it is decoded.
        size: side in pixels that the image must have; None: any.

    Raises:
        ImageInvalid: not an image that can be used; the message says what is wrong with which file.
    """
    header = read_header(data, origin)
    found = f"{header.width} x {header.height} px"
    if header.width * header.height > max_pixels:
        raise ImageInvalid(f"{origin}: {found}, more than client.max_pixels = {max_pixels}; not decoded")
    if size is not None and (header.width, header.height) != (size, size):
        other = header.width == header.height and header.width in (256, 512)
        hint = f"; is tile_size = {header.width} meant?" if other else ""
        raise ImageInvalid(f"{origin}: {found}, but {size} x {size} px are expected{hint}")
    try:
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageInvalid(f"{origin}: damaged {header.format}: {error.err}") from None
    if raw is None or raw.shape[:2] != (header.height, header.width):
        raise ImageInvalid(f"{origin}: damaged {header.format}: its pixels cannot be decoded")
    if raw.dtype != np.uint8:
        raise ImageInvalid(f"{origin}: {8 * raw.itemsize} bits a band; 8 are read")
    if raw.ndim == 2:
        return TileImage(cv2.cvtColor(raw, cv2.COLOR_GRAY2RGB), np.ones(raw.shape, bool))
    if raw.shape[2] == 4:
        return TileImage(cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB), raw[:, :, 3] >= OPAQUE)
    return TileImage(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), np.ones(raw.shape[:2], bool))


def mask_nodata(image: TileImage, nodata: Sequence[int] | None, mask_blank: bool) -> TileImage:
    """The image with what is no imagery marked so.

    Args:
        nodata: pixels of exactly this colour [R, G, B] are no imagery.
        mask_blank: whether to look for blank margins too, see `daemon.imagery.blank`.
    """
    valid = image.valid
    if nodata is not None:
        valid = valid & (image.pixels != np.array(nodata, np.uint8)).any(axis=2)
    if mask_blank:
        blank = find_blank(image.pixels)
        if blank is not None:
            valid = valid & ~blank
    return image if valid is image.valid else TileImage(image.pixels, valid)
