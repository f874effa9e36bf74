"""Random histories of the map: after every change file the store is what a fresh bootstrap of the same state gives."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from osm_world import EPOCH, Thing, node, relation, rows_of, way, write_changes, write_extract, wrote
from shapely.geometry import Point

from daemon.db import Database
from daemon.osm import AreaOfInterest, OsmStore

#: Degrees along one side of the world: about 4 km.
SIDE = 0.04
#: The area is the middle of it, its margin of 500 m leaves a strip of the unknown all around.
AREA = AreaOfInterest.from_bbox((0.012, 0.012, 0.028, 0.028), 500.0)
#: Likewise, with corners cut off.
OCTAGON = AreaOfInterest(Point(0.02, 0.02).buffer(0.009, quad_segs=2), 500.0)
TAGS = ({}, {"name": "x"}, {"building": "yes"}, {"highway": "path"}, {"building": "yes", "name": "é \"\\\t'"})


class History:
    """A world that changes at random, one change file at a time."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.now: dict[tuple[str, int], Thing] = {}
        self.clock = EPOCH
        for id_ in range(1, 41):
            self._set(node(id_, *self._place()))
        for id_ in range(1, 21):
            self._set(way(id_, self._refs(), tags=self._tags()))
        for id_ in range(1, 9):
            self._set(relation(id_, self._members(), tags=self._area_tags()))

    def step(self, *, closed: bool) -> list[Thing]:
        """The next change file. `closed`: it names the parents and parts of what changes too, unchanged."""
        before = dict(self.now)
        written: list[Thing] = []
        for _ in range(self.random.randint(1, 12)):
            self.clock += self.random.randint(1, 100)
            written.append(self._edit())
        if closed:
            written += self._relatives({thing.key for thing in written}, before)
        self.random.shuffle(written)
        return written

    def _edit(self) -> Thing:
        kind = self.random.choices("nwr", (5, 3, 2))[0]
        limit = {"n": 45, "w": 24, "r": 10}[kind]
        old = self.now.get((kind, self.random.randint(1, limit))) if self.random.random() < 0.9 else None
        if old is None:
            old = Thing(kind, limit + self.random.randint(0, 3), version=0)
            old = self.now.get(old.key, old)
        version = old.version + self.random.choice((1, 1, 1, 2))
        if old.version and not old.deleted and self.random.random() < 0.2:
            return self._set(Thing(kind, old.id, version, self.clock, deleted=True))
        new = Thing(kind, old.id, version, self.clock, old.tags, old.location, old.refs, old.members)
        return self._set(self._varied(new))

    def _varied(self, thing: Thing) -> Thing:
        keep = self.random.random() < 0.3 and (thing.location or thing.refs or thing.members)
        common = {"version": thing.version, "changed": thing.changed}
        if thing.kind == "n":
            lon, lat = thing.location if keep else self._place()
            return node(thing.id, lon, lat, tags=self._tags(), **common)
        if thing.kind == "w":
            refs = thing.refs if keep else self._refs()
            if keep and len(refs) > 2 and self.random.random() < 0.5:
                refs = refs[:1] + refs[2:]
            return way(thing.id, refs, tags=self._tags(), **common)
        return relation(thing.id, thing.members if keep else self._members(), tags=self._area_tags(), **common)

    def _relatives(self, changed: set[tuple[str, int]], before: dict[tuple[str, int], Thing]) -> list[Thing]:
        worlds = [*before.values(), *self.now.values()]
        ways = {t.id for t in worlds if t.kind == "w" and any(("n", ref) in changed for ref in t.refs)}
        ways |= {id_ for kind, id_ in changed if kind == "w"}
        relations = {t.id for t in worlds if t.kind == "r" and any(k == "w" and ref in ways for k, ref, _ in t.members)}
        relations |= {id_ for kind, id_ in changed if kind == "r"}
        ways |= {ref for t in worlds if t.kind == "r" and t.id in relations for k, ref, _ in t.members if k == "w"}
        nodes = {ref for t in worlds if t.kind == "w" and t.id in ways for ref in t.refs}
        keys = {("w", id_) for id_ in ways} | {("r", id_) for id_ in relations} | {("n", id_) for id_ in nodes}
        return [self.now[key] for key in keys - changed if key in self.now and not self.now[key].deleted]

    def _set(self, thing: Thing) -> Thing:
        self.now[thing.key] = thing
        return thing

    def _place(self) -> tuple[float, float]:
        return round(self.random.uniform(0, SIDE), 7), round(self.random.uniform(0, SIDE), 7)

    def _refs(self) -> list[int]:
        refs = [self.random.randint(1, 46) for _ in range(self.random.randint(0, 6))]
        return [*refs, refs[0]] if refs and self.random.random() < 0.7 else refs

    def _members(self) -> list[tuple[str, int, str]]:
        kinds = self.random.choices("wnr", (8, 1, 1), k=self.random.randint(0, 4))
        roles = ("outer", "inner", "", "a,b %")
        return [(kind, self.random.randint(1, 24), self.random.choice(roles)) for kind in kinds]

    def _tags(self) -> dict[str, str]:
        return dict(self.random.choice(TAGS))

    def _area_tags(self) -> dict[str, str]:
        kind = self.random.choice(("multipolygon", "multipolygon", "boundary", "route"))
        return {"type": kind, **self.random.choice(TAGS)}


def asked_for(tags: object) -> bool:
    return "building" in tags or "highway" in tags


@pytest.mark.parametrize(("area", "seed"), [
    *((None, seed) for seed in range(4)), *((AREA, seed) for seed in range(4, 8)), (OCTAGON, 8), (OCTAGON, 9),
])
def test_after_every_change_file_the_store_equals_a_fresh_bootstrap(
    server, database: Database, tmp_path: Path, seed: int, area: AreaOfInterest | None
) -> None:
    history = History(seed)
    store = OsmStore(area, asked_for)
    store.bootstrap(database, write_extract(tmp_path / "base.osm.pbf", history.now.values()))
    fresh = Database(server.create())
    try:
        for sequence in range(1, 13):
            things = history.step(closed=area is not None)
            path = write_changes(tmp_path / "change.osc.gz", things)
            when = datetime.fromtimestamp(history.clock, UTC)
            before = features(store, database)
            with database.transaction() as cursor:
                delta = store.apply(cursor, path, sequence, when)
            extract = write_extract(tmp_path / "end.osm.pbf", history.now.values())
            store.bootstrap(fresh, extract, force=True)
            assert rows_of(database) == rows_of(fresh), f"after file {sequence}"

            after = features(store, database)
            told = {(c.old or c.new).ref: (shape(c.old), shape(c.new)) for c in delta.changes}
            differing = {ref for ref in before | after if before.get(ref) != after.get(ref)}
            assert told == {ref: (before.get(ref), after.get(ref)) for ref in differing}

            with database.transaction() as cursor:
                assert store.apply(cursor, path, sequence, when).changes == []
                assert not wrote(cursor), f"file {sequence} applied twice"
    finally:
        fresh.close()
        server.drop(fresh.dsn)


def features(store: OsmStore, db: Database) -> dict[str, tuple]:
    with db.transaction() as cursor:
        return {f.ref: shape(f) for f in store.features_in(cursor, (-1, -1, 1, 1))}


def shape(feature) -> tuple | None:
    return feature and (feature.version, dict(feature.tags), feature.geometry.wkb)
