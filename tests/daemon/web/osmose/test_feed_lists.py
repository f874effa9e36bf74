"""Lists of issues: which, in which order, and page by page."""

from __future__ import annotations

import re
from itertools import chain

import pytest
from claims import LAT, LON, NOW, area, gone, house, later, misplaced, missing
from shapely.geometry import box
from web_server import backend_of, serving

from daemon.discrepancies.life import close, sweep_hidden
from daemon.reviews import record_review


@pytest.fixture
def three(feed):
    """A missing, a gone and a misplaced building, from west to east."""
    return feed.show(
        missing(house(50, 50)), gone(house(80, 50), "way/5"), misplaced(house(110, 50), "relation/6", (3.0, -2.0)),
    )


def bbox(west, south, east, north) -> str:
    return ",".join(map(str, area(west, south, east, north)))


# -- which ----------------------------------------------------------------------------------------------------------


def test_shown_is_what_is_published_and_not_hidden(feed, three):
    (unpublished,) = feed.ledger.open(missing(house(150, 50)))
    assert set(feed.listed()) == set(three)
    with feed.ledger.cursor() as cursor:
        record_review(cursor, feed.key(three[0]), "fixed", who=None, reason=None, came_by="test", now=NOW,
                      hide_until=later(60))
        close(cursor, [feed.key(three[1])], "withdrawn", now=NOW)
    assert feed.listed() == [three[2]]
    assert feed.uuid(unpublished) not in feed.listed()


def test_what_was_hidden_returns_when_its_time_is_over(feed, three):
    with feed.ledger.cursor() as cursor:
        record_review(cursor, feed.key(three[0]), "fixed", who=None, reason=None, came_by="test", now=NOW,
                      hide_until=later(60))
    assert three[0] not in feed.listed()
    with feed.ledger.cursor() as cursor:
        sweep_hidden(cursor, now=later(61))
    assert three[0] in feed.listed()


def test_a_box_holds_what_lies_in_it(feed, three):
    assert feed.listed(f"bbox={bbox(45, 45, 55, 55)}") == [three[0]]
    assert set(feed.listed(f"bbox={bbox(45, 45, 85, 55)}")) == set(three[:2])
    assert feed.listed(f"bbox={bbox(51, 45, 75, 55)}") == []
    assert feed.listed(f"bbox={bbox(0, 60, 200, 100)}") == []


def test_latitudes_may_come_in_either_order(feed, three):
    west, south, east, north = area(45, 45, 55, 55)
    assert feed.listed(f"bbox={west},{north},{east},{south}") == [three[0]]


@pytest.mark.parametrize(("query", "expected"), [
    ("bbox=179.9,-17.1,-179.9,-16.9", "both"),     # RFC 7946: west of east goes across the antimeridian
    ("bbox=179.9,-17.1,180.1,-16.9", "both"),      # as slippy maps count on
    ("bbox=-180.1,-17.1,-179.9,-16.9", "both"),
    ("bbox=539.9,-17.1,540.1,-16.9", "both"),
    ("bbox=179.9,-17.1,180,-16.9", "west"),
    ("bbox=-180,-17.1,-179.9,-16.9", "east"),
    ("bbox=-300,-17.1,300,-16.9", "both"),
    ("bbox=-179.9,-17.1,179.9,-16.9", "none"),
])
def test_boxes_cross_the_antimeridian(feed, query, expected):
    west, east = feed.show(
        missing(box(179.9998, -17.0001, 179.9999, -17.0)), missing(box(-179.9999, -17.0001, -179.9998, -17.0)),
    )
    assert set(feed.listed(query)) == {"both": {west, east}, "west": {west}, "east": {east}, "none": set()}[expected]


@pytest.mark.parametrize(("query", "classes"), [
    ("", {1, 2, 3}),
    ("item=8540", {1, 2, 3}), ("item=8541", set()), ("item=8541,8540", {1, 2, 3}), ("item=8xxx", {1, 2, 3}),
    ("item=7xxx", set()), ("item=xxxx", {1, 2, 3}), ("item=", set()), ("item=nonsense", {1, 2, 3}),
    ("item=1,xxxx", {1, 2, 3}), ("item=7xxx,nonsense", set()),
    ("class=1", {1}), ("class=1,3", {1, 3}), ("class=99", set()),
    ("source=1", {1, 2, 3}), ("source=2", set()), ("source=1-2", {2}), ("source=2-2,1-3", {3}),
    ("source=1-2,1", {1, 2, 3}),
    ("level=1", set()), ("level=2", {2}), ("level=1,2,3", {1, 2, 3}), ("level=1%2C2", {2}),
    ("tags=geom", {3}), ("tags=power", set()), ("tags=power,building", {1, 2, 3}),
    ("country=banepa", {1, 2, 3}), ("country=ban*", {1, 2, 3}), ("country=*", {1, 2, 3}), ("country=ban", set()),
    ("country=france", set()),
    ("username=anna", set()),
    ("fixable=josm", {1}), ("fixable=online", set()), ("fixable=", {1, 2, 3}),
    ("osm_type=way&osm_id=5", {2}), ("osm_type=relation&osm_id=6", {3}), ("osm_type=node&osm_id=5", set()),
    ("osm_type=way", {1, 2, 3}),
    ("useDevItem=false", {1, 2, 3}), ("useDevItem=all", {1, 2, 3}), ("useDevItem=true", set()),
    ("zoom=3", {1, 2, 3}), ("something=else", {1, 2, 3}),
])
def test_filters(feed, three, query, classes):
    assert {i["class"] for i in feed.json(f"/issues?full=true&{query}")["issues"]} == classes


def test_one_object_is_asked_about_within_a_box_and_a_limit(feed, three):
    assert feed.listed(f"osm_type=way&osm_id=5&bbox={bbox(75, 45, 85, 55)}") == [three[1]]
    assert feed.listed(f"osm_type=way&osm_id=5&bbox={bbox(0, 0, 10, 10)}") == []
    assert feed.listed("osm_type=way&osm_id=5&limit=1&offset=1") == []


@pytest.mark.parametrize("query", [
    "status=closed", "status=", "class=a", "class=1,,2", "level=high", "source=x", "source=1-", "bbox=1,2,3",
    "bbox=a,b,c,d",
    "bbox=1,2,3,4,5", "bbox=nan,0,1,1", "bbox=0,0,inf,1", "limit=-1", "limit=x", "full=perhaps", "offset=-1",
    "offset=100001", "after=1", "after=99999999999999999999-00000000-0000-0000-0000-000000000000", "osm_type=area",
    "osm_id=x", "osm_type=way&osm_id=99999999999999999999", "useDevItem=maybe", "fixable=by-hand",
    "start_date=x&status=done",
    "start_date=2026-13&status=done", "end_date=2026-02-30&status=false",
])
def test_what_has_no_meaning_is_refused(feed, query):
    answer = feed.get(f"/issues?{query}")
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert {"type", "loc", "msg"} == set(problem)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_done_and_false_are_lists_of_their_own(feed, three):
    fixed, hidden, wrong = three
    with feed.ledger.cursor() as cursor:
        close(cursor, [feed.key(fixed)], "fixed", now=NOW)
        record_review(cursor, feed.key(hidden), "fixed", who=None, reason=None, came_by="test", now=later(86_400),
                      hide_until=later(9e5))
        record_review(cursor, feed.key(wrong), "false_positive", who=None, reason=None, came_by="test", now=NOW)
    assert feed.listed() == []
    assert set(feed.listed("status=done")) == {fixed, hidden}
    assert feed.listed("status=false") == [wrong]
    assert feed.listed("status=done&start_date=2026-11-23") == [hidden]
    assert feed.listed("status=done&end_date=2026-11-23") == [fixed]
    assert set(feed.listed("status=done&start_date=2026-11&end_date=2027")) == {fixed, hidden}
    assert feed.listed("start_date=2030") == []  # of done and false only


def test_dates_do_not_matter_to_what_is_open(feed, three):
    assert set(feed.listed("start_date=2030&end_date=1999")) == set(three)


# -- in which order ---------------------------------------------------------------------------------------------------


@pytest.fixture
def many(feed):
    return feed.show(*(missing(house(20 + 20 * (i % 8), 20 + 20 * (i // 8))) for i in range(40)))


def test_the_order_is_always_the_same(feed, many):
    first = feed.listed()
    assert set(first) == set(many)
    with feed.ledger.cursor() as cursor:  # rows that move in the table keep their place in the list
        cursor.execute("UPDATE discrepancy SET times_seen = times_seen + 1 WHERE key < 'bld-8'")
    assert feed.listed() == first
    assert feed.listed("limit=7") == first[:7]
    assert feed.listed(f"bbox={bbox(0, 0, 300, 300)}") == first
    assert [i["id"] for i in feed.json("/issues?full=true")["issues"]] == first
    assert [f["properties"]["uuid"] for f in feed.json("/issues.geojson")["features"]] == first


def follow(feed, path: str) -> list[list[str]]:
    """All pages, by the links."""
    pages = []
    while path:
        answer = feed.served.get(path)
        pages.append([issue["id"] for issue in answer.json()["issues"]])
        link = re.search(r'<http://[^/]+(/[^>]*)>; rel="next"', answer.headers["link"])
        path = link[1] if link else ""
    return pages


@pytest.mark.parametrize("size", [1, 7, 20, 39, 40, 41])
def test_pages_hold_everything_once(feed, many, size):
    whole = feed.listed()
    pages = follow(feed, f"/api/0.3/issues?limit={size}&bbox={bbox(0, 0, 300, 300)}")
    assert list(chain(*pages)) == whole
    assert all(len(page) == size for page in pages[:-1])
    assert len(pages) == -(-40 // size)


def test_pages_go_on_while_the_ledger_changes(feed, many):
    whole = feed.listed()
    answer = feed.get("/issues?limit=10")
    with feed.ledger.cursor() as cursor:
        close(cursor, [feed.key(uuid) for uuid in whole[5:12]], "fixed", now=NOW)
    path = re.search(r"<http://[^/]+(/[^>]*)>; rel=\"next\"", answer.headers["link"])[1]
    assert list(chain(*follow(feed, path))) == whole[12:]


def test_an_offset_passes_issues_over(feed, many):
    whole = feed.listed()
    assert feed.listed("offset=5&limit=3") == whole[5:8]
    assert feed.listed("offset=38") == whole[38:]
    assert feed.listed("offset=40") == []


def test_counts_say_how_many_there_are_beyond_the_limit(feed, many):
    answer = feed.get("/issues?limit=3&count=true")
    assert answer.headers["x-total-count"] == "40"
    assert list(answer.json()) == ["issues"]
    assert feed.get(f"/issues?count=true&bbox={bbox(0, 0, 90, 30)}").headers["x-total-count"] == "4"
    assert feed.get("/issues?count=true&class=2").headers["x-total-count"] == "0"
    assert "x-total-count" not in feed.get("/issues?limit=3").headers


def test_the_limit_is_100_and_0_means_all_that_the_server_gives(feed):
    feed.show(*(missing(house(5 + 11 * (i % 18), 5 + 11 * (i // 18))) for i in range(130)))
    whole = feed.listed("limit=0")
    assert len(whole) == 130
    assert feed.listed() == whole[:100]
    assert feed.listed("limit=1000000") == whole


def test_long_lists_are_the_same_as_short_ones(feed, many, monkeypatch):
    """Read in portions, each a transaction of its own."""
    whole = feed.json("/issues?full=true")["issues"]
    monkeypatch.setattr("daemon.web.osmose.feed.PORTION", 7)
    monkeypatch.setattr("daemon.web.osmose.lists.PORTION", 7)
    answer = feed.get("/issues?full=true&limit=30")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.json()["issues"] == whole[:30]
    assert 'rel="next"' in answer.headers["link"]
    assert list(chain(*follow(feed, "/api/0.3/issues?limit=11"))) == [issue["id"] for issue in whole]
    assert feed.json("/issues?full=true&limit=0&offset=3")["issues"] == whole[3:]
    assert feed.listed("limit=0&item=") == []
    assert feed.ask("HEAD", "/issues?limit=30").content == b""


def test_the_server_has_a_limit_of_its_own(feed, many, tmp_path):
    with serving(backend_of(feed.ledger.database, tmp_path, max_issues=10, max_tile_issues=4)) as served:
        answer = served.get("/api/0.3/issues?limit=0")
        assert len(answer.json()["issues"]) == 10
        assert 'rel="next"' in answer.headers["link"]


# -- in which language ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("langs", "header", "title"), [
    (None, None, "Building missing in OSM"),
    ("de", None, "Gebäude fehlt in OSM"),
    ("de-AT", None, "Gebäude fehlt in OSM"),
    (None, "de-AT,de;q=0.9,en;q=0.5", "Gebäude fehlt in OSM"),
    (None, "en;q=0.5, fr;q=0.9", "Bâtiment absent d’OSM"),
    ("fr", "de", "Bâtiment absent d’OSM"),
    ("xx", "de", "Gebäude fehlt in OSM"),
    ("xx,fr", None, "Bâtiment absent d’OSM"),
    ("tlh", "ar", "Building missing in OSM"),
    (None, "*", "Building missing in OSM"),
    (None, "de;q=0, fr;q=nan", "Building missing in OSM"),
    (None, ";;;,,=", "Building missing in OSM"),
])
def test_langs_works_as_well_as_the_header(feed, langs, header, title):
    (uuid,) = feed.show(missing(house(50, 50)))
    headers = {"Accept-Language": header} if header else {"Accept-Language": ""}
    langs = f"langs={langs}" if langs else ""
    (issue,) = feed.json(f"/issues?full=true&{langs}", headers=headers)["issues"]
    assert issue["title"] == {"auto": title}
    assert feed.json(f"/issue/{uuid}?{langs}", headers=headers)["title"] == {"auto": title}
    words = feed.json(f"/items/8540/class/1?{langs}", headers=headers)
    assert words["categories"][0]["items"][0]["class"][0]["title"] == {"auto": title}


def test_the_line_about_an_issue_speaks_the_same_language_as_its_title(feed):
    feed.show(missing(house(50, 50)))
    (issue,) = feed.json("/issues?full=true&langs=de")["issues"]
    assert issue["subtitle"]["auto"].endswith("Konfidenz 0,80")


# -- what of each -----------------------------------------------------------------------------------------------------


def test_full_lists_add_geometry_and_fixes(feed, three):
    first, second, third = sorted(feed.json("/issues?full=true")["issues"], key=lambda issue: issue["class"])
    assert first["geometry"]["type"] == "Polygon"
    assert first["geometry"]["coordinates"][0][0] == first["geometry"]["coordinates"][0][-1]
    assert first["fixes"] == [[{"type": "W", "id": 0, "create": {"building": "yes"}, "modify": {}, "delete": []}]]
    assert second["fixes"] is None and third["fixes"] is None
    assert first["key"] == feed.key(first["id"])
    assert first["confidence"] == 0.8
    assert abs(first["lat"] - LAT) < 0.01 and abs(first["lon"] - LON) < 0.01


def test_whom_to_name_goes_with_the_lists(feed, three):
    for path in ("/issues", "/issues.csv", "/issues.geojson", "/issues?limit=0"):
        assert '<https://www.openstreetmap.org/copyright>; rel="license"' in feed.get(path).headers["link"]
    assert "© OpenStreetMap contributors, ODbL 1.0" in feed.json("/issues.geojson")["attribution"]
