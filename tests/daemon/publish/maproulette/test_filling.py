"""Many tasks at once: what a server drops without a word is found by name, sent again, and told of."""

from __future__ import annotations

import json

import pytest
from claims import missing
from desk import CREATED, FALSE_POSITIVE, Desk
from fake_maproulette import Fault
from fake_maproulette.state import BUILDING, READY

from daemon.publish.maproulette.client import MOST_TASKS
from daemon.publish.outbox import backlogs
from daemon.sections import MapRoulette

#: What the real server takes at once.
LARGEST_BODY = 15_000 * 1024


def uploads(desk: Desk) -> list:
    return [one for one in desk.fake.requests if one.endpoint == "add_file_tasks"]


def names_in(body: bytes) -> list[str]:
    lines = [line.partition(b"\x1e")[2] for line in body.split(b"\n") if line.startswith(b"\x1e")]
    return [json.loads(line)["features"][0]["id"] for line in lines]


def test_three_of_a_thousand_that_were_dropped_are_found_by_name_and_sent_again(desk: Desk, caplog) -> None:
    keys = desk.houses(1000)
    dropped = {keys[17], keys[500], keys[999]}
    before = set(dropped)
    desk.fake.world.drops = lambda name: name in before and not before.discard(name)  # the first time only
    desk.cycle()
    assert set(desk.statuses()) == set(keys) and len(desk.fake.tasks()) == 1000
    first, *_, again = uploads(desk)
    assert set(names_in(again.body)) == dropped and set(names_in(first.body)) >= dropped
    assert "3 tasks were dropped" in caplog.text and all(key in caplog.text for key in dropped)
    with desk.unchanged():
        desk.cycle()


def test_what_is_dropped_again_and_again_goes_alone_and_is_told_with_the_reason(desks) -> None:
    desk = desks(bulk=5)
    keys = desk.houses(10)
    desk.fake.world.drops = lambda name: name == keys[3]
    desk.fake.faults.script("POST", r"/task$", Fault.ERROR)
    desk.cycle()
    assert set(desk.statuses()) == set(keys) - {keys[3]}
    with desk.ledger.cursor() as cursor:
        backlog = backlogs(cursor)["maproulette"]
    assert (backlog.waiting, backlog.failing) == (1, 1) and "500" in backlog.error
    desk.fake.clock.advance(minutes=3)
    desk.cycle()
    assert set(desk.statuses()) == set(keys)
    assert len(uploads(desk)) == 2


def test_an_upload_that_breaks_off_is_gone_on_with_where_it_was(desks) -> None:
    desk = desks(bulk=5)
    keys = desk.houses(10)
    desk.fake.faults.script("PUT", "addFileTasks", Fault.ERROR, Fault.ERROR)
    desk.cycle()
    assert set(desk.statuses()) == set(keys), "those that no upload brought went one by one"
    challenge = next(iter(desk.fake.world.challenges.values()))
    assert (challenge.status, challenge.fields["enabled"]) == (READY, True)


def test_a_challenge_that_is_being_built_is_left_alone_until_it_is_not(desks) -> None:
    desk = desks(bulk=5)
    desk.houses(1)
    desk.cycle()
    challenge = next(iter(desk.fake.world.challenges.values()))
    challenge.status = BUILDING
    keys = [*desk.statuses(), *desk.show(*(missing(desk.outline(i)) for i in range(1, 9)))]
    desk.cycle()
    assert len(desk.fake.tasks()) == 1
    challenge.status = READY
    desk.fake.clock.advance(minutes=2)
    desk.cycle()
    assert set(desk.statuses()) == set(keys)


def test_an_upload_beyond_the_cap_that_only_leaves_a_failed_challenge_goes_elsewhere(desks) -> None:
    desk = desks(bulk=5)
    desk.fake.world.most_tasks = 6
    keys = desk.houses(8)
    for _ in range(4):
        desk.cycle()
        desk.fake.clock.advance(minutes=3)
    assert set(desk.statuses()) == set(keys) and len(desk.fake.tasks()) == 8
    parts = {task.parent for task in desk.fake.tasks()}
    assert len(parts) == 2
    assert all(desk.fake.world.challenges[part].status == READY for part in parts)


def test_no_body_is_larger_than_the_server_takes(desks) -> None:
    desk = desks(bulk=5, upload_size=100_000)
    keys = desk.houses(250)
    desk.cycle()
    bodies = [len(one.body) for one in uploads(desk)]
    assert set(desk.statuses()) == set(keys)
    assert len(bodies) > 2 and max(bodies) < 100_000 + 1000 < LARGEST_BODY
    assert not [one for one in desk.fake.requests if one.status == 413]
    assert {one.target.partition("?")[2].partition("&dataOriginDate")[0] for one in uploads(desk)} == {
        "lineByLine=true&removeUnmatched=false&skipSnapshot=true"
    }


def test_a_full_challenge_is_followed_by_the_next_part(desks) -> None:
    desk = desks(bulk=5, tasks_most=10)
    keys = desk.houses(24)
    desk.cycle()
    sizes = sorted(desk.fake.world.count(id_) for id_ in desk.fake.world.challenges)
    assert sizes == [4, 10, 10] and set(desk.statuses()) == set(keys)
    names = sorted(challenge.name for challenge in desk.fake.world.challenges.values())
    assert [name.rpartition(", part ")[2] for name in names[1:]] == ["2", "3"]
    more = desk.show(*(missing(desk.outline(i)) for i in range(24, 26)))
    desk.cycle()
    places = {desk.fake.world.challenges[desk.fake.task(key).parent].name for key in more}
    assert len(places) == 1 and places.pop().endswith(", part 3")
    assert MapRoulette().tasks_most == 40_000 < MOST_TASKS


def test_a_false_positive_in_a_full_challenge_is_not_shown_again_in_the_next(desks) -> None:
    desk = desks(tasks_most=1, gate_verdicts=99)
    (key,) = desk.houses(1)
    desk.cycle()
    desk.fake.mapper("anna").false_positive(key)
    desk.cycle()
    desk.forget_everything()
    desk.restart()
    desk.ledger.look(missing(desk.outline(0)), now=desk.now)
    desk.cycle()
    assert desk.statuses() == {key: FALSE_POSITIVE} and len(desk.fake.tasks()) == 1


@pytest.mark.parametrize("fault", [Fault.LOST_REPLY, Fault.LATE_PROXY])
def test_an_upload_whose_answer_is_lost_is_read_back_before_anything_is_sent_again(desks, fault: Fault) -> None:
    desk = desks(bulk=5)
    desk.fake.world.unique_index = False
    keys = desk.houses(8)
    desk.fake.faults.script("PUT", "addFileTasks", fault)
    for _ in range(2):
        try:
            desk.cycle()
        except Exception as error:
            assert getattr(error, "transient", False)
        desk.settle()
    assert sorted(task.name for task in desk.fake.tasks()) == sorted(keys)
    assert set(desk.statuses().values()) == {CREATED}
