"""The fake server does what the behaviours B01..B25 of its contract say, one test for each."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from fake_maproulette import FakeMapRoulette
from fake_maproulette.contract import LARGEST_BODY, contract

RING = [[8.5400, 47.3768], [8.5401, 47.3768], [8.5401, 47.3767], [8.5400, 47.3767], [8.5400, 47.3768]]
CHANGE = {
    "meta": {"version": 2, "type": 2},
    "file": {"type": "xml", "format": "osc", "encoding": "base64", "content": base64.b64encode(b"<osm/>").decode()},
}
TAG_FIX = {
    "meta": {"version": 2, "type": 1},
    "operations": [{"operationType": "modifyElement", "data": {
        "id": "way/1", "operations": [{"operation": "setTags", "data": {"surface": "asphalt"}}]}}],
}

Call = Callable[..., requests.Response]


class Site:
    """A server with a project and a challenge, and a session that knows the owner's key."""

    def __init__(self, fake: FakeMapRoulette):
        self.fake = fake
        self.session = requests.Session()
        self.session.headers["apiKey"] = fake.owner.key
        self.project = self("POST", "/project", {"name": "town", "enabled": True}).json()["id"]
        self.challenge = self.create(status=3).json()["id"]

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.session.request(method, self.fake.url + path, json=body, allow_redirects=False, timeout=10, **more)

    def create(self, name: str = "missing", **more: Any) -> requests.Response:
        return self("POST", "/challenge", {"name": name, "parent": self.project, "instruction": "look", **more})

    def read(self) -> Any:
        return self("GET", f"/challenge/{self.challenge}").json()

    def post(self, name: str = "bld-0001", **more: Any) -> requests.Response:
        return self("POST", "/task", {
            "name": name, "parent": self.challenge, "geometries": collection(name), **more})

    def put(self, name: str, **fields: Any) -> requests.Response:
        return self("PUT", f"/task/{self.fake.task(name).id}", fields)

    def upload(self, *lines: Any, filename: str | None = "tasks", part: str = "json", **query: Any) -> int:
        content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        files = {part: (filename, content)} if filename else {part: (None, content)}
        path = f"{self.fake.url}/challenge/{self.challenge}/addFileTasks"
        return self.session.put(path, files=files, params=query, timeout=30).status_code

    def box(self, **query: Any) -> list[Any]:
        return self("PUT", "/tasks/box/-180/-90/180/90", {}, params={"cid": self.challenge, **query}).json()


def collection(name: str | None = None, ring: Any = RING, **more: Any) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"score": "0.9"}}
    return {"type": "FeatureCollection", "features": [feature | ({"id": name} if name else {})], **more}


def encoded(value: Any) -> str:
    return json.dumps(value)


def rule(value: str, operator: str = ">=", kind: str = "double") -> str:
    return encoded({"condition": "AND", "rules": [{"value": value, "type": kind, "operator": operator}]})


@pytest.fixture
def site() -> Iterator[Site]:
    with FakeMapRoulette() as fake:
        fake.lenient = True  # much of what is sent here is wrong
        site = Site(fake)
        yield site
        site.session.close()
    assert fake.violations == []


def test_each_behaviour_of_the_contract_has_a_test():
    tested = {name[5:8].upper() for name in globals() if re.match(r"test_b\d\d_", name)}
    assert tested == set(contract().behaviours)


def test_b01_a_name_that_is_taken_is_an_error_500(site):
    for reply in (site("POST", "/project", {"name": "TOWN"}), site.create("Missing")):
        assert reply.status_code == 500
        assert "already exists" in reply.json()["message"]


def test_b02_rules_that_are_objects_are_refused_when_made_and_ignored_when_changed(site):
    good = rule("score.0.9")
    assert site.create("a", highPriorityRule=json.loads(good)).status_code == 400
    assert site.create("b", highPriorityRule=good).json()["highPriorityRule"] == json.loads(good)
    assert site("PUT", f"/challenge/{site.challenge}", {"highPriorityRule": json.loads(good)}).status_code == 200
    assert site.read()["highPriorityRule"] == {}


@pytest.mark.parametrize("fields", [{"taskStyles": {"a": 1}}, {"highPriorityBounds": encoded({"a": 1})}])
def test_b03_styles_and_bounds_that_are_no_lists_make_a_challenge_unreadable(site, fields):
    site("PUT", f"/challenge/{site.challenge}", fields)
    assert site("GET", f"/challenge/{site.challenge}").status_code == 500


def test_b04_a_challenge_with_a_source_of_its_own_is_rebuilt_by_every_change(site):
    site("PUT", f"/challenge/{site.challenge}", {"remoteGeoJson": "https://example.org/tasks"})
    site("PUT", f"/challenge/{site.challenge}", {"blurb": "new"})
    site("PUT", f"/challenge/{site.challenge}", {"isArchived": False})
    assert site.fake.world.challenges[site.challenge].rebuilds == 2
    assert site.read()["status"] == 1


@pytest.mark.parametrize(("own", "feature", "name"), [
    ("", {"id": "way/1", "properties": {"id": "x"}}, "way/1"),
    ("", {"properties": {"@id": "way/2", "name": "Town hall"}}, "way/2"),
    ("", {"properties": {"name": "Town hall"}}, "Town hall"),
    ("key", {"id": "a", "properties": {"key": "bld-1"}}, "bld-1"),
    ("key", {"id": "a", "properties": {}}, None),
    ("", {"properties": {}}, None),
])
def test_b05_an_uploaded_task_is_named_by_the_first_of_several_members(site, own, feature, name):
    site("PUT", f"/challenge/{site.challenge}", {"osmIdProperty": own})
    body = collection()
    body["features"][0] = {**body["features"][0], **feature}
    other = {**body["features"][0], "id": "not me"}
    assert site.upload({**body, "features": [*body["features"], other]}) == 204
    (task,) = site.fake.tasks()
    assert task.name == name if name else re.fullmatch(r"[0-9a-f-]{36}", task.name)


def test_b06_a_name_sent_again_updates_the_task_and_keeps_its_status(site):
    first = site.post(cooperativeWork=CHANGE, instruction="a").json()["id"]
    site.fake.mapper("anna").false_positive("bld-0001")
    reply = site.post(instruction="b")
    task = site.fake.task("bld-0001")
    assert (reply.status_code, reply.json()["id"], reply.json()["status"]) == (201, first, None)
    assert (task.status, task.instruction, task.cooperative_work) == (2, "b", None)
    assert site.post("BLD-0001").status_code == 500
    assert site.upload(collection("BLD-0001")) == 204
    assert len(site.fake.tasks()) == 1


def test_b06_without_its_index_the_server_makes_namesakes(site):
    site.fake.world.unique_index = False
    assert site.post().json()["id"] != site.post().json()["id"]
    assert len(site.fake.tasks("bld-0001")) == 2


@pytest.mark.parametrize(("days", "sent", "after"), [(13, 5, 5), (15, 5, 0), (15, 1, 1), (15, None, 5)])
def test_b07_a_status_sent_along_resets_or_overwrites(site, days, sent, after):
    site.post()
    site.fake.mapper("anna").already_fixed("bld-0001")
    site.fake.clock.advance(days=days)
    site.post(**({} if sent is None else {"status": sent}))
    assert site.fake.task("bld-0001").status == after


@pytest.mark.parametrize("status", [2, 9])
def test_b07_false_positives_and_disabled_tasks_are_not_reset(site, status):
    site.post(status=status)
    site.fake.clock.advance(days=15)
    site.post(status=status)
    assert site.fake.task("bld-0001").status == status


@pytest.mark.parametrize("status", [1, 6])
def test_b08_a_challenge_that_is_being_built_or_emptied_takes_no_upload(site, status):
    site("PUT", f"/challenge/{site.challenge}", {"status": status})
    assert site.upload(collection("bld-0001")) == 400


def test_b09_the_cap_is_silent_for_an_empty_challenge_and_loud_for_another(site):
    site.fake.world.most_tasks = 2
    three = [collection(f"bld-000{i}") for i in range(3)]
    assert site.upload(*three) == 204
    assert (site.read()["status"], site.read()["completionMetrics"]["total"]) == (2, 0)
    assert site.upload(*three[:2]) == 204
    assert site.upload(three[2]) == 400
    assert site.post("bld-0002").status_code == 201  # one more than the cap
    assert site.post("bld-0003").status_code == 400
    values = [{"name": "bld-0004", "parent": site.challenge, "geometries": collection()}]
    assert site("POST", "/tasks", values).status_code == 400


def test_b10_removing_the_unmatched_removes_what_waits_locked_or_not(site):
    for status, name in enumerate(("created", "fixed", "wrong", "skipped", "deleted", "done", "hard")):
        site.post(name, status=status)
    site.fake.mapper("anna").lock("created")
    site.fake.mapper("anna").comment("created", "mine")
    assert site.upload(collection("new"), removeUnmatched="true") == 204
    assert {task.name for task in site.fake.tasks()} == {"fixed", "wrong", "deleted", "done", "hard", "new"}
    assert site.fake.world.comments == []


def test_b11_tasks_of_an_upload_that_fail_are_lost_without_a_word(site):
    site("PUT", f"/challenge/{site.challenge}", {"highPriorityRule": rule("score.0.9")})
    site.fake.world.drops = lambda name: name == "unlucky"
    wordy = collection("wordy")
    wordy["features"][0]["properties"]["score"] = "high"
    assert site.upload(collection("good"), collection("open", RING[:4]), wordy, collection("unlucky")) == 204
    assert [task.name for task in site.fake.tasks()] == ["good"]
    assert site.read()["status"] == 3


def test_b11_a_line_that_is_not_json_ends_an_upload_and_keeps_what_came_before(site):
    assert site.upload(collection("first"), b"{", collection("last")) == 500
    assert [task.name for task in site.fake.tasks()] == ["first"]
    assert site.read()["status"] == 2


@pytest.mark.parametrize(("before", "after"), [(3, 3), (None, 6)])
def test_b12_emptying_a_challenge_without_status_leaves_it_emptying_for_ever(site, before, after):
    site.challenge = site.create("b12", **({} if before is None else {"status": before})).json()["id"]
    site.post()
    assert site("DELETE", f"/challenge/{site.challenge}/tasks").status_code == 200
    assert site.read()["status"] == 6
    site.fake.world.settle()
    assert (site.read()["status"], site.fake.tasks()) == (after, [])


def test_b13_the_last_task_gives_the_challenge_its_cooperative_type(site):
    site.post("a-000001", cooperativeWork=TAG_FIX)
    assert site.read()["cooperativeType"] == 1
    site.upload(collection("b-000001", cooperativeWork=CHANGE))
    assert site.read()["cooperativeType"] == 2
    assert "cooperativeWork" not in site.fake.task("b-000001").geojson
    assert site.post("c", cooperativeWork={"meta": {"version": 3}}).status_code == 400
    assert site.post("c", cooperativeWork={"meta": {"version": 2}}).status_code == 500


def test_b14_a_batch_passes_over_what_is_wrong(site):
    good = {"name": "bld-0001", "parent": site.challenge, "geometries": collection()}
    reply = site("POST", "/tasks", [{"name": "bad"}, good, 7])
    assert (reply.status_code, reply.json()["message"]) == (200, "Items created and updated")
    assert [task.name for task in site.fake.tasks()] == ["bld-0001"]
    site("PUT", "/tasks", [{"id": str(site.fake.task("bld-0001").id), "instruction": "new"}])
    assert site.fake.task("bld-0001").instruction == "new"


def test_b15_a_task_changed_by_its_id_loses_its_cooperative_work(site):
    for name in ("kept", "lost", "many"):
        site.post(name, cooperativeWork=CHANGE)
    site.put("kept", status=5, cooperativeWork=CHANGE)
    site.put("lost", status=5)
    site("PUT", "/tasks/changeStatus", params={"newStatus": 5, "cid": site.challenge})
    assert site.read()["status"] == 1
    site.fake.world.settle()
    found = {task.name: (task.status, task.cooperative_work) for task in site.fake.tasks()}
    assert found == {"kept": (5, CHANGE), "lost": (5, None), "many": (5, None)}


PROGRESSIONS = {
    0: "0123456789", 1: "149", 2: "1249", 3: "12345679", 4: "049", 5: "459", 6: "12345679", 7: "479", 8: "489",
    9: "049",
}


@pytest.mark.parametrize("old", PROGRESSIONS)
def test_b16_a_status_allows_some_others(site, old):
    allowed = ""
    for new in range(10):
        name = f"task-{new}"
        site.post(name, status=old)
        reply = site("PUT", f"/task/{site.fake.task(name).id}/{new}", params={"requestReview": "false"})
        allowed += str(new) if reply.status_code == 204 else ""
        assert reply.status_code in (204, 400)
    assert allowed == PROGRESSIONS[old]


def test_b16_who_completes_a_task_is_credited_and_minds_locks(site):
    site.post()
    anna = site.fake.mapper("anna")
    anna.lock("bld-0001")
    path = f"/task/{site.fake.task('bld-0001').id}"
    assert site("PUT", f"{path}/5").status_code == 403
    assert site("GET", f"{path}/start").status_code == 403
    anna.release("bld-0001")
    assert site("PUT", f"{path}/5", params={"requestReview": "None"}).status_code == 500
    assert site("PUT", f"{path}/5", params={"tags": "x,y"}).status_code == 204
    task = site.fake.task("bld-0001")
    assert (task.completed_by, site.fake.owner.score, task.tags) == (site.fake.owner.id, 1, ["x", "y"])
    assert task.mapped_on is not None


def test_b17_a_search_hides_much_by_default(site):
    names = ["waiting", "finished", "locked"]
    for name in names:
        site.post(name)
    site.fake.mapper("anna").fix("finished")
    site.fake.mapper("anna").lock("locked")
    assert {mark["title"] for mark in site.box()} == {"waiting"}
    assert {mark["title"] for mark in site.box(tStatus="-1")} == {"waiting", "finished"}
    assert {mark["title"] for mark in site.box(tStatus="-1", excludeLocked="true")} == set(names)
    site("POST", f"/challenge/{site.challenge}/archive", {"isArchived": True})
    assert site.box(tStatus="-1", excludeLocked="true") == []
    assert len(site.box(tStatus="-1", excludeLocked="true", ca="true")) == 3


def test_b17_a_search_has_no_order_unless_asked_for_one(site):
    for number in range(12):
        site.post(f"task-{number:02d}")
    shuffled = {tuple(mark["title"] for mark in site.box()) for _ in range(4)}
    assert len(shuffled) > 1
    for number in (7, 3, 5):
        site.fake.mapper("anna").fix(f"task-{number:02d}")
    query = {"tStatus": "1", "sort": "mappedOn", "order": "DESC", "limit": 2, "includeTags": "true"}
    pages = [[mark["title"] for mark in site.box(page=page, **query)] for page in range(2)]
    assert pages == [["task-05", "task-03"], ["task-07"]]


def test_b18_an_export_repeats_tasks_and_has_null_for_nothing(site):
    path = f"/challenge/view/{site.challenge}?status=2"
    assert site("GET", path).json()["features"] is None
    geometries = collection("bld-0001")
    geometries["features"] *= 2
    site.post(geometries=geometries)
    site.fake.mapper("anna").false_positive("bld-0001", tags=["shed"], responses={"reason": "other"})
    site.put("bld-0001", status=0)
    site.fake.mapper("ben").false_positive("bld-0001")
    found = site("GET", path).json()["features"]
    assert len(found) == 4  # two features, twice declared
    properties = found[0]["properties"]
    assert (properties["mr_taskStatus"], properties["mr_mapper"]) == ("Not_An_Issue", "ben")


def test_b19_the_table_announces_columns_that_its_rows_lack(site):
    site("PUT", f"/challenge/{site.challenge}", {"exportableProperties": "score"})
    site.post()
    header, row = site("GET", f"/challenge/{site.challenge}/tasks/extract").text.splitlines()
    assert header.endswith("score,Recorded_score")
    assert (len(header.split(",")), len(row.split(","))) == (22, 20)


def test_b20_activity_breaks_where_the_owner_wrote_a_status(site):
    site.post()
    site.fake.mapper("anna").fix("bld-0001")
    path = f"/data/raw/activity?challengeIds={site.challenge}"
    (entry,) = site("GET", path).json()
    assert (entry["oldStatus"], entry["status"], entry["date"][11:19]) == (0, 1, "00:00:00")
    site.put("bld-0001", status=0)
    assert site("GET", path).status_code == 500


@pytest.mark.parametrize(("days", "archived"), [(180, False), (190, True)])
def test_b21_a_challenge_that_nobody_touches_for_half_a_year_is_archived(site, days, archived):
    site.post()
    site.fake.clock.advance(days=days)
    assert site.read()["isArchived"] is archived


@pytest.mark.parametrize(("score", "priority"), [("0.95", 0), ("0.8", 1), ("0.2", 2)])
def test_b22_rules_give_a_task_its_priority(site, score, priority):
    site("PUT", f"/challenge/{site.challenge}", {
        "highPriorityRule": rule("SCORE.0.9"), "mediumPriorityRule": rule("score.0.7"), "defaultPriority": 2})
    geometries = collection()
    geometries["features"][0]["properties"]["score"] = score
    site.post(geometries=geometries)
    assert site.fake.task("bld-0001").priority == priority


def test_b22_a_number_compared_with_a_word_makes_the_task_fail(site):
    site("PUT", f"/challenge/{site.challenge}", {"highPriorityRule": rule("score.0.9")})
    geometries = collection()
    geometries["features"][0]["properties"]["score"] = "high"
    assert site.post(geometries=geometries).status_code == 500


def test_b22_commas_are_not_or(site):
    site("PUT", f"/challenge/{site.challenge}", {
        "highPriorityRule": rule("score.0.9,0.8", "equal", "string"), "defaultPriority": 2})
    site.post()
    assert site.fake.task("bld-0001").priority == 2


def test_b23_wrong_paths_are_answered_in_three_ways(site):
    unknown = site("GET", "/chalenge/1")
    assert (unknown.status_code, unknown.json()["message"]) == (400, "Invalid Path [/api/v2/chalenge/1] for API")
    page = site("GET", "/challenge/abc")
    assert (page.status_code, page.headers["Content-Type"]) == (400, "text/html")
    assert site("GET", f"/challenge/{site.challenge}/").status_code == 301


def test_b24_replies_are_compressed_and_carry_a_number(site):
    reply = site("GET", f"/challenge/{site.challenge}")
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.headers["maproulette-request-id"]


@pytest.mark.parametrize(("days", "fields", "after"), [
    (13, {"instruction": "new"}, 5), (15, {"instruction": "new"}, 0), (15, {"status": 5}, 0), (15, {"status": 9}, 9),
])
def test_b25_a_task_changed_by_its_id_falls_back_after_14_days(site, days, fields, after):
    site.post(cooperativeWork=CHANGE)
    site.put("bld-0001", status=5, cooperativeWork=CHANGE)
    site.fake.clock.advance(days=days)
    assert site.put("bld-0001", **fields).status_code == 200
    assert site.fake.task("bld-0001").status == after


# -- what the contract says beside its numbered behaviours ----------------------------------------------------------


@pytest.mark.parametrize("key", [None, "nonsense", "1|wrong"])
def test_a_wrong_key_is_nobody_who_may_read(site, key):
    headers = {} if key is None else {"apiKey": key}
    url = site.fake.url
    assert requests.get(f"{url}/user/whoami", headers=headers, timeout=10).status_code == 401
    assert requests.get(f"{url}/challenge/{site.challenge}", headers=headers, timeout=10).status_code == 200


def test_somebody_else_may_not_write(site):
    site.session.headers["apiKey"] = site.fake.mapper("anna").user.key
    assert site("PUT", f"/challenge/{site.challenge}", {"blurb": "x"}).status_code == 403
    assert site.post().status_code == 403


def test_a_user_has_one_task_open_for_an_hour(site):
    for name in ("a", "b"):
        site.post(name)
    a, b = (f"/task/{site.fake.task(name).id}" for name in "ab")
    assert site("GET", f"{a}/start").status_code == 200
    assert site("GET", f"{a}/start").status_code == 200
    conflict = site("GET", f"{b}/start")
    assert (conflict.status_code, conflict.json()["lockedTaskId"]) == (409, site.fake.task("a").id)
    assert site("GET", a).json()["lockedBy"] == site.fake.owner.id
    site.fake.clock.advance(minutes=61)
    assert site("GET", f"{b}/start").status_code == 200
    assert site("GET", f"{a}/release").status_code == 200  # whether it is locked or not
    assert set(site.fake.world.locks) == {site.fake.task("b").id}


def test_the_owner_closes_without_credit_and_reopens(site):
    site.post(cooperativeWork=CHANGE)
    site.put("bld-0001", status=5, cooperativeWork=CHANGE)
    task = site.fake.task("bld-0001")
    assert (task.status, task.completed_by, task.cooperative_work) == (5, None, CHANGE)
    assert site.fake.owner.score == 0
    assert site.read()["status"] == 5  # nothing is left to do
    site.put("bld-0001", status=0, cooperativeWork=CHANGE)
    assert (task.status, task.mapped_on, site.read()["status"]) == (0, None, 3)


def test_deleted_things_are_still_found(site):
    site("DELETE", f"/challenge/{site.challenge}")
    assert site.read()["deleted"] is True
    assert site("GET", f"/project/{site.project}/challenge/missing").json()["deleted"] is True
    listing = site("GET", f"/challenges/listing?projectIds={site.project}&limit=-1&onlyEnabled=false")
    assert listing.json() == []
    assert site.create().status_code == 201  # its name is free again
    site.fake.world.projects[site.project].deleted = True
    assert site("GET", "/projectByName/town").json()["deleted"] is True


@pytest.mark.parametrize("path", ["/projectByName/none", "/project/1", "/challenge/1", "/task/1"])
def test_what_is_not_there_has_an_empty_body(site, path):
    reply = site("GET", path)
    assert (reply.status_code, reply.content) == (404, b"")


@pytest.mark.parametrize(("more", "status"), [
    ({"filename": None}, 400), ({"part": "file"}, 400), ({"dataOriginDate": "2026-11-22T05:00:00Z"}, 204),
])
def test_an_upload_needs_a_file_of_the_right_name(site, more, status):
    assert site.upload(collection("bld-0001"), **more) == status


def test_bodies_are_json_and_not_too_large(site):
    url = f"{site.fake.url}/challenge"
    assert site.session.post(url, data=b"{}", headers={"Content-Type": "text/csv"}, timeout=10).status_code == 415
    assert site.session.post(url, data=b" " * (LARGEST_BODY + 1), timeout=30).status_code == 413
    assert site.session.post(
        url, data=b"{", headers={"Content-Type": "application/json"}, timeout=10).status_code == 400


def test_keywords_are_only_added_and_numbers_are_none(site):
    site("PUT", f"/challenge/{site.challenge}", {"tags": "Building,7"})
    site("PUT", f"/challenge/{site.challenge}", {"tags": ["imagery"]})
    row = site.fake.world.challenges[site.challenge]
    assert row.keywords == ["building", "imagery"]
    site("DELETE", f"/challenge/{site.challenge}/tags?tags=building")
    assert row.keywords == ["imagery"]


def test_comments_and_history_tell_of_people(site):
    site.post()
    anna = site.fake.mapper("anna")
    anna.false_positive("bld-0001", comment="a tent", review=True)
    site.fake.mapper("ben").review("bld-0001", 1)
    number = site.fake.task("bld-0001").id
    (comment,) = site("GET", f"/challenge/{site.challenge}/comments").json()
    assert (comment["comment"], comment["osm_username"]) == ("a tent", "anna")
    assert [entry["actionType"] for entry in site("GET", f"/task/{number}/history").json()] == [2, 0, 1]
    (mark,) = site.box(tStatus="2", trStatus="1", sort="reviewedAt", order="DESC")
    assert mark["pointReview"]["reviewedBy"]["username"] == "ben"


def test_a_paused_challenge_takes_no_verdicts(site):
    site.post()
    site("PUT", f"/challenge/{site.challenge}", {"paused": True})
    assert site("PUT", f"/task/{site.fake.task('bld-0001').id}/1").status_code == 400


def test_many_tasks_are_deleted_all_or_none(site):
    for name in ("a", "b"):
        site.post(name)
    numbers = [task.id for task in site.fake.tasks()]
    assert site("DELETE", "/tasks", {"taskIds": [*numbers, 1]}).status_code == 404
    assert len(site.fake.tasks()) == 2
    assert site("DELETE", "/tasks", {"taskIds": numbers}).json() == {"requested": 2, "deleted": 2}


def test_an_editor_gets_the_change_file(site):
    site.post("with", cooperativeWork=CHANGE)
    site.post("without")
    path = "/task/{}/cooperative/change/x.osc"
    assert site("GET", path.format(site.fake.task("with").id)).content == b"<osm/>"
    assert site("GET", path.format(site.fake.task("without").id)).status_code == 500


def test_requests_that_break_the_contract_are_noticed():
    with FakeMapRoulette() as fake:
        site = Site(fake)
        assert fake.violations == []
        site.post(name="")
        site("GET", "/challenges/listing?project=1")
        site.upload(collection("naïve") | {"note": "ü"}, b"{}")
        site.session.close()
    problems = "\n".join(fake.violations)
    for part in ("name", "unknown parameter project", "line 2"):
        assert part in problems
