"""What a feed must do to be taken for an Osmose server, from the ledger to the client, and back.

The first is the lint of what is sent to such a server, and lies with the tests of daemon.publish.osmose; so do the
checks of its upload. These are the ones that a feed answers itself.
"""

from __future__ import annotations

import csv
import io
import json
from uuid import uuid4
from xml.etree import ElementTree

import mapbox_vector_tile
from claims import LAT, LON, NOW, gone, house, misplaced, missing
from osmose_feed import TOKEN

from daemon.discrepancies.life import close, publish, reopen
from daemon.tiling.grid import tile_at

TILE = tile_at(LON + 0.0006, LAT + 0.0004, 14)


def three(feed) -> list[str]:
    return feed.show(missing(house(50, 50)), gone(house(80, 50), "way/5"), misplaced(house(110, 50), "way/6"))


def publish_cycle(feed, *keys: str) -> None:
    with feed.ledger.cursor() as cursor:
        publish(cursor, keys, now=NOW)


def test_the_open_set_is_what_was_published(feed):
    """Check 2."""
    uuids = three(feed)
    assert set(feed.listed("limit=0")) == set(uuids)
    assert all(feed.status(f"/issue/{uuid}") == 200 for uuid in uuids)


def test_nothing_new_changes_nothing(feed):
    """Check 3: the same told again leaves the set as it is."""
    uuids = three(feed)
    before = feed.json("/issues?full=true")
    feed.ledger.look(missing(house(50, 50)), gone(house(80, 50), "way/5"), misplaced(house(110, 50), "way/6"), now=NOW)
    assert feed.json("/issues?full=true") == before
    assert set(feed.listed()) == set(uuids)


def test_issues_are_visible_without_asking_for_development(feed):
    """Check 4."""
    uuids = three(feed)
    items = {item["item"]: item for category in feed.json("/items")["categories"] for item in category["items"]}
    assert {classs["class"]: classs["title"]["auto"] for classs in items[8540]["class"]}[1] == "Building missing in OSM"
    tile = mapbox_vector_tile.decode(feed.get(f"/issues/{TILE}.mvt").content)
    assert {feature["properties"]["uuid"] for feature in tile["issues"]["features"]} == set(uuids)


def test_a_false_positive_stays_away_until_it_is_taken_back(feed):
    """Check 5."""
    uuid, *_ = three(feed)
    key = feed.key(uuid)
    assert feed.get(f"/issue/{uuid}/false").json() is None
    assert feed.status(f"/issue/{uuid}/false") == 410
    feed.ledger.look(missing(house(50, 50), 0.99), now=NOW)
    assert uuid not in feed.listed()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert feed.ask("DELETE", f"/false-positive/{uuid}", headers=bearer).json() is None
    publish_cycle(feed, key)
    assert uuid in feed.listed()


def test_what_goes_is_gone_alone_and_returns_under_its_name(feed):
    """Check 6."""
    uuids = three(feed)
    keys = [feed.key(uuid) for uuid in uuids]
    with feed.ledger.cursor() as cursor:
        close(cursor, keys[:1], "fixed", now=NOW)
    assert [feed.status(f"/issue/{uuid}") for uuid in uuids] == [410, 200, 200]
    with feed.ledger.cursor() as cursor:
        close(cursor, keys[1:], "withdrawn", now=NOW)
    assert feed.listed() == []
    with feed.ledger.cursor() as cursor:
        reopen(cursor, keys, now=NOW)
    publish_cycle(feed, *keys)
    assert set(feed.listed()) == set(uuids)
    assert [feed.status(f"/issue/{uuid}") for uuid in uuids] == [200] * 3


def test_any_page_may_read_by_any_path(feed):
    """Check 7."""
    uuid, *_ = three(feed)
    paths = [
        "/issues", f"/issue/{uuid}", f"/issue/{uuid4()}", "/issue/x", "/issues?status=x", "/nothing", "/issues.josm",
        f"/issues/{TILE}.geojson", f"/issues/{TILE}.json", f"/issues/{TILE}.mvt", "/issues/14/0/0.mvt", "/items",
    ]
    for path in paths:
        for prefix in ("/api/0.3", "//api/0.3", "/api//0.3"):
            answer = feed.served.get(prefix + path, headers={"Origin": "https://example.org"})
            assert answer.headers["access-control-allow-origin"] == "*", path
    assert feed.served.get(f"//api/0.3/issues/{TILE}.geojson").json() == feed.json(f"/issues/{TILE}.geojson")
    assert {feed.status(path) for path in paths} == {200, 204, 307, 404, 410, 422}


def test_editors_find_the_shapes_that_they_read(feed):
    """Check 8."""
    uuids = three(feed)
    for feature in feed.json(f"/issues/{TILE}.geojson")["features"]:
        assert list(feature["properties"]) == ["uuid", "item", "class"]
        assert [type(value) for value in feature["properties"].values()] == [str, int, int]
    for uuid in uuids:
        issue = feed.json(f"/issue/{uuid}")
        assert list(issue)[:14] == [
            "lat", "lon", "minlat", "maxlat", "minlon", "maxlon", "uuid", "title", "subtitle", "b_date", "item",
            "class", "elems", "new_elems",
        ]
        assert type(issue["lat"]) is str and type(issue["lon"]) is str and type(issue["item"]) is int
        assert issue["minlat"] < float(issue["lat"]) < issue["maxlat"]
        for element in issue["elems"]:
            assert element[element["type"]] is True and type(element["id"]) is int and element["fixes"] == []
        for element in issue["new_elems"]:
            assert element.keys() == {"num", "add", "mod", "del"}


def test_phones_find_the_types_that_they_read(feed):
    """Check 9."""
    uuids = three(feed)
    document = feed.json("/issues?bbox=85.51,27.62,85.53,27.64&full=true&limit=1000")
    assert list(document) == ["issues"]
    names = [
        "lat", "lon", "id", "item", "source", "class", "subtitle", "title", "level", "update", "usernames", "osm_ids",
    ]
    assert all(list(issue)[:12] == names for issue in document["issues"])
    assert feed.status(f"/issue/{uuid4()}/done") == 410
    assert feed.get(f"/issue/{uuids[0]}/false").json() is None
    assert uuids[0] not in feed.listed()


def test_every_export_parses(feed):
    """Check 10."""
    uuid, *_ = three(feed)
    text = feed.get("/issues.csv").text
    assert text.endswith("\n") and all(len(row) == 14 for row in csv.reader(io.StringIO(text)))
    for ending in ("rss", "gpx", "kml"):
        ElementTree.fromstring(feed.get(f"/issues.{ending}").content)
    assert len(feed.json("/issues.geojson")["features"]) == 3
    records = feed.get("/issues.maproulette.geojson").content.split(b"\x1e")[1:]
    assert all(json.loads(record)["type"] == "FeatureCollection" for record in records) and len(records) == 3
    feed.get(f"/issue/{uuid}/false")
    answer = feed.get(f"/issue/{uuid}")
    assert (answer.status_code, answer.json()["detail"]) == (410, "Id is not present in database.")
