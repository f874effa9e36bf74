"""OSM objects as plain rows and arrays, the form in which the store works on them.

Times are whole seconds since 1970 (UTC), locations whole 1e-7 degrees, as OSM itself stores them. Version 0 means that
the file did not say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

Selects = Callable[[Mapping[str, str]], bool]

#: Nodes, one a row. `present` is False for a deleted node, and for one without a sound location.
NODE = np.dtype([
    ("id", "i8"), ("changed", "i8"), ("lon", "i4"), ("lat", "i4"), ("version", "i4"), ("inside", "?"), ("present", "?"),
])
#: Relations whose members make up an area.
AREA_TYPES = ("multipolygon", "boundary")
#: Locations outside of this many 1e-7 degrees are no locations.
MAX_LON, MAX_LAT = 1_800_000_000, 900_000_000


class Way(NamedTuple):
    """A way; `tags` is None where no detector asks for it, `refs` are node ids, `visible` False for a deletion."""

    id: int
    version: int
    changed: int
    tags: dict[str, str] | None
    refs: Sequence[int]
    inside: bool = False
    visible: bool = True


class Relation(NamedTuple):
    """An area relation. `members` are (type, ref, role); `visible` False for a deletion, or where none asks for it."""

    id: int
    version: int
    changed: int
    tags: dict[str, str]
    members: Sequence[tuple[str, int, str]]
    visible: bool = True

    @property
    def way_refs(self) -> list[int]:
        """Its member ways, each once, in their order."""
        return list(dict.fromkeys(ref for kind, ref, _ in self.members if kind == "w"))


class NodeTable:
    """Nodes by id. Layers of NODE arrays, each sorted by id, are asked in their order.

    Questions are answered in order of id, so that of an array that is mapped from a file few pages are read.
    """

    def __init__(self, *layers: np.ndarray):
        self._layers = [(np.ascontiguousarray(layer["id"]), layer) for layer in layers if len(layer)]

    @classmethod
    def of_file(cls, ids: np.ndarray, rows: np.ndarray, *layers: np.ndarray) -> NodeTable:
        """With a first layer that is too large to be copied: its ids, int64, and its rows, NODE."""
        table = cls(*layers)
        if len(ids):
            table._layers.insert(0, (ids, rows))
        return table

    def with_layer(self, layer: np.ndarray) -> NodeTable:
        """The same table with one more layer, asked last."""
        table = NodeTable(layer)
        table._layers[:0] = self._layers
        return table

    def lookup(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the ids (int64 [N]) are known and present, bool [N], and their rows, NODE [N]."""
        wanted, back = np.unique(ids, return_inverse=True)
        rows = np.zeros(len(wanted), NODE)
        known = np.zeros(len(wanted), bool)
        for layer_ids, layer in self._layers:
            at = np.minimum(np.searchsorted(layer_ids, wanted), len(layer_ids) - 1)
            hit = ~known & (layer_ids[at] == wanted)
            rows[hit] = layer[at[hit]]
            known |= hit
        known &= rows["present"]
        return known[back], rows[back]


def flatten(lists: Iterable[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of ids -> all of them, int64 [M], and where each list begins and the last ends, int64 [N + 1]."""
    kept = list(lists)
    offsets = np.zeros(len(kept) + 1, np.int64)
    np.cumsum([len(ids) for ids in kept], out=offsets[1:])
    return np.fromiter(chain.from_iterable(kept), np.int64, int(offsets[-1])), offsets


def any_of(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Whether any flag is set between offsets[i] and offsets[i + 1], bool [N]."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    return sums[offsets[1:]] > sums[offsets[:-1]]


def most_of(values: np.ndarray, offsets: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The largest value between offsets[i] and offsets[i + 1], at least floor[i], int64 [N]."""
    out = floor.astype(np.int64).copy()
    filled = offsets[1:] > offsets[:-1]
    if filled.any():
        out[filled] = np.maximum(out[filled], np.maximum.reduceat(values, offsets[:-1][filled]))
    return out
