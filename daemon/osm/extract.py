"""Read an OSM file (PBF, or anything else osmium reads) for a bootstrap, in as few passes as the area allows.

    1   nodes inside, ways with such a node, all area relations that a detector asks for
    2   ways outside that a kept relation refers to          } only where there is an area; osmium filters by id
    3   nodes outside that belong to a kept way              } before Python sees an object

Nodes are spooled to unnamed temporary files and memory-mapped, so that memory does not grow with the extract.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import osmium

from daemon.errors import PbfInvalid, StorageFull
from daemon.osm.area import AreaOfInterest
from daemon.osm.columns import Columns, Elements, join_elements, to_relations
from daemon.osm.elements import NODE, NodeTable, Relation, Selects, any_of
from daemon.osm.geometry import PRECISION
from daemon.osm.opl import OSMIUM_FAILURES, read_columns

#: Order of the types in a sorted OSM file.
ORDER = "nwr"
#: Bytes that an object usually takes in a PBF. osmium does not tell where in the file it is: progress is a guess.
OBJECT_BYTES = 8.5

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
        self._inside = np.zeros(0, np.int64), np.zeros(0, NODE)
        self._outside = np.zeros(0, NODE)
        self.header = self._read_header()
        self._ids = tempfile.TemporaryFile(prefix="mapgap-ids-")  # noqa: SIM115 - open until close()
        self._rows = tempfile.TemporaryFile(prefix="mapgap-nodes-")  # noqa: SIM115

    def close(self) -> None:
        """Give the temporary files back."""
        self._inside = np.zeros(0, np.int64), np.zeros(0, NODE)
        self._ids.close()
        self._rows.close()

    @property
    def nodes(self) -> NodeTable:
        """All nodes that the store keeps, once read."""
        return NodeTable.of_file(*self._inside, self._outside)

    def read(self) -> Iterator[np.ndarray | Elements | list[Relation]]:
        """Pass 1: pieces of nodes inside (NODE), of ways with a node inside, and of all selected area relations.

        Raises:
            PbfInvalid: unreadable or truncated, not OSM, not sorted by type and id, or with several versions of an
                object.
        """
        size, count = self._path.stat().st_size, 0
        last = (0, 0)
        for columns in self._columns(ORDER):
            last = self._check_order(columns, last)
            count += len(columns.order)
            possible = columns.nodes["id"] > 0
            self.invalid += int(np.count_nonzero(~(possible & columns.sound)))
            if len(nodes := self._nodes_inside(columns.nodes[possible])):
                yield nodes
            ways, relations = (e.pick(e.id > 0) for e in (columns.ways, columns.relations))
            self.invalid += len(columns.ways) - len(ways) + len(columns.relations) - len(relations)
            self.newest = max(self.newest, *ways.changed.tolist(), *relations.changed.tolist(), 0)
            if len(ways := self._ways_inside(ways)):
                yield ways
            if selected := [relation for relation in to_relations(relations, self._selects) if relation.visible]:
                yield selected
            if self._progress:
                self._progress(min(int(count * OBJECT_BYTES), size), size)
        if self._progress:
            self._progress(size, size)

    def read_ways(self, ids: np.ndarray) -> Elements:
        """Pass 2: these ways, which have no node inside."""
        columns = self._columns("w") if len(ids) else iter(())
        return join_elements([c.ways.pick(np.isin(c.ways.id, ids)) for c in columns])

    def read_nodes_outside(self, ids: np.ndarray) -> np.ndarray:
        """Pass 3: nodes outside, NODE, which belong to kept ways; unknown ids are left out."""
        wanted = ids[ids > 0]
        if len(wanted):
            pieces = (c.nodes[c.nodes["present"] & np.isin(c.nodes["id"], wanted)] for c in self._columns("n"))
            self._outside = np.concatenate([np.zeros(0, NODE), *pieces])
        return self._outside

    def _columns(self, entities: str) -> Iterator[Columns]:
        try:
            yield from read_columns(self._path, entities=entities)
        except OSMIUM_FAILURES as error:
            raise PbfInvalid(f"{self._path}: broken OSM file: {error}; fetch it again") from None

    def _check_order(self, columns: Columns, last: tuple[int, int]) -> tuple[int, int]:
        """Type (a place in ORDER) and id of the last object; `last` is that of the piece before."""
        types = np.array([ORDER.find(chr(code)) for code in range(256)])[columns.order]
        ids = np.zeros(len(types), np.int64)
        for number, of_type in enumerate((columns.nodes["id"], columns.ways.id, columns.relations.id)):
            ids[types == number] = of_type
        types, ids = (np.concatenate([[before], row[ids > 0]]) for before, row in zip(last, (types, ids), strict=True))
        wrong = np.flatnonzero((types[1:] < types[:-1]) | ((types[1:] == types[:-1]) & (ids[1:] <= ids[:-1])))
        if len(wrong):
            (type_, id_), (before, before_id) = ((ORDER[types[k]], ids[k]) for k in (wrong[0] + 1, wrong[0]))
            raise PbfInvalid(
                f"{self._path}: {type_}{id_} stands after {before}{before_id}; not sorted, or a history file; sort it "
                "(`osmium sort`), or take an extract without history"
            )
        return int(types[-1]), int(ids[-1])

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

    def _nodes_inside(self, nodes: np.ndarray) -> np.ndarray:
        if not len(nodes):
            return nodes
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
                nodes["id"].tofile(self._ids)
                nodes.tofile(self._rows)
                self._ids.flush()
                self._rows.flush()
            except OSError as error:
                raise StorageFull(
                    f"{tempfile.gettempdir()}: no room for the node locations of the extract ({error}); free some "
                    "space, or set TMPDIR to a larger disk"
                ) from None
            self._inside = np.memmap(self._ids, np.int64, mode="r"), np.memmap(self._rows, NODE, mode="r")
        return nodes

    def _ways_inside(self, ways: Elements) -> Elements:
        if self._area is None or not len(ways):
            return ways
        refs, offsets = ways.refs
        known, _ = self.nodes.lookup(refs)
        kept = ways.pick(any_of(known, offsets))
        self.ways_inside.update(kept.id.tolist())
        return kept
