"""Items, classes and topics, and what maps draw issues with."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from claims import gone, house, missing
from web_server import backend_of, serving

from daemon.web.osmose.items import COUNT_EVERY, Totals
from detectors.registry import registry

CLASS_KEYS = {"item", "class", "title", "level", "tags", "detail", "fix", "trap", "example", "source", "resource"}


def test_items_say_what_there_is_and_how_much(feed, tmp_path):
    feed.show(missing(house(50, 50)), missing(house(80, 50)), gone(house(110, 50)))
    with serving(backend_of(feed.ledger.database, tmp_path)) as served:
        (category,) = served.json("/api/0.3/items")["categories"]
    assert category["categ"] == 80 and category["title"].keys() == {"auto"}
    item = next(item for item in category["items"] if item["item"] == 8540)
    assert item["levels"] == [{"level": 1, "count": 0}, {"level": 2, "count": 1}, {"level": 3, "count": 2}]
    assert item["number"] == [0, 1, 2] and item["categ"] == 80 and item["color"] == "#ff00ff"
    assert [classs["class"] for classs in item["class"]] == [1, 2, 3]
    assert all(classs.keys() == CLASS_KEYS for classs in item["class"])


def test_totals_are_counted_anew_after_a_while(feed):
    feed.show(missing(house(50, 50)))
    now = [0.0]
    totals = Totals(feed.ledger.database, lambda: now[0])
    assert totals.read() == {("building", "missing"): 1}
    feed.show(gone(house(80, 50)))
    now[0] = COUNT_EVERY - 1
    assert totals.read() == {("building", "missing"): 1}
    now[0] = COUNT_EVERY
    assert totals.read() == {("building", "missing"): 1, ("building", "gone"): 1}


def test_a_class_is_told_in_full(feed):
    (category,) = feed.json("/items/8540/class/1")["categories"]
    (item,) = category["items"]
    (classs,) = item["class"]
    assert category["id"] == item["categorie_id"] == 80
    assert classs.keys() == CLASS_KEYS
    assert classs["item"] == 8540 and classs["class"] == 1 and classs["level"] == 3
    assert all(set(classs[name]) == {"auto"} for name in ("title", "detail", "fix", "trap"))
    assert classs["source"] is None and classs["resource"] is None


def test_a_class_names_the_pages_that_an_upload_names(feed, tmp_path):
    pages = {"source": "https://example.org/us", "resource": "https://example.org/ground"}
    with serving(backend_of(feed.ledger.database, tmp_path, sections={"osmose": pages})) as served:
        for path in ("items/8540/class/1", "items"):
            classs = served.json(f"/api/0.3/{path}")["categories"][0]["items"][0]["class"][0]
            assert {name: classs[name] for name in pages} == pages


@pytest.mark.parametrize("path", ["/items", "/items/8540/class/1", "/items/1/class/1", "/tags", "/countries"])
def test_what_a_client_has_already_is_not_sent_again(feed, path):
    english = feed.get(path, headers={"Accept-Language": "en"})
    again = feed.get(path, headers={"Accept-Language": "en", "If-None-Match": f'"other", {english.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"") and again.headers["etag"] == english.headers["etag"]
    if path == "/items/8540/class/1":
        other = feed.get(path, headers={"Accept-Language": "fr", "If-None-Match": english.headers["etag"]})
        assert other.status_code == 200


@pytest.mark.parametrize("path", ["8540/99", "1/1", "0/0", "-5/1", "9999999999/1"])
def test_an_unknown_class_is_empty_and_not_missing(feed, path):
    item, number = path.split("/")
    answer = feed.get(f"/items/{item}/class/{number}")
    assert answer.status_code == 200
    assert list(answer.json()) == ["categories"]
    (category,) = answer.json()["categories"]
    assert all(found["class"] == [] for found in category["items"])


def test_topics_countries_and_users(feed):
    topics = {topic for kind in registry().kinds().values() for topic in kind.topics}
    assert feed.json("/tags") == {"tags": sorted(topics)} and {"building", "geom"} <= topics
    assert feed.json("/countries") == {"countries": ["banepa"]}
    assert feed.json("/user/anna") == {"issues": []}
    assert feed.json("/user_count/anna") == {"1": 0, "2": 0, "3": 0}


def pixels(content: bytes) -> np.ndarray:
    assert struct.unpack(">I", content[-4:])[0] == zlib.crc32(b"IEND")
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("path", ["/images/markers/marker-b-{}.png", "/api/0.3/assets/markers/marker-b-{}.png"])
def test_a_marker_is_a_pin_in_the_colour_of_its_item(feed, path):
    answer = feed.served.get(path.format(8540))
    assert answer.headers["content-type"] == "image/png"
    pin = pixels(answer.content)
    assert pin.shape == (33, 17, 4)
    assert pin[3, 8].tolist() == [255, 0, 255, 255]  # blue, green, red, alpha
    assert pin[0, 0, 3] == 0 and pin[32, 8, 3] > 0
    grey = pixels(feed.served.get(path.format(0)).content)
    assert grey[3, 8].tolist() == [128, 128, 128, 255]


def test_a_marker_of_no_item_is_refused(feed):
    assert feed.served.get("/images/markers/marker-b-x.png").status_code == 422
    assert feed.served.get("/images/markers/../../../etc/passwd").status_code == 404


@pytest.mark.parametrize(("suffix", "scale"), [("", 1), ("@2x", 2)])
def test_all_markers_are_in_one_picture(feed, suffix, scale):
    places = feed.served.json(f"/assets/marker-gl-sprite{suffix}.json")
    sheet = pixels(feed.served.get(f"/assets/marker-gl-sprite{suffix}.png").content)
    assert {"marker-b-8540", "limit"} <= places.keys()
    for place in places.values():
        assert place["pixelRatio"] == scale
        assert place["x"] + place["width"] <= sheet.shape[1] and place["height"] == sheet.shape[0]
    place = places["marker-b-8540"]
    assert sheet[3 * scale, place["x"] + 8 * scale].tolist() == [255, 0, 255, 255]


def test_the_style_sheet_names_each_marker(feed):
    answer = feed.get("/assets/sprites.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert ".marker-b-8540 {" in answer.text
