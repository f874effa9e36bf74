"""A line plot as SVG, by hand: few lines, logarithmic x, readable without a legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 46, 60
COLOURS = ("#1b6ca8", "#c2571a", "#3a7d44", "#7a4fa3")


def growth_plot(
    lines: Mapping[str, Sequence[tuple[float, float]]], bar: float, *, title: str, x_label: str, y_label: str
) -> str:
    """Lines through (x, y), x on a logarithmic axis, y from 0, with a dashed line at `bar`."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    top = max(bar, *(y for points in lines.values() for _, y in points)) * 1.15
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10) if top / step <= 8)

    def right(x: float) -> float:
        low, high = math.log(xs[0]), math.log(xs[-1])
        return LEFT + (math.log(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    def text(x: float, y: float, words: str, **more: object) -> str:
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        return f'<text x="{x:.1f}" y="{y:.1f}"{extra}>{escape(words)}</text>'

    def line(x1: float, y1: float, x2: float, y2: float, colour: str, **more: object) -> str:
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{extra}/>'

    end = WIDTH - RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 26, title, font_size=15, font_weight="bold"),
        text((LEFT + end) / 2, HEIGHT - 16, x_label, text_anchor="middle"),
        text(20, (TOP + HEIGHT - BOTTOM) / 2, y_label, text_anchor="middle",
             transform=f"rotate(-90 20 {(TOP + HEIGHT - BOTTOM) / 2})"),
    ]
    for tick in range(int(top / step) + 1):
        y = down(tick * step)
        parts += [line(LEFT, y, end, y, "#ddd"), text(LEFT - 8, y + 4, f"{tick * step:g}", text_anchor="end")]
    for x in xs:
        parts += [line(right(x), HEIGHT - BOTTOM, right(x), HEIGHT - BOTTOM + 5, "#333"),
                  text(right(x), HEIGHT - BOTTOM + 20, f"{x:,.0f}", text_anchor="middle")]
    parts += [line(LEFT, down(0), end, down(0), "#333"),
              line(LEFT, down(bar), end, down(bar), "#b00020", stroke_dasharray="6 4"),
              text(end + 8, down(bar) + 4, f"bar: {bar:g}", fill="#b00020")]
    taken = [down(bar)]
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        places = " ".join(f"{right(x):.1f},{down(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{right(x):.1f}" cy="{down(y):.1f}" r="4" fill="{colour}"/>' for x, y in points]
        label = down(points[-1][1])
        while any(abs(label - other) < 16 for other in taken):  # names must not lie upon each other
            label += 4
        taken.append(label)
        parts.append(text(end + 8, label + 4, f"{name}: {points[-1][1]:.2f}", fill=colour))
    return "\n".join([*parts, "</svg>", ""])
