"""Blank areas of a tile that are no imagery although nothing in the file says so.

Servers of mosaics fill what lies outside of their pictures with white or black, and JPEG has no mask. A region counts
as blank when all of this holds:

* it is connected (4-neighbourhood), of one colour within `TOLERANCE`;
* it holds a corner of the tile. What a convex picture leaves of a square always does: the half plane on the far side
  of any line has one of the square's corners in it. A bright roof seldom does;
* it covers at least `SMALLEST` of the tile, 16 x 16 pixels (a smaller sliver is no building yet);
* it is flat: away from its edge, at least `FLAT` of its pixels have the very same colour. Overexposed roofs and deep
  shadows have grain, a fill has not, even after JPEG (each flat 8 x 8 block decodes to one value);
* its colour is within `TOLERANCE` of white or black. For other colours nothing but exact equality along the whole
  bottom row counts; so grey place-holders, and the flat rest that decoders put under a truncated JPEG, are found too.

Other pictures than of 8 bits in three bands come without loss, and are looked at for exact black or white alone.

Compression smears the edge of a fill, so what is found is grown by `SMEAR` pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

#: Grey levels that compression may move a fill's colour by.
TOLERANCE = 4
#: Smallest blank region as a share of the tile's pixels.
SMALLEST = 0.004
#: Share of a region's inner pixels that must have its commonest colour.
FLAT = 0.85
#: Pixels along a region's edge that are not asked for flatness: one JPEG block.
EDGE = 8
#: Pixels around a blank region that are spoilt by ringing.
SMEAR = 3


def find_blank(pixels: np.ndarray) -> np.ndarray | None:
    """Where a tile is blank.

    Args:
        pixels: uint8 or uint16 [H, W, C].

    Returns:
        bool [H, W], True where blank; None when nowhere.
    """
    if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
        return _find_exact(pixels)
    height, width = pixels.shape[:2]
    blank = np.zeros((height, width), np.uint8)
    for row, column in ((0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)):
        if not blank[row, column]:
            region = _region(pixels, row, column)
            if region is not None:
                blank |= region
    if not blank.any():
        return None
    side = 2 * SMEAR + 1
    return cv2.dilate(blank, np.ones((side, side), np.uint8)).astype(bool)


def _find_exact(pixels: np.ndarray) -> np.ndarray | None:
    """Regions of exact black or white that hold a corner, bool [H, W], None when there is none."""
    blank = np.zeros(pixels.shape[:2], bool)
    for colour in (0, np.iinfo(pixels.dtype).max):
        alike = (pixels == colour).all(axis=2)
        if alike.any():
            _, labels = cv2.connectedComponents(alike.view(np.uint8), connectivity=4)
            for corner in {int(labels[row, column]) for row in (0, -1) for column in (0, -1)} - {0}:
                region = labels == corner
                if region.sum() >= SMALLEST * region.size:
                    blank |= region
    return blank if blank.any() else None


def _region(pixels: np.ndarray, row: int, column: int) -> np.ndarray | None:
    """The blank region that holds a corner as uint8 [H, W] of 0 and 1, None if there is none."""
    colour = pixels[row, column]
    white_or_black = bool((colour >= 255 - TOLERANCE).all() or (colour <= TOLERANCE).all())
    near = TOLERANCE if white_or_black else 0
    # A look at the corner's neighbourhood first: most corners are ground, and flooding costs more than this.
    inner = pixels[row : row + 4] if row == 0 else pixels[row - 3 :]
    inner = inner[:, column : column + 4] if column == 0 else inner[:, column - 3 :]
    if (np.abs(inner.astype(np.int16) - colour) > near).any():
        return None
    lower = np.clip(colour.astype(int) - near, 0, 255)
    upper = np.clip(colour.astype(int) + near, 0, 255)
    alike = cv2.inRange(pixels, tuple(lower.tolist()), tuple(upper.tolist()))
    _, labels = cv2.connectedComponents(alike, connectivity=4)
    region = labels == labels[row, column]
    count = int(region.sum())
    if count < SMALLEST * region.size:
        return None
    found = region.astype(np.uint8)
    if not near:
        return found if region[-1].all() else None
    inside = cv2.erode(found, np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8)).astype(bool)
    packed = pixels[inside if inside.any() else region].astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    if np.unique(packed, return_counts=True)[1].max() < FLAT * packed.size:
        return None
    return found
