"""Which imagery goes first at a place, where several have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Protocol, TypeVar

from daemon.imagery.source import Here
from daemon.tiling.grid import Tile


class Placed(Protocol):
    """Anything that says what it is at a place; see `ImagerySource.here`."""

    def here(self, tile: Tile) -> Here | None: ...


One = TypeVar("One", bound=Placed)


def _newest(here: Here) -> tuple[date, float]:
    """Undated imagery comes last: nobody can tell that it is newer. Of one day, the finer."""
    return here.acquired or date.min, -here.resolution


def _finest(here: Here) -> tuple[float, date]:
    return -here.resolution, here.acquired or date.min


#: By the values of mosaic.ranking that look at the place.
KEYS: Mapping[str, Callable[[Here], tuple]] = {"newest": _newest, "finest": _finest}


def rank(sources: Sequence[One], tile: Tile, ranking: str) -> list[One]:
    """The sources that may have a tile, first the one to be taken; equals stay in the order given.

    Args:
        ranking: as mosaic.ranking; with "order" nothing is asked.

    Raises:
        ImageInvalid, ImageryUnavailable: a source cannot tell what it has.
    """
    if ranking == "order" or len(sources) < 2:
        return list(sources)
    known = [(here, source) for source in sources if (here := source.here(tile)) is not None]
    return [source for _, source in sorted(known, key=lambda pair: KEYS[ranking](pair[0]), reverse=True)]
