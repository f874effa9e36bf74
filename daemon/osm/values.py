"""What the OSM store gives to the other stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from detectors.base import OsmFeature


@dataclass(frozen=True, slots=True)
class Change:
    """One feature that a change file made another.

    Attributes:
        old: as it was; None where it is new on the map, or came into the area.
        new: as it is; None where it is gone from the map, from the area, or from what detectors ask for.
    """

    old: OsmFeature | None
    new: OsmFeature | None


@dataclass(frozen=True, slots=True)
class Delta:
    """One change file, applied.

    Attributes:
        sequence: its replication sequence.
        timestamp: of the data, as its state file says (UTC).
        changes: features whose geometry, tags or version changed, ordered by type and id.
        counts: what was read (nodes, ways, relations), put aside (stale: older than the store; invalid: impossible id
            or coordinate), and done (features_new, features_changed, features_gone).
        passing: features that the file both made and took away; the store never held them.
    """

    sequence: int
    timestamp: datetime
    changes: list[Change]
    counts: Mapping[str, int]
    passing: Sequence[OsmFeature] = ()

    @property
    def touched(self) -> list[Change]:
        """What makes ground dirty: all changes, and what was there for a moment only, as if it were removed."""
        return [*self.changes, *(Change(feature, None) for feature in self.passing)]


@dataclass(frozen=True, slots=True)
class Position:
    """Where the store stands.

    Attributes:
        sequence: of the newest change file applied; None after a bootstrap from a file that does not say.
        timestamp: of the data (UTC); None where not even the file's objects have times.
        server: whose sequence it is, see `config.server_of`; None is the one of replication.url.
    """

    sequence: int | None
    timestamp: datetime | None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class BootstrapReport:
    """What a bootstrap loaded.

    Attributes:
        nodes, ways, relations, features: rows in the store.
        invalid: objects of the file that were left out: impossible id, node without a sound location.
        sequence: replication sequence in the file's header, None where it has none or one of another server.
        timestamp: of the data: the header's, else the newest edit in the file (UTC).
        replication_url: server that the header names, "" where it names none.
        seconds: how long it took.
    """

    nodes: int
    ways: int
    relations: int
    features: int
    invalid: int
    sequence: int | None
    timestamp: datetime | None
    replication_url: str
    seconds: float
