"""Where a server's tile lies: a URL with placeholders, as map libraries and editors write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote

from daemon.config import Imagery
from daemon.imagery.key import PLACEHOLDER as KEY
from daemon.tiling.grid import Block, Tile

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NUMBERS = {"x": "x", "y": "y", "-y": "-y", "ty": "-y"}
#: The zoom as it is, counted from another one, or downwards: {z}, {zoom}, {z-1}, {19-z}.
_ZOOM = re.compile(r"(?:(\d{1,2})-)?z(?:oom)?([+-]\d{1,2})?")
_QUADKEYS = {"q", "quadkey", "u"}
_MIDDLE = {"lon", "lat"}
_KNOWN = (
    "{z} {x} {y}, {-y} for rows from the south, {z-1} for other counts of zooms, {quadkey}, {lon} {lat} of its "
    "middle, {s}, {switch:a,b,c}, {time}, {apikey}"
)


class Address(Protocol):
    """How a tile is asked for."""

    #: What is asked, for messages.
    text: str
    #: What is wrong with it, None if nothing is.
    problem: str | None

    @property
    def foreign(self) -> bool:
        """It was found in something on the open internet, so it must not lead into a private network."""
        ...

    def fill(self, tile: Tile) -> str | None:
        """The URL of one tile, with {apikey} where the key goes; None where it is known that there is no such tile.

        Raises:
            ImageInvalid, ImageryUnavailable: a service does not describe itself, or not so that it can be used.
        """
        ...

    def zooms(self) -> set[int] | None:
        """Zooms that there are, None where nothing tells; errors as `fill`."""
        ...

    def check(self) -> list[str]:
        """What is wrong with how a service is to be asked; errors as `fill`."""
        ...


class UrlTemplate:
    """A URL with {z} {x} {y}, a quadkey, or the middle of the tile. See `Address` for what its methods mean.

    Args:
        text: see `_KNOWN` for what may stand in it.
        tms: {y} too counts rows from the south.
        subdomains: what {s} stands for, by turns; a tile always has the same.
        time: what {time} stands for.
    """

    foreign = False

    def __init__(self, text: str, tms: bool = False, subdomains: Sequence[str] = ("a", "b", "c"), time: str = ""):
        self.text = text
        self._tms, self._subdomains, self._time = tms, tuple(subdomains), time
        self.problem = self._problem()

    @classmethod
    def of(cls, settings: Imagery) -> UrlTemplate:
        return cls(settings.url, settings.tms or settings.kind == "tms", settings.subdomains, settings.time)

    def fill(self, tile: Tile) -> str:
        return _PLACEHOLDER.sub(lambda match: self._value(match[1], tile), self.text)

    def zooms(self) -> set[int] | None:
        return None

    def check(self) -> list[str]:
        return []

    def _value(self, name: str, tile: Tile) -> str:
        if name in _NUMBERS:
            south = (1 << tile.z) - 1 - tile.y
            return str({"x": tile.x, "y": south if self._tms else tile.y, "-y": south}[_NUMBERS[name]])
        if zoom := _ZOOM.fullmatch(name):
            return str((int(zoom[1]) - tile.z if zoom[1] else tile.z) + int(zoom[2] or 0))
        if name in _QUADKEYS:
            return quadkey(tile)
        if name in _MIDDLE:
            west, south, east, north = Block(tile.z, tile.x, tile.y, 1).lonlat()
            return f"{(west + east) / 2 if name == 'lon' else (south + north) / 2:.6f}"
        if name == "time":
            return quote(self._time, safe="")
        choices = self._subdomains if name == "s" else name.removeprefix("switch:").split(",")
        return KEY if name == "apikey" else choices[(tile.x + tile.y) % len(choices)]

    def _problem(self) -> str | None:
        found = _PLACEHOLDER.findall(self.text)
        known = {*_NUMBERS, *_QUADKEYS, *_MIDDLE, "s", "time", "apikey"}
        unknown = sorted({
            name for name in found
            if name not in known and not name.startswith("switch:") and not _ZOOM.fullmatch(name)
        })
        if unknown:
            return f"does not know {{{unknown[0]}}}; known are {_KNOWN}"
        if "time" in found and not self._time:
            return "has {time}, but `time` is empty"
        if _QUADKEYS & set(found) or set(found) >= _MIDDLE:
            return None
        missing = {"z", "x", "y"} - {_NUMBERS.get(name, "z").lstrip("-") for name in found
                                     if name in _NUMBERS or _ZOOM.fullmatch(name)}
        if missing:
            return "lacks " + " ".join(f"{{{name}}}" for name in sorted(missing, key="zxy".index))
        return None


def quadkey(tile: Tile) -> str:
    """A tile's quadkey: one digit a zoom, bit 0 of it the column's, bit 1 the row's.

    Source: "Bing Maps Tile System", Microsoft.
    """
    return "".join(str((tile.x >> bit & 1) | (tile.y >> bit & 1) << 1) for bit in reversed(range(tile.z)))
