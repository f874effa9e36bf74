"""Real extracts and months of real changes, through a real osm2pgsql: what mapgap reads there is what it would know by
itself, feature by feature and tile by tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
import shapely
from osm2pgsql_imports import Import

from daemon.config import Tiling
from daemon.db import Database
from daemon.osm import Osm2pgsqlStore, OsmStore, set_position
from daemon.replication.state import parse_state
from daemon.tiling.expiry import expire
from detectors.base import OsmFeature

WORLD = (-180.0, -90.0, 180.0, 90.0)
TILING = Tiling(zoom=18)


def asked_for(tags: object) -> bool:
    return any(key in tags for key in ("building", "highway", "landuse"))


@pytest.fixture
def own(server) -> Iterator[Database]:
    db = Database(server.create())
    yield db
    db.close()
    server.drop(db.dsn)


class Replay:
    """The same change files, applied to mapgap's own store and to the one over osm2pgsql."""

    def __init__(self, folder: Path, imported: Import, own: Database, database: Database):
        self.files = folder / "replication" / "day" / "000" / "000"
        self.imported = imported
        self.own, self.other = (own, OsmStore(None, asked_for)), None
        base = next(folder.glob("*.osm.pbf"))
        imported.create(base)
        self.store = Osm2pgsqlStore(imported.config(), None, asked_for)
        self.other = (database, self.store)
        self.own[1].bootstrap(own, base)
        self.store.bootstrap(database)

    def path(self, sequence: int) -> Path:
        return self.files / f"{sequence:03}.osc.gz"

    def moment(self, sequence: int) -> datetime:
        return parse_state((self.files / f"{sequence:03}.state.txt").read_bytes(), "state").timestamp

    def step(self, first: int, last: int) -> None:
        """osm2pgsql applies the files in one go; then both stores apply them one by one."""
        sequences = range(first, last + 1)
        self.imported.append(*map(self.path, sequences))
        self.imported.stand(last, timestamp=self.moment(last))
        tiles = [set(), set()]
        for found, (db, store) in zip(tiles, (self.own, self.other), strict=True):
            for sequence in sequences:
                with db.transaction() as cursor:
                    delta = store.apply(cursor, self.path(sequence), sequence, self.moment(sequence))
                    set_position(cursor, sequence, self.moment(sequence))
                found.update(map(tuple, expire(delta.touched, TILING).tiles.tolist()))
        assert tiles[0] == tiles[1], f"files {first} to {last}"

    def features(self) -> tuple[dict[str, OsmFeature], dict[str, OsmFeature]]:
        found = []
        for db, store in (self.own, self.other):
            with db.transaction() as cursor:
                found.append({feature.ref: feature for feature in store.features_in(cursor, WORLD)})
        return found[0], found[1]

    def compare(self) -> None:
        """Same objects, all of their tags, geometry to the last digit; versions and times as far as they are kept."""
        ours, theirs = self.features()
        assert ours.keys() == theirs.keys()
        for ref, mine in ours.items():
            other = theirs[ref]
            assert dict(mine.tags) == dict(other.tags), ref
            shapes = [shapely.normalize(feature.geometry) for feature in (mine, other)]
            assert shapely.equals_exact(*shapes, tolerance=0), ref
            if self.imported.layout.dated:
                assert (mine.version, mine.timestamp) == (other.version, other.timestamp), ref
            else:
                assert other.version in (0, mine.version) and other.timestamp >= mine.timestamp, ref


def test_months_of_a_city(data: Path, imported: Import, own: Database, database: Database) -> None:
    replay = Replay(data / "osm" / "monaco_2012_2015", imported, own, database)
    with closing(replay.store):
        replay.compare()
        replay.step(1, 1)
        replay.step(2, 3)
        replay.compare()
        replay.step(4, 25)
        replay.compare()
        ours, theirs = replay.features()
        assert len(theirs) > 1900 and sum(feature.type == "relation" for feature in ours.values()) >= 4
