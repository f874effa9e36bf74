"""The OSM store: raw objects of the area, and the features that detectors ask for, kept up to date by change files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg2.extensions import cursor as Cursor

from daemon.db import Database, query
from daemon.errors import NotBootstrapped, OsmDataError, PbfInvalid
from daemon.osm.apply import apply_changes
from daemon.osm.area import AreaOfInterest, describe_area
from daemon.osm.bootstrap import bootstrap_store
from daemon.osm.changes import read_changes
from daemon.osm.features import fetch_features, fetch_in
from daemon.osm.pages import NodePages
from daemon.osm.passing import find_passing
from daemon.osm.values import BootstrapReport, Delta, Position
from detectors.base import OsmFeature

Bbox = tuple[float, float, float, float]


class OsmStore:
    """What the map says now. Holds no state of its own: all of it is in the database, some of it here as well.

    Args:
        area: objects of this area are kept; None for the whole world (or all that the bootstrapped file holds).
        selects: which tags a detector asks for.
    """

    def __init__(self, area: AreaOfInterest | None, selects: Callable[[Mapping[str, str]], bool]):
        self._area = area
        self._selects = selects
        self._pages: NodePages | None = None

    @property
    def area(self) -> AreaOfInterest | None:
        """The area looked after."""
        return self._area

    def close(self) -> None:
        """Let go of what is open; this store has nothing open of its own."""

    def ready(self, after: int, most: int) -> tuple[int, str]:
        """How many change files after sequence `after` may be applied now, at most `most`; and what others wait for."""
        return most, ""

    def bootstrap(
        self,
        db: Database,
        path: Path | str | None,
        progress: Callable[[int, int], None] | None = None,
        *,
        force: bool = False,
        replication_url: str | None = None,
    ) -> BootstrapReport:
        """Load an OSM file into the empty store, in one transaction.

        Args:
            path: a PBF (or another format of osmium), sorted by type and id as all extracts are.
            progress: called now and then with (done, total) in bytes, an estimate.
            force: throw away what the store holds.
            replication_url: the server that will be followed: the header's sequence is taken only where it names the
                same one. None takes it in any case.

        Raises:
            PbfInvalid: not given, unreadable, truncated, not sorted, a history file, or without the nodes of its ways.
            AreaEmpty: it has nothing inside the area.
            OsmDataError: the store is bootstrapped already.
        """
        if path is None:
            raise PbfInvalid("no file given; give an OSM extract, e.g. `mapgap bootstrap country.osm.pbf`")
        return bootstrap_store(
            db, Path(path), self._area, self._selects, progress, force=force, replication_url=replication_url
        )

    def apply(self, cursor: Cursor, path: Path | str, sequence: int, timestamp: datetime) -> Delta:
        """Apply a change file in the caller's transaction. Where the store stands, `set_position` says.

        The same file twice in a row changes nothing the second time; guard.py says what holds beyond that.

        Args:
            path: local .osc or .osc.gz file.
            sequence: its replication sequence.
            timestamp: of its state file (UTC).

        Raises:
            NotBootstrapped: the store is empty.
            OsmDataError: the store was made for another area.
            ChangeFileInvalid: the file is broken; nothing was written.
        """
        self._check(cursor)
        file = read_changes(Path(path))
        passing = find_passing(cursor, file, self._selects, self._area)
        pages = None if self._area is None else NodePages.load(cursor, self._pages)
        changes, counts, self._pages = apply_changes(cursor, file, self._selects, self._area, pages, timestamp)
        return Delta(sequence, timestamp, changes, dict(counts), passing)

    def position(self, cursor: Cursor) -> Position | None:
        """Where the store stands, None where it is empty."""
        cursor.execute(query("read_position"))
        row = cursor.fetchone()
        return Position(*row) if row else None

    def features_in(self, cursor: Cursor, bbox: Bbox) -> list[OsmFeature]:
        """Features whose bounding box meets (west, south, east, north) in degrees, ordered by type and id."""
        return fetch_in(cursor, "features_in_bbox", bbox)

    def removed_in(self, cursor: Cursor, bbox: Bbox) -> list[OsmFeature]:
        """Features that left the map, as they were last; `timestamp` is when they left. Otherwise as `features_in`."""
        return fetch_in(cursor, "removed_in_bbox", bbox)

    def feature(self, cursor: Cursor, ref: str) -> OsmFeature | None:
        """The feature "way/123" or "relation/123", None where there is none (any more)."""
        kind, _, number = ref.partition("/")
        if kind not in ("way", "relation") or not number.isascii() or not number.isdecimal():
            return None
        ids = [int(number)] if int(number) < 1 << 63 else []
        found = fetch_features(cursor, ids if kind == "way" else [], ids if kind == "relation" else [])
        return next(iter(found.values()), None)

    def _check(self, cursor: Cursor) -> None:
        cursor.execute(query("store_area"))
        row = cursor.fetchone()
        if row is None:
            raise NotBootstrapped("the store is empty; run `mapgap bootstrap FILE.osm.pbf` first")
        if row[0] != self._describe_area():
            raise OsmDataError(
                f"the store was made for the area {row[0]}, the configuration says {self._describe_area()}; "
                "set the area back, or bootstrap again"
            )

    def _describe_area(self) -> dict[str, Any]:
        """What the store is made for; one that was made for something else is refused."""
        return describe_area(self._area)


def set_position(
    cursor: Cursor, sequence: int | None, timestamp: datetime | None, server: str | None = None
) -> None:
    """Write where the store stands, in the transaction that brought it there; see `Position`.

    Raises:
        NotBootstrapped: the store is empty.
    """
    cursor.execute(query("set_position"), {"sequence": sequence, "timestamp": timestamp, "server": server})
    if cursor.rowcount != 1:
        raise NotBootstrapped("the store is empty; run `mapgap bootstrap FILE.osm.pbf` first")
