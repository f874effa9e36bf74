"""An entry of an imagery index brings its own licence, place, zooms and day; one that says no is refused."""

from __future__ import annotations

import json
from datetime import date

import pytest
from ground import ORIGIN, encode, paint

from daemon.errors import ImageInvalid, ImageryForbidden
from daemon.exporting import context_of
from daemon.tiling.grid import Block

Z, X, Y = ORIGIN


def entry(address: str, geometry=None, **properties) -> dict:
    said = {
        "id": "paint-2021", "name": "Paint", "type": "tms", "url": address, "license_url": "https://example.org/licence",
        "attribution": {"required": True, "text": "© Painters"}, "permission_osm": "explicit", "min_zoom": 3,
        "max_zoom": 18, "start_date": "2021-04", "end_date": "2021-09-30", **properties,
    }
    return {"type": "Feature", "properties": {k: v for k, v in said.items() if v is not None}, "geometry": geometry}


@pytest.fixture
def indexed(settings, tmp_path):
    """Settings of a source that stands for an entry."""

    def make(*entries: dict, **others):
        path = tmp_path / "imagery.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": entries}))
        return settings(path, kind="index", licence="", attribution="", osm_permission="", **others)

    return make


def test_an_entry_is_a_source_with_all_that_it_states(web, opened, configure, indexed):
    web.put(f"/{Z}/{X}/{Y}.png", encode(paint(256)))
    source = indexed(entry(web.url("/{zoom}/{x}/{y}.png")), entry("https://example.org/{zoom}", id="other"),
                     entry="paint-2021")
    imagery = opened(source)
    (resolved,) = imagery.settings
    assert (resolved.kind, resolved.min_zoom, resolved.max_zoom) == ("xyz", 3, 18)
    assert imagery.attributions() == [{"name": "paint", "licence": "https://example.org/licence",
                                       "attribution": "© Painters", "acquired": "2021-04-01"}]
    assert resolved.osm_permission == "the imagery index states explicit permission (https://example.org/licence)"
    chip = imagery.chip(Block(Z, X, Y, 1), 0)
    assert (chip.pixels == paint(256)).all() and chip.acquired == date(2021, 4, 1)
    (credit,) = context_of(configure(source)).imagery
    assert (credit.attribution, credit.licence) == ("© Painters", "https://example.org/licence")


def test_outside_of_its_polygon_there_is_no_imagery(web, opened, indexed):
    for column in range(3):
        web.put(f"/{Z}/{X + column}/{Y}.png", encode(paint(256)))
    west, south, east, north = Block(Z, X, Y, 1).lonlat()
    middle = east + (east - west) / 2
    ring = [[west, south], [middle, south], [middle, north], [west, north], [west, south]]
    source = indexed(entry(web.url("/{zoom}/{x}/{y}.png"), {"type": "Polygon", "coordinates": [ring]}))
    imagery = opened(source)
    chip = imagery.chip(Block(Z, X // 4, Y // 4, 4), 0)
    across = chip.valid[(Y % 4) * 256 + 128]
    start = (X % 4) * 256
    assert across[start : start + 383].all() and not across[start + 386 :].any()
    assert {path for path, _ in web.requests} == {f"/{Z}/{X}/{Y}.png", f"/{Z}/{X + 1}/{Y}.png"}


@pytest.mark.parametrize("permission", ["no", "none", "forbidden"])
def test_an_entry_that_says_no_is_refused_whatever_else_is_said(opened, settings, tmp_path, permission):
    path = tmp_path / "one.geojson"
    path.write_text(json.dumps(entry("https://example.org/{zoom}/{x}/{y}", permission_osm=permission)))
    with pytest.raises(ImageryForbidden, match=r"imagery\[0\] \(paint\): .* must not be used to improve OSM"):
        opened(settings(path, kind="index"))


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ({"permission_osm": None}, "osm_permission: neither the entry nor the configuration states permission"),
        ({"attribution": None}, "attribution: neither"),
        ({"license_url": None}, "licence: neither"),
    ],
)
def test_what_an_entry_lacks_must_be_stated(opened, indexed, settings, tmp_path, lacks, said):
    source = indexed(entry("https://example.org/{zoom}/{x}/{y}", **lacks))
    with pytest.raises(ImageryForbidden, match=said):
        opened(source)
    stated = {"licence": "CC0-1.0", "attribution": "Us", "osm_permission": "they told us"}
    assert opened(source.model_copy(update=stated)).settings[0].licence == "CC0-1.0"


def test_wms_entries_become_wms(web, opened, indexed):
    web.put("/wms", encode(paint(256)))
    url = web.url("/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=a&STYLES=&CRS={proj}&WIDTH={width}"
                  "&HEIGHT={height}&BBOX={bbox}&FORMAT=image/png")
    source = indexed(entry(url, type="wms", available_projections=["EPSG:2180", "EPSG:4326"]))
    opened(source).chip(Block(Z, X, Y, 1), 0)
    south, west = web.requests[0][0].split("BBOX=")[1].split("&")[0].split(",")[:2]
    wanted = Block(Z, X, Y, 1).lonlat()
    assert (float(west), float(south)) == pytest.approx(wanted[:2], abs=0.0001)
    assert "CRS=EPSG:4326" in web.requests[0][0]


def test_a_service_is_asked_for_the_layers_that_its_entry_names(web, opened, indexed):
    web.put("/wms", encode(paint(256)))
    layers = [{"layer": {"name": name, "title": name.upper()}, "style": ""} for name in ("a", "b")]
    fixed = {"version": "1.1.1", "crs": "EPSG:3857", "format": "image/png"}
    source = indexed(entry(web.url("/wms?"), type="wms_endpoint", category="photo", default_layers=layers), **fixed)
    assert opened(source).chip(Block(Z, X, Y, 1), 0).valid.any()
    assert "LAYERS=a,b&" in web.requests[0][0]
    opened(source.model_copy(update={"layer": "c", "name": "other"})).chip(Block(Z, X, Y, 1), 0)
    assert "LAYERS=c&" in web.requests[1][0]


def test_quadkeys_and_headers_of_no_imagery_come_along(web, opened, indexed):
    source = indexed(entry(web.url("/a{q}.jpeg"), type="bing", no_tile_header={"X-VE-Tile-Info": ["no-tile"]}))
    (resolved,) = opened(source).settings
    assert (resolved.kind, resolved.no_tile_header) == ("xyz", "X-VE-Tile-Info: no-tile")


@pytest.mark.parametrize(
    ("properties", "wanted", "said"),
    [
        ({}, "absent", r"has 0 entries 'absent'; there are: paint-2021"),
        ({"type": "scanex"}, "", "of type 'scanex'"),
        ({"type": "bing", "url": "https://www.bing.com/maps"}, "", "a metadata service only"),
        ({"overlay": True}, "", "an overlay"),
        ({"category": "osmbasedmap"}, "", "of category 'osmbasedmap', no imagery"),
        ({"category": "historicmap"}, "", "of category 'historicmap', no imagery"),
        ({"url": 5}, "", "of type 'tms'"),
    ],
)
def test_entries_that_cannot_be_used_are_named(opened, indexed, properties, wanted, said):
    with pytest.raises(ImageInvalid, match=said):
        opened(indexed(entry("https://example.org/{zoom}/{x}/{y}", **properties), entry=wanted))


@pytest.mark.parametrize(
    ("content", "said"),
    [("{}", "no imagery index"), ("[]", "no imagery index"), ("<x/>", "not JSON"), (None, "no such file")],
)
def test_what_is_no_index_is_named(opened, settings, tmp_path, content, said):
    path = tmp_path / "i.geojson"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ImageInvalid, match=said):
        opened(settings(path, kind="index"))


def test_a_large_index_is_refused(opened, indexed):
    with pytest.raises(ImageInvalid, match=r"more than client\.max_document = 100 bytes"):
        opened(indexed(entry("https://example.org/{zoom}/{x}/{y}")), client={"max_document": 100})
