"""Reports as pictures: the cells by colour, and the fit of map and witness, as PNG.

Amounts are drawn in the colours of "viridis", which rise evenly in lightness; what lies on both sides of zero in blue
and orange, which people with any colour vision tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import shapely

from daemon.picture import FONT, FONT_SCALE, SUBPIXEL_BITS
from daemon.reports.cells import ReportCell
from detectors.correlation import Correlation
from detectors.monotone import MonotoneFit

#: Longest side of a map, pixels; side of a plot.
SIDE_PX, PLOT_PX = 1000, 640
PAPER, INK, FAINT, UNKNOWN = (255, 255, 255), (30, 30, 30), (215, 215, 215), (232, 232, 232)
DOT, LINE = (0, 114, 178), (213, 94, 0)
#: 256 colours, RGB uint8 [256, 3].
VIRIDIS = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(-1, 1), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
BOTH_SIDES = np.column_stack([
    np.interp(np.linspace(-1, 1, 256), (-1, 0, 1), ends) for ends in ((0, 245, 213), (114, 245, 94), (178, 245, 0))
]).astype(np.uint8)
#: Where the largest value is so many times the median, an axis is logarithmic.
SKEWED = 20.0


def draw_map(
    cells: Sequence[ReportCell], values: np.ndarray, title: str, unit: str, limits: tuple[float, float] | None = None,
    *, around_zero: bool = False,
) -> np.ndarray:
    """Cells by colour with a scale, RGB uint8 [H, W, 3]. North is up, metres are as long across as along.

    Args:
        values: float [N]; NaN is drawn grey: not known.
        limits: values at the ends of the scale; by default the 2nd and 98th percentile.
        around_zero: blue below zero, orange above, as far on either side.

    Raises:
        ValueError: there is no cell.
    """
    if not cells:
        raise ValueError("there is no cell to draw")
    west, south, east, north = shapely.total_bounds(np.array([cell.geometry for cell in cells], dtype=object))
    across = (east - west) * math.cos(math.radians((south + north) / 2))
    scale = SIDE_PX / max(across, north - south)
    width, height = max(round(across * scale), 320), max(round((north - south) * scale), 60)
    picture = np.full((height, width, 3), PAPER, np.uint8)
    known = np.isfinite(values)
    low, high = limits or _limits(values[known])
    if around_zero:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    ramp = BOTH_SIDES if around_zero else VIRIDIS
    shades = _shades(np.where(known, (values - low) / max(high - low, 1e-12), 0.0), ramp)
    for cell, shade, is_known in zip(cells, shades, known, strict=True):
        for part in shapely.get_parts(cell.geometry):
            rings = [np.column_stack([
                (xy[:, 0] - west) / (east - west) * across * scale, (north - xy[:, 1]) * scale,
            ]) for xy in map(shapely.get_coordinates, shapely.get_rings(part))]
            points = [np.round(ring * (1 << SUBPIXEL_BITS)).astype(np.int32) for ring in rings]
            colour = tuple(int(c) for c in shade) if is_known else UNKNOWN
            cv2.fillPoly(picture, points, colour, cv2.LINE_AA, SUBPIXEL_BITS)
    return np.vstack([_title(title, width), picture, _scale(width, low, high, unit, ramp, bool((~known).any()))])


def draw_fit(
    witness: np.ndarray, mapped: np.ndarray, fit: MonotoneFit | None, related: Sequence[tuple[str, Correlation]],
    title: str, names: tuple[str, str],
) -> np.ndarray:
    """Every cell as a dot, and what is to be expected as a line, RGB uint8 [H, W, 3].

    Args:
        related: coefficients by name, written below the title.
        names: of the axes, across and up.
    """
    both = np.isfinite(witness) & np.isfinite(mapped)
    x, y = witness[both], mapped[both]
    left, top, below = 80, 8, 56
    picture = np.full((PLOT_PX + top + below, PLOT_PX + left + 24, 3), PAPER, np.uint8)
    across, up = _Axis.of(x), _Axis.of(y)

    def place(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.column_stack([left + across.part(a) * PLOT_PX, top + (1 - up.part(b)) * PLOT_PX])

    for tick in across.ticks:
        column = round(float(left + across.part(np.array([tick]))[0] * PLOT_PX))
        cv2.line(picture, (column, top), (column, top + PLOT_PX), FAINT, 1)
        _text(picture, _number(tick), (column, top + PLOT_PX + 18), centred=True)
    for tick in up.ticks:
        row = round(float(top + (1 - up.part(np.array([tick]))[0]) * PLOT_PX))
        cv2.line(picture, (left, row), (left + PLOT_PX, row), FAINT, 1)
        _text(picture, _number(tick), (8, row + 4))
    layer = picture.copy()
    for column, row in np.round(place(x, y)).astype(int):
        cv2.circle(layer, (int(column), int(row)), 4, DOT, -1, cv2.LINE_AA)
    picture = cv2.addWeighted(layer, 0.55, picture, 0.45, 0)
    if fit is not None and len(x):
        steps = np.linspace(0, 1, 400)
        points = place(across.value(steps), np.maximum(fit.expected(across.value(steps)), up.low))
        cv2.polylines(picture, [np.round(points).astype(np.int32)], False, LINE, 2, cv2.LINE_AA)
    _text(picture, names[0], (left + PLOT_PX // 2, top + PLOT_PX + 42), centred=True)
    lines = [_title(title, picture.shape[1])]
    lines += [_line(f"{name}: {_told(one)}", picture.shape[1]) for name, one in related]
    return np.vstack([*lines, _line(f"up: {names[1]}; orange: what is to be expected", picture.shape[1]), picture])


class _Axis:
    """From values to 0..1: even, or logarithmic where a few values are far above all others."""

    def __init__(self, low: float, high: float, is_log: bool):
        self.low, self.high, self._is_log = low, high, is_log

    @classmethod
    def of(cls, values: np.ndarray) -> _Axis:
        if not len(values):
            return cls(0.0, 1.0, False)
        low, high = min(float(values.min()), 0.0), float(values.max())
        if high <= low:
            high = low + 1.0
        middle = float(np.median(values))
        return cls(low, high, low == 0 and high > SKEWED * middle)

    def part(self, values: np.ndarray) -> np.ndarray:
        if self._is_log:
            return np.log1p(self._grown(values)) / math.log1p(self._grown(self.high))
        return (values - self.low) / (self.high - self.low)

    def value(self, part: np.ndarray) -> np.ndarray:
        if self._is_log:
            return np.expm1(part * math.log1p(self._grown(self.high))) * self.high / 1000
        return self.low + part * (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        if self._is_log:
            return [0.0, *(self.high * part for part in (0.001, 0.01, 0.1, 1.0))]
        return np.linspace(self.low, self.high, 6).tolist()

    def _grown(self, values: np.ndarray | float) -> np.ndarray | float:
        """So that a thousandth of the axis is where it begins to be logarithmic."""
        return values / self.high * 1000


def _limits(values: np.ndarray) -> tuple[float, float]:
    return (0.0, 1.0) if not len(values) else tuple(float(v) for v in np.percentile(values, [2, 98]))


def _shades(parts: np.ndarray, ramp: np.ndarray) -> np.ndarray:
    """0..1 [N] -> RGB uint8 [N, 3]"""
    return ramp[np.clip(np.round(parts * 255), 0, 255).astype(np.uint8)]


def _scale(width: int, low: float, high: float, unit: str, ramp: np.ndarray, some_unknown: bool) -> np.ndarray:
    strip = np.full((52, width, 3), PAPER, np.uint8)
    length = min(width - 24, 420)
    strip[10:24, 12 : 12 + length] = _shades(np.linspace(0, 1, length), ramp)
    for part in (0.0, 0.5, 1.0):
        text = _number(low + part * (high - low)) + (f" {unit}" if part == 1.0 else "")
        across = cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0]
        _text(strip, text, (round(min(max(12 + part * length - across / 2, 12), width - across - 4)), 42))
    if some_unknown and width > length + 150:
        strip[10:24, length + 36 : length + 52] = UNKNOWN
        _text(strip, "not known", (length + 58, 22))
    return strip


def _title(text: str, width: int) -> np.ndarray:
    strip = np.full((34, width, 3), PAPER, np.uint8)
    cv2.putText(strip, _plain(text), (12, 22), FONT, 0.55, INK, 1, cv2.LINE_AA)
    return strip


def _line(text: str, width: int) -> np.ndarray:
    strip = np.full((20, width, 3), PAPER, np.uint8)
    _text(strip, text, (12, 13))
    return strip


def _text(picture: np.ndarray, text: str, corner: tuple[int, int], *, centred: bool = False) -> None:
    text = _plain(text)
    if centred:
        corner = corner[0] - cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0] // 2, corner[1]
    cv2.putText(picture, text, corner, FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)


def _plain(text: str) -> str:
    """OpenCV's letters are those of ASCII."""
    return text.encode("ascii", "replace").decode()


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.2e}"


def _told(one: Correlation) -> str:
    if one.value is None:
        return f"not known ({one.rows} cells, or all alike)"
    if one.low is None or one.high is None:
        return f"{one.value:.3f} ({one.rows} cells)"
    return f"{one.value:.3f} (95 %: {one.low:.3f} to {one.high:.3f}; {one.rows} cells)"
