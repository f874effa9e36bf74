"""Readers of the three formats that refuse whatever the real consumers refuse."""

from __future__ import annotations

import json
import re
from datetime import datetime
from io import BytesIO
from xml.etree import ElementTree

import shapely
from claims import NOW
from shapely.geometry import shape

from daemon.publish import ExportContext, Filter, ImageryCredit, export

CONTEXT = ExportContext("banepa", NOW, (ImageryCredit("aerial", "© Maxar & <Friends>", "CC-BY-4.0"),))
EVERYTHING = Filter(include_closed=True)


def dump(database, fmt, filters=EVERYTHING, context=CONTEXT) -> bytes:
    out = BytesIO()
    number = export(database, fmt, out, filters, context)
    if fmt == "geojson":
        assert number == len(json.loads(out.getvalue())["features"])
    return out.getvalue()


def strict_json(text: bytes):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text.decode("utf-8"), parse_constant=refuse)


def read_geojson(content: bytes) -> dict[str, dict]:
    """Features by id, after a check against RFC 7946."""
    collection = strict_json(content)
    assert collection["type"] == "FeatureCollection" and "crs" not in collection
    assert any("OpenStreetMap contributors" in line for line in collection["attribution"])
    for feature in collection["features"]:
        assert feature["type"] == "Feature" and isinstance(feature["properties"], dict)
        check_geometry(feature["geometry"])
    features = {feature["id"]: feature for feature in collection["features"]}
    assert len(features) == len(collection["features"])
    return features


def check_geometry(geometry: dict) -> None:
    for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", json.dumps(geometry)):
        assert len(number.partition(".")[2]) <= 7 or "e-" in number
    drawn = shape(geometry)
    west, south, east, north = drawn.bounds
    assert -180 <= west <= east <= 180 and -90 <= south <= north <= 90
    parts = getattr(drawn, "geoms", [drawn])
    for part in parts:
        if part.geom_type == "Polygon" and part.is_valid:
            assert part.exterior.is_ccw and not any(hole.is_ccw for hole in part.interiors)


def read_maproulette(content: bytes) -> dict[str, dict]:
    """Tasks by name, after a check of all that the server is picky about."""
    assert content == b"" or content.endswith(b"\n")
    tasks = {}
    for line in content.split(b"\n")[:-1]:
        assert line[:1] == b"\x1e" and line.isascii()
        task = strict_json(line[1:])
        assert task["type"] == "FeatureCollection" and task["features"]
        first = task["features"][0]
        assert re.fullmatch(r"[a-z][a-z0-9_-]{6,60}", first["id"])
        assert not re.fullmatch(r"(node|way|relation|n|r|w)?/?\d+", first["id"])
        assert "status" not in json.dumps(task)
        check_geometry(first["geometry"])
        for name, value in first["properties"].items():
            assert isinstance(value, str) and "." not in name
            assert name not in {"name", "type", "@type", "@osm_type", "maproulette", "id", "osmid", "osm_id"}
            assert name != "@id" or re.fullmatch(r"(node|way|relation)/\d+", value)
        assert first["id"].lower() not in tasks
        tasks[first["id"]] = task
    return tasks


def lint_osmose(content: bytes) -> list[dict]:
    """The errors of an analyser file, after the checks that its server makes (and those that it should)."""
    root = ElementTree.fromstring(content)
    errors = []
    identities = set()
    for analyser in root:
        assert analyser.tag == "analyser"
        assert datetime.fromisoformat(analyser.get("timestamp")).tzinfo is not None
        int(analyser.get("analyser_version"))
        declared = {}
        seen_error = False
        for element in analyser:
            if element.tag == "class":
                assert not seen_error, "classes come first"
                number = int(element.get("id"))
                assert number not in declared and len(element.get("item")) == 4 and element.get("level") in "123"
                english = {text.tag for text in element if text.get("lang") == "en" and text.get("title")}
                assert english >= {"classtext", "detail", "fix", "trap"}
                declared[number] = element.get("item")
                continue
            assert element.tag == "error"
            seen_error = True
            number, subclass = int(element.get("class")), int(element.get("subclass"))
            assert number in declared and 0 <= subclass < 2**63
            assert not element.findall("infos") and not element.findall("fixes")
            (location,) = element.findall("location")
            lat, lon = float(location.get("lat")), float(location.get("lon"))
            assert -90 <= lat <= 90 and -180 <= lon <= 180
            (text,) = element.findall("text")
            assert text.get("lang") == "en" and text.get("value") and "\n" not in text.get("value")
            elements = [(e.tag, int(e.get("id"))) for e in element if e.tag in ("node", "way", "relation")]
            identity = (number, subclass, tuple(elements))
            assert identity not in identities
            identities.add(identity)
            errors.append({
                "class": number, "subclass": subclass, "lon": lon, "lat": lat, "elements": elements,
                "text": text.get("value"),
            })
        assert declared, "an analyser without a class blocks the server for everybody"
    return errors


def geometry_of(feature: dict):
    return shapely.from_geojson(json.dumps(feature["geometry"]))
