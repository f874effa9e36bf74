"""Image files by tile: what a directory, a server and an MBTiles file have in common."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple, Protocol

from daemon.tiling.grid import Tile


class TileFile(NamedTuple):
    """An image file of a tile.

    Attributes:
        data: its bytes.
        origin: its path, or URL without secrets, for messages.
        acquired: the oldest day on which it was taken where that came with it, else None.
    """

    data: bytes
    origin: str
    acquired: date | None = None


class TileFiles(Protocol):
    """Where image files are. May be used by several threads at once."""

    @property
    def problem(self) -> str | None:
        """What is wrong with the location, None if nothing is."""
        ...

    def read(self, tile: Tile) -> TileFile | None:
        """The tile's file, None where there is none, or an empty one.

        Raises:
            ImageInvalid: what there is cannot be taken for an image.
            ImageryUnavailable: server or disk failing, or an answer that says nothing about the tile.
        """
        ...

    def zooms(self) -> set[int] | None:
        """Zoom levels that have a tile, None where that cannot be told.

        Raises:
            ImageInvalid, ImageryUnavailable: a service does not describe itself.
        """
        ...

    def tiles(self, zoom: int, since: float | None = None) -> Iterable[Tile] | None:
        """Tiles of a zoom that have a file, each once; None where that cannot be told without asking for each.

        Args:
            since: only those whose file came after this time (seconds since 1970).
        """
        ...

    def state(self, zoom: int) -> tuple[str, float | None]:
        """A digest of the files of a zoom ("" where it cannot be told), and when the newest came.

        Raises:
            ImageryUnavailable: all of it is gone.
        """
        ...

    def check(self) -> list[str]:
        """What is wrong as far as can be seen without asking for a tile."""
        ...

    def close(self) -> None: ...
