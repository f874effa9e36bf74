"""Readers of the three formats that refuse whatever the real consumers refuse."""

from __future__ import annotations

import json
import re
from io import BytesIO

import shapely
from claims import NOW
from osmose_frontend.lint import lint
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
    """The errors of an analyser snapshot, after a check of all that it must be."""
    linted = lint(content)
    assert linted.block in ("", "analyser")
    return linted.errors


def geometry_of(feature: dict):
    return shapely.from_geojson(json.dumps(feature["geometry"]))
