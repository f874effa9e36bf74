"""Lists in other formats: whole, parsable, and safe whatever the texts hold."""

from __future__ import annotations

import csv
import io
import json
import re
from xml.etree import ElementTree

import pytest
from claims import gone, house, misplaced, missing
from shapely.geometry import box
from web_server import backend_of, serving

AWKWARD = 'Ortho "A", <b>&\n\r\tline\x01 two; ]]> \u2028 ünï'


@pytest.fixture
def shown(feed):
    return feed.show(
        missing(house(50, 50), imagery=AWKWARD, acquired="2025-06-14"), gone(house(80, 50), "way/5"),
        misplaced(house(110, 50), "relation/6"),
    )


def test_csv_has_14_fields_on_one_line_each(feed, shown):
    answer = feed.get("/issues.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    text = answer.content.decode()
    assert text.endswith("\r\n") and len(text.split("\n")) == 5
    header, *rows = csv.reader(io.StringIO(text))
    assert header == [
        "uuid", "source", "item", "class", "level", "title", "subtitle", "country", "analyser", "timestamp", "username",
        "lat", "lon", "elems",
    ]
    assert all(len(row) == 14 for row in rows)
    assert {row[0]: row[13] for row in rows} == dict(zip(shown, ["", "way5", "relation6"], strict=True))
    assert {tuple(row[1:3]) for row in rows} == {("1", "8540")}
    assert {tuple(row[7:11]) for row in rows} == {("banepa", "mapgap", "2026-11-22 12:00:00+00:00", "[]")}


@pytest.mark.parametrize("ending", ["csv", "gpx", "kml"])
def test_places_by_the_meridian_have_no_exponents(feed, ending):
    (uuid,) = feed.show(missing(box(0.00001, -0.00002, 0.00003, 0.00002)))
    text = feed.get(f"/issues.{ending}").text.replace(uuid, "")
    assert "0.00002" in text and not re.search("[0-9]e-[0-9]", text)


def test_geojson_has_the_properties_of_the_osmose_server(feed, shown):
    answer = feed.get("/issues.geojson")
    assert answer.headers["content-type"] == "application/vnd.geo+json"
    features = {f["properties"]["class"]: f for f in answer.json()["features"]}
    assert all(f["geometry"]["type"] == "Point" for f in features.values())
    properties = features[2]["properties"]
    assert list(properties)[:15] == [
        "uuid", "item", "class", "source_id", "elems", "subtitle", "country", "analyser", "title", "level", "timestamp",
        "menu", "fixes", "dat", "key",
    ]
    assert properties["elems"] == [{"type": "W", "id": 5, "tags": {}, "type_long": "way"}]
    assert properties["item"] == 8540 and properties["dat"] == -1 and properties["fixes"] is None
    assert isinstance(properties["title"], str) and isinstance(properties["subtitle"], str)
    assert features[1]["properties"]["elems"] == [] and features[1]["properties"]["fixes"][0][0]["id"] == 0


def test_rss_is_a_feed_with_an_item_for_each(feed, shown):
    answer = feed.get("/issues.rss?level=2,3&item=8540")
    assert answer.headers["content-type"].startswith("application/rss+xml")
    channel = ElementTree.fromstring(answer.content).find("channel")
    assert {item.findtext("guid") for item in channel.iter("item")} == set(shown)
    for item in channel.iter("item"):
        assert item.find("guid").get("isPermaLink") == "false"
        assert item.findtext("link") == f"{feed.served.base}/api/0.3/issue/{item.findtext('guid')}"
        assert item.findtext("category") == "8540"
        assert feed.served.get(item.findtext("link").removeprefix(feed.served.base)).status_code == 200
    assert "OpenStreetMap contributors" in channel.findtext("copyright")


def test_no_feed_leads_a_program_to_a_verdict(feed, shown):
    for ending in ("rss", "gpx", "kml", "geojson", "csv", "maproulette.geojson"):
        text = feed.get(f"/issues.{ending}").text
        assert "/done" not in text and "/false" not in text


def test_gpx_has_a_waypoint_for_each(feed, shown):
    space = {"g": "http://www.topografix.com/GPX/1/0"}
    answer = feed.get("/issues.gpx")
    assert answer.headers["content-type"].startswith("application/gpx+xml")
    root = ElementTree.fromstring(answer.content)
    assert root.get("version") == "1.0"
    points = root.findall("g:wpt", space)
    assert len(points) == 3
    assert all(27 < float(point.get("lat")) < 28 and 85 < float(point.get("lon")) < 86 for point in points)
    assert all(point.findtext("g:name", namespaces=space) for point in points)


def test_kml_has_a_placemark_for_each_with_a_marker_of_this_server(feed, shown):
    space = {"k": "http://www.opengis.net/kml/2.2"}
    answer = feed.get("/issues.kml")
    assert answer.headers["content-type"].startswith("application/vnd.google-earth.kml+xml")
    root = ElementTree.fromstring(answer.content)
    marks = root.findall(".//k:Placemark", space)
    assert len(marks) == 3
    icon = root.findtext(".//k:Icon/k:href", namespaces=space)
    assert feed.served.get(icon.removeprefix(feed.served.base)).headers["content-type"] == "image/png"
    style = root.find(".//k:Style", space).get("id")
    assert {mark.findtext("k:styleUrl", namespaces=space) for mark in marks} == {f"#{style}"}
    lon, lat = marks[0].findtext(".//k:coordinates", namespaces=space).split(",")
    assert 85 < float(lon) < 86 and 27 < float(lat) < 28


def test_maproulette_is_a_collection_a_record(feed, shown):
    answer = feed.get("/issues.maproulette.geojson")
    assert answer.content.startswith(b"\x1e")
    records = [json.loads(record) for record in answer.content.split(b"\x1e")[1:]]
    assert len(records) == 3
    for record in records:
        (feature,) = record["features"]
        assert feature["geometry"]["type"] == "Point"
        assert feature["properties"].keys() == {"title", "subtitle", "timestamp"}
        assert "cooperativeWork" not in record  # there is no fix of an object that exists


def test_josm_is_led_to_the_objects(feed, shown):
    answer = feed.get("/issues.josm")
    assert answer.status_code == 307
    assert answer.headers["location"] in [
        f"http://localhost:8111/load_object?objects={objects}" for objects in ("w5,r6", "r6,w5")
    ]
    assert answer.headers["access-control-allow-origin"] == "*"


def test_josm_is_led_to_the_ground_where_there_is_no_object(feed, shown):
    location = feed.get("/issues.josm?class=1").headers["location"]
    assert location.startswith("http://localhost:8111/load_and_zoom?left=85.5")
    assert feed.get("/issues.josm?class=99").headers["location"] == "http://localhost:8111/load_object?objects="


@pytest.mark.parametrize("ending", ["csv", "geojson", "rss", "gpx", "kml", "maproulette.geojson"])
def test_long_exports_are_the_same_as_short_ones(feed, shown, ending, monkeypatch):
    short = feed.get(f"/issues.{ending}?limit=3").content
    monkeypatch.setattr("daemon.web.osmose.feed.PORTION", 2)
    monkeypatch.setattr("daemon.web.osmose.lists.PORTION", 2)
    answer = feed.get(f"/issues.{ending}?limit=3")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.content == short


@pytest.mark.parametrize("ending", ["csv", "geojson", "rss", "gpx", "kml", "maproulette.geojson", "json"])
def test_an_export_of_nothing_is_whole(feed, ending):
    content = feed.get(f"/issues.{ending}").content
    if ending in ("rss", "gpx", "kml"):
        ElementTree.fromstring(content)
    elif ending == "maproulette.geojson":
        assert content == b""
    elif ending == "csv":
        assert content.count(b"\n") == 1
    else:
        assert next(iter(json.loads(content).values())) in ([], "FeatureCollection")


def test_links_name_the_server_as_the_world_knows_it(feed, shown, tmp_path):
    backend = backend_of(feed.ledger.database, tmp_path, public_url="https://mapgap.example.org/feed/")
    with serving(backend) as served:
        text = served.get("/api/0.3/issues.rss").text
        assert f"https://mapgap.example.org/feed/api/0.3/issue/{shown[0]}" in text
        link = served.get("/api/0.3/issues?limit=1").headers["link"]
        assert link.startswith("<https://mapgap.example.org/feed/api/0.3/issues?limit=1&after=")
