"""What real clients ask for, and what they do with the answer: if one of these fails, somebody's editor shows nothing.

Each class is one client, by its own requests and its own way of reading; the shapes are held to the byte.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import ClassVar
from xml.etree import ElementTree

import mapbox_vector_tile
import pytest
from claims import LAT, LON, gone, house, misplaced, missing

from daemon.tiling.grid import tile_at

TILE = tile_at(LON + 0.0006, LAT + 0.0004, 14)


@pytest.fixture
def shown(feed):
    """Missing, gone, misplaced."""
    return feed.show(
        missing(house(50, 50), imagery="orthophoto", acquired="2025-06-14"), gone(house(80, 50), "way/5"),
        misplaced(house(110, 50), "way/6"),
    )


def test_what_is_served_to_the_byte(feed):
    (uuid,) = feed.show(gone(house(80, 50), "way/123456789"))
    ((lon, lat),) = feed.ledger.all("SELECT round(lon::numeric, 7), round(lat::numeric, 7) FROM discrepancy")
    assert feed.get("/issues?bbox=85.5,27.6,85.6,27.7").text == (
        f'{{"issues":[{{"lat":{lat},"lon":{lon},"id":"{uuid}","item":"8540"}}]}}'
    )
    assert feed.get(f"/issues/{TILE}.geojson").text == (
        '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point",'
        f'"coordinates":[{lon},{lat}]}},"properties":{{"uuid":"{uuid}","item":8540,"class":2}}}}]}}'
    )
    assert feed.get("/issues?full=true").text.startswith(
        f'{{"issues":[{{"lat":{lat},"lon":{lon},"id":"{uuid}","item":"8540","source":1,"class":2,'
        '"subtitle":{"auto":"Mapped outline of about 100 m², confidence 0.80"},'
        '"title":{"auto":"Mapped building not on imagery"},"level":2,"update":"2026-11-22 12:00:00+00:00",'
        '"usernames":[],"osm_ids":{"ways":[123456789]},'
    )
    assert feed.get("/issues.csv").text.split("\r\n")[1] == (
        f'{uuid},1,8540,2,2,Mapped building not on imagery,"Mapped outline of about 100 m², confidence 0.80",banepa,'
        f"mapgap,2026-11-22 12:00:00+00:00,[],{lat},{lon},way123456789"
    )
    assert feed.get(f"/issue/{uuid}/done").text == "null"
    assert feed.get(f"/issue/{uuid}/done").text == '{"detail":"FAIL"}'
    assert feed.get(f"/issue/{uuid}").text == '{"detail":"Id is not present in database."}'


class TestID:
    """iD, a page from elsewhere: tiles of zoom 14 as GeoJSON, words of every class it knows, one issue, done, false."""

    ORIGIN: ClassVar = {"Origin": "https://id.example.org"}

    def test_tile_to_words(self, feed, shown):
        items = "1040,1050,8540"
        tile = feed.get(f"/issues/{TILE}.geojson?item={items}", headers=self.ORIGIN)
        assert tile.headers["access-control-allow-origin"] == "*"
        features = tile.json()["features"]
        assert {f["properties"]["uuid"] for f in features} == set(shown)
        for feature in features:
            assert feature["geometry"]["type"] == "Point"
            item, classs = feature["properties"]["item"], feature["properties"]["class"]
            assert type(item) is int and type(classs) is int
            words = feed.json(f"/items/{item}/class/{classs}?langs=en-US", headers=self.ORIGIN)
            # iD: [cat = {items: []}] = data.categories; [item = {class: []}] = cat.items; [cl] = item.class
            found = words["categories"][0]["items"][0]
            assert re.fullmatch("#[0-9a-f]{6}", found["color"])
            assert all(found["class"][0][name]["auto"] for name in ("title", "detail", "fix", "trap"))

    @pytest.mark.parametrize("pair", ["0-1", "1040-1", "9002-9002001", "8540-77"])
    def test_one_unknown_class_does_not_keep_the_layer_from_opening(self, feed, pair):
        item, classs = pair.split("-")
        answer = feed.get(f"/items/{item}/class/{classs}?langs=de", headers=self.ORIGIN)
        assert answer.status_code == 200
        category = next(iter(answer.json()["categories"]), {"items": []})
        assert next(iter(category["items"]), {"class": []})["class"] == []

    def test_one_issue(self, feed, shown):
        about_nothing, about_a_way = (feed.json(f"/issue/{uuid}?langs=en") for uuid in shown[:2])
        assert about_nothing["elems"] == []
        (element,) = about_a_way["elems"]
        assert (element["type"] + str(element["id"]))[0] + str(element["id"]) == "w5"  # iD: elem.type[0] + elem.id
        assert element["fixes"] == []
        assert about_a_way["subtitle"]["auto"]

    def test_verdicts(self, feed, shown):
        for uuid, word in zip(shown, ("done", "false"), strict=False):
            answer = feed.get(f"/issue/{uuid}/{word}", headers=self.ORIGIN)
            assert (answer.status_code, answer.json()) == (200, None)
            assert answer.headers["access-control-allow-origin"] == "*"
        tile = feed.json(f"/issues/{TILE}.geojson")
        assert {f["properties"]["uuid"] for f in tile["features"]} == {shown[2]}


class TestRapid:
    """Rapid: as iD, but its tiles end in .json, and nothing may redirect or fail at the start."""

    def test_tiles(self, feed, shown):
        answer = feed.get(f"/issues/{TILE}.json?item=8540,1040")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.content == feed.get(f"/issues/{TILE}.geojson?item=8540,1040").content
        assert feed.json("/issues/14/0/0.json?item=8540") == {"type": "FeatureCollection", "features": []}

    def test_preflight(self, feed, shown):
        answer = feed.ask("OPTIONS", f"/issue/{shown[0]}/done", headers={
            "Origin": "https://rapideditor.org", "Access-Control-Request-Method": "POST",
        })
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert len(feed.listed()) == 3


class TestVespucci:
    """Vespucci: its server's address ends in a slash; it reads full lists with Gson, by name and type."""

    def get(self, feed, path, **options):
        return feed.served.get(f"//api/0.3/{path}", **options)

    def test_download(self, feed, shown):
        """OsmoseBug.parseBugs."""
        answer = self.get(feed, "issues?bbox=85.51,27.62,85.53,27.64&full=true&limit=1000")
        assert answer.status_code == 200
        document = answer.json()
        assert list(document) == ["issues"]
        assert {issue["id"] for issue in document["issues"]} == set(shown)
        for issue in document["issues"]:
            assert type(issue["lat"]) is float and type(issue["lon"]) is float
            assert type(issue["id"]) is str and type(issue["item"]) is str
            assert type(issue["class"]) is int and type(issue["level"]) is int
            datetime.strptime(issue["update"], "%Y-%m-%d %H:%M:%S%z")
            for name in ("title", "subtitle"):
                assert issue[name] is None or list(issue[name]) == ["auto"]
            assert set(issue["osm_ids"]) <= {"nodes", "ways", "relations"}
            assert all(type(number) is int for numbers in issue["osm_ids"].values() for number in numbers)

    def test_bbox_is_west_south_east_north(self, feed, shown):
        assert len(self.get(feed, "issues?bbox=85.51,27.62,85.53,27.64&full=true").json()["issues"]) == 3
        assert self.get(feed, "issues?bbox=27.62,85.51,27.64,85.53&full=true").json()["issues"] == []

    def test_words(self, feed):
        """OsmoseMeta: any root key besides `categories` stops its parser."""
        document = self.get(feed, "items/8540/class/1?langs=de").json()
        assert list(document) == ["categories"]
        (classs,) = document["categories"][0]["items"][0]["class"]
        texts = [classs[name] for name in ("title", "detail", "fix", "trap", "example")]
        assert all(text is None or list(text) == ["auto"] for text in texts)

    def test_upload(self, feed, shown):
        """410 is for good; anything else is tried again."""
        assert self.get(feed, f"issue/{shown[0]}/false").status_code == 200
        assert self.get(feed, f"issue/{shown[0]}/false").status_code == 410
        assert self.get(feed, "issue/00000000-0000-4000-8000-000000000000/done").status_code == 410
        assert shown[0] not in feed.listed()


class TestSCEE:
    """SCEE: CSV split by its own regular expression, and a search for words in the body of one issue."""

    SPLIT = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')

    def test_download(self, feed, shown):
        answer = feed.get(
            "/issues.csv?zoom=16&item=xxxx&level=1%2C2%2C3&limit=500&bbox=85.51%2C27.62%2C85.53%2C27.64",
            headers={"Accept-Language": "de_DE"},
        )
        lines = answer.text.split("\n")[1:-1]  # drop(1).dropLast(1)
        assert len(lines) == 3
        rows = [self.SPLIT.split(line.strip()) for line in lines]
        assert all(len(row) == 14 for row in rows)
        for row in rows:
            assert [type(int(row[i])) for i in (2, 3, 4)] == [int] * 3
            assert abs(float(row[11]) - LAT) < 0.01 and abs(float(row[12]) - LON) < 0.01
            assert row[13] == "" or re.fullmatch("(node|way|relation)[0-9]+", row[13])
        assert {row[0] for row in rows} == set(shown)
        assert any("Gebäude" in row[5] for row in rows)

    def test_does_it_still_exist(self, feed, shown):
        assert "not present in database" not in feed.get(f"/issue/{shown[0]}").text
        feed.get(f"/issue/{shown[0]}/false")
        assert "not present in database" in feed.get(f"/issue/{shown[0]}").text


class TestJOSM:
    """JOSM: imports a fix from its address, loads objects by remote control, opens GPX and GeoJSON."""

    def test_import(self, feed, shown):
        answer = feed.served.get(f"/api/0.3/issue/{shown[0]}/fix/0")
        root = ElementTree.fromstring(answer.content)
        assert (root.tag, root.get("version")) == ("osm", "0.6")
        assert {child.tag for child in root} == {"node", "way"}
        ids = [child.get("id") for child in root]
        assert len(set(ids)) == len(ids) and all(int(number) < 0 for number in ids)
        (way,) = root.iter("way")
        assert {nd.get("ref") for nd in way.iter("nd")} == set(ids) - {way.get("id")}

    def test_load(self, feed, shown):
        location = feed.get("/issues.josm").headers["location"]
        assert re.fullmatch(r"http://localhost:8111/load_object\?objects=w[56],w[56]", location)


class TestOsmoseWebUI:
    """The web page of Osmose itself, by its API_URL."""

    def test_map(self, feed, shown):
        tile = mapbox_vector_tile.decode(feed.get(f"/issues/{TILE}.mvt?item=xxxx&level=1,2,3").content)
        assert {f["properties"]["uuid"] for f in tile["issues"]["features"]} == set(shown)
        items = {f["properties"]["item"] for f in tile["issues"]["features"]}
        sprite = feed.served.json("/assets/marker-gl-sprite.json")
        assert {f"marker-b-{item}" for item in items} <= sprite.keys()
        heat = mapbox_vector_tile.decode(feed.get(f"/issues/{TILE}.heat.mvt?item=xxxx").content)
        assert all({"color", "count"} == f["properties"].keys() for f in heat["issues"]["features"])

    def test_menu_and_popup(self, feed, shown):
        (category,) = feed.json("/items")["categories"]
        item = next(item for item in category["items"] if item["item"] == 8540)
        assert {"item", "color", "flag", "title", "levels", "number", "tags", "class", "categ"} <= item.keys()
        assert feed.json("/tags")["tags"] and feed.json("/countries")["countries"]
        assert feed.json(f"/issue/{shown[1]}/fresh_elems") == {"uuid": shown[1], "elems": []}
        assert feed.status("/assets/sprites.css") == 200

    def test_list(self, feed, shown):
        features = feed.json("/issues.geojson?item=8540&full=true")["features"]
        assert {f["properties"]["uuid"] for f in features} == set(shown)
        assert {"country", "analyser", "menu", "timestamp", "level"} <= features[0]["properties"].keys()


class TestScripts:
    """Maps and scripts of others."""

    def test_open_infra_map(self, feed, shown):
        assert feed.status(f"/issues/{TILE}.mvt?tags=power") == 204
        assert feed.status(f"/issues/{TILE}.mvt?tags=building") == 200

    def test_bulk(self, feed, shown):
        answer = feed.get("/issues.geojson?bbox=85,27,86,28&item=8540&limit=10000&full=true")
        assert len(json.loads(answer.content)["features"]) == 3
