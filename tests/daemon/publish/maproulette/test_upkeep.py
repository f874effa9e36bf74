"""What is told to MapRoulette is kept true, with no write that is not needed and no mapper disturbed."""

from __future__ import annotations

import pytest
from claims import missing, moved
from desk import ALREADY_FIXED, CREATED, DISABLED, FALSE_POSITIVE, SKIPPED, TOO_HARD, Desk
from fake_maproulette import Fault, Mapper

from daemon.discrepancies.life import close, sweep_hidden
from daemon.discrepancies.model import ClosedAs
from daemon.errors import MapRouletteUnavailable
from daemon.reviews import take_verdict


def closed_as(desk: Desk, key: str) -> ClosedAs | None:
    return desk.ledger.find(key).closed_as


# -- unchanged -------------------------------------------------------------------------------------------------------


def test_what_is_published_becomes_a_task_that_people_are_shown(desk: Desk) -> None:
    (key,) = desk.houses(1)
    desk.cycle()
    task = desk.fake.task(key)
    assert task.status == CREATED
    assert [one.name for one in desk.fake.mapper("anna").available()] == [key]


def test_an_unchanged_state_costs_no_write_however_late(desks) -> None:
    desk = desks(change_files=0.7)
    keys = desk.houses(6)
    desk.cycle()
    desk.apply(*desk.drawing(desk.outline(0)))
    desk.fake.mapper("anna").skip(keys[1])
    desk.fake.mapper("anna").too_hard(keys[2])
    desk.fake.mapper("anna").false_positive(keys[3])
    desk.cycle()
    for days in (0, 2, 15, 15):
        desk.fake.clock.advance(days=days)
        with desk.unchanged():
            desk.cycle()
            desk.restart()
            desk.cycle()


def test_after_all_that_was_known_is_lost_everything_is_found_again_with_no_write(desks) -> None:
    desk = desks(change_files=0.7, bulk=3, tasks_most=4)
    keys = desk.houses(9)
    desk.cycle()
    desk.apply(*desk.drawing(desk.outline(0)))
    desk.cycle()
    desk.fake.mapper("anna").false_positive(keys[1])
    desk.fake.mapper("anna").too_hard(keys[2])
    desk.cycle()
    known = {key: desk.row(key) for key in keys}
    for days in (0, 15):
        desk.fake.clock.advance(days=days)
        desk.forget_everything()
        desk.restart()
        with desk.unchanged():
            desk.cycle()
        for key in keys:
            found = desk.row(key)
            assert (found.remote, found.status, found.digest) == (
                known[key].remote, known[key].status, known[key].digest,
            )
    assert len({task.name for task in desk.fake.tasks()}) == len(desk.fake.tasks()) == 9


def test_only_tasks_forgotten_are_found_by_their_names(desk: Desk) -> None:
    keys = desk.houses(3)
    desk.cycle()
    desk.fake.mapper("anna").false_positive(keys[0])
    with desk.ledger.cursor() as cursor:
        cursor.execute("TRUNCATE maproulette_task")
    with desk.unchanged():
        desk.cycle()
    desk.settle()
    with desk.unchanged():
        desk.cycle()
    assert len(desk.fake.tasks()) == 3
    assert desk.statuses()[keys[0]] == FALSE_POSITIVE


# -- closing and opening ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change_files", [0.5, 1.0])
def test_what_a_diff_fixes_is_closed_and_what_a_revert_brings_back_is_the_same_task(
    desks, change_files: float
) -> None:
    desk = desks(change_files=change_files)
    (key,) = desk.houses(1)
    desk.cycle()
    before = desk.fake.task(key)
    work = before.cooperative_work
    assert (work is not None) == (change_files < 1)
    desk.fake.forget_requests()
    drawn = desk.drawing(desk.outline(0))
    desk.apply(*drawn)
    assert closed_as(desk, key) is ClosedAs.FIXED
    desk.cycle()
    task = desk.fake.task(key)
    assert (task.status, task.completed_by, task.cooperative_work) == (ALREADY_FIXED, None, work)
    assert [one.endpoint for one in desk.fake.writes] == ["task_start", "task_update", "task_release"]
    assert desk.fake.owner.score == 0

    desk.apply(*(thing.next(deleted=True) for thing in reversed(drawn)))
    desk.ledger.look(missing(desk.outline(0)), now=desk.now, sequence=desk.sequence)
    desk.publish([key])
    desk.cycle()
    again = desk.fake.task(key)
    assert (again.id, again.status, again.cooperative_work) == (task.id, CREATED, work)
    assert [one.name for one in desk.fake.mapper("anna").available()] == [key]


def test_what_is_withdrawn_is_disabled_and_comes_back_when_it_is_seen_again(desk: Desk) -> None:
    (key,) = desk.houses(1)
    desk.cycle()
    number = desk.fake.task(key).id
    with desk.ledger.cursor() as cursor:
        close(cursor, [key], ClosedAs.WITHDRAWN, now=desk.now)
    desk.cycle()
    assert desk.statuses() == {key: DISABLED}
    desk.ledger.look(missing(desk.outline(0)), now=desk.now)
    desk.cycle()
    assert desk.statuses() == {key: DISABLED}, "not before it is published again"
    desk.publish([key])
    desk.cycle()
    assert (desk.fake.task(key).id, desk.statuses()) == (number, {key: CREATED})


def test_a_false_positive_known_from_elsewhere_is_shown_to_nobody(desk: Desk) -> None:
    (key,) = desk.houses(1)
    desk.cycle()
    with desk.ledger.cursor() as cursor:
        take_verdict(
            cursor, desk.pipeline.map, desk.config.reviews, key, "false_positive", "me", None, "command line", desk.now
        )
    desk.cycle()
    assert desk.statuses() == {key: DISABLED}
    assert desk.fake.mapper("anna").available() == []


def test_a_mappers_verdict_is_never_written_over(desk: Desk) -> None:
    fixed, false, already = desk.houses(3)
    desk.cycle()
    anna = desk.fake.mapper("anna")
    anna.fix(fixed)
    anna.false_positive(false)
    anna.already_fixed(already)
    for i in range(3):
        desk.apply(*desk.drawing(desk.outline(i), i))  # the ledger closes all before anybody has listened
    with_verdicts = desk.statuses()
    for _ in range(2):
        desk.cycle()
        assert desk.statuses() == with_verdicts
        assert all(task.completed_by == anna.user.id for task in desk.fake.tasks())
        desk.fake.clock.advance(days=15)


def test_a_false_positive_stays_silent_where_the_object_is_seen_shifted_even_if_its_task_is_deleted(desks) -> None:
    desk = desks(tasks_most=1)
    (key,) = desk.houses(1)
    desk.cycle()
    desk.fake.mapper("anna").false_positive(key)
    desk.cycle()
    with desk.fake.world.lock:
        desk.fake.world.remove_task(desk.fake.task(key).id)
    shifted = desk.ledger.look(missing(moved(desk.outline(0), 1, 0.5)), now=desk.now)
    assert shifted.opened == []
    desk.fake.clock.advance(days=2)
    desk.cycle()
    assert desk.fake.tasks() == []


def test_what_a_mapper_called_fixed_and_the_map_never_showed_is_asked_again(desk: Desk) -> None:
    (key,) = desk.houses(1)
    desk.cycle()
    desk.fake.mapper("anna").fix(key)
    desk.cycle()
    desk.fake.clock.advance(days=3)
    with desk.unchanged():
        desk.cycle()
    desk.fake.clock.advance(days=5)
    with desk.ledger.cursor() as cursor:
        assert sweep_hidden(cursor, now=desk.now) == [key]
    desk.cycle()
    assert desk.statuses() == {key: CREATED}


def test_what_is_hidden_or_unpublished_gets_no_task(desk: Desk) -> None:
    hidden, unpublished = desk.houses(1), desk.ledger.open(missing(desk.outline(3)), now=desk.now)
    with desk.ledger.cursor() as cursor:
        take_verdict(
            cursor, desk.pipeline.map, desk.config.reviews, hidden[0], "fixed", "me", None, "command line", desk.now
        )
    desk.cycle()
    assert desk.fake.tasks() == [] and unpublished


def test_what_the_map_shows_as_fixed_meanwhile_gets_no_task(desk: Desk) -> None:
    (key,) = desk.houses(1)
    with desk.ledger.cursor() as cursor:  # as an earlier change file would have, had it closed nothing
        desk.pipeline.store.apply(cursor, desk.write(*desk.drawing(desk.outline(0))), 200, desk.now)
    desk.cycle()
    assert desk.fake.tasks() == [] and closed_as(desk, key) is ClosedAs.FIXED


# -- content ---------------------------------------------------------------------------------------------------------


def test_what_changed_about_a_claim_reaches_open_tasks_and_leaves_their_status(desk: Desk) -> None:
    keys = desk.houses(4)
    desk.cycle()
    anna = desk.fake.mapper("anna")
    anna.skip(keys[1])
    anna.too_hard(keys[2])
    anna.false_positive(keys[3])
    desk.cycle()
    before = desk.statuses()
    desk.fake.clock.advance(days=15)
    desk.fake.forget_requests()
    desk.ledger.look(*(missing(desk.outline(i), 0.95) for i in range(4)), now=desk.now)
    desk.cycle()
    said = {task.name: task.geojson["features"][0]["properties"]["confidence"] for task in desk.fake.tasks()}
    assert said == {keys[0]: "0.950", keys[1]: "0.950", keys[2]: "0.950", keys[3]: "0.800"}
    assert desk.statuses() == before
    assert before == {keys[0]: CREATED, keys[1]: SKIPPED, keys[2]: TOO_HARD, keys[3]: FALSE_POSITIVE}
    assert all("status" not in one.json for one in desk.fake.writes if one.endpoint == "task_create")
    assert not [one for one in desk.fake.writes if one.endpoint == "task_update"]


# -- locks -----------------------------------------------------------------------------------------------------------


def test_a_task_that_somebody_has_open_is_left_in_peace_and_seen_to_later(desk: Desk) -> None:
    fixed, changed = desk.houses(2)
    desk.cycle()
    anna, berta = desk.fake.mapper("anna"), desk.fake.mapper("berta")
    anna.lock(fixed)
    berta.lock(changed)
    desk.apply(*desk.drawing(desk.outline(0)))
    desk.ledger.look(missing(desk.outline(1), 0.95), now=desk.now)
    before = [(task.status, task.modified) for task in desk.fake.tasks()]
    desk.cycle()
    assert [(task.status, task.modified) for task in desk.fake.tasks()] == before
    with desk.ledger.cursor() as cursor:
        cursor.execute("SELECT key, attempts FROM outbox WHERE channel = 'maproulette' ORDER BY key")
        assert cursor.fetchall() == sorted([(fixed, 1), (changed, 1)])
    anna.release(fixed)
    berta.release(changed)
    desk.fake.clock.advance(minutes=2)
    desk.cycle()
    assert desk.statuses() == {fixed: ALREADY_FIXED, changed: CREATED}
    assert desk.fake.task(changed).geojson["features"][0]["properties"]["confidence"] == "0.950"
    assert desk.fake.world.locks == {}


def test_a_lock_of_our_own_that_is_left_over_is_no_obstacle(desk: Desk) -> None:
    first, second = desk.houses(2)
    desk.cycle()
    Mapper(desk.fake.world, desk.fake.owner).lock(second)
    desk.apply(*desk.drawing(desk.outline(0)))
    desk.cycle()
    assert desk.statuses() == {first: ALREADY_FIXED, second: CREATED}
    assert desk.fake.world.locks == {}


def test_a_server_that_fails_in_the_middle_of_a_close_loses_nothing(desk: Desk) -> None:
    (key,) = desk.houses(1)
    desk.cycle()
    desk.apply(*desk.drawing(desk.outline(0)))
    desk.fake.faults.script("PUT", r"/task/\d+$", Fault.REFUSED)
    desk.fake.faults.script("GET", r"/release$", Fault.REFUSED)
    with pytest.raises(MapRouletteUnavailable):
        desk.cycle()
    desk.fake.clock.advance(minutes=3)
    desk.cycle()
    assert desk.statuses() == {key: ALREADY_FIXED} and desk.fake.world.locks == {}


def test_of_two_tasks_of_one_name_the_one_a_mapper_judged_stays(desk: Desk) -> None:
    (key,) = desk.houses(1)
    desk.cycle()
    desk.fake.world.unique_index = False
    desk.fake.mapper("anna").too_hard(key)
    desk.channel._client.put_task(desk.body_of(key), looked_up=True)
    assert len(desk.fake.tasks(key)) == 2
    desk.fake.clock.advance(days=2)
    desk.cycle()
    assert sorted(task.status for task in desk.fake.tasks(key)) == [TOO_HARD, DISABLED]
