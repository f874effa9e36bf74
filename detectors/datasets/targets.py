"""From building outlines to what each pixel should be, and how much it counts.

Classes: 0 background, 1 building (interior), 2 border: the band of `border_px` pixels *inside* every outline. Where two
buildings touch, both have their band, so that their interiors stay apart; and building + border is exactly the
footprint.

Outlines are rasterised by GDAL (a pixel belongs to the polygon that holds its centre).
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
from rasterio.features import rasterize

BACKGROUND, BUILDING, BORDER = 0, 1, 2
#: While it rasterises, rasterio silences a warning for the whole process, which two threads at a time would undo for
#: each other. Threads do not make it faster either.
RASTERIZING = threading.Lock()


def draw_ids(polygons: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """uint16 [H, W]: 0, or 1 + index of the polygon (pixel coordinates) that a pixel's centre lies in."""
    if len(polygons) == 0:
        return np.zeros(shape, dtype=np.uint16)
    with RASTERIZING:
        return rasterize([(g, i + 1) for i, g in enumerate(polygons)], out_shape=shape, dtype="uint16")


def draw_mask(polygons: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool [H, W]: inside any of the polygons."""
    return draw_ids(polygons, shape) > 0


def classes_of(ids: np.ndarray, border_px: int) -> np.ndarray:
    """Class of each pixel, uint8 [H, W], from building ids uint16 [H, W].

    A building's pixel is border if another building or the background lies within `border_px` pixels; edges of the
    image are not outlines.
    """
    window = np.ones((2 * border_px + 1,) * 2, dtype=np.uint8)
    same = cv2.dilate(ids, window, borderType=cv2.BORDER_REPLICATE) == cv2.erode(
        ids, window, borderType=cv2.BORDER_REPLICATE
    )
    return np.where(ids == 0, BACKGROUND, np.where(same, BUILDING, BORDER)).astype(np.uint8)


def contacts_of(ids: np.ndarray, reach_px: int = 4) -> np.ndarray:
    """bool [H, W]: pixels that have two different buildings within `reach_px` pixels: shared walls and narrow gaps."""
    window = np.ones((2 * reach_px + 1,) * 2, dtype=np.uint8)
    lowest = cv2.erode(np.where(ids == 0, np.uint16(65535), ids), window, borderType=cv2.BORDER_REPLICATE)
    highest = cv2.dilate(ids, window, borderType=cv2.BORDER_REPLICATE)
    return (highest > 0) & (lowest != highest)
