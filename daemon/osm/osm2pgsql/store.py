"""The store whose map is another's: features are copied from an osm2pgsql database, and follow it file by file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg2.extensions import cursor as Cursor

from daemon.config import Config, server_of
from daemon.db import Database
from daemon.errors import Osm2pgsqlNotYet, Osm2pgsqlUnusable, OsmDataError
from daemon.osm.area import AreaOfInterest, describe_area
from daemon.osm.changes import ChangeFile, read_changes
from daemon.osm.elements import Selects
from daemon.osm.features import (
    TYPES,
    Key,
    drop_features,
    fetch_features,
    forget_removed,
    put_features,
    same_thing,
)
from daemon.osm.osm2pgsql.affected import Affected, find_affected
from daemon.osm.osm2pgsql.copy import copy_features
from daemon.osm.osm2pgsql.objects import Seen, View, view
from daemon.osm.osm2pgsql.overtaken import find_overtaken
from daemon.osm.osm2pgsql.snapshot import database_of, open_snapshot
from daemon.osm.store import OsmStore
from daemon.osm.values import BootstrapReport, Change, Delta
from detectors.base import OsmFeature


@dataclass(frozen=True, slots=True)
class _Reading:
    """What osm2pgsql's database says about one change file, at one moment."""

    affected: Affected
    view: View
    passing: list[OsmFeature]
    sequence: int
    at_work: bool


class Osm2pgsqlStore(OsmStore):
    """What osm2pgsql's map says now. To be closed, for the connections to its database.

    A change file is applied once osm2pgsql has passed it: then the objects that it affects are read from there and
    compared with mapgap's copy. osm2pgsql may be further, by any number of files: what the later ones changed of these
    objects is seen with the earlier one, and they change nothing themselves. No change is lost, since each file leads
    to all objects that it holds; only states in between, which the map no longer shows, are known less well
    (overtaken.py).

    Args:
        config: [osm] says where the tables are, replication.url which server osm2pgsql must follow.
        area, selects: as for `OsmStore`.
    """

    def __init__(self, config: Config, area: AreaOfInterest | None, selects: Selects):
        super().__init__(area, selects)
        self._knobs = config.osm
        self._url = config.replication.url
        self._theirs = database_of(config)
        #: Objects that a file found without geometry while osm2pgsql was at work, and how far it was then.
        self._doubts: dict[Key, int] = {}

    def close(self) -> None:
        self._theirs.close()

    def ready(self, after: int, most: int) -> tuple[int, str]:
        """As for `OsmStore`: those that osm2pgsql has applied in full.

        Raises:
            DatabaseUnavailable, Osm2pgsqlUnusable: its database cannot be reached, or used, or went back.
        """
        with open_snapshot(self._theirs, self._knobs, self._url) as snapshot:
            at = snapshot.standing.sequence
        _refuse_backward(at, after)
        return min(most, at - after), _waiting(at, max(at, after) + 1)

    def describe(self) -> str:
        """One line about the database that is read, for `mapgap check`.

        Raises:
            DatabaseUnavailable, Osm2pgsqlUnusable: as for `ready`.
        """
        with open_snapshot(self._theirs, self._knobs, self._url) as snapshot:
            tables = ", ".join(f"{output.name} (EPSG:{output.srid})" for output in snapshot.layout.outputs)
            at = snapshot.standing
            when = f"{at.timestamp:%Y-%m-%d %H:%M} UTC" if at.timestamp else "an unknown time"
            return f"at sequence {at.sequence}, {when}; reads {tables}" + ("; at work" if snapshot.at_work else "")

    def bootstrap(
        self,
        db: Database,
        path: Path | str | None = None,
        progress: Callable[[int, int], None] | None = None,
        *,
        force: bool = False,
        replication_url: str | None = None,
    ) -> BootstrapReport:
        """Copy the features from osm2pgsql's database, in one transaction; the store stands where osm2pgsql does.

        Args:
            db: mapgap's own database.
            path: must be None: there is no file to read.
            progress: called now and then with (done, total) in objects; the total is an estimate.
            force: throw away what the store holds.
            replication_url: must be the server of the configuration.

        Raises:
            DatabaseUnavailable, Osm2pgsqlUnusable: osm2pgsql's database cannot be reached, or used.
            AreaEmpty: it has nothing inside the area.
            OsmDataError: the store is bootstrapped already, or a file was given.
        """
        if path is not None:
            raise OsmDataError(
                f'{path}: osm.source = "osm2pgsql" copies from the database of osm.dsn; leave the file out'
            )
        if replication_url not in (None, self._url):
            raise OsmDataError(f"osm2pgsql is to follow {self._url}, not {replication_url}")
        return copy_features(
            db, self._theirs, self._knobs, self._url, self._area, self._selects, progress,
            force=force, described=json.dumps(self._describe_area()),
        )

    def apply(self, cursor: Cursor, path: Path | str, sequence: int, timestamp: datetime) -> Delta:
        """Bring the copy up to date with what a change file did, in the caller's transaction on mapgap's database.

        Args:
            path, sequence, timestamp: as for `OsmStore.apply`.

        Raises:
            Osm2pgsqlNotYet: osm2pgsql has not passed the file, or rewrites right now what the file touches.
            Osm2pgsqlUnusable: its database lacks something, or went back behind what was applied here.
            DatabaseUnavailable: its database cannot be reached.
            NotBootstrapped, OsmDataError, ChangeFileInvalid: as for `OsmStore.apply`.
        """
        self._check(cursor)
        position = self.position(cursor)
        same = position is not None and position.server in (None, server_of(self._url))
        file = read_changes(Path(path))
        reading = self._read(file, sequence, position.sequence if position and same else None)
        affected, now = reading.affected, reading.view.seen
        old = fetch_features(
            cursor, *([id_ for k, id_ in affected.keys if k == kind] for kind in ("w", "r"))
        )
        new = {key: _feature(key, found, affected, old.get(key), timestamp) for key, found in now.items()}
        new |= self._doubtful(reading, old, new.keys())

        put_features(cursor, [f for key, f in new.items() if _differs(old.get(key), f)])
        forget_removed(cursor, [feature for key, feature in new.items() if key not in old])
        moment = int(timestamp.timestamp())
        drop_features(
            cursor,
            {key: (key in affected.dropped and affected.edits[key]) or moment for key in old if key not in new},
        )
        counts: Counter[str] = Counter(
            nodes=len(file.nodes), ways=len(file.ways), relations=len(file.relations), stale=0, invalid=file.invalid
        )
        changes = []
        for key in sorted(old.keys() | new.keys(), key=lambda k: (k[0] == "r", k[1])):
            before, after = old.get(key), new.get(key)
            if before is None or after is None or not same_thing(before, after):
                changes.append(Change(before, after))
                name = "features_new" if before is None else "features_gone" if after is None else "features_changed"
                counts[name] += 1
        return Delta(sequence, timestamp, changes, dict(counts), reading.passing)

    def _read(self, file: ChangeFile, sequence: int, applied: int | None) -> _Reading:
        with open_snapshot(self._theirs, self._knobs, self._url) as snapshot:
            at = snapshot.standing.sequence
            if applied is not None:
                _refuse_backward(at, applied)
            if at < sequence:
                raise Osm2pgsqlNotYet(_waiting(at, sequence))
            affected = find_affected(snapshot, file, self._selects)
            seen = view(snapshot, affected.keys, self._selects, self._area)
            passing = find_overtaken(snapshot, file, affected, seen.seen, self._selects, self._area)
            return _Reading(affected, seen, passing, at, snapshot.at_work)

    def _doubtful(self, reading: _Reading, old: dict[Key, OsmFeature], new: set[Key]) -> dict[Key, OsmFeature]:
        """Features to be kept although osm2pgsql's tables lack them, because a later file may be under way.

        What the file does not drop itself, and is not in the slim tables either, a later file drops: that file will
        tell. What is there without geometry is being rewritten, or has none any more: asked again once osm2pgsql has
        finished what it is at.
        """
        lacking = {key for key in old if key not in new and key not in reading.affected.dropped}
        doubts, self._doubts = self._doubts, {}
        if not reading.at_work:
            return {}
        at = reading.sequence
        shapeless = {key: doubts.get(key, at) for key in lacking & reading.view.shapeless}
        if at in shapeless.values():
            self._doubts = shapeless
            kind, id_ = min(key for key, since in shapeless.items() if since == at)
            raise Osm2pgsqlNotYet(f"waits for osm2pgsql: it may be rewriting {TYPES[kind]}/{id_} now, at sequence {at}")
        return {key: old[key] for key in lacking - reading.view.known}

    def _describe_area(self) -> dict[str, object]:
        """A store that was filled from a file is of no use here, nor the other way round."""
        return {**describe_area(self._area), "source": "osm2pgsql"}


def _feature(
    key: Key, found: Seen, affected: Affected, old: OsmFeature | None, timestamp: datetime
) -> OsmFeature:
    """A feature with the best that is known of its version and newest edit: from there, from the file, from before."""
    version = max(found.version, affected.versions.get(key, 0), old.version if old else 0)
    changed = max(found.changed, affected.edits.get(key, 0), int(old.timestamp.timestamp()) if old else 0)
    moment = datetime.fromtimestamp(changed, UTC) if changed > 0 else timestamp
    return OsmFeature(TYPES[key[0]], key[1], version, moment, found.tags, found.geometry)


def _refuse_backward(at: int, applied: int) -> None:
    if at < applied:
        raise Osm2pgsqlUnusable(
            f"osm2pgsql is at sequence {at}, but {applied} was applied here already: it imported anew, or was "
            "restored. Wait until it is past that again, or run `mapgap bootstrap --force`"
        )


def _waiting(at: int, sequence: int) -> str:
    return f"waits for osm2pgsql: it is at sequence {at}, file {sequence} is next"


def _differs(old: OsmFeature | None, new: OsmFeature) -> bool:
    """Whether a feature's row has to be written: also where only a witness of its shape was edited anew."""
    return old is None or old.timestamp != new.timestamp or not same_thing(old, new)
