"""Random histories of the map: after every change file the store is what a fresh bootstrap of the same state gives, and
the dirty tiles are those of the ground that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from osm_world import STATE, Thing, rows_of, write_changes, write_extract, wrote
from random_history import SIDE, SOUTH, STEP, WEST, History, Step, asked_for, histories, thoroughly
from shapely.geometry import Point
from tile_oracle import surely_and_possibly_dirty

from daemon.config import Tiling
from daemon.db import Database
from daemon.osm import AreaOfInterest, Delta, OsmStore
from daemon.tiling.expiry import expire
from detectors.base import OsmFeature

MIDDLE = Point(WEST + SIDE / 2 * STEP, SOUTH + SIDE / 2 * STEP)
#: The area is the middle of the world, its margin of 500 m leaves a strip of the unknown all around.
SQUARE = AreaOfInterest(MIDDLE.buffer(0.0081).envelope, 500.0)
#: Likewise, with corners cut off.
OCTAGON = AreaOfInterest(MIDDLE.buffer(0.0101, quad_segs=2), 500.0)
#: A strip through the first two of three parts of the world, which lie in its margin as wholes, unlike the third.
STRIP = AreaOfInterest.from_bbox((WEST + 3.3 * STEP, SOUTH, WEST + 6.7 * STEP, SOUTH + SIDE * STEP), 900.0)

CODES = {"way": "w", "relation": "r"}

tilings = st.builds(
    Tiling,
    zoom=st.sampled_from((16, 15, 17)),
    mode=st.sampled_from(("full_area", "hybrid", "boundary_only")),
    full_area_limit=st.sampled_from((1500.0, 400.0)),
    buffer=st.sampled_from((0.05, 0.0, 0.6)),
)


def relevant(tags: Mapping[str, str], shape: str) -> Mapping[str, str] | None:
    """What a look sees: of areas and of ways all but their names, of a ruin nothing unless it is an area."""
    seen = {key: value for key, value in tags.items() if key != "name"}
    return seen if shape == "area" or seen.get("building") != "ruin" else None


class Atlas:
    """A store that change files are applied to, and one that is bootstrapped afresh for every state."""

    def __init__(self, followed: Database, fresh: Database, folder: Path):
        self.followed, self.fresh, self.folder = followed, fresh, folder

    def follow(self, history: History, area: AreaOfInterest | None) -> Iterator[tuple[Step, Delta]]:
        """Apply the change files, each twice; the second time nothing may change."""
        store = OsmStore(area, asked_for)
        store.bootstrap(self.followed, self._extract(history.base), force=True)
        for sequence, step in enumerate(history.steps, 1):
            delta = self._apply(store, sequence, step)
            yield step, delta
            with self.followed.transaction() as cursor:
                path, moment = self._change_file(sequence, step)
                assert store.apply(cursor, path, sequence, moment).changes == []
                assert not wrote(cursor), f"file {sequence} applied twice"

    def follow_again(self, history: History, area: AreaOfInterest | None) -> None:
        """Apply all change files once more, from the first on."""
        for sequence, step in enumerate(history.steps, 1):
            self._apply(OsmStore(area, asked_for), sequence, step)

    def features(self, state: Mapping[tuple[str, int], Thing], area: AreaOfInterest | None) -> dict[str, OsmFeature]:
        """Features of a fresh bootstrap of a state."""
        store = OsmStore(area, asked_for)
        store.bootstrap(self.fresh, self._extract(state), force=True)
        with self.fresh.transaction() as cursor:
            return {feature.ref: feature for feature in store.features_in(cursor, (-180, -90, 180, 90))}

    def _apply(self, store: OsmStore, sequence: int, step: Step) -> Delta:
        path, moment = self._change_file(sequence, step)
        with self.followed.transaction() as cursor:
            return store.apply(cursor, path, sequence, moment)

    def _change_file(self, sequence: int, step: Step) -> tuple[Path, datetime]:
        moment = datetime.fromtimestamp(max(thing.changed for thing in step.written), UTC)
        return write_changes(self.folder / f"{sequence}.osc.gz", step.written), moment

    def _extract(self, state: Mapping[tuple[str, int], Thing]) -> Path:
        return write_extract(self.folder / "state.osm", state.values())


@pytest.fixture(scope="module")
def databases(server) -> Iterator[tuple[Database, Database]]:
    pair = Database(server.create()), Database(server.create())
    yield pair
    for db in pair:
        db.close()
        server.drop(db.dsn)


@pytest.fixture
def atlas(databases: tuple[Database, Database], tmp_path: Path) -> Atlas:
    return Atlas(*databases, tmp_path)


def check(atlas: Atlas, history: History, area: AreaOfInterest | None, tiling: Tiling, tables=STATE) -> None:
    before = atlas.features(history.base, area)
    for step, delta in atlas.follow(history, area):
        moment = atlas.features(step.moment, area) if step.passing else {}
        after = atlas.features(step.after, area)
        assert rows_of(atlas.followed, tables) == rows_of(atlas.fresh, tables)
        assert told(delta) == [(shape(old), shape(new)) for old, new in changes(before, after)]
        assert not unnoted(atlas.followed)
        passed = [feature for feature in moment.values() if (CODES[feature.type], feature.id) in step.passing]
        pairs = [*changes(before, after), *((feature, None) for feature in passed)]
        expired = expire(delta.touched, tiling, relevant)
        if area is not None:
            expired = expired.within(area.geometry, tiling.zoom)
        found = set(map(tuple, expired.tiles.tolist()))
        sure, possible = dirty(pairs, tiling, area)
        assert sure <= found <= possible
        before = after
    atlas.follow_again(history, area)
    assert rows_of(atlas.followed, tables) == rows_of(atlas.fresh, tables)


def unnoted(db: Database) -> list[tuple]:
    """What the store lacks although a feature may rest upon it, and does not know to be missing."""
    with db.transaction() as cursor:
        cursor.execute(
            "(SELECT 'n', ref FROM osm_way w, unnest(nodes) AS ref WHERE tags IS NOT NULL OR EXISTS"
            " (SELECT FROM osm_relation r WHERE r.way_refs @> ARRAY[w.id]) EXCEPT SELECT 'n', id FROM osm_node"
            " UNION SELECT 'w', ref FROM osm_relation, unnest(way_refs) AS ref EXCEPT SELECT 'w', id FROM osm_way)"
            " EXCEPT SELECT osm_type::text, osm_id FROM osm_missing"
        )
        return cursor.fetchall()


def told(delta: Delta) -> list[tuple]:
    by_name = sorted(delta.changes, key=lambda change: (change.old or change.new).ref)
    return [(shape(change.old), shape(change.new)) for change in by_name]


def shape(feature: OsmFeature | None) -> tuple | None:
    return feature and (feature.ref, feature.version, dict(feature.tags), feature.geometry.wkb)


def changes(before: Mapping[str, OsmFeature], after: Mapping[str, OsmFeature]) -> list[tuple]:
    pairs = [(before.get(ref), after.get(ref)) for ref in sorted(before | after)]
    return [(old, new) for old, new in pairs if shape(old) != shape(new)]


def dirty(pairs: list[tuple], tiling: Tiling, area: AreaOfInterest | None) -> tuple[set, set]:
    """Tiles that are dirty for sure, and those that may be."""
    ground = area and area.geometry
    found = [surely_and_possibly_dirty(old, new, relevant, tiling, ground) for old, new in pairs]
    return set(chain(*(sure for sure, _ in found))), set(chain(*(possible for _, possible in found)))


@thoroughly(40)
@given(history=histories(), tiling=tilings)
def test_without_an_area_store_and_dirty_tiles_are_exact(atlas: Atlas, history: History, tiling: Tiling) -> None:
    check(atlas, history, None, tiling)


@thoroughly(40)
@given(history=histories(closed=True), tiling=tilings, area=st.sampled_from((SQUARE, OCTAGON)))
def test_of_an_area_too_where_the_files_tell_what_comes_in(
    atlas: Atlas, history: History, tiling: Tiling, area: AreaOfInterest
) -> None:
    check(atlas, history, area, tiling)


@thoroughly(25)
@given(history=histories(clusters=3), tiling=tilings)
def test_features_of_an_area_are_exact_where_the_margin_is_wider_than_things_are(
    atlas: Atlas, history: History, tiling: Tiling
) -> None:
    check(atlas, history, STRIP, tiling, ["osm_feature"])
