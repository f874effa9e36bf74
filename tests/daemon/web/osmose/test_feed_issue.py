"""One issue, what an editor may take over from it, and verdicts on it."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from uuid import uuid4
from xml.etree import ElementTree

import psycopg2
import pytest
import requests
import shapely
from claims import NOW, gone, house, misplaced, missing
from osmose_feed import TOKEN
from shapely.geometry import MultiPolygon, Polygon
from web_server import backend_of, serving

from daemon.discrepancies.life import publish
from daemon.discrepancies.model import ClosedAs, State
from daemon.reviews.retraction import take_back

HOUSE = house(50, 50)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
GONE = {"detail": "Id is not present in database."}
FAIL = {"detail": "FAIL"}


def map_a_way(feed, geometry, number=5, version=7, **tags) -> None:
    """Let the store have a building."""
    west, south, east, north = geometry.bounds
    with feed.ledger.cursor() as cursor:
        cursor.execute("TRUNCATE osm_feature")
        cursor.execute(
            "INSERT INTO osm_feature VALUES ('w', %s, %s, %s, %s, %s, box(point(%s, %s), point(%s, %s)))",
            (number, version, NOW, json.dumps(tags), psycopg2.Binary(shapely.to_wkb(geometry)), west, south, east,
             north),
        )


@pytest.fixture(autouse=True)
def empty_map(feed):
    with feed.ledger.cursor() as cursor:
        cursor.execute("TRUNCATE osm_feature")


def test_an_issue_about_an_object_has_its_tags_of_now(feed):
    (uuid,) = feed.show(gone(HOUSE, "way/5"))
    assert feed.json(f"/issue/{uuid}")["elems"] == [{"way": True, "type": "way", "id": 5, "tags": [], "fixes": []}]
    map_a_way(feed, HOUSE, building="yes", name="Old mill")
    tags = [{"k": "building", "v": "yes"}, {"k": "name", "v": "Old mill"}]
    (element,) = feed.json(f"/issue/{uuid}")["elems"]
    assert sorted(element.pop("tags"), key=lambda tag: tag["k"]) == tags
    assert element == {"way": True, "type": "way", "id": 5, "version": 7, "fixes": []}
    (fresh,) = feed.json(f"/issue/{uuid}/fresh_elems")["elems"]
    assert fresh["version"] == 7 and len(fresh["tags"]) == 2


def test_an_answer_that_depends_on_the_map_is_not_kept_for_an_unchanged_ledger(feed):
    (uuid,) = feed.show(gone(HOUSE, "way/5"))
    before = feed.get(f"/issue/{uuid}")
    feed.clock.go(10)
    same = feed.get(f"/issue/{uuid}", headers={"If-None-Match": before.headers["etag"]})
    assert same.status_code == 304
    map_a_way(feed, HOUSE, building="yes")
    after = feed.get(f"/issue/{uuid}", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert "last-modified" not in after.headers


@pytest.mark.parametrize("path", ["", "/fix/0", "/fresh_elems", "/fresh_elems/0"])
def test_what_is_not_shown_is_gone(feed, path):
    (key,) = feed.ledger.open(missing(HOUSE))
    for uuid in (feed.uuid(key), uuid4()):
        answer = feed.get(f"/issue/{uuid}{path}")
        assert (answer.status_code, answer.json()) == (410, GONE)
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["", "/done", "/false", "/fix/0", "/fresh_elems"])
def test_a_name_that_is_none_is_refused(feed, path):
    for name in ("1", "xyz", "00000000-0000-0000-0000-00000000000", "';DROP TABLE discrepancy;--"):
        assert feed.status(f"/issue/{name}{path}") == 422
    assert feed.status("/false-positive/1") == 422


def test_names_are_read_in_any_case(feed):
    (uuid,) = feed.show(missing(HOUSE))
    assert feed.json(f"/issue/{uuid.upper()}")["uuid"] == uuid


# -- fixes ------------------------------------------------------------------------------------------------------------


def test_the_fix_for_a_missing_building_is_a_closed_way(feed):
    (uuid,) = feed.show(missing(HOUSE))
    answer = feed.get(f"/issue/{uuid}/fix/0")
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    root = ElementTree.fromstring(answer.content)
    assert root.tag == "osm" and root.get("version") == "0.6"
    nodes = {node.get("id"): (float(node.get("lon")), float(node.get("lat"))) for node in root.iter("node")}
    (way,) = root.iter("way")
    refs = [nd.get("ref") for nd in way.iter("nd")]
    assert len(nodes) == 4 and len(refs) == 5 and refs[0] == refs[-1]
    assert all(int(number) < 0 for number in (*nodes, way.get("id")))
    assert [(tag.get("k"), tag.get("v")) for tag in way.iter("tag")] == [("building", "yes")]
    assert Polygon([nodes[ref] for ref in refs]).symmetric_difference(HOUSE).area < HOUSE.area / 100
    assert {element.get("action") for element in root} == {"modify"}


def test_a_building_with_a_courtyard_is_a_multipolygon(feed):
    (uuid,) = feed.show(missing(house(50, 50, 40, 40).difference(house(50, 50, 10, 10))))
    root = ElementTree.fromstring(feed.get(f"/issue/{uuid}/fix/0").content)
    (relation,) = root.iter("relation")
    ways = {way.get("id") for way in root.iter("way")}
    assert [(member.get("ref") in ways, member.get("role")) for member in relation.iter("member")] == [
        (True, "outer"), (True, "inner"),
    ]
    assert {tag.get("k"): tag.get("v") for tag in relation.iter("tag")} == {"type": "multipolygon", "building": "yes"}
    assert not [tag for way in root.iter("way") for tag in way.iter("tag")]
    (issue,) = feed.json("/issues?full=true")["issues"]
    assert issue["fixes"][0][0]["type"] == "R"


def test_a_building_in_parts_is_a_multipolygon_of_outer_ways(feed):
    (uuid,) = feed.show(missing(MultiPolygon([house(30, 50), house(60, 50)])))
    root = ElementTree.fromstring(feed.get(f"/issue/{uuid}/fix/0").content)
    assert [member.get("role") for member in root.iter("member")] == ["outer", "outer"]


def test_what_is_gone_or_misplaced_has_no_fix(feed):
    for uuid in feed.show(gone(HOUSE, "way/5"), misplaced(house(80, 50), "way/6")):
        answer = feed.get(f"/issue/{uuid}/fix/0")
        assert (answer.status_code, answer.json()) == (410, {"detail": "Fix is not present in database."})
        assert feed.status(f"/issue/{uuid}/fresh_elems/0") == 410


def test_there_is_one_fix(feed):
    (uuid,) = feed.show(missing(HOUSE))
    assert [feed.status(f"/issue/{uuid}/fix/{n}") for n in ("0", "1", "99999999999", "-1", "x")] == [
        200, 410, 422, 422, 422,
    ]
    assert feed.json(f"/issue/{uuid}/fresh_elems/0") == {"uuid": uuid, "elems": [], "fix": {}}
    assert feed.json(f"/issue/{uuid}")["new_elems"] == [
        {"num": 0, "add": [{"k": "building", "v": "yes"}], "mod": [], "del": []},
    ]


# -- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_done_hides_an_issue_until_the_map_bears_it_out(feed, method):
    (uuid,) = feed.show(gone(HOUSE, "way/5"))
    map_a_way(feed, HOUSE, building="yes")
    answer = feed.ask(method, f"/issue/{uuid}/done", headers={"User-Agent": "Vespucci 21"})
    assert (answer.status_code, answer.text) == (200, "null")
    assert answer.headers["cache-control"] == "no-store"
    assert feed.listed() == [] and feed.status(f"/issue/{uuid}") == 410
    discrepancy = feed.ledger.find(feed.key(uuid))
    assert discrepancy.state is State.PUBLISHED
    assert discrepancy.hidden_until == NOW + timedelta(days=feed.served.backend.config.reviews.believe_fixed)
    assert feed.ledger.all("SELECT verdict::text, came_by, at, detail FROM review") == [
        ("fixed", "osmose", NOW, {"agent": "Vespucci 21"}),
    ]


def test_done_closes_what_the_map_shows_already(feed):
    (uuid,) = feed.show(missing(HOUSE))
    map_a_way(feed, HOUSE, building="house")
    assert feed.get(f"/issue/{uuid}/done").text == "null"
    assert feed.ledger.find(feed.key(uuid)).closed_as is ClosedAs.FIXED


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_false_is_for_ever(feed, method):
    (uuid,) = feed.show(missing(HOUSE))
    assert feed.ask(method, f"/issue/{uuid}/false").text == "null"
    feed.ledger.look(missing(HOUSE, 0.99), now=NOW)
    assert feed.ledger.find(feed.key(uuid)).closed_as is ClosedAs.FALSE_POSITIVE
    assert feed.listed() == []


@pytest.mark.parametrize("verdict", ["done", "false"])
def test_what_was_said_once_cannot_be_said_again(feed, verdict):
    (uuid,) = feed.show(missing(HOUSE))
    assert feed.status(f"/issue/{uuid}/{verdict}") == 200
    for again in ("done", "false"):
        answer = feed.get(f"/issue/{uuid}/{again}")
        assert (answer.status_code, answer.json()) == (410, FAIL)
    answer = feed.get(f"/issue/{uuid4()}/{verdict}")
    assert (answer.status_code, answer.json()) == (410, FAIL)


def test_of_many_who_say_so_at_once_one_is_believed(feed):
    (uuid,) = feed.show(missing(HOUSE))
    statuses: list[int] = []
    barrier = threading.Barrier(6)

    def say() -> None:
        barrier.wait()
        statuses.append(requests.get(f"{feed.served.base}/api/0.3/issue/{uuid}/false", timeout=30).status_code)

    workers = [threading.Thread(target=say) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(statuses) == [200, 410, 410, 410, 410, 410]
    assert feed.ledger.all("SELECT count(*) FROM review") == [(1,)]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE"])
def test_no_other_method_gives_a_verdict(feed, method):
    (uuid,) = feed.show(missing(HOUSE))
    assert feed.ask(method, f"/issue/{uuid}/done").status_code == (204 if method == "OPTIONS" else 405)
    assert feed.ask(method, f"/issue/{uuid}/false").status_code == (204 if method == "OPTIONS" else 405)
    assert feed.listed() == [uuid]


def test_another_word_is_no_verdict(feed):
    (uuid,) = feed.show(missing(HOUSE))
    assert [feed.status(f"/issue/{uuid}/{word}") for word in ("fixed", "DONE", "true", "x")] == [422] * 4
    assert feed.listed() == [uuid]


def test_a_token_that_is_asked_for_must_be_brought(feed, tmp_path):
    (uuid,) = feed.show(missing(HOUSE))
    with serving(backend_of(feed.ledger.database, tmp_path, token=TOKEN)) as served:
        assert served.get(f"/api/0.3/issue/{uuid}/done").status_code == 401
        assert feed.listed() == [uuid]
        assert served.get(f"/api/0.3/issue/{uuid}/done", headers=BEARER).status_code == 200


def test_verdicts_of_one_address_are_counted(feed, tmp_path):
    uuids = feed.show(*(missing(house(30 + 30 * i, 50)) for i in range(3)))
    with serving(backend_of(feed.ledger.database, tmp_path, verdicts_per_hour=20)) as served:
        statuses = [served.get(f"/api/0.3/issue/{uuid}/false") for uuid in uuids]
    assert [answer.status_code for answer in statuses] == [200, 200, 429]
    assert int(statuses[-1].headers["retry-after"]) > 0
    assert feed.listed() == [uuids[2]]


# -- false positives --------------------------------------------------------------------------------------------------


def test_a_false_positive_can_be_read(feed):
    (uuid,) = feed.show(gone(HOUSE, "way/5"))
    issue = feed.json(f"/issue/{uuid}")
    assert feed.get(f"/false-positive/{uuid}").json() == GONE
    feed.get(f"/issue/{uuid}/false")
    told = feed.json(f"/false-positive/{uuid}")
    assert told["id"] == uuid and told["b_date"] is None and told["date"] == "2026-11-22T12:00:00+00:00"
    assert "elems" not in told and "uuid" not in told
    shared = ("lat", "lon", "minlat", "maxlon", "title", "subtitle", "item", "class")
    assert {name: told[name] for name in shared} == {name: issue[name] for name in shared}


def test_who_has_the_token_can_take_a_false_positive_back(feed):
    (uuid,) = feed.show(missing(HOUSE))
    feed.get(f"/issue/{uuid}/false")
    assert feed.ask("DELETE", f"/false-positive/{uuid}").status_code == 401
    answer = feed.ask("DELETE", f"/false-positive/{uuid}", headers=BEARER)
    assert (answer.status_code, answer.text) == (200, "null")
    key = feed.key(uuid)
    assert feed.ledger.find(key).state is State.OPEN
    assert feed.ledger.all("SELECT count(*) FROM review WHERE overturned IS NULL") == [(0,)]
    assert feed.ledger.events(key)[-4:] == ["reviewed", "closed", "reviewed", "reopened"]
    assert feed.listed() == []  # until the map was asked again
    with feed.ledger.cursor() as cursor:
        publish(cursor, [key], now=NOW)
    assert feed.listed() == [uuid]
    again = feed.ask("DELETE", f"/false-positive/{uuid}", headers=BEARER)
    assert (again.status_code, again.json()) == (410, FAIL)


def test_what_was_fixed_is_no_false_positive(feed):
    (uuid,) = feed.show(missing(HOUSE))
    feed.get(f"/issue/{uuid}/done")
    assert feed.status(f"/false-positive/{uuid}") == 410
    assert feed.ask("DELETE", f"/false-positive/{uuid}", headers=BEARER).status_code == 410


def test_nothing_but_a_false_positive_is_taken_back(feed):
    (uuid,) = feed.show(missing(HOUSE))
    with feed.ledger.cursor() as cursor:
        assert not take_back(cursor, feed.key(uuid), came_by="test", now=NOW)
    assert feed.listed() == [uuid]
