"""Servers that say the same otherwise: older ones, stricter ones, and those behind a proxy of their own mind."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from claims import missing
from desk import ALREADY_FIXED, CREATED, Desk
from fake_maproulette.requests import Failure, Request, html_failure, invalid
from http_server import Answer

from daemon import errors
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange
from daemon.publish.maproulette.replies import (
    Challenge,
    Comment,
    HistoryEntry,
    Person,
    Status,
    Task,
    TaskMark,
    ViewedTask,
)
from daemon.publish.maproulette.tasks import digest_of

KEY = "7|0123456789abcdef0123456789abcdef"
FILE = {"type": "xml", "format": "osc", "encoding": "base64", "content": "PG9zbUNoYW5nZS8+"}
WORK = {"meta": {"version": 2, "type": 2}, "file": FILE}
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def client(web, fetchers) -> Client:
    return Client(Exchange(web.url(), KEY, fetchers(retries=0), upload_timeout=5.0))


def answering(desk: Desk, endpoint: str, change) -> None:
    """Let replies of an endpoint be changed before they are sent."""
    answer = desk.fake._answer

    def other(request, found):
        reply = answer(request, found)
        if found is not None and found[0].id == endpoint and reply.status < 300:
            change(reply)
        return reply

    desk.fake._answer = other


def refusing(
    desk: Desk, endpoint: str, failure: Failure, times: int = 99, unless: Callable[[int], bool] = lambda size: False
) -> None:
    """Let requests for an endpoint fail, so many times, unless their size is one that is borne."""
    dispatch, left = desk.fake._dispatch, [failure] * times

    def other(request, found):
        if found is not None and found[0].id == endpoint and left and not unless(len(request.body)):
            raise left.pop()
        return dispatch(request, found)

    desk.fake._dispatch = other


# -- forms of replies -------------------------------------------------------------------------------------------------


def test_numbers_may_be_written_as_their_digits_and_json_as_text() -> None:
    task = Task.of({
        "id": "7", "name": "bld-1", "parent": 3.0, "status": "2", "completedBy": "9",
        "cooperativeWork": json.dumps(WORK),
        "geometries": json.dumps({"type": "FeatureCollection", "features": []}),
        "completionResponses": '{"reason": "other"}',
    })
    assert (task.id, task.parent, task.status) == (7, 3, Status.FALSE_POSITIVE)
    assert (task.cooperative_work, task.responses) == (WORK, {"reason": "other"})
    assert task.geometries == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize("written", [
    "2026-11-22T12:00:00Z", "2026-11-22T12:00:00.000Z", "2026-11-22T13:00:00.000+01:00", "2026-11-22T12:00:00+0000",
    "2026-11-22 12:00:00.000000+00", "2026-11-22T12:00:00", 1795348800000,
])
def test_a_moment_is_the_same_however_it_is_written(written) -> None:
    assert Task.of({"id": 7, "name": "a", "parent": 1, "mappedOn": written}).mapped_on == NOON
    entry = HistoryEntry.of({"taskId": 7, "actionType": 1, "timestamp": written, "status": 2, "user": 9, "more": {}})
    assert (entry.at, entry.person) == (NOON, Person(9))
    assert Comment.of({"id": 1, "taskId": 7, "challengeId": 1, "created": written, "comment": "a tent"}).created == NOON


@pytest.mark.parametrize(("user", "person"), [
    (9, Person(9)), ({"id": 9, "username": "anna"}, Person(9, "anna")), ({"username": "anna"}, Person(0, "anna")),
    (-1, None), ({"id": -1, "username": ""}, None), (None, None), ({}, None),
])
def test_a_person_is_a_number_or_an_object_and_the_server_itself_is_none(user, person) -> None:
    mark = {"id": 7, "title": "a", "parentId": 1, "status": 1, "completedBy": user, "pointReview": None}
    assert TaskMark.of(mark).completed_by == person


@pytest.mark.parametrize("status", ["Not_an_Issue", "Not_An_Issue", "not an issue", "False_Positive", "2", 2])
def test_an_export_says_a_status_in_words_or_as_its_number(status) -> None:
    told = {"mr_taskId": 7, "mr_taskName": "a", "mr_taskStatus": status, "mr_mappedOn": "11/22/26, 12:00 PM"}
    viewed = ViewedTask.of({"type": "Feature", "geometry": None, "properties": told})
    assert (viewed.status, viewed.mapped_on, viewed.tags) == (Status.FALSE_POSITIVE, None, ())


def test_a_challenge_of_a_server_without_pauses_and_counts_is_one() -> None:
    told = {"id": 7, "name": "a", "parent": 1, "enabled": True}
    assert not Challenge.of(told).paused and Challenge.of(told).metrics.total == 0


def test_what_editors_recorded_of_the_public_server_can_be_read() -> None:
    """The forms that are known from recordings among the tests of the JOSM plugin (2022 to 2026), with other values."""
    made = "2022-08-06T15:23:36.531Z"
    older = {
        "id": 15, "name": "Add directions", "created": made, "modified": "2023-01-24T14:21:34.897Z", "deleted": False,
        "owner": 9, "parent": 3, "featured": False, "enabled": True, "cooperativeType": 0, "popularity": 1674515454,
        "virtualParents": [], "lowPriorityRule": {}, "isArchived": False, "defaultBasemap": -1, "presets": [],
        "status": 3, "statusMessage": "Request timeout", "dataOriginDate": "2022-07-23T07:13:38.609Z",
        "location": {"type": "Point", "coordinates": [1.5, 2.5]}, "completionPercentage": 4, "tasksRemaining": 9,
        "tags": ["highway", "stop"],
    }
    challenge = Challenge.of(older)
    assert (challenge.status, challenge.paused, challenge.tags) == (3, False, ("highway", "stop"))
    assert challenge.data_origin == datetime(2022, 7, 23, 7, 13, 38, 609000, UTC) and challenge.metrics.total == 0
    counts = {"total": 8, "available": 5, "fixed": 1, "falsePositive": 2, "tasksRemaining": 5}
    newer = {**older, "isGlobal": False, "paused": True, "completionMetrics": counts, "highPriorityBounds": []}
    del newer["status"], newer["tags"]
    assert (Challenge.of(newer).paused, Challenge.of(newer).status) == (True, 0)
    assert (Challenge.of(newer).metrics.total, Challenge.of(newer).metrics.false_positive) == (8, 2)
    point = {"crs": {"type": "name", "properties": {"name": "EPSG:0"}}, "type": "Point", "coordinates": [1.5, 2.5]}
    feature = {"type": "Feature", "geometry": point, "properties": {"@id": "node/6"}}
    started = Task.of({
        "id": 7, "name": "node/6", "created": made, "modified": made, "parent": 15, "instruction": "",
        "geometries": {"type": "FeatureCollection", "features": [feature]}, "status": 0, "review": {}, "priority": 2,
        "changesetId": -1, "errorTags": "", "tags": [],
    })
    assert (started.status, started.mapped_on, started.cooperative_work, started.review) == (0, None, None, None)
    sent = {"type": "Point", "coordinates": [1.5, 2.5]}
    ours = {"features": [{"type": "Feature", "id": "bld-6", "geometry": sent, "properties": {"@id": "node/6"}}]}
    assert digest_of(started.geometries, None) == digest_of(ours, None)
    anna, rita = {"username": "anna", "id": 11}, {"username": "rita", "id": 12}
    mark = TaskMark.of({
        "id": 7, "owner": -1, "ownerName": "", "title": "bld-6", "parentId": 15, "parentName": "Add directions",
        "point": {"lat": 2.5, "lng": 1.5}, "bounding": "", "blurb": "", "modified": made, "difficulty": -1, "type": 2,
        "status": 6, "mappedOn": made, "completedTimeSpent": 923162, "completedBy": anna, "priority": 0,
        "pointReview": {"reviewStatus": 1, "reviewRequestedBy": anna, "reviewedBy": rita, "reviewedAt": made,
                        "reviewStartedAt": made},
    })
    assert (mark.status, mark.completed_by, mark.review, mark.tags) == (6, Person(11, "anna"), 1, ())
    assert mark.reviewed_by == Person(12, "rita") and mark.reviewed_at == mark.mapped_on


def test_a_lock_is_known_by_the_public_servers_own_words(client: Client, web) -> None:
    said = {"status": "Forbidden", "message": "Task is currently locked by user anna", "note": "..."}
    web.put("/task/7/start", json.dumps(said).encode(), status=403)
    with pytest.raises(errors.TaskLocked, match="locked by user anna"), client.opened(7):
        pytest.fail("it is not open for us")


def test_an_older_server_is_asked_for_its_counts_where_it_tells_them(client: Client, web) -> None:
    web.put("/challenge/7", b'{"id": 7, "name": "a", "parent": 1, "unknown": [1]}')
    told = [{"id": 7, "name": "a", "actions": {"total": 5, "available": 2, "falsePositive": 3, "avgTimeSpent": 1.5}}]
    web.put("/data/challenge/7", json.dumps(told).encode())
    metrics = client.challenge(7).metrics
    assert (metrics.total, metrics.available, metrics.false_positive) == (5, 2, 3)
    for answer in (Answer(404), Answer(400, b"{}"), Answer(403, b"{}"), Answer(200, b"[]")):
        web.script("/data/challenge/7", answer)
        assert client.challenge(7).metrics.total == 0


def test_a_name_that_is_answered_by_nothing_is_not_there(client: Client, web) -> None:
    for answer in (Answer(404), Answer(200, b"null"), Answer(204), Answer(404, b"<html>no</html>")):
        web.script("/projectByName/town", answer)
        assert client.project_named("town") is None


def test_a_server_that_gives_less_at_once_than_asked_for_is_read_to_the_end(desk: Desk, monkeypatch) -> None:
    keys = desk.houses(7)
    desk.cycle()
    count = Request.count
    monkeypatch.setattr(Request, "count", lambda self, name, default: (
        min(count(self, name, default), 3) if name == "limit" else count(self, name, default)
    ))
    (challenge,) = desk.fake.world.challenges
    assert sorted(mark.name for mark in desk.channel._client.all_marks(challenge)) == sorted(keys)


# -- what a proxy in front does ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "error"), [
    (400, errors.MapRouletteInvalid), (401, errors.KeyRefused), (403, errors.MapRouletteRefused),
    (404, errors.MapRouletteMissing), (413, errors.UploadTooLarge), (415, errors.MapRouletteInvalid),
    (429, errors.MapRouletteUnavailable), (500, errors.MapRouletteUnavailable), (502, errors.MapRouletteUnavailable),
    (301, errors.ReplyInvalid), (307, errors.ReplyInvalid),
])
def test_a_page_of_html_is_called_what_its_status_is(client: Client, web, status, error) -> None:
    web.put("/challenge/7", b"<!DOCTYPE html><h1>No</h1>", status, {"Content-Type": "text/html", "Location": "/x"})
    with pytest.raises(error) as caught:
        client.challenge(7)
    assert getattr(caught.value, "answered", False) is False
    assert web.count("/x") == 0


def test_a_rest_that_is_asked_for_is_kept_also_after_what_is_never_repeated(desks, fetchers, clock) -> None:
    desk = desks()
    desk.houses(3)
    failure = Failure(503, "KO", "come back later")
    failure.reply.headers["Retry-After"] = "20"
    refusing(desk, "task_create", failure, times=1)
    desk.cycle()
    assert 19 <= max(clock.sleeps) <= 20


def test_an_upload_that_a_proxy_will_not_bear_goes_in_smaller_pieces(desks) -> None:
    desk = desks(bulk=2)
    keys = desk.houses(12)
    refusing(desk, "add_file_tasks", html_failure(413, "Request Entity Too Large"), unless=lambda size: size <= 6_000)
    desk.cycle()
    assert sorted(desk.statuses()) == sorted(keys)
    sizes = [len(one.body) for one in desk.fake.requests if one.endpoint == "add_file_tasks"]
    assert max(sizes) > 6_000 and len([size for size in sizes if size <= 6_000]) > 1
    assert not [one for one in desk.fake.writes if one.endpoint == "task_create"], "no task had to go alone"


# -- another mind about single calls ----------------------------------------------------------------------------------


def test_a_refused_upload_goes_on_one_by_one(desks) -> None:
    desk = desks(bulk=2)
    keys = desk.houses(4)
    refusing(desk, "add_file_tasks", invalid("no such thing here"))
    desk.cycle()
    assert sorted(desk.statuses()) == sorted(keys)


def without(*members: str):
    def change(reply) -> None:
        reply.value = {name: value for name, value in reply.value.items() if name not in members}
        reply.content = json.dumps(reply.value).encode()
    return change


def empty(reply) -> None:
    reply.value, reply.content = None, b""


@pytest.mark.parametrize("change", [empty, without("status"), without("status", "cooperativeWork")])
def test_a_start_that_does_not_tell_how_the_task_stands_is_followed_by_a_look(desks, change) -> None:
    desk = desks(change_files=0.5)
    (key,) = desk.houses(1)
    desk.cycle()
    answering(desk, "task_start", change)
    work = desk.fake.task(key).cooperative_work
    assert work is not None
    desk.apply(*desk.drawing(desk.outline(0)))
    desk.cycle()
    assert (desk.fake.task(key).status, desk.fake.task(key).cooperative_work) == (ALREADY_FIXED, work)
    desk.fake.clock.advance(days=15)
    with desk.unchanged():
        desk.cycle()


def test_a_task_whose_making_is_answered_by_nothing_is_looked_up(desk: Desk) -> None:
    answering(desk, "task_create", empty)
    keys = desk.houses(2)
    desk.cycle()
    assert sorted(desk.statuses()) == sorted(keys)
    assert {desk.row(key).remote for key in keys} == {task.id for task in desk.fake.tasks()}


def test_a_conflict_that_names_no_task_holds_up_no_other(desk: Desk) -> None:
    keys = desk.houses(2)
    desk.cycle()
    desk.fake.checks = False  # the contract's conflict names the task
    refusing(desk, "task_start", Failure(409, "Conflict", "you have another task open"), times=1)
    for number in (0, 1):
        desk.apply(*desk.drawing(desk.outline(number), number))
    desk.cycle()
    assert sorted(desk.statuses().values()) == [CREATED, ALREADY_FIXED]
    desk.fake.clock.advance(minutes=2)
    desk.cycle()
    assert set(desk.statuses().values()) == {ALREADY_FIXED} and set(desk.statuses()) == set(keys)


def test_a_project_that_was_deleted_by_hand_is_told_and_one_that_is_gone_is_made_anew(desk: Desk) -> None:
    keys = desk.houses(1)
    desk.cycle()
    (project,) = desk.fake.world.projects.values()
    project.deleted = True
    desk.restart()
    with pytest.raises(errors.NameTaken, match=r"was deleted.*maproulette\.project"):
        desk.cycle()
    desk.fake.world.projects.clear()
    desk.restart()
    desk.cycle()
    assert [task.parent for task in desk.fake.tasks(keys[0])] == sorted(desk.fake.world.challenges)


def test_a_challenge_that_was_paused_stays_so_when_all_that_was_known_is_lost(desk: Desk) -> None:
    desk.houses(1)
    desk.cycle()
    (challenge,) = desk.fake.world.challenges.values()
    challenge.fields["paused"] = True
    desk.forget_everything()
    desk.restart()
    desk.show(missing(desk.outline(5)))
    with desk.unchanged():
        desk.cycle()
    (row,) = desk.challenges()
    assert row.paused is not None and "found" in row.pause_reason
