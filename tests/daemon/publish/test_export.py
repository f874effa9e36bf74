"""Exports hold what was asked for, whole, in the form that their readers take."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import datetime
from io import BytesIO

import pytest
from claims import NOW, area, gone, house, later, misplaced, missing
from feeds import CONTEXT, EVERYTHING, check_geometry, dump, geometry_of, lint_osmose, read_geojson, read_maproulette
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon

from daemon.discrepancies.life import close, publish
from daemon.publish import FORMATS, Filter, export
from daemon.publish.export import read_discrepancies
from daemon.publish.feed import encode, geometry_json
from daemon.publish.osmose import subclass_of
from detectors.registry import registry


@pytest.fixture
def four(ledger) -> dict[str, str]:
    """One open of each kind, the misplaced one published, and a withdrawn one."""
    keys = ledger.open(
        missing(house(50, 50), 0.9, area_m2=100.0, imagery="aerial"), gone(house(90, 50), "way/12", 0.6),
        misplaced(house(50, 90), "relation/7", (3.0, -4.0), 0.4), missing(house(150, 150), 0.8),
    )
    names = dict(zip(["missing", "gone", "misplaced", "withdrawn"], keys, strict=True))
    with ledger.cursor() as cursor:
        publish(cursor, [names["misplaced"]], now=later(30))
        close(cursor, [names["withdrawn"]], "withdrawn", now=later(60))
    return names


def test_geojson_has_all_that_the_ledger_knows(ledger, four):
    features = read_geojson(dump(ledger.database, "geojson"))
    assert features.keys() == set(four.values())
    assert features[four["misplaced"]]["properties"] == {
        "key": four["misplaced"], "detector": "building", "kind": "misplaced", "state": "published", "closed_as": None,
        "confidence": 0.4, "osm": "relation/7", "shift_m": [3.0, -4.0], "evidence": {},
        "opened": "2026-11-22T12:00:00Z", "updated": "2026-11-22T12:00:30Z", "closed": None,
    }
    withdrawn = features[four["withdrawn"]]["properties"]
    assert (withdrawn["state"], withdrawn["closed_as"], withdrawn["closed"]) == (
        "closed", "withdrawn", "2026-11-22T12:01:00Z",
    )
    assert features[four["missing"]]["properties"]["evidence"] == {"area_m2": 100.0, "imagery": "aerial"}
    assert features[four["missing"]]["properties"]["osm"] is None
    assert geometry_of(features[four["missing"]]).equals_exact(house(50, 50).normalize(), 1e-7) or (
        geometry_of(features[four["missing"]]).normalize().equals_exact(house(50, 50).normalize(), 1e-7)
    )


def test_everybody_is_named(ledger, four):
    collection = json.loads(dump(ledger.database, "geojson"))
    assert collection["attribution"] == [
        "© OpenStreetMap contributors, ODbL 1.0", "© Maxar & <Friends> (CC-BY-4.0)",
    ]
    assert collection["licence"]["aerial"] == "CC-BY-4.0"
    task = read_maproulette(dump(ledger.database, "maproulette"))[four["gone"]]
    assert "OpenStreetMap contributors" in task["features"][0]["properties"]["attribution"]


def test_an_empty_ledger_gives_valid_empty_feeds(ledger):
    assert read_geojson(dump(ledger.database, "geojson")) == {}
    assert dump(ledger.database, "maproulette") == b""
    content = dump(ledger.database, "osmose")
    assert lint_osmose(content) == [] and content.count(b"<class ") == len(registry().kinds())


def test_filters_choose_by_state_kind_confidence_place_detector_and_time(ledger, four):
    def chosen(**what):
        features = read_geojson(dump(ledger.database, "geojson", Filter(**what)))
        return {name for name, key in four.items() if key in features}

    assert chosen() == {"missing", "gone", "misplaced"}
    assert chosen(include_closed=True) == set(four)
    assert chosen(states=("closed",)) == {"withdrawn"}
    assert chosen(states=("published",)) == {"misplaced"}
    assert chosen(states=("closed",), closed_as=("fixed",)) == set()
    assert chosen(include_closed=True, closed_as=("fixed",)) == {"missing", "gone", "misplaced"}
    assert chosen(kinds=("missing", "gone")) == {"missing", "gone"}
    assert chosen(kinds=()) == set() == chosen(detectors=("road",))
    assert chosen(detectors=("building",), min_confidence=0.6) == {"missing", "gone"}
    assert chosen(bbox=area(40, 40, 60, 60)) == {"missing"}
    assert chosen(bbox=area(40, 40, 84.99, 60)) == {"missing"}
    assert chosen(bbox=area(40, 40, 85.01, 60)) == {"missing", "gone"}
    assert chosen(since=later(1)) == {"misplaced"}


def test_the_program_itself_reads_them_through_the_same_filters(ledger, four):
    with ledger.cursor() as cursor:
        found = list(read_discrepancies(cursor, Filter(kinds=("gone",))))
        assert [d.key for d in read_discrepancies(cursor, Filter())] == sorted(set(four.values()) - {four["withdrawn"]})
    assert [d.key for d in found] == [four["gone"]] and found[0].claim.osm == "way/12"


def test_maproulette_lines_are_tasks_with_our_key_and_the_element(ledger, four):
    tasks = read_maproulette(dump(ledger.database, "maproulette", Filter()))
    assert tasks.keys() == {four["missing"], four["gone"], four["misplaced"]}
    gone_facts = tasks[four["gone"]]["features"][0]["properties"]
    assert gone_facts["@id"] == "way/12" and gone_facts["confidence"] == "0.600"
    missing_facts = tasks[four["missing"]]["features"][0]["properties"]
    assert "@id" not in missing_facts and missing_facts["evidence_area_m2"] == "100"
    assert tasks[four["misplaced"]]["features"][0]["properties"]["shift_north_m"] == "-4.00"
    assert "attachments" in tasks[four["missing"]] and "attachments" not in tasks[four["gone"]]
    (layer,) = tasks[four["missing"]]["attachments"]
    assert layer["kind"] == "referenceLayer" and layer["data"]["geometry"]["type"] == "Polygon"


def test_osmose_has_a_class_a_kind_and_elements_where_there_are_any(ledger, four):
    errors = {e["class"]: e for e in lint_osmose(dump(ledger.database, "osmose", Filter()))}
    assert errors.keys() == {1, 2, 3}
    assert errors[1]["elements"] == [] and errors[2]["elements"] == [("way", 12)]
    assert errors[3]["elements"] == [("relation", 7)]
    assert errors[1]["subclass"] == subclass_of(four["missing"])
    assert errors[1]["text"] == "Building footprint of about 100 m², imagery aerial, confidence 0.90"
    assert errors[3]["text"] == "Outline shifted 5.0 m, confidence 0.40"
    assert Point(errors[1]["lon"], errors[1]["lat"]).within(house(50, 50))


def test_osmose_declares_the_classes_that_were_asked_for_and_never_none(ledger, four):
    content = dump(ledger.database, "osmose", Filter(kinds=("gone",)))
    assert re.findall(rb'<class id="(\d)"', content) == [b"2"] and len(lint_osmose(content)) == 1
    content = dump(ledger.database, "osmose", Filter(kinds=("road",)))
    assert b"<analyser " not in content and lint_osmose(content) == []


def test_two_discrepancies_about_one_element_are_two_osmose_errors(ledger):
    ledger.open(gone(house(50, 50), "way/1"), gone(house(150, 150), "way/2"))
    ledger.all("UPDATE discrepancy SET osm = 'way/1' RETURNING key")
    assert len(lint_osmose(dump(ledger.database, "osmose"))) == 2


def test_exports_of_the_same_ledger_are_the_same_byte_for_byte(ledger, four):
    for fmt in FORMATS:
        assert dump(ledger.database, fmt) == dump(ledger.database, fmt)


def test_an_unknown_format_and_a_time_without_zone_are_refused(ledger):
    with pytest.raises(ValueError, match="geojson, maproulette, osmose"):
        export(ledger.database, "shapefile", BytesIO(), EVERYTHING, CONTEXT)
    with pytest.raises(ValueError, match="no time zone"):
        dump(ledger.database, "osmose", context=replace(CONTEXT, generated=datetime(2026, 1, 1)))
    with pytest.raises(ValueError, match="lost"):
        dump(ledger.database, "geojson", Filter(states=("lost",)))


def test_a_large_ledger_is_streamed_not_gathered(ledger):
    """The first bytes are out long before the last discrepancy was read."""
    claims = [missing(house(10 + 12 * (i % 15), 10 + 12 * (i // 15), 6, 6)) for i in range(1200)]
    ledger.look(*claims)

    class Sink(BytesIO):
        largest = writes = 0

        def write(self, content):
            Sink.writes += 1
            Sink.largest = max(Sink.largest, len(content))
            return super().write(content)

    for fmt in FORMATS:
        sink = Sink()
        Sink.largest = Sink.writes = 0
        assert export(ledger.database, fmt, sink, EVERYTHING, CONTEXT) == 1200
        assert Sink.writes >= 1200 and Sink.largest < 4096
    assert len(read_geojson(dump(ledger.database, "geojson"))) == 1200


def test_geometry_follows_rfc_7946():
    clockwise = Polygon([(0, 0), (0, 2), (2, 2), (2, 0)], [[(0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)]])
    for drawn in [
        clockwise, MultiPolygon([clockwise]), LineString([(0, 0, 5), (1 / 3, 1, 5)]), Point(1 / 3, 2 / 3),
        clockwise.exterior, Point(1e-9, -1e-9), GeometryCollection([clockwise, Point(1, 1)]),
    ]:
        encoded = geometry_json(drawn)
        check_geometry(json.loads(encode(encoded)))
    assert geometry_json(Point(1 / 3, 2 / 3)) == {"type": "Point", "coordinates": [0.3333333, 0.6666667]}
    assert geometry_json(clockwise)["coordinates"][0][1] == [2.0, 0.0]


def test_json_has_a_word_for_every_number():
    assert encode({"a": math.nan, "b": [math.inf, -0.0, 1e300]}) == b'{"a":null,"b":[null,-0.0,1e+300]}'
    assert encode({"é": "\u2028"}, ascii_only=True) == b'{"\\u00e9":"\\u2028"}'


words = st.text(st.characters(codec="utf-8"), max_size=20)
traps = st.sampled_from(["name", "type", "@id", "a.b", "</error>", '"', "\x00\x1e\n", "]]>", "\ufffe"])
odd_words = st.one_of(words, traps)
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), odd_words)
facts = st.dictionaries(st.one_of(odd_words, st.sampled_from(["imagery", "acquired"])), values, max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["missing", "gone", "misplaced", "other <kind>"]), evidence=facts, confidence=st.floats(0, 1),
    shift=st.floats(-50, 50), lon=st.floats(-179.9, 179.9), lat=st.floats(-84, 84), size=st.floats(1e-7, 1e-3),
    name=odd_words,
)
def test_whatever_is_in_the_ledger_every_feed_parses(ledger, kind, evidence, confidence, shift, lon, lat, size, name):
    ledger.clear()
    geometry = Point(lon, lat).buffer(size, quad_segs=3)
    make = {"missing": missing, "gone": gone, "misplaced": misplaced}.get(kind, gone)
    claim = replace(make(geometry, confidence=confidence), kind=kind, evidence=evidence)
    if kind == "misplaced":
        claim = replace(claim, shift_m=(shift, -shift))
    (key,) = ledger.open(claim)
    context = replace(CONTEXT, area=name, generated=NOW)
    assert read_geojson(dump(ledger.database, "geojson", context=context))[key]["properties"]["kind"] == kind
    assert list(read_maproulette(dump(ledger.database, "maproulette", context=context))) == [key]
    errors = lint_osmose(dump(ledger.database, "osmose", context=context))
    assert len(errors) == (kind in ("missing", "gone", "misplaced"))
