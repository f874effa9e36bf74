"""Where figures go: to the terminal, and on demand into docs/osm-speed.md, so that nobody types one by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

#: Set it to anything to have the tables and the plot written into docs/.
VARIABLE = "MAPGAP_BENCH_WRITE"
DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = DOCS / "osm-speed.md"


class Report:
    """Tables by name; the page has a place for each: between `<!-- name -->` and `<!-- /name -->`."""

    def __init__(self, show: Callable[..., None]):
        self._show = show
        self.writes = bool(os.environ.get(VARIABLE))

    def table(self, name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table, and put it in its place."""
        self._show(title, columns, [[_text(value) for value in row] for row in rows])
        lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *([_text(value) for value in row] for row in rows)]
        self._put(name, "\n".join(f"| {' | '.join(line)} |" for line in lines))

    def text(self, name: str, text: str) -> None:
        """Say something, and put it in its place."""
        print(text, flush=True)
        self._put(name, text)

    def plot(self, name: str, svg: str) -> None:
        """Keep a plot as docs/<name>.svg."""
        if self.writes:
            (DOCS / f"{name}.svg").write_text(svg, encoding="utf-8")

    def _put(self, name: str, text: str) -> None:
        if not self.writes:
            return
        page = PAGE.read_text(encoding="utf-8")
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(page):
            raise KeyError(f"{PAGE} has no place for {name!r}: <!-- {name} --> ... <!-- /{name} -->")
        PAGE.write_text(place.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page), encoding="utf-8")


def verdict(ratio: float, bar: float, *, most: bool = True) -> str:
    """Whether a ratio meets its bar."""
    met = ratio <= bar if most else ratio >= bar
    return "met" if met else "MISSED"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
