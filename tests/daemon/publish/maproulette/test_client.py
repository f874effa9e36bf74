"""The client and the server: what is asked and brought, what is made but once, and what each failure is called."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_maproulette import FakeMapRoulette, Fault
from fake_maproulette.contract import LARGEST_BODY
from http_server import Answer, Web

from daemon import errors
from daemon.config import MapRoulette, api_key
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange, Rehearsal
from daemon.publish.maproulette.replies import ChallengeStatus, Metrics, Person, Status

RING = [[8.5400, 47.3768], [8.5401, 47.3768], [8.5401, 47.3767], [8.5400, 47.3767], [8.5400, 47.3768]]
CHANGE = {"meta": {"version": 2, "type": 2},
          "file": {"type": "xml", "format": "osc", "encoding": "base64", "content": "PG9zbUNoYW5nZS8+"}}
KEY = "7|0123456789abcdef0123456789abcdef"

Clients = Callable[..., Client]


@pytest.fixture
def clients(maproulette: FakeMapRoulette, fetchers: Callable[..., Any]) -> Clients:
    """Makes clients of the fake server, or of another; `retries` and other settings of the Fetcher may be given."""

    def make(url: str = "", key: str = "", retries: int = 0, timeout: float = 5.0, **more: Any) -> Client:
        fetcher = fetchers(retries=retries, timeout=timeout)
        return Client(Exchange(
            url or maproulette.url, key or maproulette.owner.key, fetcher, upload_timeout=timeout, **more,
        ))

    return make


@pytest.fixture
def client(clients: Clients) -> Client:
    return clients()


@pytest.fixture
def project(client: Client) -> int:
    return client.obtain_project("town", "Town", "what is missing in town").id


@pytest.fixture
def challenge(client: Client, project: int, maproulette: FakeMapRoulette) -> int:
    made, _ = client.obtain_challenge(challenge_fields(project))
    client.update_challenge(made.id, {"status": 3})
    maproulette.forget_requests()
    return made.id


def challenge_fields(project: int, name: str = "missing", **more: Any) -> dict[str, Any]:
    return {"name": name, "parent": project, "instruction": "Is a building missing?", "enabled": False, **more}


def collection(name: str) -> dict[str, Any]:
    feature = {"type": "Feature", "id": name, "geometry": {"type": "Polygon", "coordinates": [RING]},
               "properties": {"score": "0.9"}}
    return {"type": "FeatureCollection", "features": [feature]}


def task_fields(challenge: int, name: str = "bld-0001", **more: Any) -> dict[str, Any]:
    return {"name": name, "parent": challenge, "geometries": collection(name), **more}


def lines(*names: str) -> list[bytes]:
    return [b"\x1e" + json.dumps(collection(name)).encode() + b"\n" for name in names]


# -- what is asked and brought ----------------------------------------------------------------------------------------


def test_the_key_says_who_we_are_and_never_comes_back(client, maproulette):
    user = client.whoami()
    assert (user.id, user.name) == (maproulette.owner.id, "mapgap-bot")
    assert maproulette.owner.key not in repr(user)


def test_a_project_is_made_once(client, maproulette):
    assert client.project_named("town") is None
    made = client.obtain_project("town", "Town", "first")
    assert client.obtain_project("town", "Town", "second") == client.project_named("town") == made
    found = client.project(made.id)
    assert (found.id, found.description, found.enabled, found.deleted) == (made.id, "first", True, False)
    assert client.project(made.id + 1000) is None
    assert len(maproulette.world.projects) == 1


@pytest.mark.parametrize("name", ["missing/town: all", "Ünï & co?"])
def test_a_challenge_is_made_once_whatever_its_name(client, project, name):
    fields = challenge_fields(project, name)
    made, new = client.obtain_challenge(fields)
    again, new_again = client.obtain_challenge(fields | {"name": name.upper()})
    assert (new, new_again, again.id) == (True, False, made.id)
    assert [(one.id, one.enabled) for one in client.challenges_of(project)] == [(made.id, False)]


def test_a_challenge_is_changed_archived_and_counted(client, challenge, project):
    client.put_task(task_fields(challenge))
    client.update_challenge(challenge, {"enabled": True, "paused": True, "tags": "imagery,building"})
    client.archive_challenge(challenge, True)
    found = client.challenge(challenge)
    assert (found.status, found.enabled, found.paused, found.archived) == (ChallengeStatus.READY, True, True, True)
    assert found.metrics == Metrics(total=1, available=1)
    (listed,) = client.challenges_of(project)
    assert (listed.archived, listed.paused, listed.status) == (True, True, ChallengeStatus.READY)


def test_a_task_sent_again_shows_something_else_and_keeps_its_status(client, challenge, maproulette):
    made = client.put_task(task_fields(challenge, instruction="one", cooperativeWork=CHANGE))
    maproulette.mapper("anna").skip("bld-0001")
    again = client.put_task(task_fields(challenge, instruction="two", cooperativeWork=CHANGE))
    found = client.task(made.id)
    assert again.id == made.id == client.task_named(challenge, "bld-0001").id
    assert (found.status, found.instruction, found.cooperative_work) == (Status.SKIPPED, "two", CHANGE)
    assert found.geometries["features"][0]["id"] == "bld-0001"


def test_a_task_is_closed_and_reopened_by_right_of_ownership(client, challenge, maproulette):
    task = client.put_task(task_fields(challenge, cooperativeWork=CHANGE)).id
    with client.opened(task) as opened:
        client.set_task(task, Status.ALREADY_FIXED, opened.cooperative_work)
    closed = client.task(task)
    assert (closed.status, closed.completed_by, closed.cooperative_work) == (Status.ALREADY_FIXED, None, CHANGE)
    assert maproulette.owner.score == 0
    client.set_task(task, Status.CREATED, CHANGE, geometries=collection("bld-0001"))
    assert client.task(task).status is Status.CREATED
    assert [seen.path.rpartition("/")[2] for seen in maproulette.writes[1:4]] == ["start", str(task), "release"]


def test_an_upload_is_read_back(client, challenge):
    names = [f"bld-{i:04d}" for i in range(7)]
    client.add_tasks(challenge, lines(*names), datetime(2026, 11, 22, 5, tzinfo=UTC))
    assert sorted(mark.name for mark in client.marks([challenge], page_size=3, sort="id")) == names
    assert [task.name for task in client.tasks(challenge, page_size=3)] == names
    found = client.challenge(challenge)
    assert (found.metrics.total, found.data_origin) == (7, datetime(2026, 11, 22, 5, tzinfo=UTC))


def test_what_an_upload_lost_is_found_by_reading_it_back(client, challenge, maproulette):
    lost = {"bld-0007", "bld-0500", "bld-0999"}
    maproulette.world.drops = lost.__contains__
    names = {f"bld-{i:04d}" for i in range(1000)}
    client.add_tasks(challenge, lines(*sorted(names)))
    assert client.challenge(challenge).metrics.total == 997
    assert names - {mark.name for mark in client.marks([challenge], sort="id")} == lost


def test_an_upload_over_the_cap_of_an_empty_challenge_shows_in_its_status(client, challenge, maproulette):
    maproulette.world.most_tasks = 2
    client.add_tasks(challenge, lines("bld-0001", "bld-0002", "bld-0003"))
    found = client.challenge(challenge)
    assert (found.status, found.metrics.total) == (ChallengeStatus.FAILED, 0)
    assert "must be under 2" in found.status_message


def test_what_people_say_is_heard_though_the_server_hides_it(client, challenge, maproulette):
    names = ("wrong", "fixed", "locked", "waiting")
    client.add_tasks(challenge, lines(*names))
    anna, ben = maproulette.mapper("anna"), maproulette.mapper("ben")
    anna.fix("fixed", review=True)
    anna.false_positive("wrong", tags=["no-object"], responses={"reason": "no such object"}, comment="a tent, 中")
    ben.lock("locked")
    ben.review("fixed", 1)
    client.archive_challenge(challenge, True)
    marks = {mark.name: mark for mark in client.marks([challenge])}
    assert set(marks) == set(names)
    wrong = marks["wrong"]
    assert (wrong.status, wrong.tags) == (Status.FALSE_POSITIVE, ("no-object",))
    assert wrong.completed_by == Person(anna.user.id, "anna")
    assert wrong.mapped_on == maproulette.task("wrong").mapped_on
    assert marks["locked"].locked_by == ben.user.id
    (reviewed,) = client.marks([challenge], reviews=[1], sort="reviewedAt")
    assert (reviewed.name, reviewed.review, reviewed.reviewed_by.name) == ("fixed", 1, "ben")
    assert client.task(wrong.id).responses == {"reason": "no such object"}
    (viewed,) = client.viewed(challenge, [2])
    assert (viewed.name, viewed.status, viewed.mapper) == ("wrong", Status.FALSE_POSITIVE, "anna")
    assert (viewed.tags, viewed.responses) == (("no-object",), {"reason": "no such object"})
    (comment,) = client.comments(challenge)
    assert (comment.text, comment.name, comment.task) == ("a tent, 中", "anna", wrong.id)
    history = client.history(wrong.id)
    assert [(entry.action, entry.status, entry.comment) for entry in history] == [(1, 2, None), (0, None, "a tent, 中")]


def test_nothing_asked_of_nothing_is_empty(client, challenge, maproulette):
    maproulette.forget_requests()
    assert list(client.marks([])) == []
    assert maproulette.requests == []
    assert (client.viewed(challenge, [2]), client.comments(challenge)) == ([], [])


# -- nothing twice ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.LOST_REPLY, Fault.LATE_PROXY])
def test_what_was_made_unheard_is_adopted(client, maproulette, fault):
    maproulette.faults.script("POST", "/project$", fault)
    maproulette.faults.script("POST", "/challenge$", fault)
    maproulette.faults.script("POST", "/task$", fault)
    maproulette.world.unique_index = False
    project = client.obtain_project("town", "Town", "").id
    challenge = client.obtain_challenge(challenge_fields(project))[0].id
    task = client.put_task(task_fields(challenge))
    assert task.id == maproulette.task("bld-0001").id
    assert maproulette.faults.happened[fault] == 3
    assert [len(rows) for rows in (maproulette.world.projects, maproulette.world.challenges)] == [1, 1]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.PROXY, Fault.ERROR])
def test_what_was_not_made_is_not_sent_again_blindly(clients, maproulette, fault):
    client = clients(retries=3)
    maproulette.faults.script("POST", "/project$", fault)
    with pytest.raises(errors.MapRouletteUnavailable):
        client.obtain_project("town", "Town", "")
    assert [seen.method for seen in maproulette.requests] == ["GET", "POST", "GET"]
    assert client.obtain_project("town", "Town", "").id in maproulette.world.projects


def test_a_name_that_somebody_took_meanwhile_is_adopted(clients, maproulette, project):
    """The first look finds nothing, the POST is a 500, the second look finds it."""
    client = clients()
    first = clients().obtain_challenge(challenge_fields(project))[0]
    original, looks = client.challenges_of, []

    def blind_at_first(number: int) -> list[Any]:
        looks.append(number)
        return original(number) if len(looks) > 1 else []

    client.challenges_of = blind_at_first
    assert client.obtain_challenge(challenge_fields(project)) == (client.challenge(first.id), False)
    assert maproulette.writes[-1].status == 500


def test_a_project_name_taken_in_another_case_or_by_a_deleted_one_is_said(client, project, maproulette):
    with pytest.raises(errors.NameTaken, match="already exists"):
        client.obtain_project("TOWN", "Town", "")
    maproulette.world.projects[project].deleted = True
    with pytest.raises(errors.NameTaken, match=r"set maproulette\.project to another"):
        client.obtain_project("town", "Town", "")


def test_namesakes_that_a_server_without_index_makes_are_removed(client, challenge, maproulette):
    task = client.put_task(task_fields(challenge, instruction="one")).id
    maproulette.world.unique_index = False
    for lost in (True, False):  # one that nobody heard of, too
        if lost:
            maproulette.faults.script("POST", "/task$", Fault.LOST_REPLY)
            with pytest.raises(errors.MapRouletteUnavailable):
                client.put_task(task_fields(challenge, instruction="two"), known=task)
            assert len(maproulette.tasks("bld-0001")) == 2
    assert client.put_task(task_fields(challenge, instruction="two"), known=task).id == task
    found = maproulette.task("bld-0001")
    assert (found.id, found.instruction, found.status) == (task, "two", 0)


@pytest.mark.parametrize("days", [0, 15])
def test_without_index_a_mappers_status_goes_before_what_a_task_shows(client, challenge, maproulette, days):
    task = client.put_task(task_fields(challenge, instruction="one")).id
    maproulette.mapper("anna").skip("bld-0001")
    maproulette.clock.advance(days=days)
    maproulette.world.unique_index = False
    client.put_task(task_fields(challenge, instruction="two"), known=task)
    assert (maproulette.task("bld-0001").status, maproulette.task("bld-0001").instruction) == (3, "one")


def test_an_upload_is_never_repeated_by_itself(clients, challenge, maproulette):
    client = clients(retries=3)
    maproulette.faults.script("PUT", "addFileTasks", Fault.LOST_REPLY, Fault.ERROR)
    for answered in (False, True):
        with pytest.raises(errors.MapRouletteUnavailable) as caught:
            client.add_tasks(challenge, lines("bld-0001"))
        assert caught.value.answered is answered
    assert len(maproulette.requests) == 2


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.PROXY, Fault.LATE_PROXY, Fault.REFUSED, Fault.LOST_REPLY])
def test_what_does_no_harm_is_tried_again(clients, challenge, clock, maproulette, monkeypatch, fault):
    monkeypatch.setattr("daemon.fetch.fetcher.backoff", lambda attempt: 10.0 + attempt)
    client = clients(retries=2)
    task = client.put_task(task_fields(challenge, cooperativeWork=CHANGE)).id
    maproulette.forget_requests()
    steps = [
        lambda: client.challenge(challenge),
        lambda: list(client.marks([challenge])),
        lambda: client.update_challenge(challenge, {"blurb": "new"}),
        lambda: client.set_task(task, Status.ALREADY_FIXED, CHANGE),
        lambda: client.release(task),
        lambda: client.delete_task(task),
    ]
    for step in steps:
        maproulette.faults.script("", "", fault, fault)
        step()
    assert len(maproulette.requests) == 3 * len(steps)
    assert [slept for slept in clock.sleeps if slept >= 1] == [10.0, 11.0] * len(steps)
    assert maproulette.tasks() == []


# -- what each failure is called --------------------------------------------------------------------------------------


def test_a_wrong_key_is_refused(clients, challenge):
    stranger = clients(key="12|wrongwrongwrong", retries=3)
    assert stranger.challenge(challenge).id == challenge  # who is nobody may read
    for call in (stranger.whoami, lambda: stranger.update_challenge(challenge, {"blurb": "x"})):
        with pytest.raises(errors.MapRouletteRefused, match=r"401.*put a new one in place") as caught:
            call()
        assert "wrongwrong" not in str(caught.value)


def test_a_project_of_somebody_else_is_refused(clients, challenge, maproulette):
    other = clients(key=maproulette.mapper("anna").user.key)
    with pytest.raises(errors.MapRouletteRefused, match="may not write to the project"):
        other.put_task(task_fields(challenge))


def test_what_is_not_there_is_missing(client, challenge):
    calls = (lambda: client.challenge(1), lambda: client.task(1), lambda: client.set_task(1, Status.DISABLED, None))
    for call in calls:
        with pytest.raises(errors.MapRouletteMissing):
            call()
    assert client.task_named(challenge, "none") is None
    client.delete_task(1)


def test_a_task_that_somebody_has_open_is_locked_and_not_waited_for(clients, challenge, maproulette):
    client = clients(retries=3)
    task = client.put_task(task_fields(challenge)).id
    maproulette.mapper("anna").lock("bld-0001")
    with pytest.raises(errors.TaskLocked), client.opened(task):
        pytest.fail("it is not open for us")
    assert maproulette.requests[-1].status == 403
    assert [held.user for held in maproulette.world.locks.values()] == [maproulette.mapper("anna").user.id]


def test_a_name_in_another_case_is_taken(client, challenge):
    client.put_task(task_fields(challenge))
    client.obtain_challenge(challenge_fields(client.challenge(challenge).parent, "other"))
    with pytest.raises(errors.NameTaken):
        client.update_challenge(challenge, {"name": "Other"})


@pytest.mark.parametrize("status", [ChallengeStatus.BUILDING, ChallengeStatus.DELETING])
def test_a_challenge_that_is_built_or_emptied_is_busy(client, challenge, status):
    client.update_challenge(challenge, {"status": int(status)})
    with pytest.raises(errors.ChallengeBusy) as caught:
        client.add_tasks(challenge, lines("bld-0001"))
    assert caught.value.transient


def test_a_challenge_that_has_all_it_may_have_is_full(client, challenge, maproulette, monkeypatch):
    maproulette.world.most_tasks = 1
    monkeypatch.setattr("daemon.publish.maproulette.client.MOST_TASKS", 1)
    for name in ("bld-0001", "bld-0002"):
        client.put_task(task_fields(challenge, name))
    with pytest.raises(errors.ChallengeFull):
        client.put_task(task_fields(challenge, "bld-0003"))
    with pytest.raises(errors.ChallengeFull):
        client.add_tasks(challenge, lines("bld-0003"))


def test_what_is_too_large_is_not_even_sent(client, challenge, maproulette):
    with pytest.raises(errors.UploadTooLarge):
        client.add_tasks(challenge, [b"x" * LARGEST_BODY])
    assert maproulette.requests == []


def test_a_task_that_is_wrong_is_invalid(clients, challenge, maproulette):
    maproulette.lenient = True
    with pytest.raises(errors.MapRouletteInvalid, match="features must be a non-empty array"):
        clients(retries=3).put_task(task_fields(challenge, geometries={"type": "FeatureCollection", "features": []}))


@pytest.mark.parametrize("page", [
    "<html>hello</html>", "[1, 2", "7", '{"id": "seven"}', '{"id": true}', "[" * 100_000,
    '{"id": 7, "name": "a", "parent": 1, "status": 77}',
])
def test_a_reply_that_is_none_is_invalid(clients, web, page):
    web.put("/api/v2/challenge/7", page.encode(), headers={"Content-Type": "text/html"})
    web.put("/api/v2/data/challenge/7", b"[]")
    with pytest.raises(errors.ReplyInvalid):
        clients(web.url("/api/v2"), KEY).challenge(7)


def test_a_captive_portal_is_no_success(client, challenge, maproulette):
    maproulette.faults.script("PUT", "", Fault.HTML)
    with pytest.raises(errors.ReplyInvalid, match=r"is maproulette\.url"):
        client.update_challenge(challenge, {"blurb": "new"})


def test_a_reply_that_blows_up_is_refused(clients, web, monkeypatch):
    monkeypatch.setattr("daemon.publish.maproulette.exchange.LARGEST_REPLY", 1000)
    web.put("/challenge/7", gzip.compress(b" " * 100_000), headers={"Content-Encoding": "gzip"})
    with pytest.raises(errors.ReplyInvalid, match="unpacks to more"):
        clients(web.url(), KEY, retries=3).challenge(7)
    assert web.count("/challenge/7") == 1


def test_silence_is_given_up_and_a_stop_ends_it_at_once(clients, challenge, maproulette, fetchers):
    maproulette.faults.script("GET", "", Fault.HANG, Fault.HANG)
    with pytest.raises(errors.MapRouletteUnavailable, match="nothing came for"):
        clients(timeout=0.1).challenge(challenge)
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    fetcher = fetchers(timeout=60.0, stop=stop)
    with pytest.raises(errors.MapRouletteUnavailable, match="the daemon stops"):
        Client(Exchange(maproulette.url, KEY, fetcher, upload_timeout=60.0)).challenge(challenge)


@pytest.mark.parametrize("value", [
    {"id": 7, "name": "a", "parent": 1},
    {"id": 7, "name": "a", "parent": 1, "status": None, "tags": None, "completionMetrics": None, "isArchived": None},
])
def test_absent_and_null_are_the_same(clients, web, value):
    web.put("/challenge/7", json.dumps(value).encode())
    found = clients(web.url(), KEY).challenge(7)
    assert (found.status, found.metrics, found.archived, found.tags) == (ChallengeStatus.NONE, Metrics(), False, ())


# -- locks ------------------------------------------------------------------------------------------------------------


def test_a_task_left_open_is_released_first(client, challenge, maproulette):
    first, second = (client.put_task(task_fields(challenge, name)).id for name in ("bld-0001", "bld-0002"))
    client._exchange.write("GET", f"/task/{first}/start")  # and then the power failed
    with client.opened(second):
        assert set(maproulette.world.locks) == {second}
    assert maproulette.world.locks == {}


def test_no_lock_stays_though_the_second_try_to_open_is_not_heard_of(client, challenge, maproulette):
    first, second = (client.put_task(task_fields(challenge, name)).id for name in ("bld-0001", "bld-0002"))
    client._exchange.write("GET", f"/task/{first}/start")
    maproulette.faults.script("GET", "/start$", None, Fault.LOST_REPLY)
    with pytest.raises(errors.MapRouletteUnavailable), client.opened(second):
        pytest.fail("nobody knows whether it is open")
    assert maproulette.world.locks == {}


@pytest.mark.parametrize("fault", [None, Fault.LOST_REPLY, Fault.LATE_PROXY, Fault.ERROR])
def test_no_lock_stays_whatever_goes_wrong(client, challenge, maproulette, fault):
    task = client.put_task(task_fields(challenge)).id
    maproulette.faults.script("GET", "/start$", fault)
    with pytest.raises((errors.MapRouletteUnavailable, ZeroDivisionError)), client.opened(task):
        raise ZeroDivisionError
    assert maproulette.world.locks == {}


def test_a_lock_that_cannot_be_released_does_not_hide_what_happened(client, challenge, maproulette, caplog):
    task = client.put_task(task_fields(challenge)).id
    maproulette.faults.script("GET", "/release$", Fault.REFUSED)
    with pytest.raises(ZeroDivisionError), client.opened(task):
        raise ZeroDivisionError
    assert "stays open for an hour at most" in caplog.text


def test_only_one_task_is_open_at_a_time(clients, challenge, maproulette):
    client = clients()
    tasks = [client.put_task(task_fields(challenge, f"bld-{i:04d}")).id for i in range(6)]
    failures: list[BaseException] = []

    def close(task: int) -> None:
        try:
            with client.opened(task):
                client.set_task(task, Status.ALREADY_FIXED, None)
        except errors.MapRouletteError as error:
            failures.append(error)

    threads = [threading.Thread(target=close, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {row.status for row in maproulette.tasks()} == {5}
    assert not any(seen.status == 409 for seen in maproulette.requests)


# -- rehearsal --------------------------------------------------------------------------------------------------------


def test_a_dry_run_sends_nothing_and_shows_everything(clients, challenge, project, maproulette, caplog):
    caplog.set_level(logging.INFO)
    shown: list[Rehearsal] = []
    client = clients(dry_run=True, rehearse=shown.append)
    maproulette.forget_requests()
    made, new = client.obtain_challenge(challenge_fields(project, "other"))
    task = client.put_task(task_fields(made.id))
    with client.opened(task.id):
        client.set_task(task.id, Status.ALREADY_FIXED, None)
    client.add_tasks(made.id, lines("bld-0001"))
    client.update_challenge(challenge, {"enabled": True})
    client.delete_task(task.id)
    assert client.obtain_challenge(challenge_fields(project))[1] is False  # what is there is seen
    assert new and made.id < 0 and task.id < 0
    assert maproulette.writes == []
    assert [(one.method, one.path.partition("?")[0]) for one in shown] == [
        ("POST", "/challenge"), ("POST", "/task"), ("GET", f"/task/{task.id}/start"), ("PUT", f"/task/{task.id}"),
        ("GET", f"/task/{task.id}/release"), ("PUT", f"/challenge/{made.id}/addFileTasks"),
        ("PUT", f"/challenge/{challenge}"), ("DELETE", f"/task/{task.id}"),
    ]
    assert json.loads(shown[3].body) == {"status": 5}
    assert all(f"would send {one.method} {one.path}" in caplog.text for one in shown)
    with pytest.raises(errors.MapRouletteMissing):
        client.challenge(made.id)
    assert (client.challenges_of(-1), list(client.marks([made.id])), client.comments(made.id)) == ([], [], [])


# -- secrets and manners ----------------------------------------------------------------------------------------------


def test_the_key_is_in_no_log_and_no_message(clients, maproulette, web, caplog, challenge):
    caplog.set_level(logging.DEBUG)
    texts = []
    echo = json.dumps({"status": "KO", "message": f"wrong key {KEY} or {KEY.partition('|')[2]}"}).encode()
    for status in (400, 401, 403, 404, 409, 413, 418, 500, 502):
        web.put("/challenge/7", echo, status=status)
        with pytest.raises(errors.MapRouletteError) as caught:
            clients(web.url(), KEY).challenge(7)
        texts.append(f"{caught.value} {caught.value!r}")
    with pytest.raises(errors.MapRouletteError) as caught:
        clients("http://127.0.0.1:9", KEY).whoami()
    client = clients()
    texts += [str(caught.value), repr(client), repr(client._exchange), str(vars(client)), caplog.text]
    clients(dry_run=True).update_challenge(challenge, {"blurb": maproulette.owner.key})
    texts.append(caplog.text)
    for secret in (KEY, KEY.partition("|")[2], maproulette.owner.key):
        assert all(secret not in text for text in texts)


def test_the_servers_number_of_a_request_is_written_down(clients, web, caplog):
    caplog.set_level(logging.DEBUG)
    web.put("/user/whoami", b'{"id": 7}', headers={"maproulette-request-id": "abc-1"})
    clients(web.url(), KEY).whoami()
    assert any(getattr(record, "request", None) == "abc-1" for record in caplog.records)
    web.put("/user/whoami", b"{}", status=400, headers={"maproulette-request-id": "abc-2"})
    with pytest.raises(errors.MapRouletteInvalid, match="request abc-2"):
        clients(web.url(), KEY).whoami()


def test_the_key_does_not_follow_a_redirect(clients, web):
    other = Web()
    try:
        for target in (other.url("/user/whoami"), web.url("/elsewhere")):
            web.put("/user/whoami", status=302, headers={"Location": target})
            with pytest.raises(errors.ReplyInvalid, match="redirects are not followed"):
                clients(web.url(), KEY).whoami()
        assert (other.requests, web.count("/elsewhere")) == ([], 0)
    finally:
        other.close()


def test_cookies_and_netrc_are_not_used(clients, web, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    web.put("/user/whoami", b'{"id": 7}', headers={"Set-Cookie": "PLAY_SESSION=abc; Path=/"})
    client = clients(web.url(), KEY)
    for _ in range(2):
        client.whoami()
    for _, headers in web.requests:
        assert not {"Authorization", "Cookie"} & set(headers)
        assert headers["apiKey"] == KEY


def test_a_server_that_asks_for_a_rest_gets_it(clients, web, clock):
    web.script("/user/whoami", Answer(503, headers={"Retry-After": "7"}), Answer(200, b'{"id": 7}'))
    assert clients(web.url(), KEY, retries=1).whoami().id == 7
    assert 7.0 in clock.sleeps


@pytest.mark.parametrize("key", ["", "two words", "ü|abc", "1|a\nb"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(clients, fetchers, key):
    with pytest.raises(errors.ConfigError, match="the API key is not one") as caught:
        Exchange("http://127.0.0.1:9", key, fetchers(), upload_timeout=1.0)
    assert not key or key not in str(caught.value)


def test_a_client_is_opened_as_configured(maproulette, monkeypatch):
    monkeypatch.setenv("MAPGAP_TEST_KEY", maproulette.owner.key)
    knobs = MapRoulette(enabled=True, url=maproulette.url, project="town", api_key_env="MAPGAP_TEST_KEY")
    with ExitStack() as resources:
        client = Client.open(knobs, "me@example.org", threading.Event(), resources)
        assert client.whoami().id == maproulette.owner.id
        assert (client.url, client.dry_run) == (maproulette.url, False)
    monkeypatch.delenv("MAPGAP_TEST_KEY")
    with pytest.raises(errors.ConfigError, match="MAPGAP_TEST_KEY is not set"):
        api_key(knobs)
    with pytest.raises(errors.ConfigError, match="no API key"):
        api_key(MapRoulette())
