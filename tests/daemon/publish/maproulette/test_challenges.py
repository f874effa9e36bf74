"""Challenges: made disabled, filled, then shown; as configured, found again, and never archived for long."""

from __future__ import annotations

import json

import pytest
from claims import gone, house, missing
from desk import CREATED, FIRST_WAY, Desk
from fake_maproulette import Fault

from daemon.publish.maproulette.settings import Group, name_of


def only_challenge(desk: Desk):
    (challenge,) = desk.fake.world.challenges.values()
    return challenge


def test_a_challenge_is_made_disabled_marked_ready_filled_and_then_shown(desk: Desk) -> None:
    desk.houses(2)
    desk.cycle()
    writes = [(one.endpoint, one.json) for one in desk.fake.writes if "task_s" not in one.endpoint]
    assert [endpoint for endpoint, _ in writes] == [
        "project_create", "challenge_create", "challenge_update", "task_create", "task_create", "challenge_update",
    ]
    assert writes[1][1]["enabled"] is False
    assert (writes[2][1], writes[5][1]) == ({"status": 3}, {"enabled": True})


def test_mappers_are_told_all_that_they_need(desks) -> None:
    desk = desks(info_link="https://example.org/about", hashtags="#mapgap #nepal", difficulty=1)
    desk.houses(1)
    desk.cycle()
    fields = only_challenge(desk).fields
    assert fields["name"] == "Building missing in OSM - banepa"
    assert len(fields["instruction"]) > 150
    assert '[select "Why is it wrong?" name="reason" values="no such object,already mapped,' in fields["instruction"]
    assert "{{confidence}}" in fields["instruction"] and "{{evidence_acquired}}" in fields["instruction"]
    assert fields["checkinComment"] == "Building missing in OSM #maproulette #mapgap #nepal"
    assert (fields["checkinSource"], fields["infoLink"], fields["difficulty"]) == (
        "© Somebody", "https://example.org/about", 1,
    )
    assert "© OpenStreetMap contributors" in fields["description"]
    assert fields["preferredTags"] == "no-object,already-mapped,imagery-outdated,misaligned,other"
    assert fields["updateTasks"] is False and fields["limitTags"] is True
    assert not fields.get("remoteGeoJson") and not fields.get("overpassQL"), "every PUT would build it anew"
    assert fields["dataOriginDate"][:10] == desk.now.strftime("%Y-%m-%d")
    assert "defaultBasemap" not in fields or fields["defaultBasemap"] != 3, "its imagery is a directory of ours"


def test_the_surest_tasks_come_first(desk: Desk) -> None:
    sure, middling, unsure = desk.show(*(missing(desk.outline(i), c) for i, c in enumerate((0.93, 0.8, 0.6))))
    desk.cycle()
    assert [desk.fake.task(key).priority for key in (sure, middling, unsure)] == [0, 1, 2]
    assert all(isinstance(one.json[name], str) for one in desk.fake.requests if one.endpoint == "challenge_create"
               for name in ("highPriorityRule", "mediumPriorityRule"))


def test_each_kind_and_way_of_cooperating_has_a_challenge_of_its_own(desks) -> None:
    desk = desks(change_files=0.9)
    desk.apply(*desk.drawing(house(60, 60)))
    desk.show(missing(desk.outline(0), 0.95), missing(desk.outline(1), 0.8), gone(house(60, 60), f"way/{FIRST_WAY}"))
    desk.cycle()
    assert sorted(c.name for c in desk.fake.world.challenges.values()) == [
        "Building missing in OSM - banepa",
        "Building missing in OSM - banepa, drawn already",
        "Mapped building not on imagery - banepa",
    ]
    for challenge in desk.fake.world.challenges.values():
        works = {task.cooperative_work is not None for task in desk.fake.world.tasks_of(challenge.id)}
        assert len(works) == 1


def test_a_challenge_that_somebody_made_under_the_name_is_taken_over(desk: Desk) -> None:
    client = desk.channel._client
    project = client.obtain_project("mapgap_test", "mapgap_test", "")
    made, _ = client.obtain_challenge({
        "name": "BUILDING missing in osm - Banepa", "parent": project.id, "instruction": "x", "enabled": False,
    })
    desk.houses(1)
    desk.cycle()
    challenge = only_challenge(desk)
    assert challenge.id == made.id and challenge.fields["enabled"]
    assert len(challenge.fields["instruction"]) > 150, "and brought up to date"


@pytest.mark.parametrize("what", [r"/challenge$", r"/project$"])
def test_a_lost_answer_makes_no_second_challenge_or_project(desk: Desk, what: str) -> None:
    desk.houses(1)
    desk.fake.faults.script("POST", what, Fault.LOST_REPLY)
    for _ in range(2):
        try:
            desk.cycle()
        except Exception as error:
            assert getattr(error, "transient", False)
        desk.settle()
    assert len(desk.fake.world.projects) == len(desk.fake.world.challenges) == len(desk.fake.tasks()) == 1


def test_changed_settings_are_told_once(desk: Desk) -> None:
    desk.houses(1)
    desk.cycle()
    desk.restart(info_link="https://example.org/new")
    desk.fake.forget_requests()
    desk.cycle()
    assert [one.endpoint for one in desk.fake.writes] == ["challenge_update"]
    assert only_challenge(desk).fields["infoLink"] == "https://example.org/new"
    with desk.unchanged():
        desk.cycle()


def test_what_the_server_archived_is_taken_out_within_a_week(desk: Desk) -> None:
    desk.houses(1)
    desk.cycle()
    desk.fake.clock.advance(days=200)
    assert only_challenge(desk).archived
    desk.cycle()
    assert not only_challenge(desk).archived
    with desk.unchanged():
        desk.cycle()


def test_a_challenge_that_was_deleted_begins_anew(desk: Desk) -> None:
    (key,) = desk.houses(1)
    desk.cycle()
    first = only_challenge(desk)
    first.deleted = True
    desk.fake.clock.advance(days=8)
    desk.cycle()
    desk.cycle()
    assert [c.deleted for c in desk.fake.world.challenges.values()] == [True, False]
    assert {task.parent for task in desk.fake.tasks(key)} == set(desk.fake.world.challenges)


def test_another_server_or_project_gets_all_anew_and_the_first_is_left_as_it_is(desk: Desk) -> None:
    keys = desk.houses(2)
    desk.cycle()
    desk.restart(project="mapgap_for_real")
    desk.cycle()
    assert len(desk.fake.world.projects) == 2
    assert all(len(desk.fake.tasks(key)) == 2 for key in keys)
    assert set(desk.statuses().values()) == {CREATED}


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(desk: Desk, caplog) -> None:
    (key,) = desk.houses(1)
    desk.rehearse()
    with caplog.at_level("INFO"):
        desk.cycle()
        said = caplog.text
        desk.cycle()
    assert desk.fake.writes == [] and desk.fake.world.projects == {}
    assert f'"name":"{key}"' in said and "POST /challenge" in said
    assert caplog.text == said, "once a run"
    assert desk.row(key) is None and desk.challenges() == []


def test_names_tell_the_kinds_ways_and_parts_apart(desk: Desk) -> None:
    context = desk.channel._challenges.context
    names = {
        name_of(Group(detector, kind, way), part, context)
        for detector, kind in context.kinds for way in (0, 2) for part in (1, 2, 3)
    }
    assert len({name.lower() for name in names}) == len(context.kinds) * 6
    assert json.dumps(sorted(names)).isascii()
