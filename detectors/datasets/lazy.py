"""Places that are read when they are asked for, so that a data set of any size may be gone through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import overload

from detectors.datasets.place import Place, Provenance

Loader = Callable[[], Place]


class LazyPlaces(Sequence[Place]):
    """A sequence of places of which none is kept: every access reads anew.

    Args:
        loaders: one function a place.
        provenance: given to places that have none of their own.
    """

    def __init__(self, loaders: Sequence[Loader], provenance: Provenance | None = None):
        self._loaders = loaders
        self._provenance = provenance

    def __len__(self) -> int:
        return len(self._loaders)

    @overload
    def __getitem__(self, index: int) -> Place: ...

    @overload
    def __getitem__(self, index: slice) -> LazyPlaces: ...

    def __getitem__(self, index: int | slice) -> Place | LazyPlaces:
        if isinstance(index, slice):
            return LazyPlaces(self._loaders[index], self._provenance)
        place = self._loaders[index]()
        return place if place.provenance else replace(place, provenance=self._provenance)

    def __iter__(self) -> Iterator[Place]:
        return (self[index] for index in range(len(self)))


def with_provenance(places: Sequence[Place], provenance: Provenance) -> Sequence[Place]:
    """The same places, those without a provenance with this one; lazy ones stay lazy."""
    if isinstance(places, LazyPlaces):
        return LazyPlaces([lambda index=index: places[index] for index in range(len(places))], provenance)
    return [place if place.provenance else replace(place, provenance=provenance) for place in places]
