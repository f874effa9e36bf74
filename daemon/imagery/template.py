"""Where a tile lies: a path or URL with {z} {x} {y} in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from daemon.tiling.grid import Tile

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
#: Placeholders and the number each stands for; {-y} is a row counted from the south, as in JOSM's imagery URLs.
PLACEHOLDERS = {"z": "z", "zoom": "z", "x": "x", "y": "y", "-y": "-y"}


class TileTemplate:
    """A path or URL with placeholders.

    Args:
        text: with {z} (or {zoom}), {x}, and {y} or {-y}; `problem` says what is wrong with it, None if nothing is.
        tms: {y} too counts rows from the south.
    """

    def __init__(self, text: str, tms: bool = False):
        self.text = text
        self.tms = tms
        self.problem = self._problem()

    def _problem(self) -> str | None:
        found = _PLACEHOLDER.findall(self.text)
        unknown = sorted({name for name in found if name not in PLACEHOLDERS})
        if unknown:
            return f"does not know {{{unknown[0]}}}; known are {{z}} {{x}} {{y}}, {{-y}} for rows from the south"
        missing = {"z", "x", "y"} - {PLACEHOLDERS[name].lstrip("-") for name in found}
        if missing:
            return "lacks " + " ".join(f"{{{name}}}" for name in sorted(missing, key="zxy".index))
        return None

    def fill(self, tile: Tile) -> str:
        """The path or URL of one tile."""
        south = (1 << tile.z) - 1 - tile.y
        values = {"z": tile.z, "x": tile.x, "y": south if self.tms else tile.y, "-y": south}
        return _PLACEHOLDER.sub(lambda match: str(values[PLACEHOLDERS[match[1]]]), self.text)

    def patterns(self) -> Iterator[re.Pattern[str]]:
        """A pattern for each part of a path between slashes; its groups are named g0, g1, ... in order of appearance.

        What each group stands for is told by `names`.
        """
        group = 0
        for part in self.text.split("/"):
            pattern, end = "", 0
            for match in _PLACEHOLDER.finditer(part):
                pattern += re.escape(part[end : match.start()]) + rf"(?P<g{group}>0|[1-9]\d{{0,8}})"
                end = match.end()
                group += 1
            yield re.compile(pattern + re.escape(part[end:]))

    def names(self) -> list[str]:
        """What the groups of `patterns` stand for: "z", "x", "y" or "-y"."""
        return [PLACEHOLDERS[name] for name in _PLACEHOLDER.findall(self.text)]

    def tile(self, values: Mapping[str, int]) -> Tile | None:
        """The tile that these values of the placeholders mean, None if there is no such tile."""
        z, x = values["z"], values["x"]
        if z > 30:
            return None
        rows = {
            (1 << z) - 1 - value if name == "-y" or self.tms else value
            for name, value in values.items()
            if name.endswith("y")
        }
        if len(rows) != 1 or not (0 <= x < 1 << z and 0 <= min(rows) < 1 << z):
            return None
        return Tile(z, x, rows.pop())
