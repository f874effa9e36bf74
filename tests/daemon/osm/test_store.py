"""The store: what one change file does to features, what stale files do not, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import shapely
from osm_world import EPOCH, Thing, node, relation, rows_of, way, write_changes, write_extract, wrote
from shapely.geometry import box

from daemon.db import Database, query
from daemon.errors import ChangeFileInvalid, NotBootstrapped, OsmDataError
from daemon.osm import AreaOfInterest, Delta, OsmStore, set_position

NOW = datetime(2021, 6, 1, tzinfo=UTC)
HOUSE = {"building": "yes"}
#: A square of nodes 1 to 4, a house on them, a path and a courtyard house made of two ways.
BASE = [
    node(1, 8.0, 47.0), node(2, 8.001, 47.0), node(3, 8.001, 47.001), node(4, 8.0, 47.001),
    node(11, 8.0002, 47.0002), node(12, 8.0004, 47.0002), node(13, 8.0004, 47.0004), node(14, 8.01, 47.01),
    way(10, [1, 2, 3, 4, 1], tags=HOUSE), way(20, [4, 14], tags={"highway": "path"}),
    way(30, [1, 2, 3]), way(31, [3, 4, 1]), way(32, [11, 12, 13, 11]),
    relation(5, [("w", 30, "outer"), ("w", 31, "outer"), ("w", 32, "inner")], tags={"type": "multipolygon", **HOUSE}),
]


def asked_for(tags: object) -> bool:
    return "building" in tags


class Map:
    """A bootstrapped store and its change files."""

    def __init__(self, db: Database, folder: Path, area: AreaOfInterest | None = None, base: Iterable[Thing] = BASE):
        self.db, self.folder, self.store, self.sequence = db, folder, OsmStore(area, asked_for), 0
        self.store.bootstrap(db, write_extract(folder / "base.osm.pbf", base))

    def apply(self, *things: Thing) -> Delta:
        self.sequence += 1
        path = write_changes(self.folder / "change.osc.gz", things)
        with self.db.transaction() as cursor:
            return self.store.apply(cursor, path, self.sequence, NOW)

    def change(self, *things: Thing) -> dict[str, tuple[bool, bool]]:
        """Features that the things changed: whether they were before, and whether they are now."""
        changes = self.apply(*things).changes
        return {(c.old or c.new).ref: (c.old is not None, c.new is not None) for c in changes}

    def feature(self, ref: str):
        with self.db.transaction() as cursor:
            return self.store.feature(cursor, ref)

    def removed(self) -> dict[str, datetime]:
        with self.db.transaction() as cursor:
            return {f.ref: f.timestamp for f in self.store.removed_in(cursor, (-180, -90, 180, 90))}


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Map:
    return Map(database, tmp_path)


BEFORE_AND_AFTER, NEW, GONE = (True, True), (False, True), (True, False)
THINGS = {thing.key: thing for thing in BASE}
HOUSE_WAY, COURTYARD = THINGS["w", 10], THINGS["r", 5]


def test_features_are_what_is_asked_for_in_lonlat(town: Map) -> None:
    house, courtyard = town.feature("way/10"), town.feature("relation/5")
    assert house.geometry.equals(box(8.0, 47.0, 8.001, 47.001)) and dict(house.tags) == HOUSE
    assert courtyard.geometry.geom_type == "Polygon" and len(courtyard.geometry.interiors) == 1
    assert town.feature("way/20") is town.feature("way/30") is town.feature("node/1") is town.feature("way/x") is None


def test_a_moved_node_changes_every_feature_it_is_part_of(town: Map) -> None:
    moved = THINGS["n", 3].next(location=(8.002, 47.002))
    delta = town.apply(moved)
    assert [(c.old.ref, c.new.ref) for c in delta.changes] == [("way/10", "way/10"), ("relation/5", "relation/5")]
    assert all(c.old.geometry.bounds[2] == 8.001 and c.new.geometry.bounds[2] == 8.002 for c in delta.changes)
    assert delta.changes[0].new.timestamp == datetime.fromtimestamp(moved.changed, UTC)
    assert delta.changes[0].new.version == 1


def test_a_node_edited_in_place_is_a_younger_witness_but_no_change(town: Map) -> None:
    assert town.change(THINGS["n", 3].next(seconds=500, tags={"entrance": "yes"})) == {}
    assert town.feature("way/10").timestamp == datetime.fromtimestamp(EPOCH + 500, UTC)
    assert town.feature("relation/5").timestamp == datetime.fromtimestamp(EPOCH + 500, UTC)


def test_a_way_that_loses_a_node_changes(town: Map) -> None:
    assert town.change(HOUSE_WAY.next(refs=(1, 2, 3, 1))) == {"way/10": BEFORE_AND_AFTER}
    assert len(town.feature("way/10").geometry.exterior.coords) == 4


def test_a_deleted_node_that_is_still_used_is_skipped(town: Map) -> None:
    assert town.change(THINGS["n", 4].next(deleted=True)) == {"way/10": BEFORE_AND_AFTER, "relation/5": GONE}
    assert len(town.feature("way/10").geometry.exterior.coords) == 4
    assert town.change(THINGS["n", 4].next(version=3)) == {"way/10": BEFORE_AND_AFTER, "relation/5": NEW}


def test_deleting_and_creating_again_is_remembered_and_forgotten(town: Map) -> None:
    gone = HOUSE_WAY.next(deleted=True)
    assert town.change(gone) == {"way/10": GONE}
    assert town.removed() == {"way/10": datetime.fromtimestamp(gone.changed, UTC)}
    assert town.change(HOUSE_WAY.next(version=3)) == {"way/10": NEW}
    assert town.removed() == {}


def test_created_and_deleted_in_one_file_is_nothing(town: Map) -> None:
    before = rows_of(town.db)
    made = way(99, [1, 2, 3, 1], tags=HOUSE)
    assert town.change(made, made.next(deleted=True)) == {}
    assert rows_of(town.db) == before and town.removed() == {}


def test_what_was_there_for_a_moment_touches_its_ground(town: Map) -> None:
    corners = [node(90, 8.02, 47.0), node(91, 8.021, 47.0), node(92, 8.021, 47.001)]
    made = way(99, [90, 91, 92, 3, 90], tags=HOUSE)
    ends = [thing.next(deleted=True) for thing in (made, *corners)]
    delta = town.apply(*ends, *corners, made, way(98, [1, 2, 3]), way(98, [1, 2, 3], version=2, deleted=True))
    assert delta.changes == []
    (passing,) = delta.passing
    assert passing.ref == "way/99" and passing.geometry.bounds == (8.001, 47.0, 8.021, 47.001)
    assert [(change.old, change.new) for change in delta.touched] == [(passing, None)]


def test_so_does_a_multipolygon_that_was_there_for_a_moment(town: Map) -> None:
    """Made of a way of the store, of one of the file, and of one that the file takes away again as well."""
    ways = [way(97, [3, 12]), way(98, [12, 1])]
    made = relation(9, [("w", ref, "") for ref in (30, 97, 98)], tags={"type": "multipolygon", **HOUSE})
    (passing,) = town.apply(ways[1].next(deleted=True), made.next(deleted=True), made, *ways).passing
    corners = [(8.0, 47.0), (8.001, 47.0), (8.001, 47.001), (8.0004, 47.0002)]
    assert passing.ref == "relation/9" and passing.geometry.equals(shapely.Polygon(corners))
    assert town.feature("relation/9") is None


def test_what_is_older_than_the_store_was_not_there_for_a_moment(town: Map) -> None:
    house = HOUSE_WAY.next(version=5, refs=(1, 2, 4, 1))
    corner = THINGS["n", 1].next(version=4, location=(8.0005, 47.0))
    town.apply(house, corner)
    made = way(99, [1, 2, 3, 1], tags=HOUSE)
    delta = town.apply(
        HOUSE_WAY, house.next(deleted=True), THINGS["n", 1], made, made.next(deleted=True), COURTYARD.next(version=0)
    )
    assert [f.ref for f in delta.passing] == ["way/99"]
    assert delta.passing[0].geometry.bounds[0] == 8.0005
    assert town.apply(HOUSE_WAY, house.next(deleted=True)).passing == []


def test_a_house_without_its_building_tag_is_gone_and_returns_with_it(town: Map) -> None:
    razed = HOUSE_WAY.next(tags={"razed:building": "yes"})
    assert town.change(razed) == {"way/10": GONE}
    assert town.change(razed.next(tags=HOUSE)) == {"way/10": NEW}


def test_new_features_may_be_made_of_what_was_there_before(town: Map) -> None:
    yard = relation(6, [("w", 32, "outer")], tags={"type": "multipolygon", **HOUSE})
    assert town.change(yard, way(40, [1, 2, 12, 1], tags=HOUSE)) == {"way/40": NEW, "relation/6": NEW}


def test_a_relation_follows_its_members(town: Map) -> None:
    solid = COURTYARD.next(members=COURTYARD.members[:2])
    assert town.change(solid) == {"relation/5": BEFORE_AND_AFTER}
    assert not town.feature("relation/5").geometry.interiors
    assert town.change(THINGS["w", 31].next(deleted=True)) == {"relation/5": GONE}
    assert town.change(THINGS["w", 31].next(version=3)) == {"relation/5": NEW}


def test_a_relation_that_names_itself_is_harmless(town: Map) -> None:
    looped = COURTYARD.next(members=(*COURTYARD.members, ("r", 5, "outer")))
    assert town.change(looped) == {"relation/5": BEFORE_AND_AFTER}
    assert town.feature("relation/5").geometry.is_valid


def test_a_house_that_crosses_itself_is_still_a_house(town: Map) -> None:
    assert town.change(HOUSE_WAY.next(refs=(1, 3, 2, 4, 1))) == {"way/10": BEFORE_AND_AFTER}
    shape = town.feature("way/10").geometry
    assert shape.is_valid and shape.geom_type == "MultiPolygon"


def test_an_older_version_never_overwrites_a_newer_one(town: Map) -> None:
    latest = HOUSE_WAY.next(version=5, refs=(1, 2, 4, 1))
    town.apply(latest)
    before = rows_of(town.db)
    delta = town.apply(HOUSE_WAY.next(version=4), THINGS["n", 1].next(version=0))
    assert delta.changes == [] and delta.counts["stale"] == 1
    assert rows_of(town.db)["osm_way"] == before["osm_way"]


def test_an_older_file_does_not_bring_back_what_a_later_one_took_away(town: Map) -> None:
    older = [HOUSE_WAY.next(version=2), THINGS["n", 14].next(version=2), COURTYARD.next(version=2)]
    town.apply(*older)
    town.apply(*(thing.next(deleted=True) for thing in older))
    before = rows_of(town.db)
    delta = town.apply(*older)
    assert delta.changes == [] and delta.counts["stale"] == 3
    assert rows_of(town.db) == before


def test_files_read_again_from_an_earlier_one_end_in_the_same_state(town: Map) -> None:
    edits = [
        [node(90, 8.0005, 47.0005), HOUSE_WAY.next(refs=(1, 2, 90, 4, 1))],
        [THINGS["n", 2].next(location=(8.003, 47.0))],
        [HOUSE_WAY.next(version=3, deleted=True), node(90, 0, 0, version=2, deleted=True)], [HOUSE_WAY.next(version=4)],
    ]
    for things in edits:
        town.apply(*things)
    before = rows_of(town.db)
    for things in edits:
        town.apply(*things)
    assert rows_of(town.db) == before


def test_an_object_that_an_extract_hands_out_again_unchanged_is_back(town: Map) -> None:
    assert town.change(Thing("w", 10, 1, EPOCH, deleted=True)) == {"way/10": GONE}
    assert town.change(HOUSE_WAY) == {"way/10": NEW}


def test_an_object_that_leaves_or_enters_the_area_changes(database: Database, tmp_path: Path) -> None:
    town = Map(database, tmp_path, AreaOfInterest.from_bbox((7.99, 46.99, 8.02, 47.02), 2000.0))
    away = [THINGS["n", id_].next(location=(8.04 + id_ / 1e4, 47.0 + id_ % 2 / 1e3)) for id_ in (1, 2, 3, 4)]
    assert town.change(*away) == {"way/10": GONE, "relation/5": GONE}
    assert town.removed() == {"way/10": NOW, "relation/5": NOW}
    back = [thing.next(location=THINGS[thing.key].location) for thing in away]
    assert town.change(*back) == {"way/10": NEW, "relation/5": NEW}


def test_what_lies_far_outside_leaves_no_trace(database: Database, tmp_path: Path) -> None:
    town = Map(database, tmp_path, AreaOfInterest.from_bbox((7.99, 46.99, 8.02, 47.02), 2000.0))
    before = rows_of(database)
    town.apply(*(node(500 + i, 100, 10 + i / 1000) for i in range(4)), way(500, [500, 501, 502, 500], tags=HOUSE))
    assert rows_of(database) == before


def test_a_box_query_is_exact_to_the_last_digit(town: Map) -> None:
    def refs(*bbox: float) -> list[str]:
        with town.db.transaction() as cursor:
            return [f.ref for f in town.store.features_in(cursor, bbox)]

    assert refs(8.001, 47.001, 8.1, 47.1) == ["relation/5", "way/10"]
    assert refs(8.0010000001, 47.0, 8.1, 47.1) == []


def test_a_broken_file_leaves_the_store_as_it_was(town: Map, tmp_path: Path) -> None:
    path = write_changes(tmp_path / "b.osc", [HOUSE_WAY.next(deleted=True)])
    path.write_bytes(path.read_bytes()[:-20])
    with town.db.transaction() as cursor:
        with pytest.raises(ChangeFileInvalid):
            town.store.apply(cursor, path, 1, NOW)
        assert not wrote(cursor)


def test_an_empty_store_takes_no_changes(database: Database, tmp_path: Path) -> None:
    with database.transaction() as cursor:
        with pytest.raises(NotBootstrapped, match="mapgap bootstrap"):
            OsmStore(None, asked_for).apply(cursor, write_changes(tmp_path / "a.osc", []), 1, NOW)
        with pytest.raises(NotBootstrapped):
            set_position(cursor, 1, NOW)


def test_a_store_of_another_area_is_refused(town: Map, tmp_path: Path) -> None:
    other = OsmStore(AreaOfInterest.from_bbox((1, 2, 3, 4), 0.0), asked_for)
    with town.db.transaction() as cursor, pytest.raises(OsmDataError, match="made for the area"):
        other.apply(cursor, write_changes(tmp_path / "a.osc", []), 1, NOW)


def test_the_position_moves_with_the_transaction(town: Map) -> None:
    with town.db.transaction() as cursor:
        set_position(cursor, 77, NOW)
    with town.db.transaction() as cursor:
        cursor.execute(query("store_area"))
        assert cursor.fetchone() == ({"world": True},)
        cursor.execute("SELECT sequence, timestamp FROM replication_state")
        assert cursor.fetchone() == (77, NOW)
