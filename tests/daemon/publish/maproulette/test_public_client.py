"""MapRoulette's own Python client (on PyPI) gets on with the fake server, and reads there what mapgap wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import maproulette as public
import pytest
from fake_maproulette import FakeMapRoulette

from daemon.fetch import Fetcher
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.exchange import Exchange

RING = [[8.5400, 47.3768], [8.5401, 47.3768], [8.5401, 47.3767], [8.5400, 47.3767], [8.5400, 47.3768]]
FEATURE = {"type": "Feature", "id": "bld-0001", "properties": {"score": "0.9"},
           "geometry": {"type": "Polygon", "coordinates": [RING]}}
COLLECTION = {"type": "FeatureCollection", "features": [FEATURE]}
CHANGE = {"meta": {"version": 2, "type": 2},
          "file": {"type": "xml", "format": "osc", "encoding": "base64", "content": "PG9zbUNoYW5nZS8+"}}


class Public:
    """The public client's three parts; their sessions are closed in the end."""

    def __init__(self, fake: FakeMapRoulette):
        configuration = public.Configuration(hostname=fake.host, protocol="http", api_key=fake.owner.key)
        self.projects, self.challenges = public.Project(configuration), public.Challenge(configuration)
        self.tasks = public.Task(configuration)

    def close(self) -> None:
        for part in (self.projects, self.challenges, self.tasks):
            part.session.close()


@pytest.fixture
def theirs(maproulette: FakeMapRoulette):
    client = Public(maproulette)
    yield client
    client.close()


def test_it_makes_a_project_a_challenge_and_tasks_and_reads_them(theirs, maproulette):
    project = theirs.projects.create_project({"name": "town", "displayName": "Town", "enabled": True})
    assert project["status"] == 201
    number = project["data"]["id"]
    model = public.ChallengeModel(name="missing")
    model.parent, model.instruction, model.enabled = number, "Is a building missing?", True
    made = theirs.challenges.create_challenge(model)
    assert made["status"] == 201
    challenge = made["data"]["id"]
    task = theirs.tasks.create_task({"name": "bld-0001", "parent": challenge, "geometries": COLLECTION})
    line = json.dumps({**COLLECTION, "features": [{**FEATURE, "id": "bld-0002"}]})
    assert theirs.challenges.add_file_tasks_to_challenge(line, challenge)["status"] == 204
    more = [{"name": "bld-0003", "parent": challenge, "geometries": COLLECTION}]
    assert theirs.tasks.create_tasks(more)[0]["data"]["message"] == "Items created and updated"
    found = theirs.challenges.get_challenge_tasks(challenge)["data"]
    assert [one["name"] for one in found] == ["bld-0001", "bld-0002", "bld-0003"]
    assert theirs.tasks.get_task_by_id(task["data"]["id"])["data"]["geometries"]["features"] == [FEATURE]
    assert theirs.projects.get_project_by_name("town")["data"]["id"] == number
    assert theirs.challenges.get_challenge_by_name(number, "missing")["data"]["id"] == challenge


def test_it_hears_of_names_that_are_taken_and_of_what_is_not_there(theirs, maproulette):
    theirs.projects.create_project({"name": "town"})
    with pytest.raises(public.api.errors.HttpError, match="already exists"):
        theirs.projects.create_project({"name": "Town"})
    with pytest.raises(public.api.errors.NotFoundError):
        theirs.projects.get_project_by_name("nowhere")


def test_it_reads_what_mapgap_wrote(theirs, maproulette, fetchers: Callable[..., Fetcher]):
    ours = Client(Exchange(maproulette.url, maproulette.owner.key, fetchers(), upload_timeout=5.0))
    project = ours.obtain_project("town", "Town", "what is missing").id
    rule = {"condition": "AND", "rules": [{"value": "score.0.9", "type": "double", "operator": ">="}]}
    fields: dict[str, Any] = {
        "name": "missing/town", "parent": project, "instruction": "Is a building missing?", "enabled": False,
        "highPriorityRule": json.dumps(rule), "defaultPriority": 2, "tags": "building,imagery",
    }
    challenge = ours.obtain_challenge(fields)[0].id
    ours.update_challenge(challenge, {"status": 3, "enabled": True})
    single = ours.put_task({
        "name": "bld-0001", "parent": challenge, "geometries": COLLECTION, "cooperativeWork": CHANGE,
    }).id
    line = {**COLLECTION, "features": [{**FEATURE, "id": "bld-0002", "properties": {"score": "0.5"}}]}
    ours.add_tasks(challenge, [b"\x1e" + json.dumps({**line, "cooperativeWork": CHANGE}).encode()])
    maproulette.mapper("anna").false_positive("bld-0002", tags=["no-object"], comment="a tent")

    read = theirs.challenges.get_challenge_by_name(project, "missing/town")["data"]
    assert (read["id"], read["highPriorityRule"], read["cooperativeType"]) == (challenge, rule, 2)
    listed = theirs.challenges.get_challenge_listing(project, limit=-1, only_enabled="false")["data"]
    assert [one["name"] for one in listed] == ["missing/town"]
    tasks = theirs.challenges.get_challenge_tasks(challenge, limit=-1)["data"]
    assert [(one["name"], one["priority"], one["status"]) for one in tasks] == [("bld-0001", 0, 0), ("bld-0002", 2, 2)]
    assert theirs.tasks.get_task_by_id(single)["data"]["cooperativeWork"] == CHANGE
    counts = theirs.challenges.get_challenge_statistics_by_id(challenge)["data"][0]["actions"]
    assert (counts["total"], counts["available"], counts["falsePositive"]) == (2, 1, 1)
    (comment,) = theirs.challenges.get_challenge_comments(challenge)["data"]
    assert comment["comment"] == "a tent"
    history = theirs.tasks.get_task_history(tasks[1]["id"])["data"]
    assert [entry["actionType"] for entry in history] == [0, 1]
