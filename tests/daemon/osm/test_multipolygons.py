"""Area relations, sound and broken: the store has what osmium's area assembler makes of the same objects, when it is
bootstrapped and after every change file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from osm_world import Thing, areas_of, node, plain, relation, way, write_changes, write_extract
from random_history import thoroughly
from shapely.geometry.base import BaseGeometry

from daemon.db import Database
from daemon.osm import OsmStore

WEST, SOUTH, STEP, SIDE = 8.0003, 47.0001, 0.001, 6
HOUSE = {"type": "multipolygon", "building": "yes"}
NOW = datetime(2024, 1, 1, tzinfo=UTC)
OUTER, INNER, NONE, ODD = "outer", "inner", "", "part"


def asked_for(tags: Mapping[str, str]) -> bool:
    return "building" in tags


def at(column: int, row: int) -> int:
    """The id of a node of the lattice."""
    return 1 + column + row * (SIDE + 1)


LATTICE = [
    node(at(i, j), round(WEST + i * STEP, 7), round(SOUTH + j * STEP, 7))
    for i in range(SIDE + 1) for j in range(SIDE + 1)
]


def ring(west: int, south: int, east: int, north: int) -> list[int]:
    """The nodes of a rectangle, all that it passes, from its south-western corner and back to it."""
    return [
        *(at(i, south) for i in range(west, east)), *(at(east, j) for j in range(south, north)),
        *(at(i, north) for i in range(east, west, -1)), *(at(west, j) for j in range(north, south - 1, -1)),
    ]


class Town:
    """A store, and the same objects in a file for osmium."""

    def __init__(self, db: Database, folder: Path, things: Sequence[Thing]):
        self.db, self.folder, self.store, self.sequence = db, folder, OsmStore(None, asked_for), 0
        self.now = {thing.key: thing for thing in things}
        self.store.bootstrap(db, self._extract(), force=True)

    def change(self, things: Sequence[Thing]) -> None:
        self.sequence += 1
        path = write_changes(self.folder / "change.osc.gz", things)
        with self.db.transaction() as cursor:
            self.store.apply(cursor, path, self.sequence, NOW)
        self.now |= {thing.key: thing for thing in things}

    def stored(self) -> dict[str, BaseGeometry]:
        with self.db.transaction() as cursor:
            features = self.store.features_in(cursor, (-180, -90, 180, 90))
        assert all(f.geometry.geom_type in ("Polygon", "MultiPolygon") for f in features if f.type == "relation")
        return {f.ref: plain(f.geometry) for f in features if f.type == "relation"}

    def assembled(self) -> dict[str, BaseGeometry]:
        asked = {f"relation/{id_}" for (kind, id_), thing in self.now.items() if kind == "r" and asked_for(thing.tags)}
        return {ref: geometry for ref, geometry in areas_of(self._extract()).items() if ref in asked}

    def check(self) -> dict[str, BaseGeometry]:
        stored, assembled = self.stored(), self.assembled()
        assert stored.keys() == assembled.keys()
        for ref, geometry in stored.items():
            assert shapely.equals_exact(geometry, assembled[ref], tolerance=0), f"{ref}: {geometry} {assembled[ref]}"
        return stored

    def _extract(self) -> Path:
        return write_extract(self.folder / "town.osm", self.now.values())


@pytest.fixture(scope="module")
def ground(server) -> Iterator[Database]:
    db = Database(server.create())
    yield db
    db.close()
    server.drop(db.dsn)


#: Name -> ways, members, and the area in squares of the lattice; None where no area can be made.
SHAPES: dict[str, tuple[list[list[int]], list[tuple[int, str]], float | None]] = {
    "a courtyard": ([ring(0, 0, 4, 4), ring(1, 1, 3, 3)], [(1, OUTER), (2, INNER)], 12),
    "wrong roles": ([ring(0, 0, 4, 4), ring(1, 1, 3, 3)], [(1, INNER), (2, OUTER)], 12),
    "no roles": ([ring(0, 0, 4, 4), ring(1, 1, 3, 3)], [(1, NONE), (2, ODD)], 12),
    "two outer rings": ([ring(0, 0, 2, 2), ring(3, 0, 5, 2)], [(1, OUTER), (2, OUTER)], 8),
    "outer rings that touch in a point": ([ring(0, 0, 2, 2), ring(2, 2, 4, 4)], [(1, OUTER), (2, OUTER)], 8),
    "outer rings that touch along an edge": ([ring(0, 0, 2, 2), ring(2, 0, 4, 2)], [(1, OUTER), (2, OUTER)], 8),
    "an inner ring that touches in a point": (
        [ring(0, 0, 4, 4), [at(0, 2), at(2, 1), at(2, 3), at(0, 2)]], [(1, OUTER), (2, INNER)], 14),
    "an inner ring that touches along an edge": ([ring(0, 0, 4, 4), ring(0, 1, 2, 3)], [(1, OUTER), (2, INNER)], 12),
    "inner rings that touch along an edge": (
        [ring(0, 0, 6, 6), ring(1, 1, 3, 3), ring(3, 1, 5, 3)], [(1, OUTER), (2, INNER), (3, INNER)], 28),
    "an island in a lake on an island": (
        [ring(0, 0, 6, 6), ring(1, 1, 5, 5), ring(2, 2, 4, 4)], [(1, OUTER), (2, INNER), (3, OUTER)], 24),
    "a ring of several ways, one the other way round": (
        [ring(0, 0, 4, 4)[:6], ring(0, 0, 4, 4)[5:11][::-1], ring(0, 0, 4, 4)[10:]],
        [(2, OUTER), (1, OUTER), (3, OUTER)], 16),
    "an open ring": ([ring(0, 0, 4, 4)[:-1]], [(1, OUTER)], None),
    "an open ring beside a closed one": ([ring(0, 0, 2, 2)[:-1], ring(3, 3, 5, 5)], [(1, OUTER), (2, OUTER)], None),
    "a member that is not there": ([ring(0, 0, 4, 4)], [(1, OUTER), (9, INNER)], None),
    "a member twice": ([ring(0, 0, 4, 4)], [(1, OUTER), (1, OUTER)], 16),
    "the same ring twice": ([ring(0, 0, 4, 4), ring(0, 0, 4, 4)], [(1, OUTER), (2, OUTER)], None),
    "rings that cross in nodes": ([ring(0, 0, 3, 3), ring(1, 1, 5, 5)], [(1, OUTER), (2, OUTER)], 17),
    "rings that cross between nodes": (
        [[at(0, 0), at(3, 0), at(0, 3), at(0, 0)], [at(2, 2), at(0, 1), at(2, 0), at(2, 2)]],
        [(1, OUTER), (2, OUTER)], None),
    "a ring without ground": ([[at(0, 0), at(2, 0), at(0, 0)]], [(1, OUTER)], None),
    "a way of one node": ([[at(0, 0)], ring(0, 0, 4, 4)], [(1, OUTER), (2, OUTER)], 16),
    "a spike": ([[at(0, 0), at(4, 0), at(4, 2), at(4, 4), at(4, 2), at(0, 2), at(0, 0)]], [(1, OUTER)], 8),
    "no members": ([ring(0, 0, 4, 4)], [], None),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_multipolygon_is_what_osmium_sees(ground: Database, tmp_path: Path, name: str) -> None:
    rings, members, squares = SHAPES[name]
    ways = [way(i, refs) for i, refs in enumerate(rings, 1)]
    things = [*ways, relation(1, [("w", id_, role) for id_, role in members], tags=HOUSE)]
    area = Town(ground, tmp_path, [*LATTICE, *things]).check().get("relation/1")
    assert (area and round(area.area / STEP**2, 6)) == squares

    town = Town(ground, tmp_path, LATTICE)
    town.change(things)
    assert town.check().get("relation/1") == area


@st.composite
def towns(draw) -> tuple[list[Thing], list[list[Thing]]]:
    """A town of rectangles, and change files."""
    things = {thing.key: thing for thing in LATTICE}
    for id_ in range(draw(st.integers(1, 3))):
        members = []
        for _ in range(draw(st.integers(1, 3))):
            members += _draw_ring(draw, things)
        _put(things, relation(id_ + 1, _spoilt(draw, members, things), tags=HOUSE))
    base, files = list(things.values()), []
    for _ in range(draw(st.integers(1, 3))):
        edits: dict[tuple[str, int], Thing] = {}
        for _ in range(draw(st.integers(1, 3))):
            thing = _edited(draw, things)
            things[thing.key] = edits[thing.key] = thing
        files.append(list(edits.values()))
    return base, files


def _draw_ring(draw, things: dict[tuple[str, int], Thing]) -> list[tuple[str, int, str]]:
    """A rectangle, of one way or several, some of them tagged themselves, as members."""
    west, south = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
    refs = ring(west, south, draw(st.integers(west + 1, SIDE)), draw(st.integers(south + 1, SIDE)))
    cuts = sorted({0, len(refs) - 1, *draw(st.lists(st.integers(0, len(refs) - 1), max_size=2))})
    role = draw(st.sampled_from((OUTER, INNER, NONE, ODD)))
    members = []
    for start, end in pairwise(cuts):
        part = refs[start:end + 1]
        tags = {"building": "yes"} if draw(st.integers(0, 3)) == 3 else {}
        made = way(sum(kind == "w" for kind, _ in things) + 1, part[::-1] if draw(st.booleans()) else part, tags=tags)
        _put(things, made)
        members.append(("w", made.id, role))
    return members


def _spoilt(
    draw, members: list[tuple[str, int, str]], things: Mapping[tuple[str, int], Thing]
) -> list[tuple[str, int, str]]:
    """The members as they are, or shuffled, doubled, too few, or with a way of another relation."""
    fault = draw(st.sampled_from(("none", "none", "order", "double", "lost", "shared", "unknown", "other kinds")))
    some = draw(st.sampled_from(members)) if members else None
    if fault == "order":
        return draw(st.permutations(members))
    if fault == "double" and some:
        return [*members, some]
    if fault == "lost" and some:
        return [member for member in members if member != some]
    if fault == "shared":
        return [*members, ("w", draw(st.integers(1, sum(kind == "w" for kind, _ in things))), OUTER)]
    if fault == "unknown":
        return [*members, ("w", 999, OUTER)]
    return [*members, ("n", 1, OUTER), ("r", 1, OUTER), ("w", 0, "")] if fault == "other kinds" else members


def _edited(draw, things: Mapping[tuple[str, int], Thing]) -> Thing:
    kind = draw(st.sampled_from("nwr"))
    thing = things[draw(st.sampled_from(sorted(key for key in things if key[0] == kind)))]
    if draw(st.integers(0, 4)) == 4:
        return Thing(kind, thing.id, thing.version + 1, thing.changed + 60, deleted=True)
    if kind == "n":
        lon, lat = thing.location or (WEST, SOUTH)
        east, north = draw(st.sampled_from((-0.5, 0, 0.25, 1))), draw(st.sampled_from((-0.5, 0, 0.25, 1)))
        return thing.next(location=(round(lon + east * STEP, 7), round(lat + north * STEP, 7)))
    if kind == "w":
        refs = list(thing.refs)
        if refs:
            del refs[draw(st.integers(0, len(refs) - 1))]
        return thing.next(refs=tuple(draw(st.sampled_from((refs, refs + refs[:1], thing.refs[::-1])))))
    return thing.next(tags=HOUSE, members=tuple(_spoilt(draw, list(thing.members), things)))


def _put(things: dict[tuple[str, int], Thing], thing: Thing) -> None:
    things[thing.key] = thing


@thoroughly(60)
@given(town=towns())
def test_random_multipolygons_are_what_osmium_sees_after_every_change_file(
    ground: Database, tmp_path: Path, town: tuple[list[Thing], list[list[Thing]]]
) -> None:
    base, files = town
    now = Town(ground, tmp_path, base)
    now.check()
    for things in files:
        now.change(things)
        now.check()
