"""Read an OSM file (PBF, or anything else osmium reads) for a bootstrap, in as few passes as the area allows.

    1   nodes inside, ways with such a node, all area relations that a detector asks for
    2   ways outside that a kept relation refers to          } only where there is an area; osmium filters by id
    3   nodes outside that belong to a kept way              } before Python sees an object

Node rows are spooled to an unnamed temporary file and memory-mapped, so that memory does not grow with the extract.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import osmium

from daemon.errors import PbfInvalid, StorageFull
from daemon.osm.area import AreaOfInterest
from daemon.osm.changes import OSMIUM_FAILURES
from daemon.osm.elements import (
    NODE,
    NodeColumns,
    NodeTable,
    Relation,
    Selects,
    Way,
    any_of,
    flatten,
    read_relation,
    read_way,
)
from daemon.osm.geometry import PRECISION

#: Objects handled at once.
BATCH = 50_000
#: Order of the types in a sorted OSM file.
ORDER = {"n": 0, "w": 1, "r": 2}

Progress = Callable[[int, int], None]


class Extract:
    """One OSM file, seen through an area and a selection.

    Args:
        path: the file.
        area: None for the whole world.
        selects: which tags a detector asks for.
        progress: called with (bytes read so far, bytes to read in all), an estimate.

    Attributes:
        ways_inside: ids of the ways with a node inside, after `read`.
        covered: whether a node lies in the area itself (not only in its margin), after `read`.
        invalid: objects left out: id not positive, node without a sound location.
        newest: the newest edit, seconds since 1970; 0 where objects carry none.
    """

    def __init__(self, path: Path, area: AreaOfInterest | None, selects: Selects, progress: Progress | None = None):
        self._path = path
        self._area = area
        self._selects = selects
        self._progress = progress
        self.ways_inside: set[int] = set()
        self.covered = False
        self.invalid = 0
        self.newest = 0
        self._inside = np.zeros(0, NODE)
        self._outside = np.zeros(0, NODE)
        self.header = self._read_header()
        self._spool = tempfile.TemporaryFile(prefix="mapgap-nodes-")  # noqa: SIM115 - open until close()

    def close(self) -> None:
        """Give the temporary file back."""
        self._inside = np.zeros(0, NODE)
        self._spool.close()

    @property
    def nodes(self) -> NodeTable:
        """All nodes that the store keeps, once read."""
        return NodeTable(self._inside, self._outside)

    def read(self) -> Iterator[np.ndarray | list[Way] | list[Relation]]:
        """Pass 1: batches of nodes inside (NODE), of ways with a node inside, and of all selected area relations.

        Raises:
            PbfInvalid: unreadable or truncated, not OSM, not sorted by type and id, or with several versions of an
                object.
        """
        nodes = NodeColumns()
        ways: list[Way] = []
        relations: list[Relation] = []
        previous = (0, 0)
        size = self._path.stat().st_size
        for count, element in enumerate(self._elements(osmium.FileProcessor(str(self._path)))):
            if element.id <= 0:
                self.invalid += 1
                continue
            kind = element.type_str()
            position = (ORDER.get(kind, 3), element.id)
            if position <= previous:
                raise PbfInvalid(
                    f"{self._path}: {kind}{element.id} stands after {'nwr'[previous[0]]}{previous[1]}; not sorted, or "
                    "a history file; sort it (`osmium sort`), or take an extract without history"
                )
            if position[0] != previous[0]:
                yield from self._nodes_inside(nodes)
            previous = position
            if kind == "n":
                nodes.add(element)
                if len(nodes) >= BATCH:
                    yield from self._nodes_inside(nodes)
            elif kind == "w":
                ways.append(read_way(element, self._selects))
                if len(ways) >= BATCH:
                    yield self._ways_inside(ways)
                    ways = []
            elif kind == "r":
                relation = read_relation(element, self._selects)
                self.newest = max(self.newest, relation.changed)
                if relation.visible:
                    relations.append(relation)
            if self._progress and count % BATCH == 0:
                # osmium does not tell where in the file it is: guess by the bytes an object usually takes.
                self._progress(min(int(count * 8.5), size), size)
        yield from self._nodes_inside(nodes)
        if ways:
            yield self._ways_inside(ways)
        yield relations
        self.invalid += nodes.unsound
        if self._progress:
            self._progress(size, size)

    def read_ways(self, ids: Iterable[int]) -> list[Way]:
        """Pass 2: these ways, which have no node inside."""
        wanted = list(ids)
        if not wanted:
            return []
        processor = osmium.FileProcessor(str(self._path), osmium.osm.WAY).with_filter(osmium.filter.IdFilter(wanted))
        return [read_way(element, self._selects) for element in self._elements(processor)]

    def read_nodes_outside(self, ids: np.ndarray) -> np.ndarray:
        """Pass 3: nodes outside, NODE, which belong to kept ways; unknown ids are left out."""
        wanted = ids[ids > 0].tolist()
        nodes = NodeColumns()
        if wanted:
            processor = osmium.FileProcessor(str(self._path), osmium.osm.NODE)
            processor.with_filter(osmium.filter.IdFilter(wanted))
            for element in self._elements(processor):
                nodes.add(element)
        rows = nodes.take()
        self._outside = rows[rows["present"]]
        return self._outside

    def _elements(self, processor: osmium.FileProcessor) -> Iterator[Any]:
        try:
            yield from processor
        except OSMIUM_FAILURES as error:
            raise PbfInvalid(f"{self._path}: broken OSM file: {error}; fetch it again") from None

    def _read_header(self) -> osmium.io.Header:
        try:
            file = osmium.io.File(str(self._path))
            with osmium.io.Reader(file, osmium.osm.NOTHING) as reader:
                header = reader.header()
        except (OSError, *OSMIUM_FAILURES) as error:
            raise PbfInvalid(f"{self._path}: not a readable OSM file: {error}") from None
        if file.has_multiple_object_versions or header.has_multiple_object_versions:
            raise PbfInvalid(f"{self._path}: a history or change file; bootstrap needs one with current objects only")
        return header

    def _nodes_inside(self, columns: NodeColumns) -> Iterator[np.ndarray]:
        nodes = columns.take()
        if not len(nodes):
            return
        self.newest = max(self.newest, int(nodes["changed"].max()))
        inside = nodes["present"].copy()
        if self._area is not None:
            lon, lat = nodes["lon"] / PRECISION, nodes["lat"] / PRECISION
            inside &= self._area.keeps(lon, lat)
            if not self.covered:
                self.covered = bool(self._area.covers(lon[inside], lat[inside]).any())
        nodes = nodes[inside]
        nodes["inside"] = True
        self.covered |= self._area is None and len(nodes) > 0
        if len(nodes):
            try:
                nodes.tofile(self._spool)
                self._spool.flush()
            except OSError as error:
                raise StorageFull(
                    f"{tempfile.gettempdir()}: no room for the node locations of the extract ({error}); free some "
                    "space, or set TMPDIR to a larger disk"
                ) from None
            self._inside = np.memmap(self._spool, NODE, mode="r")
            yield nodes

    def _ways_inside(self, ways: list[Way]) -> list[Way]:
        self.newest = max(self.newest, max(way.changed for way in ways))
        if self._area is None:
            return [way._replace(inside=True) for way in ways]
        refs, offsets = flatten(way.refs for way in ways)
        known, _ = NodeTable(self._inside).lookup(refs)
        inside = any_of(known, offsets).tolist()
        kept = [way._replace(inside=True) for way, flag in zip(ways, inside, strict=True) if flag]
        self.ways_inside.update(way.id for way in kept)
        return kept
