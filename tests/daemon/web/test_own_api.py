"""The own API: lists, one discrepancy, reviews, coverage, status."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely
from claims import Ledger, area, everywhere, gone, house, later, misplaced, missing
from psycopg2.extras import execute_values
from web_server import BEARER, Served, backend_of, serving

from daemon.discrepancies.life import close, publish
from daemon.discrepancies.model import ClosedAs
from daemon.facts import write_fact
from daemon.tiling.grid import tile_at
from daemon.web.api.models import Coverage, Page, Reviewed, StatusModel, Whole

LIST = "/api/v1/discrepancies"


@pytest.fixture
def town(ledger: Ledger) -> dict[str, str]:
    """A name for each of some discrepancies."""
    keys = ledger.open(
        missing(house(10, 10), 0.9, area_m2=100.0), missing(house(60, 10), 0.4), gone(house(110, 10), "way/7", 0.8),
        misplaced(house(160, 10), "way/8", confidence=0.7),
    )
    names = dict(zip(["sure", "unsure", "gone", "misplaced"], keys, strict=True))
    with ledger.cursor() as cursor:
        publish(cursor, [names["sure"]], now=later(10), sequence=5)
        close(cursor, [names["gone"]], ClosedAs.FIXED, now=later(20), sequence=6)
    return names


def keys_of(served: Served, search: str = "") -> set[str]:
    answer = served.json(f"{LIST}?{search}")
    Page.model_validate(answer)
    return {one["key"] for one in answer["discrepancies"]}


def test_a_list_holds_what_waits_for_somebody(served: Served, town: dict[str, str]) -> None:
    assert keys_of(served) == {town["sure"], town["unsure"], town["misplaced"]}


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("kind=missing", {"sure", "unsure"}),
        ("kind=missing&kind=misplaced", {"sure", "unsure", "misplaced"}),
        ("kind=nonsense", set()),
        ("detector=building&min_confidence=0.5", {"sure", "misplaced"}),
        ("detector=road", set()),
        ("state=closed", {"gone"}),
        ("state=published", {"sure"}),
        ("state=closed&state=open&closed_as=false_positive", {"unsure", "misplaced"}),
        ("since=2026-11-22T12:00:05Z", {"sure"}),
        ("since=2026-11-22T12:00:05", {"sure"}),
        ("since=2026-11-22T13:00:15%2B01:00&state=closed", {"gone"}),
        ("bbox={},{},{},{}".format(*area(0, 0, 70, 20)), {"sure", "unsure"}),
        ("bbox={},{},{},{}".format(*area(-70, 0, -20, 20)), set()),
        ("bbox=-180,-90,180,90", {"sure", "unsure", "misplaced"}),
    ],
)
def test_a_list_is_narrowed_down(served: Served, town: dict[str, str], search: str, names: set[str]) -> None:
    assert keys_of(served, search) == {town[name] for name in names}


@pytest.mark.parametrize(
    ("search", "status"),
    [
        ("bbox=1,2,3", 400), ("bbox=nan,0,1,1", 400), ("bbox=0,0,inf,1", 400), ("bbox=5,0,1,1", 400),
        ("bbox=0,0,1,91", 400), ("bbox=" + "1," * 200, 422), ("limit=0", 422), ("limit=1e3", 422),
        (f"limit={10**30}", 422), ("min_confidence=nan", 422), ("min_confidence=2", 422), ("state=gone", 422),
        ("since=yesterday", 422), ("closed_as=x", 422),
    ],
)
def test_what_makes_no_sense_is_said_to(served: Served, search: str, status: int) -> None:
    answer = served.get(f"{LIST}?{search}")
    assert answer.status_code == status and answer.json()["detail"]


def test_pages_hold_everything_once_and_in_a_stable_order(served: Served, ledger: Ledger) -> None:
    keys = ledger.open(*[missing(house(20 * i, 40)) for i in range(7)])
    found, path = [], f"{LIST}?limit=3&kind=missing"
    while path:
        answer = served.get(path)
        page = answer.json()
        found += [one["key"] for one in page["discrepancies"]]
        path = answer.links["next"]["url"] if "next" in answer.links else None
        assert (path is None) == (page["next"] is None)
    assert found == sorted(keys)


@pytest.mark.parametrize("south", [0.0, -80.0], ids=["small", "large"])
def test_pages_of_a_box_hold_everything_once(served: Served, ledger: Ledger, south: float) -> None:
    keys = ledger.open(*[missing(house(20 * i, 40)) for i in range(7)])
    ledger.open(missing(house(20, 140)))
    west, _, east, north = area(-20, 0, 500, 50)
    found, after = [], ""
    while after is not None:
        box = f"{west},{south or north - 0.001},{east},{north}"
        page = served.json(f"{LIST}?bbox={box}&limit=3&after={after}")
        found += [one["key"] for one in page["discrepancies"]]
        after = page["next"]
    assert found == sorted(keys)


def test_a_page_is_never_larger_than_the_server_likes(ledger: Ledger, tmp_path: Path) -> None:
    ledger.open(*[missing(house(20 * i, 40)) for i in range(4)])
    with serving(backend_of(ledger.database, tmp_path, max_page=2)) as served:
        page = served.json(f"{LIST}?limit=100000")
    assert len(page["discrepancies"]) == 2 and page["next"] == page["discrepancies"][-1]["key"]


def test_geojson_holds_all_of_them_however_many_they_are(served: Served, ledger: Ledger) -> None:
    keys = ledger.open(*[missing(house(15 * (i % 40), 15 * (i // 40))) for i in range(12)])
    with ledger.cursor() as cursor:  # more than what is read at once
        cursor.execute(
            "INSERT INTO discrepancy (key, detector, kind, confidence, geometry, bbox, lon, lat, evidence, opened, "
            "updated, last_seen) SELECT 'bld-more' || lpad(i::text, 6, '0'), detector, kind, confidence, geometry, "
            "bbox, lon, lat, evidence, opened, updated, last_seen FROM discrepancy, generate_series(1, 1100) AS i "
            "WHERE key = %s", (keys[0],),
        )
    answer = served.get(f"{LIST}.geojson")
    assert answer.headers["content-type"] == "application/geo+json"
    features = answer.json()["features"]
    assert [one["id"] for one in features] == sorted({one["id"] for one in features}) and len(features) == 1112
    assert answer.json()["attribution"] == ["© OpenStreetMap contributors, ODbL 1.0"]
    assert len(served.json(f"{LIST}.geojson?limit=700")["features"]) == 700
    assert served.json(f"{LIST}.geojson?kind=gone")["features"] == []
    box = ",".join(map(str, shapely.from_geojson(answer.text).geoms[0].bounds))
    assert len(served.json(f"{LIST}.geojson?bbox={box}")["features"]) >= 1101


def test_one_comes_with_all_that_is_known_of_it(served: Served, town: dict[str, str], ledger: Ledger) -> None:
    answer = served.json(f"{LIST}/{town['sure']}")
    Whole.model_validate(answer)
    assert answer["evidence"] == {"area_m2": 100.0} and answer["title"] and answer["detail"]
    assert [one["event"] for one in answer["history"]] == ["opened", "published"]
    assert answer["history"][1]["sequence"] == 5 and answer["reviews"] == []
    shifted = served.json(f"{LIST}/{town['misplaced']}")
    assert (shifted["osm"], shifted["shift_m"]) == ("way/8", [3.0, -2.0])
    fixed = served.json(f"{LIST}/{town['gone']}")
    assert (fixed["state"], fixed["closed_as"], fixed["closed_sequence"]) == ("closed", "fixed", 6)


def test_an_unknown_one_is_not_found(served: Served) -> None:
    for path in ("/bld-0000000", "/bld-0000000/picture.png"):
        answer = served.get(LIST + path)
        assert answer.status_code == 404 and "bld-0000000" in answer.json()["detail"]
    assert served.get(f"{LIST}/NO KEY").status_code == 422


def test_a_false_positive_is_silent_for_ever(served: Served, town: dict[str, str], ledger: Ledger) -> None:
    body = {"verdict": "false_positive", "reason": "an awning", "who": "mapper1"}
    answer = served.post(f"{LIST}/{town['sure']}/reviews", json=body, headers=BEARER)
    assert answer.status_code == 200, answer.text
    Reviewed.model_validate(answer.json())
    assert (answer.json()["state"], answer.json()["closed_as"]) == ("closed", "false_positive")
    whole = served.json(f"{LIST}/{town['sure']}")
    (review,) = whole["reviews"]
    assert (review["who"], review["reason"], review["came_by"]) == ("mapper1", "an awning", "api")
    ledger.look(missing(house(10, 10), 0.99), judged=everywhere, now=later(100))
    assert town["sure"] not in keys_of(served)


def test_what_is_said_to_be_fixed_waits_for_the_map(served: Served, town: dict[str, str]) -> None:
    answer = served.post(f"{LIST}/{town['unsure']}/reviews", json={"verdict": "already_fixed"}, headers=BEARER)
    assert answer.json()["state"] == "open"
    assert served.json(f"{LIST}/{town['unsure']}")["hidden_until"] is not None


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer no"}, {"Authorization": BEARER["Authorization"][7:]},
])
def test_without_the_token_nothing_is_changed(
    served: Served, town: dict[str, str], ledger: Ledger, headers: dict[str, str]
) -> None:
    answer = served.post(f"{LIST}/{town['sure']}/reviews", json={"verdict": "false_positive"}, headers=headers)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert ledger.find(town["sure"]).state == "published"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"verdict": "nonsense"}', b'{"verdict": "fixed", "when": 1}', b"\xff\xfe",
        b'{"verdict": "fixed", "who": "\\ud800"}', b'{"verdict": "fixed", "reason": "' + b"x" * 3000 + b'"}',
        b"[" * 60_000,
    ],
)
def test_a_review_that_is_none_is_said_to(served: Served, town: dict[str, str], body: bytes) -> None:
    headers = BEARER | {"Content-Type": "application/json"}
    answer = served.post(f"{LIST}/{town['sure']}/reviews", data=body, headers=headers)
    assert 400 <= answer.status_code < 500 and answer.json()["detail"]


def test_verdicts_of_one_address_are_limited(ledger: Ledger, town: dict[str, str], tmp_path: Path) -> None:
    with serving(backend_of(ledger.database, tmp_path, token="x" * 16, verdicts_per_hour=20)) as served:
        answers = [
            served.post(f"{LIST}/{town['sure']}/reviews", json={"verdict": "skipped"}, headers={
                "Authorization": "Bearer " + "x" * 16, "X-Forwarded-For": f"192.0.2.{i}",
            })
            for i in range(3)
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 180


def test_coverage_counts_tiles_and_discrepancies_by_cell(served: Served, town: dict[str, str], ledger: Ledger) -> None:
    bbox = area(-50, -50, 250, 250)
    home = tile_at(bbox[0], bbox[3], 19)
    with ledger.cursor() as cursor:
        cursor.execute("TRUNCATE looked_tile")
        execute_values(
            cursor, "INSERT INTO looked_tile (z, x, y, result, looked) VALUES %s",
            [(19, home.x, home.y, "judged", later(0)), (19, home.x + 1, home.y, "no_imagery", later(50)),
             (19, home.x + 400, home.y, "judged", later(0)), (18, home.x >> 1, home.y >> 1, "judged", later(0))],
        )
    answer = served.json(f"/api/v1/coverage?bbox={','.join(map(str, bbox))}")
    Coverage.model_validate(answer)
    assert (answer["zoom"], answer["tile_zoom"]) == (14, 19)
    cells = [one["properties"] for one in answer["features"]]
    assert sum(cell["looked"] for cell in cells) == 2
    (cell,) = [cell for cell in cells if cell["looked"]]
    assert (cell["cell"], cell["tiles"]) == (f"14/{home.x >> 5}/{home.y >> 5}", 1024)
    assert (cell["judged"], cell["no_imagery"], cell["last_looked"]) == (1, 1, "2026-11-22T12:00:50Z")
    states = {state: sum(cell["discrepancies"][state] for cell in cells) for state in ("open", "published", "closed")}
    assert states == {"open": 2, "published": 1, "closed": 1}


@pytest.mark.parametrize("zoom", [0, 10, 16, 19])
def test_a_discrepancy_is_counted_in_the_cell_that_holds_its_point(
    served: Served, town: dict[str, str], ledger: Ledger, zoom: int
) -> None:
    found = ledger.find(town["misplaced"])
    answer = served.json(f"/api/v1/coverage?bbox={','.join(map(str, area(155, 5, 165, 15)))}&zoom={zoom}")
    cell = next(one for one in answer["features"] if one["id"] == str(tile_at(*found.point, zoom)))
    assert cell["properties"]["discrepancies"]["open"] >= 1
    assert shapely.from_geojson(str(cell["geometry"]).replace("'", '"')).contains(shapely.Point(found.point))


def test_coverage_is_told_of_a_small_box_only(served: Served) -> None:
    assert served.get("/api/v1/coverage?bbox=0,0,10,10").status_code == 413
    assert served.get("/api/v1/coverage?bbox=85,27,86,28&zoom=19").status_code == 413
    assert served.get("/api/v1/coverage").status_code == 422


def test_status_is_told_and_what_may_be_private_only_with_the_token(
    served: Served, town: dict[str, str], ledger: Ledger
) -> None:
    with ledger.cursor() as cursor:
        write_fact(cursor, "daemon", {"worker": "w", "pid": 1, "host": "inner", "started": "s", "stopped": None})
        write_fact(cursor, "errors", {"look": {
            "stage": "look", "time": "2026-11-22T12:00:00+00:00", "kind": "StorageFull", "message": "/secret/place",
            "transient": False, "failures": 2,
        }})
        cursor.execute("INSERT INTO replication_state (sequence, timestamp, area) VALUES (7, %s, '{}')", (later(0),))
    try:
        public = served.json("/api/v1/status")
        whole = served.json("/api/v1/status", headers=BEARER)
    finally:
        with ledger.cursor() as cursor:
            cursor.execute("TRUNCATE replication_state; DELETE FROM daemon_state")
    for answer in (public, whole):
        StatusModel.model_validate(answer)
        assert answer["sequence"] == 7 and answer["discrepancies"]["building"]["missing"] == {"open": 1, "published": 1}
        assert answer["errors"]["look"]["failures"] == 2
    assert whole["errors"]["look"]["message"] == "/secret/place" and whole["heartbeat"]["host"] == "inner"
    assert "secret" not in str(public) and "inner" not in str(public)
