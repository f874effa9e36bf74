"""People's attention through the whole channel: what they dismissed is not asked again, and nobody is overrun."""

from __future__ import annotations

from claims import everywhere, missing, moved
from desk import ALREADY_FIXED, CREATED, DISABLED, FALSE_POSITIVE


def test_what_is_not_an_issue_is_asked_again_in_no_challenge_by_no_model_at_no_shift(desks):
    desk = desks(tasks_most=2)
    keys = desk.houses(3, model="net@1")
    desk.cycle()
    assert len(desk.challenges()) == 2  # the second begins where the first is full
    dismissed = next(k for k in keys if desk.row(k).challenge == desk.row(keys[0]).challenge)
    desk.fake.mapper("anna").false_positive(dismissed)
    desk.cycle()
    (task,) = desk.fake.tasks(dismissed)
    number = keys.index(dismissed)
    others = [missing(desk.outline(i), model="net@2") for i in range(3) if i != number]

    def look(east, north, model):
        again = missing(moved(desk.outline(number), east, north), 0.99, model=model)
        outcome = desk.ledger.look(again, *others, judged=everywhere, now=desk.now, sequence=desk.sequence)
        assert outcome.silenced == [dismissed] and outcome.opened == []
        desk.fake.clock.advance(days=15)
        desk.cycle()
        assert sorted({one.name for one in desk.fake.tasks()} - {dismissed}) == sorted(set(keys) - {dismissed})

    look(0.4, 0.3, "net@2")
    assert desk.fake.tasks(dismissed)[0].status == FALSE_POSITIVE and desk.fake.tasks(dismissed)[0].id == task.id
    desk.channel._client.delete_task(task.id)
    look(-0.5, 0.4, "other@1")
    assert desk.fake.tasks(dismissed) == []
    desk.forget_everything()
    desk.restart()
    look(0.3, -0.6, "net@3")
    assert desk.fake.tasks(dismissed) == []


def test_no_more_is_made_than_people_can_bear(desks):
    desk = desks(new_per_day=3, open_per_area=5)
    keys = desk.houses(8)
    for days, tasks in ((0, 3), (1, 5), (1, 5)):
        desk.fake.clock.advance(days=days, seconds=1)
        desk.cycle()
        assert len(desk.fake.tasks()) == tasks
    anna = desk.fake.mapper("anna")
    made = [task.name for task in desk.fake.tasks()]
    anna.false_positive(made[0])
    desk.fake.clock.advance(days=1, seconds=1)
    desk.cycle()
    assert len(desk.fake.tasks()) == 6
    chosen = desk.ledger.all("SELECT key FROM ranking_choice ORDER BY round, place")
    assert sorted(key for (key,) in chosen) == sorted(task.name for task in desk.fake.tasks()) and set(made) < set(keys)


def test_a_paused_kind_gets_no_new_tasks_while_what_it_has_is_kept_true(desks):
    desk = desks(gate_verdicts=4, gate_share=0.5)
    keys = desk.houses(8)
    desk.cycle()
    anna = desk.fake.mapper("anna")
    for key in keys[:4]:
        anna.false_positive(key)
    desk.cycle()
    (row,) = desk.challenges()
    assert row.paused is not None and "4 of 4" in row.pause_reason
    assert desk.fake.world.challenges[row.remote].paused
    more = desk.show(missing(desk.outline(30)))
    desk.apply(*desk.drawing(desk.outline(6)))
    desk.cycle()
    assert desk.fake.tasks(more[0]) == []
    assert desk.statuses()[keys[6]] == ALREADY_FIXED and desk.statuses()[keys[7]] == CREATED
    assert DISABLED not in desk.statuses().values()
