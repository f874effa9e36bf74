"""Which edits make the daemon look again, and which it only writes down; and what its store was made for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from osm_world import way
from shapely.geometry import box
from town import Town, apply, discrepancies, drawing, look_at_all, mark, queue_rows, way_of

from daemon.config import Area
from daemon.db import Database
from daemon.demo.place import ORIGIN
from daemon.errors import OsmDataError
from daemon.osm.selection import note_selection
from daemon.pipeline import Pipeline
from daemon.tiling.grid import Block
from detectors.building import BuildingDetector

WEST, SOUTH, EAST, NORTH = Block(19, ORIGIN.x, ORIGIN.y, 1).lonlat()
WIDTH = EAST - WEST
HOUSE = box(WEST + 0.3 * WIDTH, SOUTH + 0.3 * WIDTH, WEST + 0.6 * WIDTH, SOUTH + 0.5 * WIDTH)


@pytest.fixture
def pipeline(town: Town, database: Database) -> Iterator[Pipeline]:
    with town.pipeline(database) as pipeline:
        yield pipeline


def edit(pipeline: Pipeline, folder: Path, tags: dict[str, str]) -> int:
    """Give the house that was drawn other tags; returns how many tiles became dirty."""
    *nodes, house = drawing(HOUSE, 1)
    if pipeline_knows(pipeline) is None:
        apply(pipeline, folder, *nodes, house)
        with pipeline.db.transaction() as cursor:
            cursor.execute("DELETE FROM dirty_tile")
    return len(apply(pipeline, folder, house.next(tags=tags)).expired.tiles)


def pipeline_knows(pipeline: Pipeline):
    with pipeline.db.transaction() as cursor:
        return pipeline.store.feature(cursor, f"way/{way_of(1)}")


def test_a_name_is_no_reason_to_look_again_but_is_written_down(pipeline: Pipeline, tmp_path: Path) -> None:
    assert edit(pipeline, tmp_path, {"building": "yes", "name": "Town hall", "addr:housenumber": "1"}) == 0
    assert queue_rows(pipeline.db) == []
    house = pipeline_knows(pipeline)
    assert (house.version, house.tags["name"]) == (2, "Town hall")


@pytest.mark.parametrize("tags", [{"building": "yes", "building:levels": "3"}, {"building": "ruins"}, {"highway": "x"}])
def test_what_matters_to_a_look_is(pipeline: Pipeline, tmp_path: Path, tags: dict[str, str]) -> None:
    assert edit(pipeline, tmp_path, tags) == 1
    assert [row[:2] for row in queue_rows(pipeline.db)] == [(ORIGIN.x, ORIGIN.y)]


def test_a_line_is_nothing_to_a_detector_of_areas(pipeline: Pipeline, tmp_path: Path) -> None:
    *nodes, house = drawing(HOUSE, 1)
    refs = [node.id for node in nodes]
    applied = apply(pipeline, tmp_path, *nodes, way(house.id, refs, tags={"building": "yes"}, changed=house.changed))
    assert len(applied.delta.changes) == 1 and len(applied.expired.tiles) == 0
    assert len(apply(pipeline, tmp_path, house.next()).expired.tiles) == 1, "closed, it is a building"


def test_only_the_part_that_moved_is_looked_at(pipeline: Pipeline, tmp_path: Path) -> None:
    long = box(WEST + 0.3 * WIDTH, SOUTH + 0.3 * WIDTH, WEST + 5.3 * WIDTH, SOUTH + 0.5 * WIDTH)
    *nodes, house = drawing(long, 1)
    assert len(apply(pipeline, tmp_path, *nodes, house).expired.tiles) == 6
    eastmost = max(node.location[0] for node in nodes)
    moved = [node.next(location=(node.location[0] + 0.2 * WIDTH, node.location[1]))
             for node in nodes if node.location[0] == eastmost]
    assert apply(pipeline, tmp_path, *moved).expired.tiles.tolist() == [[ORIGIN.x + 5, ORIGIN.y]]


def test_tiles_outside_of_the_area_are_not_looked_at(town: Town, database: Database, tmp_path: Path) -> None:
    bbox = (WEST + 0.1 * WIDTH, SOUTH + 0.1 * WIDTH, EAST - 0.1 * WIDTH, NORTH - 0.1 * WIDTH)
    config = town.config().model_copy(update={"area": Area(bbox=bbox, margin=5000.0)})
    across = box(WEST + 0.3 * WIDTH, SOUTH + 0.3 * WIDTH, WEST + 5.3 * WIDTH, SOUTH + 0.5 * WIDTH)
    with town.pipeline(database, config) as pipeline:
        applied = apply(pipeline, tmp_path, *drawing(across, 1))
        assert len(applied.delta.changes) == 1
        assert applied.expired.tiles.tolist() == [[ORIGIN.x, ORIGIN.y]]


def test_nothing_is_claimed_outside_of_the_area_where_the_map_is_not_known(town: Town, database: Database) -> None:
    bbox = (WEST, SOUTH, EAST, NORTH)
    config = town.config().model_copy(update={"area": Area(bbox=bbox, margin=5000.0)})
    with town.pipeline(database, config) as pipeline:
        mark(pipeline, [ORIGIN])
        assert look_at_all(pipeline) == 1
        found = discrepancies(database)
    assert found
    places = [d.geometry.representative_point() for d in found]
    assert all(WEST <= place.x <= EAST and SOUTH <= place.y <= NORTH for place in places)


def selection_of(db: Database):
    with db.transaction() as cursor:
        cursor.execute("SELECT selection FROM replication_state")
        return cursor.fetchone()[0]


class Sheds(BuildingDetector):
    """Another detector, with another selection."""

    name = "shed"
    selection = "sheds"


def test_another_detector_needs_another_bootstrap(pipeline: Pipeline, tmp_path: Path) -> None:
    assert selection_of(pipeline.db) is None, "a store older than that knowledge"
    apply(pipeline, tmp_path, *drawing(HOUSE, 1))
    assert selection_of(pipeline.db) == {"building": BuildingDetector.selection}
    pipeline.detectors.append(Sheds())
    with pytest.raises(OsmDataError, match="bootstrapped for building; shed is new; run `mapgap bootstrap --force"):
        apply(pipeline, tmp_path, *drawing(HOUSE, 2))
    assert pipeline_knows(pipeline).version == 1, "nothing was applied"
    with pipeline.db.transaction() as cursor:
        assert pipeline.store.feature(cursor, f"way/{way_of(2)}") is None


def test_a_detector_that_selects_otherwise_needs_another_bootstrap_too(pipeline: Pipeline, tmp_path: Path) -> None:
    with pipeline.db.transaction() as cursor:
        note_selection(cursor, {"building": "000000000000"})
    with pytest.raises(OsmDataError, match="building selects other objects now"):
        apply(pipeline, tmp_path, *drawing(HOUSE, 1))


def test_what_no_detector_asks_for_any_more_is_forgotten(pipeline: Pipeline, tmp_path: Path) -> None:
    with pipeline.db.transaction() as cursor:
        note_selection(cursor, {"building": BuildingDetector.selection, "shed": "sheds"})
    apply(pipeline, tmp_path, *drawing(HOUSE, 1))
    pipeline.detectors.append(Sheds())
    with pytest.raises(OsmDataError, match="shed is new"):
        apply(pipeline, tmp_path, *drawing(HOUSE, 2))


def test_a_bootstrap_writes_down_for_whom_it_was(installation) -> None:
    installation.bootstrap()
    assert selection_of(installation.database) == {"building": BuildingDetector.selection}
