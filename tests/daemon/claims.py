"""Claims and map features in metres around one corner of Banepa, and a ledger to put them into.

The rooms that keep discrepancies take the fixture `ledger` from here, by an import in their conftest.py.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from shapely.affinity import translate
from shapely.geometry import Polygon, box

from daemon.db import Database
from daemon.discrepancies.life import find, history
from daemon.discrepancies.reconcile import Outcome, reconcile
from detectors.base import Claim, OsmFeature

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
#: South-west corner of all that is drawn here.
LON, LAT = 85.52, 27.63
METRE_NORTH = 1 / 110_800
METRE_EAST = 1 / (111_320 * math.cos(math.radians(LAT)))


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def area(west: float, south: float, east: float, north: float) -> tuple[float, float, float, float]:
    """A lon/lat box from metres east and north of the corner."""
    return (LON + west * METRE_EAST, LAT + south * METRE_NORTH, LON + east * METRE_EAST, LAT + north * METRE_NORTH)


def house(east: float, north: float, width: float = 10, depth: float = 10) -> Polygon:
    """A house whose centre lies so many metres from the corner."""
    return box(*area(east - width / 2, north - depth / 2, east + width / 2, north + depth / 2))


def moved(geometry: Polygon, east: float, north: float) -> Polygon:
    return translate(geometry, east * METRE_EAST, north * METRE_NORTH)


def missing(geometry: Polygon, confidence: float = 0.8, **evidence) -> Claim:
    return Claim("building", "missing", geometry, None, confidence, None, evidence)


def gone(geometry: Polygon, osm: str = "way/1", confidence: float = 0.8, **evidence) -> Claim:
    return Claim("building", "gone", geometry, osm, confidence, None, evidence)


def misplaced(geometry: Polygon, osm: str = "way/1", shift=(3.0, -2.0), confidence: float = 0.8, **evidence) -> Claim:
    return Claim("building", "misplaced", geometry, osm, confidence, shift, evidence)


def building(geometry: Polygon, osm: str = "way/1") -> OsmFeature:
    kind, _, number = osm.partition("/")
    return OsmFeature(kind, int(number), 1, NOW, {"building": "yes"}, geometry)


#: The block that most tests look at, and its neighbour to the east.
BLOCK = area(0, 0, 200, 200)
EAST_BLOCK = area(200, 0, 400, 200)


def everywhere(lon: float, lat: float) -> bool:
    return True


def nowhere(lon: float, lat: float) -> bool:
    return False


class Ledger:
    """A database seen as the ledger of one detector."""

    def __init__(self, database):
        self.database = database

    @contextmanager
    def cursor(self):
        with self.database.transaction() as cursor:
            yield cursor

    def look(
        self, *claims: Claim, owned=BLOCK, judged=everywhere, now=NOW, sequence=1, detector="building", prefix="bld"
    ) -> Outcome:
        """What one look at a block does."""
        with self.cursor() as cursor:
            return reconcile(
                cursor, detector=detector, key_prefix=prefix, claims=list(claims), owned=owned, judged=judged, now=now,
                sequence=sequence,
            )

    def open(self, *claims: Claim, **how) -> list[str]:
        """Keys of new claims, in the order of the claims."""
        keys = []
        for claim in claims:
            with self.cursor() as cursor:
                (key,) = reconcile(
                    cursor, detector="building", key_prefix="bld", claims=[claim], owned=BLOCK, judged=nowhere,
                    now=how.get("now", NOW), sequence=how.get("sequence", 1),
                ).opened
            keys.append(key)
        return keys

    def find(self, key):
        with self.cursor() as cursor:
            return find(cursor, key)

    def events(self, key) -> list[str]:
        with self.cursor() as cursor:
            return [happening.event.value for happening in history(cursor, key)]

    def all(self, sql: str, *values):
        with self.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    def clear(self) -> None:
        with self.cursor() as cursor:
            cursor.execute("TRUNCATE outbox, channel, review, discrepancy_history, discrepancy CASCADE")


@pytest.fixture(scope="session")
def one_ledger(server):
    """One database for all tests of the ledger: emptying three tables is quicker than copying a database."""
    db = Database(server.create())
    yield Ledger(db)
    db.close()
    server.drop(db.dsn)


@pytest.fixture
def ledger(one_ledger) -> Ledger:
    """An empty ledger."""
    one_ledger.clear()
    return one_ledger
