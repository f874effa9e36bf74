"""A whole installation over osm2pgsql: its commands, from `check` to `status`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from installation import MINUTES, RESTING, Installation
from osm2pgsql_imports import Import


def at(minute: int) -> datetime:
    return datetime(2024, 6, 1, 0, minute, tzinfo=UTC)


class House:
    """The town of `installation`, with its map in a database of osm2pgsql."""

    def __init__(self, installation: Installation, imported: Import):
        self.installation, self.imported = installation, imported
        self.url = installation.replication.as_uri()
        installation.configure(osm={"source": "osm2pgsql", "dsn": imported.dsn}, **RESTING)
        imported.create(installation.base, sequence=None)
        self.stand(0)

    def stand(self, sequence: int) -> None:
        self.imported.stand(sequence, self.url, at(sequence))

    def advance(self, *sequences: int) -> None:
        self.imported.append(*map(self.installation.change_file, sequences))
        self.stand(sequences[-1])

    def follow(self) -> None:
        with self.installation.pipeline() as pipeline:
            while pipeline.follow():
                pass

    def features(self) -> dict[str, tuple[dict[str, str], Any]]:
        with self.installation.pipeline() as pipeline, self.installation.database.transaction() as cursor:
            found = pipeline.store.features_in(cursor, (-180, -90, 180, 90))
        return {feature.ref: (dict(feature.tags), feature.geometry.normalize()) for feature in found}

    def tiles(self) -> set[tuple[int, int, int]]:
        return {tile[:3] for tile in self.installation.state()["queue"]}


@pytest.fixture
def house(installation: Installation, any_import: Import) -> House:
    return House(installation, any_import)


def test_check_tells_how_far_osm2pgsql_is(house: House) -> None:
    said = house.installation.mapgap("check").stdout
    assert "ok   osm2pgsql         at sequence 0, 2024-06-01 00:00 UTC; reads planet_osm_line (EPSG:3857)" in said
    assert "the store is empty: `mapgap bootstrap` comes next" in said
    house.imported.stand(0, "https://elsewhere.example.org/minute")
    answer = house.installation.mapgap("check")
    assert answer.exit_code == 5 and "FAIL osm2pgsql" in answer.stdout and "elsewhere.example.org" in answer.stdout


def test_bootstrap_wants_no_file_and_following_waits_for_osm2pgsql(house: House) -> None:
    installation = house.installation
    answer = installation.mapgap("bootstrap", installation.base)
    assert answer.exit_code == 5 and "leave the file out" in answer.stderr
    answer = installation.mapgap("bootstrap")
    assert answer.exit_code == 0, answer.stderr
    assert "sequence 0" in answer.stdout and installation.position() == 0
    house.follow()
    waiting = "waits for osm2pgsql: it is at sequence 0, file 1 is next"
    assert installation.position() == 0 and waiting in installation.mapgap("status").stdout
    house.advance(1, 2)
    house.follow()
    assert installation.position() == 2
    assert "waits for osm2pgsql: it is at sequence 2, file 3 is next" in installation.mapgap("status").stdout
    house.advance(*range(3, MINUTES + 1))
    house.follow()
    assert installation.position() == MINUTES and "waits" not in installation.mapgap("status").stdout


def test_the_town_ends_as_it_does_from_files(house: House) -> None:
    installation = house.installation
    assert installation.mapgap("bootstrap").exit_code == 0
    for sequence in range(1, MINUTES + 1):
        house.advance(sequence)
        house.follow()
    features, tiles = house.features(), house.tiles()
    with installation.database.transaction() as cursor:
        cursor.execute("DELETE FROM dirty_tile")
    installation.configure(osm={"source": "store"}, **RESTING)
    assert installation.mapgap("bootstrap", "--force", installation.base).exit_code == 0
    house.follow()
    assert installation.position() == MINUTES
    assert house.features() == features and house.tiles() == tiles and tiles


def test_a_store_needs_a_file(installation: Installation) -> None:
    answer = installation.mapgap("bootstrap")
    assert answer.exit_code == 5 and "give an OSM extract" in answer.stderr
