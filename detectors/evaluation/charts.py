"""Curves as inline SVG: precision over recall, and how often what was said with some probability was so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from detectors.evaluation.curves import BINS, Reliability, ScoreHistogram

Colour = tuple[int, int, int]
#: Size of the plotted square and its margins, SVG units.
SIDE, LEFT, TOP, BELOW = 300, 52, 14, 44
WIDTH, HEIGHT = LEFT + SIDE + 18, TOP + SIDE + BELOW


def draw_precision_recall(scores: Mapping[str, ScoreHistogram], colours: Mapping[str, Colour]) -> str:
    """One curve a class, with a dot at the threshold of one half."""
    parts = [_frame("recall", "precision")]
    for name, histogram in scores.items():
        if not histogram.positive.sum():
            continue
        precision, recall = histogram.precisions, histogram.recalls
        there = ~np.isnan(precision)
        points = _thin_out(recall[there], precision[there])
        parts.append(f'<polyline class="curve" stroke="{_rgb(colours[name])}" points="{_points(points)}">'
                     f"<title>{escape(name)}</title></polyline>")
        half = BINS // 2
        if there[half]:
            x, y = _at(recall[half], precision[half])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_rgb(colours[name])}">'
                         f"<title>{escape(name)} at probability 0.5</title></circle>")
    return _svg("precision over recall", parts)


def draw_reliability(curves: Mapping[str, Reliability], colours: Mapping[str, Colour]) -> str:
    """One curve a class beside the diagonal; dots are as large as bins are full."""
    x0, y0 = _at(0, 0)
    x1, y1 = _at(1, 1)
    parts = [_frame("probability said", "share that was so"),
             f'<line class="diagonal" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>']
    for name, curve in curves.items():
        there = curve.number > 0
        if not there.any():
            continue
        points = np.column_stack([curve.said[there], curve.was[there]])
        parts.append(f'<polyline class="curve" stroke="{_rgb(colours[name])}" points="{_points(points)}">'
                     f"<title>{escape(name)}</title></polyline>")
        for (said, was), number in zip(points, curve.number[there], strict=True):
            x, y = _at(said, was)
            radius = 1.5 + 5 * math.sqrt(number / curve.number.max())
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{_rgb(colours[name])}" '
                         f'fill-opacity="0.7"><title>{escape(name)}: said {said:.2f}, was {was:.2f}, '
                         f"{number} pixels</title></circle>")
    return _svg("reliability", parts)


def draw_key(colours: Mapping[str, Colour]) -> str:
    """HTML: a swatch and a name for each colour."""
    swatches = [f'<span><i style="background:{_rgb(colour)}"></i>{escape(name)}</span>'
                for name, colour in colours.items()]
    return f'<p class="legend">{"".join(swatches)}</p>'


def _frame(across: str, up: str) -> str:
    parts = []
    for i in range(6):
        value = i / 5
        x, y = _at(value, value)
        left, right = _at(0, 0)[0], _at(1, 0)[0]
        bottom, top = _at(0, 0)[1], _at(0, 1)[1]
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
                     f'<line class="grid" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{top}"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>'
                     f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:.1f}</text>')
    middle = TOP + SIDE / 2
    parts.append(
        f'<text x="{LEFT + SIDE / 2}" y="{TOP + SIDE + 36}" text-anchor="middle">{escape(across)}</text>'
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(up)}</text>'
    )
    return "".join(parts)


def _svg(title: str, parts: Sequence[str]) -> str:
    return (f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'aria-label="{escape(title)}">{"".join(parts)}</svg>')


def _at(x: float, y: float) -> tuple[float, float]:
    return LEFT + SIDE * float(x), TOP + SIDE * (1 - float(y))


def _points(points: np.ndarray) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (_at(*point) for point in points))


def _thin_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[N, 2]: the points of a curve that can be told apart when drawn."""
    _, first = np.unique(np.round(np.column_stack([x, y]) * SIDE).astype(int), axis=0, return_index=True)
    kept = np.sort(first)
    return np.column_stack([x[kept], y[kept]])


def _rgb(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
