"""The queue of dirty tiles loses nothing and gives no block to two."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from daemon.config import Tiling
from daemon.errors import LeaseLost
from daemon.tiling import queue
from daemon.tiling.grid import Block, Tile

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KNOBS = Tiling(debounce=0, lease=600, attempts=3, retry_after=30)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def mark(database, *places, now=NOW, reason="change", sequence=1, config=KNOBS) -> int:
    with database.transaction() as cursor:
        tiles = np.array(places, dtype=np.int32).reshape(-1, 2)
        return queue.mark_dirty(cursor, tiles, 19, reason=reason, sequence=sequence, now=now, config=config)


def lease(database, *, now=NOW, limit=10, worker="w1", side=4, config=KNOBS) -> list[queue.LeasedBlock]:
    with database.transaction() as cursor:
        return queue.lease_blocks(cursor, side=side, limit=limit, worker=worker, now=now, config=config)


def complete(database, leased, *, now=NOW, result="judged") -> queue.Completion:
    with database.transaction() as cursor:
        results = {tile: result for tile, _ in leased.tiles}
        return queue.complete(cursor, leased, results, now, "aerial", "building-1")


def fail(database, leased, *, now=NOW, error="boom", config=KNOBS) -> list[Tile]:
    with database.transaction() as cursor:
        return queue.fail(cursor, leased, error, now, config)


def counts(database, now=NOW) -> queue.Counts:
    with database.transaction() as cursor:
        return queue.counts(cursor, now)


def places(leased: queue.LeasedBlock) -> list[tuple[int, int]]:
    return [(tile.x, tile.y) for tile, _ in leased.tiles]


def test_all_due_tiles_of_a_block_are_leased_together(database):
    assert mark(database, (8, 8), (9, 8), (11, 11), (12, 8), (8, 8)) == 4
    first, second = lease(database)
    assert first.block == Block(19, 2, 2, 4) and places(first) == [(8, 8), (9, 8), (11, 11)]
    assert second.block == Block(19, 3, 2, 4) and places(second) == [(12, 8)]
    assert lease(database) == []


def test_limit_is_honoured_and_the_oldest_block_comes_first(database):
    mark(database, (40, 40), now=after(5))
    mark(database, (0, 0), now=after(10))
    assert [b.block for b in lease(database, limit=1, now=after(20))] == [Block(19, 10, 10, 4)]


def test_changes_come_before_back_fill_even_when_they_come_later(database):
    mark(database, (0, 0), (40, 40), reason="backfill", sequence=None)
    mark(database, (80, 80), now=after(10))
    mark(database, (40, 40), now=after(20))
    order = [places(b)[0] for b in lease(database, now=after(30))]
    assert order == [(40, 40), (80, 80), (0, 0)]


def test_tiles_may_be_given_as_tiles_of_the_same_zoom_only(database):
    with database.transaction() as cursor:
        arguments = {"reason": "change", "sequence": None, "now": NOW, "config": KNOBS}
        assert queue.mark_dirty(cursor, [Tile(19, 1, 1), Tile(19, 2, 2)], 19, **arguments) == 2
        assert queue.mark_dirty(cursor, [], 19, **arguments) == 0
        with pytest.raises(ValueError, match="18/1/1"):
            queue.mark_dirty(cursor, [Tile(18, 1, 1)], 19, **arguments)
        with pytest.raises(ValueError, match="range of zoom"):
            queue.mark_dirty(cursor, np.array([[1 << 19, 0]]), 19, **arguments)


def test_a_finished_tile_leaves_the_queue_and_the_look_is_remembered(database):
    mark(database, (8, 8), (9, 8))
    (leased,) = lease(database)
    done = complete(database, leased)
    assert done.removed == (Tile(19, 8, 8), Tile(19, 9, 8)) and done.requeued == ()
    assert counts(database)[:4] == (0, 0, 0, 0)
    with database.transaction() as cursor:
        cursor.execute("SELECT x, y, result, looked, source, model FROM looked_tile ORDER BY x")
        assert cursor.fetchall() == [
            (8, 8, "judged", NOW, "aerial", "building-1"), (9, 8, "judged", NOW, "aerial", "building-1"),
        ]


def test_a_tile_that_changed_while_it_was_looked_at_is_looked_at_again(database):
    mark(database, (8, 8), (9, 8))
    (leased,) = lease(database)
    mark(database, (9, 8), now=after(5), sequence=2)
    assert lease(database, now=after(6), worker="w2") == [], "its block is still being looked at"
    assert complete(database, leased, now=after(7)).requeued == (Tile(19, 9, 8),)
    (again,) = lease(database, now=after(8))
    assert places(again) == [(9, 8)]


def test_a_tile_without_a_result_stays_in_the_queue(database):
    mark(database, (8, 8), (9, 8))
    (leased,) = lease(database)
    with database.transaction() as cursor:
        done = queue.complete(cursor, leased, {Tile(19, 8, 8): "no_imagery"}, NOW, None, None)
    assert done == ((Tile(19, 8, 8),), (Tile(19, 9, 8),))
    assert counts(database).queued == 1


def test_a_block_with_a_live_lease_is_not_leased_for_its_new_tiles(database):
    mark(database, (8, 8))
    lease(database)
    mark(database, (9, 9))
    assert lease(database, worker="w2") == []


def test_debounce_waits_for_quiet_but_not_for_ever(database):
    knobs = Tiling(debounce=60, debounce_most=150)
    mark(database, (8, 8), config=knobs)
    assert lease(database, now=after(59), config=knobs) == []
    mark(database, (8, 8), now=after(50), config=knobs)
    assert lease(database, now=after(61), config=knobs) == []
    mark(database, (8, 8), now=after(100), config=knobs)
    mark(database, (8, 8), now=after(140), config=knobs)
    assert lease(database, now=after(149), config=knobs) == []
    assert len(lease(database, now=after(150), config=knobs)) == 1


def test_failures_rest_twice_as_long_each_time_and_end_with_the_reason_kept(database):
    mark(database, (8, 8))
    now = NOW
    for attempt, rest in enumerate([30, 60]):
        (leased,) = lease(database, now=now)
        assert leased.attempts == attempt
        assert fail(database, leased, now=now, error=f"server said no, {attempt}") == []
        assert lease(database, now=now + timedelta(seconds=rest - 1)) == []
        now += timedelta(seconds=rest)
    (leased,) = lease(database, now=now)
    assert fail(database, leased, now=now, error=OSError("tile \x00 server gone")) == [Tile(19, 8, 8)]
    assert lease(database, now=now + timedelta(days=2)) == []
    with database.transaction() as cursor:
        (dead,) = queue.dead_tiles(cursor)
    assert dead.tile == Tile(19, 8, 8) and dead.attempts == 3 and dead.error == "OSError: tile  server gone"
    assert counts(database).dead == 1


def test_a_change_does_not_shorten_the_rest_after_a_failure(database):
    mark(database, (8, 8))
    (leased,) = lease(database)
    fail(database, leased)
    mark(database, (8, 8), now=after(1))
    assert lease(database, now=after(29)) == []
    assert len(lease(database, now=after(30))) == 1


def test_a_dead_tile_that_changes_again_lives_again(database):
    knobs = Tiling(attempts=1)
    mark(database, (8, 8))
    (leased,) = lease(database)
    fail(database, leased, config=knobs)
    mark(database, (8, 8), now=after(9))
    (leased,) = lease(database, now=after(9))
    assert leased.attempts == 0


def test_dead_tiles_can_be_revived_by_hand(database):
    mark(database, (8, 8), (99, 99))
    for leased in lease(database):
        fail(database, leased, config=Tiling(attempts=1))
    with database.transaction() as cursor:
        assert queue.revive(cursor, NOW) == 2
    assert {b.attempts for b in lease(database)} == {0}


def test_a_block_given_back_is_as_if_it_had_never_been_taken(database):
    mark(database, (8, 8))
    (leased,) = lease(database)
    with database.transaction() as cursor:
        queue.give_back(cursor, leased)
    (again,) = lease(database, worker="w2")
    assert again.tiles == leased.tiles and again.attempts == 0


def test_an_expired_lease_is_taken_again_and_its_old_worker_cannot_finish_it(database):
    mark(database, (8, 8))
    (old,) = lease(database)
    assert lease(database, now=after(599), worker="w2") == []
    (new,) = lease(database, now=after(600), worker="w2")
    with pytest.raises(LeaseLost, match="19/8/8"):
        complete(database, old)
    assert fail(database, old) == []
    with database.transaction() as cursor:
        queue.give_back(cursor, old)
        with pytest.raises(LeaseLost):
            queue.renew(cursor, old, NOW, KNOBS)
    assert complete(database, new).removed == (Tile(19, 8, 8),)


def test_a_renewed_lease_does_not_expire(database):
    mark(database, (8, 8))
    (leased,) = lease(database)
    with database.transaction() as cursor:
        queue.renew(cursor, leased, after(500), KNOBS)
    assert lease(database, now=after(700), worker="w2") == []
    assert complete(database, leased).removed


def test_a_released_worker_s_tiles_queue_behind_the_others(database):
    mark(database, (8, 8))
    lease(database)
    mark(database, (80, 80), now=after(5))
    with database.transaction() as cursor:
        assert queue.release_worker(cursor, "w1") == 1
        assert queue.release_worker(cursor, "w1") == 0
    assert [places(b) for b in lease(database, now=after(6))] == [[(80, 80)], [(8, 8)]]


def test_a_tile_that_keeps_killing_its_worker_is_put_aside_at_last(database):
    mark(database, (8, 8))
    deaths = 0
    while lease(database):
        with database.transaction() as cursor:
            queue.release_worker(cursor, "w1", Tiling(attempts=2))
        deaths += 1
    assert deaths == 2 * queue.LOST_FACTOR
    with database.transaction() as cursor:
        assert "worker w1 ended" in queue.dead_tiles(cursor)[0].error


def test_counts_tell_what_is_due_and_since_when(database):
    mark(database, (8, 8), now=after(-50))
    mark(database, (80, 80), config=Tiling(debounce=100))
    assert counts(database) == (2, 1, 0, 0, after(-50), after(-50))
    with database.transaction() as cursor:
        assert queue.counts(cursor).queued == 2


def test_blocks_at_the_edge_of_the_world_are_leased_whole(database):
    with database.transaction() as cursor:
        queue.mark_dirty(cursor, np.array([[0, 0], [1, 1]]), 1, reason="change", sequence=1, now=NOW, config=KNOBS)
    (leased,) = lease(database)
    assert places(leased) == [(0, 0), (1, 1)]


def test_a_large_back_fill_is_marked_in_one_statement(database):
    side = np.arange(300, dtype=np.int32)
    tiles = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    assert mark(database, *tiles.tolist(), reason="backfill", sequence=None) == 90_000
    leased = lease(database, limit=3)
    assert [len(block.tiles) for block in leased] == [16, 16, 16]


def test_many_workers_never_share_a_block_and_lose_nothing(database):
    """Six workers lease, fail, give back and finish at random while a seventh keeps marking."""
    rng = random.Random(7)
    every = [(x, y) for x in range(0, 40) for y in range(0, 24)]
    mark(database, *rng.sample(every, 500))
    knobs = Tiling(attempts=10_000, retry_after=1e-6)
    held: dict[Block, str] = {}
    guard = threading.Lock()
    shared: list[Block] = []
    failures: list[BaseException] = []
    marked = threading.Event()

    def work(name: str) -> None:
        dice = random.Random(name)
        connection = database.connect()
        try:
            while True:
                with connection, connection.cursor() as cursor:
                    leased = queue.lease_blocks(cursor, side=4, limit=2, worker=name, now=after(1), config=knobs)
                with guard:
                    shared.extend(b.block for b in leased if b.block in held)
                    held.update({b.block: name for b in leased})
                for block in leased:
                    with connection, connection.cursor() as cursor:
                        chance = dice.random()
                        with guard:
                            del held[block.block]
                        if chance < 0.1:
                            queue.give_back(cursor, block)
                        elif chance < 0.2:
                            queue.fail(cursor, block, "by chance", NOW, knobs)
                        else:
                            results = {tile: "judged" for tile, _ in block.tiles}
                            queue.complete(cursor, block, results, NOW, None, None)
                if not leased and marked.is_set():
                    with connection, connection.cursor() as cursor:
                        if queue.counts(cursor, NOW)[:4] == (0, 0, 0, 0):
                            return
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            connection.close()

    def keep_marking() -> None:
        dice = random.Random("marker")
        try:
            for sequence in range(2, 42):
                mark(database, *dice.sample(every, 40), sequence=sequence)
        finally:
            marked.set()

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    threads.append(threading.Thread(target=keep_marking))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures and not any(thread.is_alive() for thread in threads)
    assert shared == []
    with database.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM looked_tile")
        assert cursor.fetchone()[0] >= 500
