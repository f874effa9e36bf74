"""Whether a client has the answer already, and what changed since it asked last."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import format_datetime

import pytest
from claims import LAT, LON, NOW, Ledger, gone, house, later, missing
from osmose_feed import Clock, Feed
from web_server import Served, backend_of, serving

from daemon.discrepancies.life import close, reopen
from daemon.tiling.grid import tile_at
from daemon.web.osmose.freshness import Freshness

PATHS = [
    "/issues", "/issues?full=true", "/issues.csv", "/issues?limit=0",
    f"/issues/{tile_at(LON + 0.0006, LAT + 0.0004, 14)}.geojson",
]


@pytest.fixture(scope="module")
def onward(one_ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Clock]]:
    """A server whose clock never goes back."""
    clock = Clock()
    with serving(backend_of(one_ledger.database, tmp_path_factory.mktemp("onward"), clock=clock)) as served:
        yield served, clock


@pytest.fixture
def feed(onward: tuple[Served, Clock], ledger: Ledger) -> Feed:
    served, clock = onward
    clock.go(100)
    return Feed(served, ledger, clock)


@pytest.mark.parametrize("path", PATHS)
def test_an_unchanged_answer_is_not_sent_again(feed, path):
    feed.show(missing(house(50, 50)))
    before = feed.get(path)
    again = feed.get(path, headers={"If-None-Match": f'"other", {before.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == before.headers["etag"]
    assert again.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", PATHS)
def test_a_changed_one_is(feed, path):
    (uuid,) = feed.show(missing(house(50, 50)))
    before = feed.get(path)
    feed.get(f"/issue/{uuid}/false")
    assert feed.get(path, headers={"If-None-Match": before.headers["etag"]}).status_code == 200


def test_what_changed_elsewhere_does_not_make_an_answer_another(feed):
    (uuid,) = feed.show(missing(house(50, 50)))
    box = "bbox=85.4,27.5,85.6,27.7"
    elsewhere = feed.get("/issues?bbox=0,0,1,1")
    here = feed.get(f"/issues?{box}")
    feed.get(f"/issue/{uuid}/false")
    assert feed.get("/issues?bbox=0,0,1,1", headers={"If-None-Match": elsewhere.headers["etag"]}).status_code == 304
    assert feed.get(f"/issues?{box}", headers={"If-None-Match": here.headers["etag"]}).status_code == 200


def test_an_answer_is_known_by_what_was_asked_and_in_which_language(feed):
    feed.show(missing(house(50, 50)))
    tag = feed.get("/issues?limit=5", headers={"Accept-Language": "en"}).headers["etag"]
    assert feed.get("/issues?limit=6", headers={"If-None-Match": tag, "Accept-Language": "en"}).status_code == 200
    assert feed.get("/issues?limit=5", headers={"If-None-Match": tag, "Accept-Language": "de"}).status_code == 200
    assert feed.get("/issues?limit=5", headers={"If-None-Match": tag, "Accept-Language": "en"}).status_code == 304
    assert "Accept-Language" in feed.get("/issues").headers["vary"]


@pytest.mark.parametrize("tag", [
    '"', "*", "W/", '"-1-"', "x" * 5000, '"0123456789abcdef-9999999999999999999"', "ÿ\u00fe",
])
def test_tags_that_are_none_are_passed_over(feed, tag):
    feed.show(missing(house(50, 50)))
    assert feed.get("/issues", headers={"If-None-Match": tag.encode("latin-1")}).status_code == 200


def test_a_date_is_told_when_its_second_is_over(feed):
    (uuid,) = feed.show(missing(house(50, 50)))
    assert "last-modified" not in feed.get("/issues").headers
    feed.clock.go(5)
    answer = feed.get("/issues")
    date = answer.headers["last-modified"]
    assert feed.get("/issues", headers={"If-Modified-Since": date}).status_code == 304
    feed.clock.go(5)
    feed.get(f"/issue/{uuid}/false")
    assert feed.get("/issues", headers={"If-Modified-Since": date}).status_code == 200


def test_a_tag_counts_before_a_date(feed):
    feed.show(missing(house(50, 50)))
    feed.get("/issues")
    feed.clock.go(5)
    date = feed.get("/issues").headers["last-modified"]
    assert feed.get("/issues", headers={"If-Modified-Since": date, "If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize("date", ["yesterday", "", "Sun, 99 Nov 2026 12:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT",
                                  format_datetime(later(1e9), usegmt=True)])
def test_dates_that_are_none_are_passed_over(feed, date):
    feed.show(missing(house(50, 50)))
    assert feed.get("/issues", headers={"If-Modified-Since": date}).status_code == 200


def test_two_changes_in_one_second_are_told_apart():
    """A client that got its answer between them is not told that nothing happened."""
    moment = [NOW]
    freshness = Freshness({}, lambda: moment[0])
    assert "Last-Modified" not in freshness.headers("a", 1)
    moment[0] = later(0.9)
    assert "Last-Modified" not in freshness.headers("a", 2)
    moment[0] = later(1)
    date = freshness.headers("a", 2)["Last-Modified"]
    assert freshness.has({"if-modified-since": date}, "a", 2) is not None
    assert freshness.has({"if-modified-since": date}, "a", 3) is None


# -- changes ----------------------------------------------------------------------------------------------------------


def test_changes_are_what_is_new_and_what_is_gone(feed):
    first, second = feed.show(missing(house(50, 50)), gone(house(80, 50), "way/5"))
    sequence = int(feed.get("/issues").headers["mapgap-sequence"])
    assert feed.json(f"/changes?since={sequence}") == {
        "since": sequence, "sequence": sequence, "more": False, "issues": [], "gone": [],
    }
    feed.get(f"/issue/{first}/false")
    (third,) = feed.show(missing(house(110, 50)))
    told = feed.json(f"/changes?since={sequence}&langs=de")
    assert [issue["id"] for issue in told["issues"]] == [third] and told["gone"] == [first]
    assert told["issues"][0]["title"]["auto"] == "Gebäude fehlt in OSM"
    assert told["issues"][0] == next(
        issue for issue in feed.json("/issues?full=true&langs=de")["issues"] if issue["id"] == third
    )
    feed.get(f"/issue/{second}/done")
    assert feed.json(f"/changes?since={told['sequence']}")["gone"] == [second]


def test_what_nobody_ever_saw_is_not_told_of(feed):
    feed.show(missing(house(80, 50)))
    sequence = int(feed.get("/issues").headers["mapgap-sequence"])
    (key,) = feed.ledger.open(missing(house(50, 50)))
    with feed.ledger.cursor() as cursor:
        close(cursor, [key], "withdrawn", now=NOW)
    told = feed.json(f"/changes?since={sequence}")
    assert told["issues"] == [] and told["gone"] == [] and told["sequence"] == sequence + 2


def test_who_follows_the_changes_knows_what_the_list_holds(feed):
    known: dict[str, dict] = {}
    sequence = int(feed.get("/issues").headers["mapgap-sequence"])

    def follow() -> None:
        nonlocal sequence
        more = True
        while more:
            told = feed.json(f"/changes?since={sequence}&limit=3")
            known.update({issue["id"]: issue for issue in told["issues"]})
            for uuid in told["gone"]:
                known.pop(uuid, None)
            sequence, more = told["sequence"], told["more"]

    uuids = feed.show(*(missing(house(30 + 20 * i, 50)) for i in range(7)))
    follow()
    assert set(known) == set(feed.listed()) == set(uuids)
    feed.get(f"/issue/{uuids[0]}/done")
    feed.get(f"/issue/{uuids[1]}/false")
    with feed.ledger.cursor() as cursor:
        close(cursor, [feed.key(uuids[2])], "withdrawn", now=NOW)
        reopen(cursor, [feed.key(uuids[2])], now=NOW)
    follow()
    assert set(known) == set(feed.listed()) == set(uuids[3:])
    assert list(known.values()) == sorted(known.values(), key=lambda issue: uuids.index(issue["id"]))


def test_a_sequence_that_is_not_there_yet_is_gone(feed):
    answer = feed.get("/changes?since=999999999")
    assert answer.status_code == 410
    assert [feed.status(f"/changes{query}") for query in ("", "?since=-1", "?since=x", f"?since={2**70}")] == [422] * 4
