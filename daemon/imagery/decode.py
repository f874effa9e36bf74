"""Image file -> pixels with a mask, in memory, trusting nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from daemon.errors import ImageInvalid
from daemon.imagery.blank import find_blank
from daemon.imagery.header import read_header
from daemon.imagery.layout import Layout
from daemon.imagery.source import TileImage

#: Alpha from which a pixel counts as imagery; below, it is mostly transparent.
OPAQUE = 128
AS_RGB = Layout()


def decode(
    data: bytes, origin: str, *, max_pixels: int, size: int | None = None, layout: Layout = AS_RGB
) -> TileImage:
    """Pixels of a JPEG, PNG or WebP file; grey, palettes and CMYK become RGB, transparent pixels become invalid.

    Args:
        data: the file.
        origin: file name or URL (without secrets) for messages.
        max_pixels: an image with more is refused before it is decoded.
        size: side in pixels that the image must have; None: any.
        layout: what is made of its bands.

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
    if raw.ndim == 2:
        return TileImage(_arrange(raw[:, :, None], layout, origin), np.ones(raw.shape, bool))
    if raw.shape[2] == 4:
        opaque = raw[:, :, 3] >= (OPAQUE if raw.dtype == np.uint8 else OPAQUE << 8)
        return TileImage(_arrange(cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB), layout, origin), opaque)
    return TileImage(_arrange(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), layout, origin), np.ones(raw.shape[:2], bool))


def _arrange(pixels: np.ndarray, layout: Layout, origin: str) -> np.ndarray:
    """What the layout makes of grey or red, green, blue [H, W, 1 or 3]."""
    chosen = layout.choose(pixels.shape[2], origin)
    arranged = pixels if chosen == list(range(pixels.shape[2])) else np.ascontiguousarray(pixels[:, :, chosen])
    return layout.convert(arranged, origin)


def mask_nodata(image: TileImage, nodata: Sequence[int] | None, mask_blank: bool) -> TileImage:
    """The image with what is no imagery marked so.

    Args:
        nodata: pixels of exactly this colour, a number for each band, are no imagery.
        mask_blank: whether to look for blank margins too, see `daemon.imagery.blank`.
    """
    valid = image.valid
    if nodata is not None:
        valid = valid & (image.pixels != np.array(nodata, image.pixels.dtype)).any(axis=2)
    if mask_blank:
        blank = find_blank(image.pixels)
        if blank is not None:
            valid = valid & ~blank
    return image if valid is image.valid else replace(image, valid=valid)
