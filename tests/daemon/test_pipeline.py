"""The stages wired together: real database, real change files, rendered imagery, the shipped network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from claims import gone, misplaced
from http_server import Answer, Web
from osm_world import end_state, rows_of, way
from shapely import GEOSException
from shapely.affinity import translate
from town import (
    LATER,
    MINUTES,
    Town,
    apply,
    discrepancies,
    drawing,
    ledger,
    look_at_all,
    mark,
    queue_all,
    queue_rows,
    tiles_of_town,
    twins,
    unmatched,
    way_of,
)

from daemon import pipeline as pipeline_module
from daemon.config import Config
from daemon.db import Database
from daemon.discrepancies.life import close, find, history
from daemon.discrepancies.model import ClosedAs, Event, State
from daemon.discrepancies.reconcile import reconcile
from daemon.errors import NotBootstrapped, SequenceGap
from daemon.pipeline import Pipeline, tiles_with_imagery
from daemon.replay import BASE
from daemon.replication import ChangeFile, follow
from daemon.tiling.grid import Block, Tile
from detectors.segmentation import Engine

TABLES = (
    "osm_node", "osm_way", "osm_relation", "osm_feature", "osm_removed", "osm_gone", "replication_state", "dirty_tile",
    "discrepancy", "discrepancy_history", "looked_tile",
)
METRE = 1 / 111_320


class Failing(Engine):
    """Fails in the middle of a look, as often as told; then it is the real engine."""

    name, device = "failing", "test"

    def __init__(self, real: Engine, failure: BaseException, times: int = 10**9):
        super().__init__(real.bundle)
        self.real, self.failure, self.left, self.asked = real, failure, times, 0

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise self.failure
        return self.real.run(batch)


@pytest.fixture
def looked(town: Town, database: Database) -> Iterator[Pipeline]:
    """A pipeline that has looked at the whole town once."""
    with town.pipeline(database) as pipeline:
        queue_all(pipeline)
        look_at_all(pipeline)
        yield pipeline


@pytest.fixture
def other_database(server) -> Iterator[Database]:
    db = Database(server.create())
    yield db
    db.close()
    server.drop(db.dsn)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the pipeline's clock on by seconds."""
    ahead = timedelta()

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += timedelta(seconds=seconds)

    monkeypatch.setattr(pipeline_module, "_now", lambda: datetime.now(UTC) + ahead)
    return move


def break_eyes(pipeline: Pipeline, failure: BaseException, times: int = 10**9) -> Failing:
    """The pipeline's network fails from now on, and nothing it said before is remembered."""
    (eye,) = pipeline.eyes
    engine = Failing(eye.engine, failure, times)
    pipeline._eyes = [replace(eye, engine=engine, cache=None)]
    return engine


def live_through(pipeline: Pipeline, until: int = MINUTES) -> None:
    """All change files up to one, looking at what each made dirty."""
    with pipeline.db.transaction() as cursor:
        after = pipeline.store.position(cursor).sequence or 0
    for change_file in follow(pipeline.source, after, until - after, pipeline.stop):
        pipeline.apply(change_file)
        look_at_all(pipeline)


# -- looking -----------------------------------------------------------------------------------------------------------


def test_a_look_at_everything_finds_what_the_map_lacks_and_empties_the_queue(looked: Pipeline) -> None:
    found = discrepancies(looked.db)
    assert {d.state for d in found} == {State.OPEN}
    assert "missing" in {d.kind for d in found}
    assert all(d.evidence["model"] == looked.eyes[0].bundle.identity for d in found)
    assert queue_rows(looked.db) == []
    with looked.db.transaction() as cursor:
        cursor.execute("SELECT z, x, y, result::text, source, model FROM looked_tile ORDER BY z, x, y")
        model = looked.eyes[0].bundle.identity
        assert cursor.fetchall() == [(*t, "judged", "replay", model) for t in tiles_of_town()]
    assert not looked.look()


def test_what_was_seen_is_remembered_and_a_second_look_changes_nothing(looked: Pipeline) -> None:
    before = ledger(looked.db)
    seen = {d.key: d.times_seen for d in discrepancies(looked.db)}
    (eye,) = looked.eyes
    engine = Failing(eye.engine, AssertionError("asked the network again about the same pixels"))
    looked._eyes = [replace(eye, engine=engine)]
    mark(looked, tiles_of_town())
    assert look_at_all(looked) == 4
    assert engine.asked == 0
    assert ledger(looked.db) == before
    assert {d.key: d.times_seen for d in discrepancies(looked.db)} == {key: n + 1 for key, n in seen.items()}


def test_a_fresh_answer_and_a_remembered_one_are_the_same(town: Town, database: Database, tmp_path: Path) -> None:
    with town.pipeline(database, town.config(tmp_path)) as pipeline:
        (eye,) = pipeline.eyes
        chip = pipeline.imagery.chip(Block.of(tiles_of_town()[0], 1), 16)
        fresh, remembered = eye.look(chip), eye.look(chip)
        unkept = replace(eye, cache=None).look(chip)
        np.testing.assert_array_equal(fresh.values, remembered.values)
        np.testing.assert_array_equal(fresh.values, unkept.values)
        eye.cache.put(f"probabilities/{eye.bundle.identity}/unrelated", b"x")
        half = replace(chip, valid=chip.valid & (np.arange(chip.valid.shape[1]) < 100))
        assert not (eye.look(half).values[1:, :, 100:] > 0).any()  # another chip is not taken for this one


def test_tiles_without_imagery_are_a_state_and_need_no_network(town: Town, database: Database) -> None:
    sea = Tile(19, 100_000, 220_000)
    with town.pipeline(database) as pipeline:
        break_eyes(pipeline, AssertionError("asked about nothing"))
        mark(pipeline, [sea])
        assert look_at_all(pipeline) == 1
        with database.transaction() as cursor:
            cursor.execute("SELECT x, y, result::text, source, model FROM looked_tile")
            assert cursor.fetchall() == [(sea.x, sea.y, "no_imagery", None, None)]
    assert queue_rows(database) == []


def test_the_tiles_of_a_block_that_have_imagery_are_told_apart() -> None:
    block, margin = Block(19, 10, 20, 2), 8
    valid = np.zeros((2 * 256 + 2 * margin, 2 * 256 + 2 * margin), bool)
    valid[:margin] = valid[:, :margin] = True  # the margin alone is nobody's imagery
    assert tiles_with_imagery(valid, block, margin) == frozenset()
    valid[margin + 255, margin + 256] = True
    valid[margin + 256, margin + 255] = True
    assert tiles_with_imagery(valid, block, margin) == {Tile(19, 21, 40), Tile(19, 20, 41)}


# -- life of what was found --------------------------------------------------------------------------------------------


def test_a_change_file_that_fixes_something_closes_it_in_the_same_cycle(looked: Pipeline, tmp_path: Path) -> None:
    wrong = next(d for d in discrepancies(looked.db) if d.kind == "missing")
    others = {d.key for d in discrepancies(looked.db)} - {wrong.key}
    applied = apply(looked, tmp_path, *drawing(wrong.geometry, 1))
    assert wrong.key in applied.fixed
    with looked.db.transaction() as cursor:
        closed = find(cursor, wrong.key)
        assert (closed.state, closed.closed_as, closed.closed_sequence) == (State.CLOSED, ClosedAs.FIXED, 1)
        assert [h.event for h in history(cursor, wrong.key)] == [Event.OPENED, Event.CLOSED]
    look_at_all(looked)
    now_open = {d.key: d for d in discrepancies(looked.db)}
    assert wrong.key not in now_open
    assert not [d for d in now_open.values() if d.kind == "missing" and d.geometry.intersects(wrong.geometry.centroid)]
    assert len(others - now_open.keys()) <= 1  # a neighbour's common shift may move a little


def test_ghosts_and_shifted_buildings_close_when_a_mapper_deletes_or_moves_them(
    looked: Pipeline, tmp_path: Path
) -> None:
    house = next(d for d in discrepancies(looked.db) if d.kind == "missing").geometry
    off = translate(house, 5 * METRE)
    apply(looked, tmp_path, *drawing(off, 1), *drawing(translate(house, 0, 20 * METRE), 2))
    moved, ghost = (f"way/{way_of(n)}" for n in (1, 2))
    with looked.db.transaction() as cursor:
        made = [
            misplaced(house, moved, shift=(-5.0, 0.0)), gone(translate(house, 0, 20 * METRE), ghost),
        ]
        keys = reconcile(
            cursor, detector="building", key_prefix="bld", claims=made, owned=house.bounds,
            judged=lambda lon, lat: False, now=LATER, sequence=1,
        ).opened
    assert len(keys) == 2
    # A tag tells nothing new.
    refs = [thing.id for thing in drawing(off, 1)[:-1]]
    tagged = way(way_of(1), [*refs, refs[0]], version=2, tags={"building": "house"})
    assert apply(looked, tmp_path, tagged).fixed == ()
    # The nodes of one move back (its way is not in the file), the other is deleted.
    back = [
        thing.next(location=(thing.location[0] - 5 * METRE, thing.location[1])) for thing in drawing(off, 1)[:-1]
    ]
    fixed = apply(looked, tmp_path, *back, way(way_of(2), [], version=2, deleted=True)).fixed
    assert set(keys) <= set(fixed)


def test_a_false_positive_stays_silent_when_its_block_is_looked_at_again(looked: Pipeline) -> None:
    wrong = next(d for d in discrepancies(looked.db) if d.kind == "missing")
    with looked.db.transaction() as cursor:
        close(cursor, [wrong.key], ClosedAs.FALSE_POSITIVE, now=datetime.now(UTC))
    rest = {d.key for d in discrepancies(looked.db)}
    assert wrong.key not in rest
    for _ in range(2):
        mark(looked, tiles_of_town())
        look_at_all(looked)
        assert {d.key for d in discrepancies(looked.db)} == rest
    with looked.db.transaction() as cursor:
        assert find(cursor, wrong.key).closed_as is ClosedAs.FALSE_POSITIVE


def test_what_an_edit_made_wrong_is_found_by_the_next_look(looked: Pipeline, tmp_path: Path) -> None:
    """Deleting a mapped house that the network sees makes it missing; drawing it again closes that."""
    house = next(d for d in discrepancies(looked.db) if d.kind == "missing")
    apply(looked, tmp_path, *drawing(house.geometry, 1))
    look_at_all(looked)
    apply(looked, tmp_path, way(way_of(1), [], version=2, deleted=True))
    look_at_all(looked)
    (again,) = [d for d in discrepancies(looked.db) if d.key == house.key]
    assert again.state is State.OPEN
    with looked.db.transaction() as cursor:
        events = [h.event for h in history(cursor, house.key) if h.event is not Event.SEEN]
    assert events == [Event.OPENED, Event.CLOSED, Event.REOPENED]


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken_server(town: Town, web: Web) -> tuple[Web, Config, str]:
    """The town's imagery over HTTP; the tile in its corner, which one block alone needs, answers 503."""
    corner = tiles_of_town()[0]
    for tile in tiles_of_town():
        path = f"/{tile.z}/{tile.x}/{tile.y}.jpg"
        web.put(path, (town.directory / "imagery" / path[1:]).read_bytes())
    broken = f"/{corner.z}/{corner.x}/{corner.y}.jpg"
    web.script(broken, Answer(503))
    config = town.config(attempts=3)
    source = config.imagery[0].model_copy(update={"url": web.url("/{z}/{x}/{y}.jpg")})
    client = config.client.model_copy(update={"contact": "tests@example.org", "retries": 0, "rate": 1e6})
    return web, config.model_copy(update={"imagery": (source,), "client": client}), broken


def test_a_block_whose_imagery_fails_rests_and_is_tried_again(
    town: Town, database: Database, tmp_path: Path, broken_server: tuple[Web, Config, str], now: Callable[[float], None]
) -> None:
    web, config, broken = broken_server
    config = config.model_copy(update={"data_dir": tmp_path})
    with town.pipeline(database, config) as pipeline:
        mark(pipeline, tiles_of_town())
        assert look_at_all(pipeline) == 4
        rows = queue_rows(database)
        assert [(x, y, state, attempts, lost) for x, y, state, attempts, lost, *_ in rows] == [
            (t.x, t.y, "queued", 1, 0) for t in tiles_of_town() if Block.of(t, 2) == Block.of(tiles_of_town()[0], 2)
        ]
        assert {worker for *_, worker, _ in rows} == {None}
        assert all("503" in error for *_, error in rows)
        web.put(broken, (town.directory / "imagery" / broken[1:]).read_bytes())
        assert not pipeline.look()  # it rests
        now(config.tiling.retry_after + 1)
        assert look_at_all(pipeline) == 1
    assert queue_rows(database) == []


def test_a_block_that_always_fails_is_put_aside_with_its_reason_and_holds_up_nobody(
    town: Town, database: Database, tmp_path: Path, broken_server: tuple[Web, Config, str], now: Callable[[float], None]
) -> None:
    _, config, _ = broken_server
    config = config.model_copy(update={"data_dir": tmp_path})
    with town.pipeline(database, config) as pipeline:
        mark(pipeline, tiles_of_town())
        tries = []
        for _ in range(6):
            tries.append(look_at_all(pipeline))
            now(100_000)
        assert tries == [4, 1, 1, 0, 0, 0]
        rows = queue_rows(database)
        assert len(rows) == 4
        assert {(state, attempts) for _, _, state, attempts, *_ in rows} == {("dead", 3)}
        assert all("503" in error for *_, error in rows)
        with database.transaction() as cursor:
            cursor.execute("SELECT count(*) FROM looked_tile WHERE result = 'judged'")
            assert cursor.fetchone() == (len(tiles_of_town()) - 4,)
        mark(pipeline, tiles_of_town()[:1])  # it changes: that is a fresh start
        assert look_at_all(pipeline) == 1


def test_a_block_that_the_detector_cannot_judge_holds_up_nobody_either(
    town: Town, database: Database, now: Callable[[float], None]
) -> None:
    with town.pipeline(database, town.config(attempts=2)) as pipeline:
        break_eyes(pipeline, GEOSException("TopologyException: side location conflict"), times=1)
        mark(pipeline, tiles_of_town())
        assert look_at_all(pipeline) == 4
        rows = queue_rows(database)
        assert {(state, attempts) for _, _, state, attempts, *_ in rows} == {("queued", 1)}
        assert all("side location conflict" in error for *_, error in rows)
        now(100_000)
        assert look_at_all(pipeline) == 1
    assert queue_rows(database) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(1)])
def test_a_stop_in_the_middle_of_a_look_gives_the_block_back(
    town: Town, database: Database, failure: BaseException
) -> None:
    with town.pipeline(database) as pipeline:
        break_eyes(pipeline, failure, times=1)
        mark(pipeline, tiles_of_town())
        with pytest.raises(type(failure)):
            pipeline.look()
        assert queue_rows(database) == [(t.x, t.y, "queued", 0, 0, None, None) for t in sorted(tiles_of_town())]
        assert discrepancies(database) == []
        assert look_at_all(pipeline) == 4
    assert queue_rows(database) == []


def test_told_to_stop_a_look_ends_with_the_block_in_hand(town: Town, database: Database) -> None:
    with town.pipeline(database) as pipeline:
        mark(pipeline, tiles_of_town())
        pipeline.stop.set()
        assert not pipeline.look()
    assert len(queue_rows(database)) == len(tiles_of_town()) - 4


@pytest.mark.parametrize("sequence", [0, 1, 2, 4, 9])
def test_a_change_file_out_of_order_changes_nothing(town: Town, database: Database, sequence: int) -> None:
    with town.pipeline(database) as pipeline:
        live_through(pipeline, 2)
        before = rows_of(database, TABLES)
        path = town.directory / f"replication/minute/000/000/{max(sequence, 1):03d}.osc.gz"
        with pytest.raises(SequenceGap, match=f"change file {sequence} cannot follow 2"):
            pipeline.apply(ChangeFile(sequence, LATER, path))
        assert rows_of(database, TABLES) == before


def test_a_change_file_that_breaks_in_the_middle_changes_nothing(looked: Pipeline, tmp_path: Path) -> None:
    house = next(d for d in discrepancies(looked.db) if d.kind == "missing").geometry
    before = rows_of(looked.db, TABLES)
    looked.detectors[0].holds = raise_error(ValueError("in the middle"))
    with pytest.raises(ValueError, match="in the middle"):
        apply(looked, tmp_path, *drawing(house, 1))
    assert rows_of(looked.db, TABLES) == before


def raise_error(error: Exception) -> Callable[..., bool]:
    def fail(*_: object) -> bool:
        raise error

    return fail


def test_nothing_is_followed_before_the_first_map_is_there(town: Town, database: Database) -> None:
    with Pipeline(town.config(), database) as pipeline, pytest.raises(NotBootstrapped, match="mapgap bootstrap"):
        pipeline.follow()


def test_following_takes_as_many_files_as_allowed_and_says_whether_there_are_more(
    town: Town, database: Database
) -> None:
    config = town.config()
    config = config.model_copy(update={"replication": config.replication.model_copy(update={"catch_up": 3})})
    with town.pipeline(database, config) as pipeline:
        answers = [pipeline.follow() for _ in range(4)]
        with database.transaction() as cursor:
            assert pipeline.store.position(cursor).sequence == MINUTES
    assert answers == [True, True, False, False]


# -- one outcome -------------------------------------------------------------------------------------------------------


# rasterio mutes it around its own calls, which works for one thread at a time only.
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_two_workers_find_what_one_finds(town: Town, looked: Pipeline, other_database: Database) -> None:
    failures: list[BaseException] = []

    def work(pipeline: Pipeline) -> None:
        try:
            look_at_all(pipeline)
        except BaseException as error:
            failures.append(error)

    with town.pipeline(other_database) as one, town.pipeline(other_database) as two:
        two.worker = "another:1"
        queue_all(one)
        threads = [threading.Thread(target=work, args=(p,)) for p in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert queue_rows(other_database) == []
    assert [row[:-1] for row in ledger(other_database)] == [row[:-1] for row in ledger(looked.db)]


def test_a_replay_ends_with_what_a_fresh_look_at_the_end_state_finds(
    town: Town, looked: Pipeline, other_database: Database, tmp_path: Path
) -> None:
    live_through(looked)
    changes = sorted((town.directory / "replication/minute").glob("*/*/*.osc.gz"))
    end = end_state(town.directory / BASE, changes, tmp_path / "end.osm.pbf")
    with Pipeline(town.config(), other_database) as fresh:
        fresh.store.bootstrap(other_database, end)
        queue_all(fresh)
        look_at_all(fresh)
    lived, seen = discrepancies(looked.db), discrepancies(other_database)
    assert unmatched(lived, seen) == []


@pytest.mark.parametrize("side", [1, 2, 4])
def test_blocks_leave_no_twins_at_their_seams(town: Town, database: Database, side: int) -> None:
    with town.pipeline(database, town.config(block=side)) as pipeline:
        queue_all(pipeline)
        look_at_all(pipeline)
        assert twins(discrepancies(database)) == []
        live_through(pipeline)
        assert twins(discrepancies(database)) == []


def test_small_and_large_blocks_find_nearly_the_same(
    town: Town, looked: Pipeline, other_database: Database
) -> None:
    with town.pipeline(other_database, town.config(block=4)) as pipeline:
        queue_all(pipeline)
        look_at_all(pipeline)
    small, large = discrepancies(looked.db), discrepancies(other_database)
    assert len(unmatched(small, large)) <= 0.1 * (len(small) + len(large))
