"""A sweep looks at every tile of an area once, a few cells at a time, and survives being killed and stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from daemon.config import Tiling
from daemon.db import Database
from daemon.tiling.cells import CELL_SIDE, Cell
from daemon.tiling.grid import Block, Tile
from daemon.tiling.queue import complete, lease_blocks, mark_dirty
from daemon.tiling.sweep import (
    Plan,
    Progress,
    Sweep,
    advance_sweep,
    begin_sweep,
    looked_cells,
    progress_of,
    read_sweeps,
    replace_sweep,
    resume_sweep,
    seconds_left,
    stop_sweep,
    swept_before,
)

ZOOM = 19
START = datetime(2024, 6, 1, tzinfo=UTC)
AREA = {"world": True}
SIDE = 8


def later(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def knobs(**others) -> Tiling:
    return Tiling(**{"zoom": ZOOM, "backfill_queue": 1, **others})


def cell(x: int, y: int, *tiles: tuple[int, int]) -> Cell:
    """A cell of which these tiles are meant, by column and row within it."""
    mask = np.zeros((CELL_SIDE, CELL_SIDE), bool)
    for column, row in tiles:
        mask[row, column] = True
    return Cell(x, y, mask)


#: Three cells in one row, of two tiles, one and three.
CELLS = (cell(10, 20, (0, 0), (1, 0)), cell(11, 20, (5, 5)), cell(12, 20, (0, 0), (9, 9), (63, 63)))
TILES = [[(640, 1280), (641, 1280)], [(709, 1285)], [(768, 1280), (777, 1289), (831, 1343)]]


def begin(db: Database, cells: Iterable[Cell] = CELLS, *, at: datetime = START, **plan) -> Sweep:
    with db.transaction() as cursor:
        return begin_sweep(cursor, Plan(cells, AREA, **plan), knobs(), at)


def advance(db: Database, sweep: Sweep, at: datetime = START, **given) -> int:
    order = given.pop("order", None)
    with db.transaction() as cursor:
        return advance_sweep(cursor, sweep, knobs(**given), at, order)


def now(db: Database, sweep: Sweep) -> tuple[Sweep, Progress]:
    with db.transaction() as cursor:
        fresh = next(one for one in read_sweeps(cursor) if one.id == sweep.id)
        return fresh, progress_of(cursor, fresh)


def queued(db: Database) -> list[tuple[int, int]]:
    with db.transaction() as cursor:
        cursor.execute("SELECT x, y FROM dirty_tile WHERE state <> 'dead' ORDER BY x, y")
        return cursor.fetchall()


def look(db: Database, at: datetime, result: str = "judged", source: str = "eye", acquired=None) -> int:
    """Look at everything that is due; returns how many blocks were."""
    config = knobs()
    with db.transaction() as cursor:
        leased = lease_blocks(cursor, side=SIDE, limit=100, worker="w", now=at, config=config)
        for one in leased:
            complete(cursor, one, dict.fromkeys((t for t, _ in one.tiles), result), at, source, "net", acquired)
    return len(leased)


def mapped(db: Database, x: int, y: int, changed: datetime, number: int) -> None:
    """A building in the middle of a cell."""
    west, south, east, north = Block(ZOOM, x, y, CELL_SIDE).lonlat()
    lon, lat = (west + east) / 2, (south + north) / 2
    with db.transaction() as cursor:
        cursor.execute(
            "INSERT INTO osm_feature VALUES ('w', %s, 1, %s, '{}', '', box(point(%s, %s), point(%s, %s)))",
            (number, changed, lon - 1e-5, lat - 1e-5, lon + 1e-5, lat + 1e-5),
        )


def order_of_work(db: Database, sweep: Sweep) -> list[tuple[int, int]]:
    with db.transaction() as cursor:
        cursor.execute("SELECT x, y FROM sweep_cell WHERE sweep = %s ORDER BY place", (sweep.id,))
        return cursor.fetchall()


def test_it_goes_from_cell_to_cell_and_ends(database: Database) -> None:
    sweep = begin(database)
    assert (sweep.state, sweep.cells, sweep.tiles) == ("running", 3, 6)
    seen = []
    for minute in range(3):
        assert advance(database, sweep, later(minute)) == len(TILES[minute])
        assert advance(database, sweep, later(minute)) == 0, "the queue is full enough"
        seen.append(queued(database))
        assert look(database, later(minute + 0.5))
    assert seen == TILES
    assert now(database, sweep)[0].state == "running"
    assert advance(database, sweep, later(4)) == 0
    done, progress = now(database, sweep)
    assert (done.state, done.cells_done, done.cells_blank, done.ended) == ("done", 3, 0, later(4))
    assert (progress.done, progress.total, progress.queued, progress.seconds_left) == (6, 6, 0, 0.0)
    assert advance(database, sweep, later(5)) == 0 and queued(database) == []


def test_the_queue_is_filled_up_to_the_mark(database: Database) -> None:
    sweep = begin(database)
    assert advance(database, sweep, backfill_queue=3) == 3
    assert advance(database, sweep, backfill_queue=4) == 3
    assert queued(database) == [tile for tiles in TILES for tile in tiles]


def test_a_country_is_fed_in_portions(database: Database) -> None:
    sweep = begin(database, [Cell(x, y, None) for x in range(150) for y in range(150)])
    assert sweep.tiles == 150 * 150 * CELL_SIDE**2
    assert advance(database, sweep, backfill_queue=10_000) == 3 * CELL_SIDE**2
    assert len(queued(database)) == 3 * CELL_SIDE**2


def test_cells_without_a_map_come_first_then_those_of_the_oldest(database: Database) -> None:
    mapped(database, 10, 20, datetime(2012, 1, 1, tzinfo=UTC), 1)
    mapped(database, 10, 20, datetime(2020, 1, 1, tzinfo=UTC), 2)
    mapped(database, 11, 20, datetime(2015, 1, 1, tzinfo=UTC), 3)
    mapped(database, 12, 21, datetime(2023, 1, 1, tzinfo=UTC), 4)
    cells = [Cell(x, y, None) for y in (21, 20) for x in (12, 11, 10)]
    unmapped = [(12, 20), (10, 21), (11, 21)]
    sweep = begin(database, cells)
    assert order_of_work(database, sweep) == [*unmapped, (11, 20), (10, 20), (12, 21)]
    with database.transaction() as cursor:
        replace_sweep(cursor, sweep, START)
    assert order_of_work(database, begin(database, reversed(cells))) == [*unmapped, (11, 20), (10, 20), (12, 21)]


def test_changed_tiles_go_first(database: Database) -> None:
    sweep = begin(database)
    advance(database, sweep)
    with database.transaction() as cursor:
        mark_dirty(cursor, [Tile(ZOOM, 9_000, 9_000)], ZOOM, reason="change", sequence=7, now=later(1), config=knobs())
        (first,) = lease_blocks(cursor, side=SIDE, limit=1, worker="w", now=later(2), config=knobs())
    assert [tile.x for tile, _ in first.tiles] == [9_000]


def test_what_was_looked_at_since_it_began_is_not_looked_at_again(database: Database) -> None:
    with database.transaction() as cursor:
        mark_dirty(cursor, [Tile(ZOOM, 640, 1280)], ZOOM, reason="change", sequence=1, now=later(-9), config=knobs())
    look(database, later(-5))
    with database.transaction() as cursor:
        mark_dirty(cursor, [Tile(ZOOM, 709, 1285)], ZOOM, reason="change", sequence=2, now=START, config=knobs())
    sweep = begin(database)
    look(database, later(1))
    advance(database, sweep, later(2), backfill_queue=100)
    assert queued(database) == [*TILES[0], *TILES[2]]
    assert now(database, sweep)[0].cells_done == 1


def test_what_is_in_the_queue_for_a_change_stays_so(database: Database) -> None:
    with database.transaction() as cursor:
        mark_dirty(cursor, [Tile(ZOOM, 640, 1280)], ZOOM, reason="change", sequence=1, now=START, config=knobs())
    sweep = begin(database)
    assert advance(database, sweep, later(2)) == 1
    with database.transaction() as cursor:
        cursor.execute("SELECT x, reason::text, generation FROM dirty_tile ORDER BY x")
        assert cursor.fetchall() == [(640, "change", 1), (641, "backfill", 1)]


def test_cells_without_imagery_are_recorded_and_soon_after_cost_nothing(database: Database) -> None:
    sweep = begin(database)
    for minute in range(4):
        advance(database, sweep, later(minute))
        look(database, later(minute + 0.5), "judged" if minute == 1 else "no_imagery")
    done, _ = now(database, sweep)
    assert (done.state, done.cells_done, done.cells_blank) == ("done", 3, 2)
    with database.transaction() as cursor:
        cursor.execute("SELECT x, state::text FROM sweep_cell ORDER BY x")
        assert cursor.fetchall() == [(10, "no_imagery"), (11, "done"), (12, "no_imagery")]
    again = begin(database, at=later(100), blank_since=START)
    assert advance(database, again, later(100), backfill_queue=100) == 1
    assert queued(database) == TILES[1] and now(database, again)[0].cells_blank == 2
    look(database, later(101))
    advance(database, again, later(101))
    long_after = begin(database, at=later(200), blank_since=later(150))
    assert advance(database, long_after, later(200), backfill_queue=100) == 6


def test_stopped_it_leaves_the_queue_and_later_goes_on(database: Database) -> None:
    sweep = begin(database)
    advance(database, sweep)
    look(database, later(1))
    advance(database, sweep, later(2), backfill_queue=100)
    with database.transaction() as cursor:
        mark_dirty(cursor, [Tile(ZOOM, 768, 1280)], ZOOM, reason="change", sequence=7, now=later(3), config=knobs())
        stop_sweep(cursor, sweep)
    assert queued(database) == [(768, 1280)], "what changed stays"
    stopped, progress = now(database, sweep)
    assert (stopped.state, progress.done, progress.queued) == ("stopped", 2, 0)
    assert advance(database, sweep, later(4)) == 0
    look(database, later(5))
    with database.transaction() as cursor:
        resume_sweep(cursor, sweep)
    advance(database, sweep, later(6), backfill_queue=100)
    assert queued(database) == [*TILES[1], *TILES[2][1:]]
    look(database, later(7))
    advance(database, sweep, later(8))
    assert now(database, sweep)[0].state == "done"


def test_what_is_being_looked_at_when_it_stops_is_finished(database: Database) -> None:
    sweep = begin(database)
    advance(database, sweep)
    with database.transaction() as cursor:
        (leased,) = lease_blocks(cursor, side=SIDE, limit=1, worker="w", now=START, config=knobs())
    with database.transaction() as cursor:
        stop_sweep(cursor, sweep)
    assert queued(database) == TILES[0]
    with database.transaction() as cursor:
        complete(cursor, leased, {tile: "judged" for tile, _ in leased.tiles}, later(1), "eye", "net")
        resume_sweep(cursor, sweep)
    assert advance(database, sweep, later(2)) == 1
    assert queued(database) == TILES[1]


def test_a_tile_that_was_put_aside_does_not_hold_it_up(database: Database) -> None:
    sweep = begin(database, CELLS[:1])
    advance(database, sweep)
    with database.transaction() as cursor:
        cursor.execute("UPDATE dirty_tile SET state = 'dead' WHERE x = 640")
    look(database, later(1))
    advance(database, sweep, later(2))
    assert now(database, sweep)[0].state == "done"
    again = begin(database, CELLS[:1], at=later(10))
    assert advance(database, again, later(10)) == 2, "the next one tries again"


def test_what_was_not_committed_is_done_again(database: Database) -> None:
    sweep = begin(database)
    before = now(database, sweep)
    with pytest.raises(RuntimeError), database.transaction() as cursor:
        advance_sweep(cursor, sweep, knobs(), later(1))
        raise RuntimeError("killed")
    assert now(database, sweep) == before and queued(database) == []
    advance(database, sweep, later(2))
    assert queued(database) == TILES[0]
    with pytest.raises(RuntimeError), database.transaction() as cursor:
        begin_sweep(cursor, Plan(CELLS, AREA, "imagery", "ortho"), knobs(), START)
        raise RuntimeError("killed while planning")
    with database.transaction() as cursor:
        assert [one.id for one in read_sweeps(cursor)] == [sweep.id]


def test_of_each_kind_there_is_one_at_a_time(database: Database) -> None:
    begin(database)
    begin(database, reason="imagery", source="ortho")
    begin(database, reason="imagery", source="drone")
    for plan in ({}, {"reason": "imagery", "source": "drone"}):
        with pytest.raises(Exception, match="sweep_open"):
            begin(database, **plan)
    with database.transaction() as cursor:
        assert [one.name for one in read_sweeps(cursor)] == ["imagery ortho", "imagery drone", "back-fill"]
        assert swept_before(cursor)


def test_an_empty_area_is_done_at_once(database: Database) -> None:
    with database.transaction() as cursor:
        assert not swept_before(cursor)
    assert begin(database, []).state == "done"


def looked(
    db: Database, tiles: Sequence[tuple[int, int]], source: str, day: str | None, result: str = "judged"
) -> None:
    with db.transaction() as cursor:
        for x, y in tiles:
            cursor.execute(
                "INSERT INTO looked_tile VALUES (%s, %s, %s, %s, %s, %s, 'net', %s)",
                (ZOOM, x, y, result, later(-60), source, day),
            )


ORDER = {"drone": None, "ortho": datetime(2024, 5, 1).date(), "world": None}


@pytest.mark.parametrize(
    ("source", "day", "result", "again"),
    [
        ("world", None, "judged", True),
        ("given up", None, "judged", True),
        ("drone", None, "judged", False),
        ("drone", None, "no_imagery", True),
        ("ortho", "2019-01-01", "judged", True),
        ("ortho", None, "judged", True),
        ("ortho", "2024-05-01", "judged", False),
    ],
)
def test_new_imagery_asks_for_what_it_would_show_otherwise(
    database: Database, source: str, day: str | None, result: str, again: bool
) -> None:
    looked(database, TILES[0], source, day, result)
    sweep = begin(database, CELLS[:1], reason="imagery", source="ortho", still_good=later(-90))
    assert advance(database, sweep, order=ORDER) == (2 if again else 0)
    with database.transaction() as cursor:
        cursor.execute("SELECT DISTINCT reason::text FROM dirty_tile")
        assert cursor.fetchall() == ([("imagery",)] if again else [])


def test_files_younger_than_the_look_are_looked_at_though_source_and_day_are_the_same(database: Database) -> None:
    looked(database, TILES[0], "ortho", "2024-05-01")
    for still_good, count in ((later(-90), 0), (later(-30), 2), (None, 0)):
        sweep = begin(database, CELLS[:1], reason="imagery", source="ortho", still_good=still_good)
        if still_good is None:
            count = 2
            with database.transaction() as cursor:
                cursor.execute("DELETE FROM dirty_tile")
        assert advance(database, sweep, order=ORDER) == count
        with database.transaction() as cursor:
            replace_sweep(cursor, sweep, START)


def test_tiles_never_looked_at_can_be_left_out(database: Database) -> None:
    looked(database, TILES[0][:1], "world", None)
    sweep = begin(database, CELLS, reason="imagery", source="ortho", known_only=True)
    assert advance(database, sweep, order=ORDER, backfill_queue=100) == 1
    with database.transaction() as cursor:
        assert [(c.x, c.y, c.mask) for c in looked_cells(cursor, ZOOM)] == [(10, 20, None)]


def test_a_tile_in_hand_is_looked_at_again_with_the_new_imagery(database: Database) -> None:
    backfill = begin(database, CELLS[:1])
    advance(database, backfill)
    with database.transaction() as cursor:
        (leased,) = lease_blocks(cursor, side=SIDE, limit=1, worker="w", now=START, config=knobs())
    sweep = begin(database, CELLS[:1], reason="imagery", source="ortho")
    advance(database, sweep, later(1), order=ORDER, backfill_queue=100)
    with database.transaction() as cursor:
        done = complete(cursor, leased, {tile: "judged" for tile, _ in leased.tiles}, later(2), "world", "net")
    assert len(done.requeued) == 2


def test_the_time_left_is_by_the_median_pace(database: Database) -> None:
    steady = [(100.0 + 10 * i, 50 * i) for i in range(11)]
    assert seconds_left(steady, 1000) == pytest.approx(200)
    night_off = [*steady, (50_000.0, 550), (50_010.0, 600)]
    assert seconds_left(night_off, 1000) == pytest.approx(200)
    assert seconds_left([], 5) is None and seconds_left(steady[:1], 5) is None
    assert seconds_left([], 0) == 0.0


def test_progress_is_measured_as_tiles_are_looked_at(database: Database) -> None:
    sweep = begin(database)
    for minute in range(4):
        advance(database, sweep, later(minute), backfill_queue=100)
        advance(database, sweep, later(minute + 0.9), backfill_queue=100)
        with database.transaction() as cursor:
            leased = lease_blocks(cursor, side=SIDE, limit=1, worker="w", now=later(minute + 0.95), config=knobs())
            for one in leased:
                complete(cursor, one, {t: "judged" for t, _ in one.tiles}, later(minute + 0.95), "eye", "net")
    fresh, progress = now(database, sweep)
    begun = START.timestamp()
    assert json.loads(json.dumps(fresh.recent)) == [[begun, 0], [begun + 60, 2], [begun + 120, 3], [begun + 180, 4]]
    assert progress.seconds_left == pytest.approx(60 * (progress.total - progress.done))
