"""A picture of the offsets between imagery and map: a field of arrows for each source.

An arrow points from where the map has things to where the imagery shows them; its colour tells how long it is, on a
scale that people with any colour vision read (viridis). Places with few looks are pale.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from daemon.imagery.offsets import CELL_ZOOM, SURE, Estimate, Offset, smooth
from daemon.picture import FONT, FONT_SCALE
from daemon.tiling.grid import Block

#: Pixels: the longer side of a field, the least and most of a place, what is around a field, the strip below it.
FIELD_PX, LEAST_PX, MOST_PX, RIM_PX, LEGEND_PX, LEGEND_WIDE_PX = 820, 10, 96, 60, 96, 800
GROUND, EMPTY, INK, PALE = (24, 24, 24), (40, 40, 40), (235, 235, 235), (130, 130, 130)
#: Lengths of the arrow in the legend, metres.
ROUND = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def draw_offsets(offsets: Sequence[Offset]) -> np.ndarray:
    """The fields of all sources, one below the other, uint8 [H, W, 3] RGB.

    Raises:
        ValueError: there are no offsets.
    """
    if not offsets:
        raise ValueError("no offset was noted yet")
    sources: dict[str, list[Offset]] = {}
    for offset in offsets:
        sources.setdefault(offset.source, []).append(offset)
    longest = max(0.1, max(offset.length_m for offset in offsets))  # one scale for all, so that they can be compared
    fields = [_field(name, found, longest) for name, found in sources.items()]
    width = max(field.shape[1] for field in fields)
    wide = [np.pad(f, ((0, 0), (0, width - f.shape[1]), (0, 0)), constant_values=GROUND[0]) for f in fields]
    return np.vstack(wide)


def _field(name: str, offsets: Sequence[Offset], longest: float) -> np.ndarray:
    left, top = min(o.x for o in offsets), min(o.y for o in offsets)
    columns, rows = max(o.x for o in offsets) - left + 1, max(o.y for o in offsets) - top + 1
    side = int(np.clip(FIELD_PX // max(columns, rows), LEAST_PX, MOST_PX))
    width = max(columns * side + 2 * RIM_PX, LEGEND_WIDE_PX)
    canvas = np.full((rows * side + 2 * RIM_PX + LEGEND_PX, width, 3), GROUND, np.uint8)
    canvas[RIM_PX : RIM_PX + rows * side, RIM_PX : RIM_PX + columns * side] = EMPTY
    metre = 0.9 * side / longest  # pixels of a metre of offset
    told = smooth(offsets)
    for offset, expected in told:
        x, y = RIM_PX + (offset.x - left) * side, RIM_PX + (offset.y - top) * side
        surely = min(1.0, expected.weight / SURE)
        share = np.hypot(expected.east_m, expected.north_m) / longest
        canvas[y : y + side, x : x + side] = _colour(share, 0.35 * surely)
        cv2.rectangle(canvas, (x, y), (x + side - 1, y + side - 1), GROUND, 1)
    for offset, expected in told:
        _arrow(canvas, (RIM_PX + (offset.x - left + 0.5) * side, RIM_PX + (offset.y - top + 0.5) * side), expected,
               metre, longest)
    _frame(canvas, (left, top, columns, rows), side)
    _legend(canvas, name, offsets, metre, longest)
    return canvas


def _arrow(canvas: np.ndarray, middle: tuple[float, float], shift: Estimate, metre: float, longest: float) -> None:
    half = np.array([shift.east_m, -shift.north_m]) * metre / 2
    start, end = np.array(middle) - half, np.array(middle) + half
    points = [tuple(round(float(v) * 16) for v in point) for point in (start, end)]
    colour = _colour(np.hypot(shift.east_m, shift.north_m) / longest, 1.0)
    for ink, thickness in ((GROUND, 4), (colour, 2)):
        cv2.line(canvas, points[0], points[1], ink, thickness, cv2.LINE_AA, 4)
    length = float(np.hypot(*half)) * 2
    if length >= 4:
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        tip = min(9.0, 0.5 * length)
        head = np.array([end, end - along * tip + across * tip / 2, end - along * tip - across * tip / 2])
        cv2.fillPoly(canvas, [np.round(head * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def _colour(share: float, strength: float) -> tuple[int, int, int]:
    """A colour of viridis for 0..1, faded into the field's ground."""
    grey = np.array([[[int(np.clip(share, 0, 1) * 215) + 40]]], np.uint8)
    blue, green, red = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[0, 0].astype(float)
    mixed = np.array([red, green, blue]) * strength + np.array(EMPTY) * (1 - strength)
    return tuple(int(v) for v in mixed)


def _frame(canvas: np.ndarray, place: tuple[int, int, int, int], side: int) -> None:
    """The corners in degrees."""
    left, top, columns, rows = place
    west, _, _, north = Block(CELL_ZOOM, left, top, 1).lonlat()
    _, south, east, _ = Block(CELL_ZOOM, left + columns - 1, top + rows - 1, 1).lonlat()
    bottom, right = RIM_PX + rows * side, RIM_PX + columns * side
    cv2.rectangle(canvas, (RIM_PX - 1, RIM_PX - 1), (right, bottom), PALE, 1)
    _write(canvas, f"{west:.4f}, {north:.4f}", (RIM_PX, RIM_PX - 8), PALE)
    _write(canvas, f"{east:.4f}, {south:.4f}", (max(RIM_PX, right - 118), bottom + 16), PALE)
    _write(canvas, "N", (right + 12, RIM_PX + 34), INK)
    cv2.arrowedLine(canvas, (right + 16, RIM_PX + 22), (right + 16, RIM_PX + 2), INK, 1, cv2.LINE_AA, tipLength=0.4)


def _legend(canvas: np.ndarray, name: str, offsets: Sequence[Offset], metre: float, longest: float) -> None:
    base = canvas.shape[0] - LEGEND_PX
    east = float(np.median([o.east_m for o in offsets]))
    north = float(np.median([o.north_m for o in offsets]))
    looks = sum(o.looks for o in offsets)
    first, last = min(o.first_look for o in offsets), max(o.last_look for o in offsets)
    _write(canvas, f"{name}: where imagery lies against the map", (RIM_PX, 24), INK, 1.3)
    _write(canvas, f"{len(offsets)} places, {looks} looks, {first:%Y-%m-%d} to {last:%Y-%m-%d}; "
           f"median {east:+.1f} m east, {north:+.1f} m north", (RIM_PX, base + 16), INK)
    length = max((value for value in ROUND if value <= longest), default=ROUND[0])
    long_px = length * metre
    cv2.arrowedLine(canvas, (RIM_PX, base + 44), (RIM_PX + max(3, round(long_px)), base + 44), INK, 2, cv2.LINE_AA,
                    tipLength=0.3)
    _write(canvas, f"{length:g} m", (RIM_PX + max(3, round(long_px)) + 8, base + 48), INK)
    for i in range(160):
        cv2.line(canvas, (RIM_PX + 200 + i, base + 38), (RIM_PX + 200 + i, base + 50), _colour(i / 159, 1.0), 1)
    _write(canvas, "0", (RIM_PX + 186, base + 49), INK)
    _write(canvas, f"{longest:.1f} m", (RIM_PX + 366, base + 49), INK)
    _write(canvas, "smoothed over neighbouring places; pale: few looks", (RIM_PX, base + 76), PALE)


def _write(canvas: np.ndarray, text: str, at: tuple[int, int], ink: tuple[int, int, int], size: float = 1.0) -> None:
    cv2.putText(canvas, text, at, FONT, FONT_SCALE * size, ink, 1, cv2.LINE_AA)
