"""The store over osm2pgsql: what it waits for, what it sees when osm2pgsql is ahead or at work, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from installation import wait_until
from osm2pgsql_imports import SERVER, START, Import, Layout
from osm_world import EPOCH, Thing, node, relation, way, write_changes, write_extract, wrote
from psycopg2.extensions import make_dsn
from shapely.geometry import box

from daemon.db import Database
from daemon.errors import (
    AreaEmpty,
    ConfigError,
    DatabaseUnavailable,
    NotBootstrapped,
    Osm2pgsqlNotYet,
    Osm2pgsqlUnusable,
    OsmDataError,
)
from daemon.osm import AreaOfInterest, Delta, Osm2pgsqlStore, OsmStore, set_position

HOUSE = {"building": "yes", "roof:shape": "flat"}
#: As in test_store.py: a square, a house on it, a path, a courtyard house of two ways and a hole.
BASE = [
    node(1, 8.0, 47.0), node(2, 8.001, 47.0), node(3, 8.001, 47.001), node(4, 8.0, 47.001),
    node(11, 8.0002, 47.0002), node(12, 8.0004, 47.0002), node(13, 8.0004, 47.0004), node(14, 8.01, 47.01),
    way(10, [1, 2, 3, 4, 1], tags=HOUSE), way(20, [4, 14], tags={"highway": "path"}),
    way(30, [1, 2, 3]), way(31, [3, 4, 1]), way(32, [11, 12, 13, 11]),
    relation(5, [("w", 30, "outer"), ("w", 31, "outer"), ("w", 32, "inner")], tags={"type": "multipolygon", **HOUSE}),
]
THINGS = {thing.key: thing for thing in BASE}
HOUSE_WAY, COURTYARD = THINGS["w", 10], THINGS["r", 5]
BEFORE_AND_AFTER, NEW, GONE = (True, True), (False, True), (True, False)


def asked_for(tags: object) -> bool:
    return "building" in tags


class Town:
    """A small town in osm2pgsql's database, its change files, and the store over it."""

    def __init__(self, imported: Import, database: Database, area: AreaOfInterest | None = None, **knobs: Any):
        self.imported, self.db, self.folder, self.newest = imported, database, imported.folder, 0
        imported.create(write_extract(self.folder / "base.osm.pbf", BASE))
        self.store = Osm2pgsqlStore(imported.config(osm=knobs), area, asked_for)
        self.store.bootstrap(database)

    def publish(self, *things: Thing) -> int:
        """The server has one more change file."""
        self.newest += 1
        write_changes(self.path(self.newest), things)
        return self.newest

    def path(self, sequence: int) -> Path:
        return self.folder / f"{sequence}.osc.gz"

    def advance(self, first: int | None = None) -> None:
        """osm2pgsql applies the newest file, or all from the first one, in one go."""
        sequences = range(first or self.newest, self.newest + 1)
        self.imported.append(*map(self.path, sequences), sequence=self.newest)

    def apply(self, sequence: int) -> Delta:
        moment = START + timedelta(days=sequence)
        with self.db.transaction() as cursor:
            delta = self.store.apply(cursor, self.path(sequence), sequence, moment)
            set_position(cursor, sequence, moment)
        return delta

    def change(self, *things: Thing) -> dict[str, tuple[bool, bool]]:
        """A file comes, osm2pgsql applies it, and the store after it."""
        self.publish(*things)
        self.advance()
        return sides(self.apply(self.newest))

    def feature(self, ref: str) -> Any:
        with self.db.transaction() as cursor:
            return self.store.feature(cursor, ref)

    def removed(self) -> dict[str, datetime]:
        with self.db.transaction() as cursor:
            return {f.ref: f.timestamp for f in self.store.removed_in(cursor, (-180, -90, 180, 90))}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """An osm2pgsql is connected to its database."""
        with closing(psycopg2.connect(self.imported.dsn, application_name="osm2pgsql.copy/C9")):
            yield


def sides(delta: Delta) -> dict[str, tuple[bool, bool]]:
    """Features that changed: whether they were before, and whether they are now."""
    return {(c.old or c.new).ref: (c.old is not None, c.new is not None) for c in delta.changes}


@pytest.fixture
def town(any_import: Import, database: Database) -> Iterator[Town]:
    town = Town(any_import, database)
    yield town
    town.store.close()


def test_each_layout_follows_nodes_ways_and_relations(imported: Import, database: Database) -> None:
    town = Town(imported, database)
    with closing(town.store):
        assert town.feature("way/10").geometry.equals(box(8.0, 47.0, 8.001, 47.001))
        assert dict(town.feature("way/10").tags) == HOUSE
        courtyard = town.feature("relation/5")
        assert courtyard.geometry.geom_type == "Polygon" and len(courtyard.geometry.interiors) == 1
        assert town.feature("way/20") is town.feature("way/30") is None

        moved = THINGS["n", 3].next(location=(8.002, 47.002))
        assert town.change(moved) == {"way/10": BEFORE_AND_AFTER, "relation/5": BEFORE_AND_AFTER}
        assert town.feature("way/10").geometry.bounds[2] == town.feature("relation/5").geometry.bounds[2] == 8.002
        assert town.feature("way/10").timestamp >= datetime.fromtimestamp(moved.changed, UTC)
        assert town.change(COURTYARD.next(members=COURTYARD.members[:2])) == {"relation/5": BEFORE_AND_AFTER}
        assert not town.feature("relation/5").geometry.interiors
        assert town.change(HOUSE_WAY.next(tags={"razed:building": "yes"})) == {"way/10": GONE}
        gone = COURTYARD.next(3, deleted=True)
        assert town.change(gone, HOUSE_WAY.next(version=3)) == {"way/10": NEW, "relation/5": GONE}
        assert town.removed() == {"relation/5": datetime.fromtimestamp(gone.changed, UTC)}
        assert town.feature("way/10").version == 3


def test_other_names_other_schemas_and_nodes_in_a_file(
    layout: Layout, postgis: Callable[[], str], database: Database, tmp_path: Path
) -> None:
    schemas = ("--middle-schema", "slim", "--output-pgsql-schema", "maps") if "classic" in layout.name else ()
    options = (*layout.options, *schemas, "--flat-nodes", str(tmp_path / "nodes.bin"))
    imported = Import(postgis(), replace(layout, options=options), tmp_path, "europe")
    for schema in ("slim", "maps"):
        imported.sql("CREATE SCHEMA {schema}", schema=schema)
    knobs = {"middle_schema": "slim", "output_schema": "maps"} if schemas else {}
    town = Town(imported, database, **knobs)
    with closing(town.store):
        moved = THINGS["n", 3].next(location=(8.002, 47.002))
        assert town.change(moved) == {"way/10": BEFORE_AND_AFTER, "relation/5": BEFORE_AND_AFTER}
        assert town.feature("way/10").geometry.bounds[2] == 8.002
        assert town.feature("relation/5").timestamp >= START  # the times of nodes are in no table
        assert town.change(HOUSE_WAY.next(deleted=True)) == {"way/10": GONE}


ANY_TYPE = """
local things = osm2pgsql.define_table({ name = 'things', ids = { type = 'any', id_column = 'id' },
    columns = { { column = 'geom', type = 'geometry', projection = 4326 } } })
function osm2pgsql.process_way(o) if o.is_closed then things:insert({ geom = o:as_polygon() }) end end
function osm2pgsql.process_relation(o) things:insert({ geom = o:as_multipolygon() }) end
"""


def test_ids_of_any_type_in_one_column(any_import: Import, database: Database) -> None:
    style = any_import.folder / "any.lua"
    style.write_text(ANY_TYPE)
    layout = replace(any_import.layout, options=("-O", "flex", "-S", str(style)))
    town = Town(Import(any_import.dsn, layout, any_import.folder), database)
    with closing(town.store):
        assert town.feature("way/10") and town.feature("relation/5")
        assert town.change(COURTYARD.next(deleted=True)) == {"relation/5": GONE}


def test_a_closed_way_is_an_area_or_a_line_as_its_tags_say(town: Town) -> None:
    """The style makes lines of closed ways that it knows no area key of, and areas of some that mapgap calls lines."""
    razed = way(40, [1, 2, 3, 1], tags={"razed:building": "yes", "building:part": "yes", "name": "Hall"})
    wall = way(41, [1, 3, 4, 1], tags={"barrier": "wall", "amenity": "school", "was:building": "yes"})
    town.store._selects = lambda tags: "name" in tags or "barrier" in tags
    assert town.change(razed, wall) == {"way/40": NEW, "way/41": NEW}
    assert town.feature("way/40").geometry.geom_type == "Polygon"
    assert town.feature("way/41").geometry.geom_type == "LineString"


def test_a_file_that_osm2pgsql_has_not_passed_waits(town: Town) -> None:
    assert town.store.ready(0, 120) == (0, "waits for osm2pgsql: it is at sequence 0, file 1 is next")
    town.publish(HOUSE_WAY.next(deleted=True))
    town.publish(COURTYARD.next(deleted=True))
    with town.db.transaction() as cursor:
        with pytest.raises(Osm2pgsqlNotYet, match="it is at sequence 0, file 1 is next") as failure:
            town.store.apply(cursor, town.path(1), 1, START)
        assert failure.value.transient and not wrote(cursor)
    town.advance(1)
    assert town.store.ready(0, 120)[0] == 2 and town.store.ready(0, 1)[0] == 1 and town.store.ready(2, 120)[0] == 0
    assert sides(town.apply(1)) == {"way/10": GONE}


def test_applying_a_file_again_changes_nothing(town: Town) -> None:
    assert town.change(HOUSE_WAY.next(refs=(1, 2, 3, 1)), THINGS["n", 12].next(location=(8.0005, 47.0002)))
    with town.db.transaction() as cursor:
        assert town.store.apply(cursor, town.path(1), 1, START).changes == []
        assert not wrote(cursor)


def test_files_that_osm2pgsql_is_ahead_of_lose_nothing(town: Town) -> None:
    """Five files in one go: the first one that leads to an object tells of it, the later ones have nothing to add."""
    made = way(90, [11, 2, 3, 11], tags=HOUSE)
    town.publish(THINGS["n", 3].next(location=(8.002, 47.002)), made)
    town.publish(HOUSE_WAY.next(refs=(1, 2, 4, 1)))
    town.publish(THINGS["n", 12].next(location=(8.0005, 47.0002)))
    town.publish(COURTYARD.next(deleted=True), made.next(tags={"building": "yes", "name": "Hall"}))
    town.publish(HOUSE_WAY.next(version=3, deleted=True))
    town.advance(1)
    told = [sides(town.apply(sequence)) for sequence in range(1, 6)]
    # Node 3 is no longer in way 10, so its moving leads there no more: the file that took it out of the way does.
    assert told[0] == {"way/90": NEW, "relation/5": GONE} or told[0] == {"way/90": NEW}
    assert {ref for one in told for ref in one} == {"way/10", "way/90", "relation/5"}
    assert town.feature("way/10") is None and town.feature("relation/5") is None
    assert town.feature("way/90").tags["name"] == "Hall" and town.feature("way/90").geometry.bounds[2] == 8.002
    assert told[2] == {}


def test_what_came_and_went_within_a_file_touches_its_ground(town: Town) -> None:
    corners = [node(90, 8.02, 47.0), node(91, 8.021, 47.0), node(92, 8.021, 47.001)]
    made = way(99, [90, 91, 92, 3, 90], tags=HOUSE)
    town.publish(*corners, made, *(thing.next(deleted=True) for thing in (made, *corners)))
    town.advance()
    delta = town.apply(1)
    assert delta.changes == [] and [f.ref for f in delta.passing] == ["way/99"]
    assert delta.passing[0].geometry.bounds == (8.001, 47.0, 8.021, 47.001)


def test_what_a_later_file_took_away_before_it_was_seen_touches_its_ground(town: Town) -> None:
    made = way(99, [11, 2, 3, 11], tags=HOUSE)
    yard = relation(98, [("w", 30, "outer"), ("w", 31, "outer")], tags={"type": "multipolygon", **HOUSE})
    town.publish(made, yard)
    town.publish(made.next(deleted=True), yard.next(deleted=True))
    town.advance(1)
    first, second = town.apply(1), town.apply(2)
    assert first.changes == second.changes == [] and second.passing == []
    assert [f.ref for f in first.passing] == ["way/99", "relation/98"]
    assert first.passing[0].geometry.area > 0 and first.passing[1].geometry.equals(box(8.0, 47.0, 8.001, 47.001))


def hide(town: Town, *tables: str) -> Callable[[], None]:
    """Take way 10 out of tables, as osm2pgsql does before it writes the new row; returns what puts it back."""
    kept = []
    for table in tables:
        id_ = "id" if table == "planet_osm_ways" else "osm_id"
        town.imported.sql(f"CREATE TABLE kept_{table} AS SELECT * FROM {table} WHERE {id_} = 10")
        town.imported.sql(f"DELETE FROM {table} WHERE {id_} = 10")
        kept.append(table)

    def back() -> None:
        for table in kept:
            town.imported.sql(f"INSERT INTO {table} SELECT * FROM kept_{table}")

    return back


def test_a_house_whose_row_is_being_rewritten_is_not_gone(town: Town) -> None:
    town.publish(THINGS["n", 3].next(location=(8.002, 47.002)))
    town.advance()
    back = hide(town, "planet_osm_polygon")
    with town.at_work(), pytest.raises(Osm2pgsqlNotYet, match=r"may be rewriting way/10 now, at sequence 1") as failure:
        town.apply(1)
    assert failure.value.transient
    back()
    assert sides(town.apply(1)) == {"way/10": BEFORE_AND_AFTER, "relation/5": BEFORE_AND_AFTER}


def test_a_house_that_is_missing_in_one_run_of_osm2pgsql_after_the_other_is_gone(town: Town) -> None:
    town.publish(THINGS["n", 3].next(location=(8.002, 47.002)))
    town.advance()
    hide(town, "planet_osm_polygon")
    with town.at_work():
        for _ in range(2):
            with pytest.raises(Osm2pgsqlNotYet):
                town.apply(1)
        town.imported.stand(2)
        assert sides(town.apply(1)) == {"way/10": GONE, "relation/5": BEFORE_AND_AFTER}


def test_a_house_without_a_row_is_gone_when_osm2pgsql_rests(town: Town) -> None:
    town.publish(THINGS["n", 3].next(location=(8.002, 47.002)))
    town.advance()
    hide(town, "planet_osm_polygon")
    assert sides(town.apply(1)) == {"way/10": GONE, "relation/5": BEFORE_AND_AFTER}
    assert town.removed()["way/10"] == START + timedelta(days=1)


def test_what_a_run_under_way_has_deleted_its_own_file_tells(town: Town) -> None:
    town.publish(HOUSE_WAY.next(tags={**HOUSE, "name": "Hall"}))
    town.advance()
    town.publish(HOUSE_WAY.next(version=3, deleted=True))
    hide(town, "planet_osm_ways", "planet_osm_polygon")
    with town.at_work():
        assert sides(town.apply(1)) == {}
    town.advance()
    assert sides(town.apply(2)) == {"way/10": GONE}


def test_only_what_touches_the_area_is_copied(any_import: Import, database: Database) -> None:
    area = AreaOfInterest.from_bbox((8.0009, 46.99, 8.0011, 47.02), 0.0)
    town = Town(any_import, database, area)
    with closing(town.store):
        assert town.feature("way/10") and town.feature("relation/5")
        far = [node(100 + i, 10.0 + i / 1e3, 47.0 + i % 2 / 1e3) for i in range(3)]
        assert town.change(*far, way(100, [100, 101, 102, 100], tags=HOUSE)) == {}
        away = [THINGS["n", id_].next(location=(9.0 + id_ / 1e4, 47.0 + id_ % 2 / 1e3)) for id_ in (1, 2, 3, 4)]
        assert town.change(*away) == {"way/10": GONE, "relation/5": GONE}
        elsewhere = Osm2pgsqlStore(any_import.config(), AreaOfInterest.from_bbox((1, 2, 3, 4), 0.0), asked_for)
        with closing(elsewhere), pytest.raises(AreaEmpty, match="nothing inside the area"):
            elsewhere.bootstrap(database, force=True)
        assert town.change(*(thing.next(location=THINGS[thing.key].location) for thing in away)) != {}


def test_the_copy_is_made_in_one_transaction_and_only_once(town: Town) -> None:
    with pytest.raises(OsmDataError, match="bootstrapped already"):
        town.store.bootstrap(town.db)
    seen: list[tuple[int, int]] = []
    report = town.store.bootstrap(town.db, progress=lambda *done: seen.append(done), force=True)
    assert (report.ways, report.relations, report.features, report.sequence) == (1, 1, 2, 0)
    assert report.timestamp == START and seen[-1][0] == seen[-1][1] > 0
    with pytest.raises(OsmDataError, match="leave the file out"):
        town.store.bootstrap(town.db, town.folder / "base.osm.pbf", force=True)


def test_what_is_not_dated_counts_as_young_as_it_can_be(town: Town) -> None:
    assert town.feature("way/10").timestamp == START > datetime.fromtimestamp(EPOCH, UTC)
    town.change(THINGS["n", 3].next(seconds=10**8, location=(8.002, 47.002)))
    assert town.feature("way/10").timestamp == datetime.fromtimestamp(EPOCH + 10**8, UTC)


def test_stores_of_both_kinds_refuse_each_other(town: Town) -> None:
    with town.db.transaction() as cursor, pytest.raises(OsmDataError, match="source"):
        OsmStore(None, asked_for).apply(cursor, write_changes(town.folder / "x.osc", []), 1, START)
    OsmStore(None, asked_for).bootstrap(town.db, town.folder / "base.osm.pbf", force=True)
    with pytest.raises(OsmDataError, match="source"):
        town.apply(town.publish())


def test_an_empty_store_takes_no_changes(any_import: Import, database: Database) -> None:
    store = Osm2pgsqlStore(any_import.config(), None, asked_for)
    path = write_changes(any_import.folder / "x.osc", [])
    with closing(store), database.transaction() as cursor, pytest.raises(NotBootstrapped):
        store.apply(cursor, path, 1, START)


def test_osm2pgsql_imported_anew_is_noticed(town: Town) -> None:
    town.change(THINGS["n", 3].next(location=(8.002, 47.002)))
    town.imported.stand(0)
    with pytest.raises(Osm2pgsqlUnusable, match=r"is at sequence 0, but 1 was applied here already.*bootstrap --force"):
        town.store.ready(1, 10)
    town.publish()
    with pytest.raises(Osm2pgsqlUnusable, match="imported anew"):
        town.apply(2)


def test_nothing_is_ever_written_there(town: Town) -> None:
    refused = pytest.raises(psycopg2.errors.ReadOnlySqlTransaction)
    with refused, town.store._theirs.transaction() as cursor:
        cursor.execute("DELETE FROM planet_osm_ways")


def spoil(*statements: str) -> Callable[[Import], None]:
    return lambda imported: [imported.sql(statement) for statement in statements] and None


NO_STATE = spoil(
    "DROP TABLE IF EXISTS planet_osm_replication_status",
    "DO $$ BEGIN IF to_regclass('osm2pgsql_properties') IS NOT NULL THEN "
    "DELETE FROM osm2pgsql_properties WHERE property LIKE 'replication%'; END IF; END $$",
)


@pytest.mark.parametrize(
    ("what", "knobs", "said"),
    [
        (NO_STATE, {}, r"does not say how far it is.*osm2pgsql-replication init"),
        (lambda i: i.stand(3, url="https://other.example.org/minute"), {},
         r"osm2pgsql follows https://other.example.org/minute, replication.url is https://replication.example.org"),
        (spoil("DROP TABLE planet_osm_ways"), {}, r"no table public.planet_osm_ways: .*--slim"),
        (spoil("DROP TABLE planet_osm_rels, planet_osm_ways"), {}, "no table public.planet_osm_ways and no table"),
        (spoil("DROP INDEX planet_osm_ways_nodes_bucket_idx"), {}, r"planet_osm_ways has no inverted index"),
        (spoil("ALTER TABLE planet_osm_ways RENAME nodes TO refs"), {}, "has no column nodes"),
        (spoil("DROP TABLE planet_osm_line, planet_osm_polygon, planet_osm_roads"), {}, "no table with lines"),
        (spoil("ALTER TABLE planet_osm_line ALTER way TYPE geometry USING way"), {}, "a known SRID"),
        (None, {"prefix": "europe"}, r"no table public.europe_ways"),
        (None, {"output_schema": "elsewhere"}, r"no table elsewhere.planet_osm_ways"),
        (None, {"tables": ["houses"]}, "osm.tables names houses"),
    ],
)
def test_what_is_missing_is_named(
    any_import: Import, what: Callable[[Import], None] | None, knobs: dict[str, Any], said: str
) -> None:
    any_import.create(write_extract(any_import.folder / "base.osm.pbf", BASE))
    if what:
        what(any_import)
    store = Osm2pgsqlStore(any_import.config(osm=knobs), None, asked_for)
    with closing(store), pytest.raises(Osm2pgsqlUnusable, match=said) as failure:
        store.describe()
    assert not failure.value.transient


def test_a_database_without_postgis_or_none_at_all_is_named(postgis: Callable[..., str], any_import: Import) -> None:
    for dsn, kind, said in (
        (postgis("template0"), Osm2pgsqlUnusable, "without PostGIS"),
        (make_dsn(any_import.dsn, dbname="nowhere"), DatabaseUnavailable, 'database "nowhere" does not exist'),
    ):
        store = Osm2pgsqlStore(any_import.config(osm={"dsn": dsn}), None, asked_for)
        with closing(store), pytest.raises(kind, match=said):
            store.ready(0, 1)
    with pytest.raises(ConfigError, match=r"osm.dsn: 1 problem\n  - holds a password; use osm.password_env") as failure:
        Osm2pgsqlStore(any_import.config(osm={"dsn": "dbname=x password=hush"}), None, asked_for)
    assert "hush" not in str(failure.value)
    with pytest.raises(ConfigError, match=r"needs osm\.dsn"):
        any_import.config(osm={"dsn": ""})
    with pytest.raises(ConfigError, match=r"replication\.coarse: "):
        any_import.config(replication={"coarse": [f"{SERVER}/x"]})


def test_a_reader_needs_no_more_than_select(any_import: Import, database: Database) -> None:
    any_import.create(write_extract(any_import.folder / "base.osm.pbf", BASE))
    reader = f"reader_{database.dsn.rsplit('_')[-1]}".replace(" ", "")
    any_import.sql("CREATE ROLE {reader} LOGIN", reader=reader)
    store = Osm2pgsqlStore(any_import.config(osm={"dsn": make_dsn(any_import.dsn, user=reader)}), None, asked_for)

    def names() -> Iterable[str]:
        return [name for (name,) in any_import.ask(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE '%osm%'"
        )]

    with closing(store):
        with pytest.raises(Osm2pgsqlUnusable, match=r"permission denied for public.planet_osm_nodes.*GRANT SELECT"):
            store.describe()
        for table in names():
            if table.startswith("planet_osm"):
                any_import.sql("GRANT SELECT ON {table} TO {reader}", table=table, reader=reader)
        any_import.sql("REVOKE SELECT ON planet_osm_polygon FROM {reader}", reader=reader)
        with pytest.raises(Osm2pgsqlUnusable, match=r"permission denied for public.planet_osm_polygon"):
            store.describe()
        for table in names():
            any_import.sql("GRANT SELECT ON {table} TO {reader}", table=table, reader=reader)
        assert store.bootstrap(database).features == 2
        with closing(psycopg2.connect(any_import.dsn, application_name="osm2pgsql")):
            assert "at work" in store.describe()
        assert wait_until(lambda: "at work" not in store.describe())
