"""Objects that no editor should make and some data has: huge, looped, empty, with odd text or impossible ids. Whether
an extract or a change file brings them, the store is right, or they are refused by name."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import osmium
import pytest
from osm_world import Thing, areas_of, node, plain, relation, rows_of, way, write_changes, write_extract

from daemon.db import Database
from daemon.errors import ChangeFileInvalid, PbfInvalid
from daemon.osm import Delta, OsmStore
from detectors.base import OsmFeature

NOW = datetime(2024, 1, 1, tzinfo=UTC)
HOUSE = {"building": "yes"}
YARD = {"type": "multipolygon", "building": "yes"}
CORNERS = [node(1, 8.0, 47.0), node(2, 8.001, 47.0), node(3, 8.001, 47.001), node(4, 8.0, 47.001)]
#: 255 characters is what OSM allows; osmium refuses more than 1,024 bytes.
ODD_TEXT = {
    "longest": "\U0001f3e0" * 255, "longer": "x" * 1000, "blanks": "\t\n\r a", "k=,@ %\\": "e\\n\\x\"'{}=,@%20%\\N",
    "u\u200b\x7f\x85": "\u2028\ufeff", "NULL": "NULL", "": "",
}


class Land:
    """A store, to be changed."""

    def __init__(self, db: Database, folder: Path):
        self.db, self.folder, self.sequence = db, folder, 0
        self.store = OsmStore(None, lambda tags: "building" in tags)

    def bootstrap(self, *things: Thing) -> None:
        self.store.bootstrap(self.db, write_extract(self.folder / "land.osm.pbf", things), force=True)

    def apply(self, *things: Thing) -> Delta:
        self.sequence += 1
        path = write_changes(self.folder / "change.osc.gz", things)
        with self.db.transaction() as cursor:
            return self.store.apply(cursor, path, self.sequence, NOW)

    def with_name(self, name: bytes) -> Path:
        """A PBF with a house of this name of three bytes."""
        house = way(1, [1, 2, 3, 1], tags={**HOUSE, "name": "QQQ"})
        path = write_extract(self.folder / "odd.osm.pbf", [*CORNERS, house], compressed=False)
        path.write_bytes(path.read_bytes().replace(b"QQQ", name))
        return path

    def features(self) -> dict[str, OsmFeature]:
        with self.db.transaction() as cursor:
            return {f.ref: f for f in self.store.features_in(cursor, (-180, -90, 180, 90))}

    def corners(self) -> dict[str, int]:
        """How many corners each simple polygon has."""
        return {ref: len(feature.geometry.exterior.coords) - 1 for ref, feature in self.features().items()}


@pytest.fixture
def land(database: Database, tmp_path: Path) -> Land:
    return Land(database, tmp_path)


@pytest.fixture(params=["extract", "change file"])
def bring(request: pytest.FixtureRequest, land: Land) -> Callable[..., Land]:
    """Brings the four corners and the objects into the store."""

    def from_extract(*things: Thing) -> Land:
        land.bootstrap(*CORNERS, *things)
        return land

    def from_change_file(*things: Thing) -> Land:
        land.bootstrap(*CORNERS)
        land.apply(*things)
        return land

    return from_extract if request.param == "extract" else from_change_file


def circle(count: int, first: int) -> list[Thing]:
    turns = [2 * math.pi * i / count for i in range(count)]
    return [
        node(first + i, round(8.05 + 0.01 * math.cos(turn), 7), round(47.05 + 0.01 * math.sin(turn), 7))
        for i, turn in enumerate(turns)
    ]


@pytest.mark.parametrize("count", [2_001, 10_000])
def test_ways_of_very_many_nodes_are_whole(bring: Callable[..., Land], count: int) -> None:
    nodes = circle(count, 100)
    ids = [thing.id for thing in nodes]
    ring = [*ids, ids[0]]
    land = bring(*nodes, way(1, ring, tags=HOUSE), way(2, ring), relation(1, [("w", 2, "")], tags=YARD))
    assert land.corners() == {"way/1": count, "relation/1": count}
    changes = land.apply(nodes[7].next(location=(8.07, 47.05))).changes
    assert [change.new.ref for change in changes] == ["way/1", "relation/1"]


def test_a_relation_of_twenty_thousand_members_is_whole_and_follows_them(land: Land) -> None:
    nodes = circle(20_000, 100)
    ids = [thing.id for thing in nodes]
    ways = [way(1 + i, [ids[i - 1], ids[i]]) for i in range(len(ids))]
    lake = relation(1, [("w", thing.id, "outer") for thing in ways], tags=YARD)
    land.bootstrap(*CORNERS, *nodes, *ways, lake)
    assert land.corners() == {"relation/1": 20_000}
    (change,) = land.apply(nodes[7].next(location=(8.07, 47.05))).changes
    assert change.new.geometry.bounds[2] == 8.07
    (change,) = land.apply(ways[9].next(deleted=True)).changes
    assert change.new is None
    members = [("w", 30_000, "") if ref == ways[9].id else (kind, ref, role) for kind, ref, role in lake.members]
    (change,) = land.apply(way(30_000, ways[9].refs), lake.next(members=members[::-1])).changes
    assert change.old is None and len(change.new.geometry.exterior.coords) == 20_001


def test_relations_that_hold_each_other_and_themselves_are_what_their_ways_are(bring: Callable[..., Land]) -> None:
    land = bring(
        way(1, [1, 2, 3, 1]),
        relation(1, [("r", 2, "outer"), ("w", 1, "outer"), ("r", 1, "")], tags=YARD),
        relation(2, [("r", 1, "outer")], tags=YARD), relation(3, [("r", 3, "outer"), ("n", 1, "")], tags=YARD),
    )
    assert land.corners() == {"relation/1": 3}


def test_ways_without_ground_are_no_features_and_repeated_nodes_do_not_matter(bring: Callable[..., Land]) -> None:
    land = bring(
        way(1, [], tags=HOUSE), way(2, [1], tags=HOUSE), way(3, [1, 1], tags=HOUSE), way(4, [1, 1, 1, 1], tags=HOUSE),
        way(5, [1, 2, 1], tags=HOUSE), way(6, [1, 2, 1, 2, 1], tags=HOUSE), way(7, [77, 78], tags=HOUSE),
        way(8, [1, 1, 2, 2, 2, 3, 1, 1], tags=HOUSE), way(9, [1, 1, 3, 3], tags=HOUSE), way(10, [1, 1], tags=HOUSE),
        relation(1, [("w", i, "") for i in range(1, 7)], tags=YARD), relation(2, [("w", 8, "")], tags=YARD),
        relation(3, [], tags=YARD),
    )
    found = land.features()
    assert set(found) == {"way/5", "way/8", "way/9", "relation/2"}
    assert len(found["way/8"].geometry.exterior.coords) == 4 and len(found["way/9"].geometry.coords) == 2
    assert areas_of(write_extract(land.folder / "a.osm.pbf", [
        *CORNERS, way(8, [1, 1, 2, 2, 2, 3, 1, 1]), relation(2, [("w", 8, "")], tags=YARD)
    ]))["relation/2"] == plain(found["relation/2"].geometry)


def test_text_of_every_kind_comes_through_unchanged(bring: Callable[..., Land]) -> None:
    tags = {**YARD, **ODD_TEXT}
    land = bring(
        way(1, [1, 2, 3, 1], tags=tags), way(2, [1, 2, 3, 1]),
        relation(1, [("w", 2, "outer"), *(("n", 1, text) for text in ODD_TEXT.values())], tags=tags),
    )
    assert {ref: dict(feature.tags) for ref, feature in land.features().items()} == {"way/1": tags, "relation/1": tags}
    with land.db.transaction() as cursor:
        cursor.execute("SELECT member_roles FROM osm_relation")
        assert cursor.fetchone() == (["outer", *ODD_TEXT.values()],)


def test_control_characters_of_a_pbf_come_through(land: Land) -> None:
    control = "".join(map(chr, range(1, 32)))
    tags = {**YARD, "control": control}
    land.bootstrap(*CORNERS, way(1, [1, 2, 3, 1], tags=tags), relation(1, [("w", 1, control)], tags=tags))
    assert {ref: dict(feature.tags) for ref, feature in land.features().items()} == {"way/1": tags, "relation/1": tags}


@pytest.mark.parametrize("unsound", [b"Q\xff\xff", b"QQ\xe2", b"Q\0Q"])
def test_text_that_is_not_sound_is_refused_by_name(land: Land, unsound: bytes) -> None:
    """PBF can carry what is no UTF-8, or a NUL."""
    path = land.with_name(unsound)
    with pytest.raises(PbfInvalid, match=r"odd\.osm\.pbf"):
        land.store.bootstrap(land.db, path)
    gc.collect()  # what osmium left behind does no harm
    assert land.store.bootstrap(land.db, write_extract(path, CORNERS)).nodes == len(CORNERS)


def test_half_a_surrogate_pair_is_no_character_but_its_object_is_sound(land: Land) -> None:
    land.store.bootstrap(land.db, land.with_name(b"\xed\xa0\x80"))
    assert dict(land.features()["way/1"].tags) == {**HOUSE, "name": "\ufffd"}


@pytest.mark.parametrize("name", ["a.osc.gz", "a.opl"])
def test_text_that_osm_does_not_allow_is_refused_by_name(land: Land, name: str) -> None:
    land.bootstrap(*CORNERS)
    before = rows_of(land.db)
    things = [way(1, [1, 2, 3, 1], tags={**HOUSE, "long": "x" * 1025})]
    with pytest.raises((ChangeFileInvalid, PbfInvalid), match="too long"):
        if name == "a.opl":
            (land.folder / name).write_text(f"n1 v1 x1 y1 Ta={'x' * 1025}\n")
            land.store.bootstrap(land.db, land.folder / name, force=True)
        else:
            land.apply(*things)
    assert rows_of(land.db) == before


def test_impossible_refs_are_places_that_nobody_knows(bring: Callable[..., Land]) -> None:
    land = bring(
        way(1, [1, -5, 2, 0, 3, 1], tags=HOUSE), way(2, [1, 2, 3, 1]),
        relation(1, [("w", 2, ""), ("n", -1, ""), ("r", 0, "")], tags=YARD),
        relation(2, [("w", 2, ""), ("w", -2, "")], tags=YARD),
    )
    assert land.corners() == {"way/1": 3, "relation/1": 3}


def test_negative_ids_are_put_aside_and_counted_wherever_they_come_from(land: Land) -> None:
    draft = [
        node(-1, 8.0, 47.0), way(-1, [1, 2, 3, 1], tags=HOUSE), relation(-1, [("w", 1, "")], tags=YARD),
        Thing("w", -3, 2, deleted=True),
    ]
    path = write_extract(land.folder / "draft.osm.pbf", [*CORNERS, *draft])
    assert land.store.bootstrap(land.db, path).invalid == 3
    delta = land.apply(*draft, way(1, [1, 2, 3, 1], tags=HOUSE))
    assert delta.counts["invalid"] == 4 and [change.new.ref for change in delta.changes] == ["way/1"]


def test_nodes_beyond_the_world_are_put_aside_and_their_ways_do_without_them(land: Land) -> None:
    house = way(1, [1, 2, 3, 5, 1], tags=HOUSE)
    (land.folder / "land.opl").write_text(
        "n1 v1 x8 y47\nn2 v1 x8.001 y47\nn3 v1 x8.001 y47.001\nn5 v1 x200 y47\nw1 v1 Tbuilding=yes Nn1,n2,n3,n5,n1\n"
    )
    assert land.store.bootstrap(land.db, land.folder / "land.opl").invalid == 1
    assert land.corners() == {"way/1": 3}
    assert land.apply(node(5, 8.0, 91.0), house.next()).counts["invalid"] == 1
    assert land.corners() == {"way/1": 3}
    land.apply(node(5, 8.0, 47.001, version=2))
    assert land.corners() == {"way/1": 4}
    land.apply(node(5, -180.5, 47.001, version=3))
    assert land.corners() == {"way/1": 3}


def test_the_edges_of_the_world_belong_to_it(bring: Callable[..., Land]) -> None:
    land = bring(
        node(5, -180.0, 90.0), node(6, 180.0, -90.0), node(7, 180.0, 90.0), way(1, [5, 6], tags=HOUSE),
        way(2, [5, 6, 7, 5], tags=HOUSE),
    )
    assert land.features()["way/1"].geometry.bounds == (-180.0, -90.0, 180.0, 90.0)
    assert set(land.features()) == {"way/1", "way/2"}


def test_a_pbf_with_history_is_refused_by_name(land: Land) -> None:
    flagged = osmium.io.Header()
    flagged.has_multiple_object_versions = True
    for name, kind, header in (("flagged.osm.pbf", "osh.pbf", flagged), ("silent.osm.pbf", "pbf", osmium.io.Header())):
        path = land.folder / name
        with osmium.SimpleWriter(osmium.io.File(str(path), kind), header=header) as writer:
            for version in (1, 2):
                writer.add_node(osmium.osm.mutable.Node(id=1, version=version, location=(8.0, 47.0)))
        with pytest.raises(PbfInvalid, match=rf"{name}: .*history"):
            land.store.bootstrap(land.db, path)


def test_a_complete_pbf_with_locations_on_ways_is_as_good_as_one_without(land: Land) -> None:
    things = [*CORNERS, way(1, [1, 2, 3, 1], tags=HOUSE), way(2, [3, 4]), relation(1, [("w", 1, "")], tags=YARD)]
    land.bootstrap(*things)
    expected = rows_of(land.db)
    path = land.folder / "located.osm.pbf"
    with osmium.SimpleWriter(osmium.io.File(str(path), "pbf,locations_on_ways=true")) as writer:
        for element in osmium.FileProcessor(str(land.folder / "land.osm.pbf")).with_locations():
            writer.add(element)
    land.store.bootstrap(land.db, path, force=True)
    assert rows_of(land.db) == expected


def test_a_change_file_in_any_order_says_the_same(land: Land) -> None:
    things = [
        node(5, 8.002, 47.0), way(1, [1, 2, 5, 1], tags=HOUSE), way(2, [2, 5, 3, 2]),
        relation(1, [("w", 2, "")], tags=YARD), CORNERS[2].next(location=(8.003, 47.002)),
        CORNERS[2].next(version=3, location=(8.004, 47.003)),
    ]
    land.bootstrap(*CORNERS)
    land.apply(*things)
    expected = rows_of(land.db)
    for order in (things[::-1], [*things[3:], *things[:3]], [*things, *things[::-1]]):
        land.bootstrap(*CORNERS)
        land.apply(*order)
        assert rows_of(land.db) == expected
