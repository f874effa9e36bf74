"""Where tiles lie: every placeholder, keys from the environment, what may not stand in a URL."""

from __future__ import annotations

import logging

import pytest
from ground import ORIGIN, encode, paint

from daemon.errors import ConfigError, ImageryUnavailable
from daemon.imagery.address import UrlTemplate, quadkey
from daemon.imagery.kinds import kind_of
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("https://h/{z}/{x}/{y}.png", "https://h/3/5/1.png"),
        ("https://h/{zoom}/{x}/{-y}.png", "https://h/3/5/6.png"),
        ("https://h/{z}/{x}/{ty}.png", "https://h/3/5/6.png"),
        ("https://h/{z-1}/{x}/{y}", "https://h/2/5/1"),
        ("https://h/{zoom+1}/{x}/{y}", "https://h/4/5/1"),
        ("https://h/{19-z}/{x}/{y}", "https://h/16/5/1"),
        ("https://h/{quadkey}.jpeg", "https://h/103.jpeg"),
        ("https://h/{q}", "https://h/103"),
        ("https://{switch:k,l,m,n}.h/{u}", "https://m.h/103"),
        ("https://{s}.h/{z}/{x}/{y}", "https://a.h/3/5/1"),
        ("https://h/{time}/{z}/{x}/{y}", "https://h/2020-01%2F02/3/5/1"),
        ("https://h/{z}/{x}/{y}?key={apikey}", "https://h/3/5/1?key={apikey}"),
    ],
)
def test_every_placeholder_is_filled_in(text, filled):
    template = UrlTemplate(text, time="2020-01/02")
    assert template.problem is None and template.fill(Tile(3, 5, 1)) == filled


def test_rows_from_the_south():
    assert UrlTemplate("https://h/{z}/{x}/{y}", tms=True).fill(Tile(3, 5, 1)) == "https://h/3/5/6"


def test_quadkeys_are_those_of_their_inventor():
    assert quadkey(Tile(3, 3, 5)) == "213"  # the example of "Bing Maps Tile System"
    assert quadkey(Tile(0, 0, 0)) == "" and quadkey(Tile(1, 1, 1)) == "3"


def test_a_subdomain_belongs_to_its_tile_so_that_the_cache_finds_it_again():
    template = UrlTemplate("https://{s}.h/{z}/{x}/{y}", subdomains=("one", "two"))
    hosts = {template.fill(Tile(3, x, y)).split(".")[0] for x in range(4) for y in range(4)}
    assert hosts == {"https://one", "https://two"}
    assert template.fill(Tile(3, 1, 2)) == template.fill(Tile(3, 1, 2))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("https://h/{z}/{x}", "lacks {y}"),
        ("https://h/{z}/{x}/{y}/{what}", "does not know {what}"),
        ("https://h/{z}/{x}/{y}/{time}", "`time` is empty"),
    ],
)
def test_what_is_wrong_with_a_template(text, problem):
    assert problem in str(UrlTemplate(text).problem)


def test_a_key_goes_to_the_server_and_nowhere_else(web, opened, settings, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("PAINT_KEY", " s3cret+key/1 ")
    source = settings(web.url("/{apikey}/{z}/{x}/{y}.png"), key_env="PAINT_KEY")
    web.put(f"/s3cret%2Bkey%2F1/{Z}/{X}/{Y}.png", encode(paint(256)))
    web.put(f"/s3cret%2Bkey%2F1/{Z}/{X + 1}/{Y}.png", b"<html>Bad key s3cret+key/1</html>")
    web.put(f"/s3cret%2Bkey%2F1/{Z}/{X + 2}/{Y}.png", b"no", status=403)
    web.put(f"/s3cret%2Bkey%2F1/{Z}/{X + 3}/{Y}.png", b"", status=302,
            headers={"Location": "ftp://x/s3cret%2Bkey%2F1"})
    with caplog.at_level(logging.DEBUG):
        imagery = opened(source)
        assert imagery.chip(Block(Z, X, Y, 1), 0).valid.all()
        assert not imagery.chip(Block(Z, X + 1, Y, 1), 0).valid.any()
        for column in (2, 3):
            with pytest.raises(ImageryUnavailable) as caught:
                imagery.chip(Block(Z, X + column, Y, 1), 0)
            caplog.records.append(logging.makeLogRecord({"msg": str(caught.value)}))
            assert column == 3 or "key in environment variable PAINT_KEY is wrong, has expired" in str(caught.value)
    told = " ".join(record.getMessage() for record in caplog.records) + repr(imagery.__dict__)
    told += repr(vars(imagery._sources[0])) + repr(imagery._sources[0]._tiles._key)
    assert "s3cret" not in told
    web.requests.clear()
    monkeypatch.setenv("PAINT_KEY", "another")
    assert opened(source).chip(Block(Z, X, Y, 1), 0).valid.all() and not web.requests, "another key, the same cache"


def test_a_key_that_is_not_there_is_named(opened, settings, monkeypatch):
    monkeypatch.delenv("PAINT_KEY", raising=False)
    url = "https://example.org/{z}/{x}/{y}.png?key={apikey}"
    for others, said in (
        ({"key_env": "PAINT_KEY"}, "imagery[0].key_env (paint): environment variable PAINT_KEY is not set"),
        ({}, "imagery[0].key_env (paint): empty, but the url has {apikey}"),
    ):
        with pytest.raises(ConfigError) as caught:
            opened(settings(url, **others))
        assert said in str(caught.value)


def test_an_answer_may_say_that_it_is_no_imagery(web, opened, settings):
    web.put(f"/{Z}/{X}/{Y}.png", encode(paint(256)), headers={"X-VE-Tile-Info": "no-tile"})
    web.put(f"/{Z}/{X + 1}/{Y}.png", encode(paint(256)))
    imagery = opened(settings(web.url("/{z}/{x}/{y}.png"), no_tile_header="X-VE-Tile-Info: no-tile"))
    assert not imagery.chip(Block(Z, X, Y, 1), 0).valid.any()
    assert imagery.chip(Block(Z, X + 1, Y, 1), 0).valid.all()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://h/{z}/{x}/{y}.png", "xyz"),
        ("https://h/{quadkey}?key={apikey}", "xyz"),
        ("tiles", "xyz"),
        ("ortho.tif", "geotiff"),
        ("https://h/cog.TIFF?sig=1", "geotiff"),
        ("mosaic.vrt", "vrt"),
        ("town.mbtiles", "mbtiles"),
        ("https://h/ows?service=WMS&map=a", "wms"),
        ("https://h/geoserver/wms", "wms"),
        ("https://h/x?LAYERS=a&bbox={bbox}", "wms"),
        ("https://h/1.0.0/WMTSCapabilities.xml", "wmts"),
        ("https://h/ows?SERVICE=wmts", "wmts"),
        ("https://h/collection.json", "stac"),
        ("postgresql://me@db/gis", "postgis"),
    ],
)
def test_the_kind_that_a_url_most_likely_is(url, kind):
    assert kind_of(url) == kind


def test_an_index_is_told_from_a_stac_document(tmp_path):
    index, item = tmp_path / "imagery.geojson", tmp_path / "item.json"
    index.write_text('{"type": "Feature", "properties": {"id": "a", "url": "https://h/{z}"}}')
    item.write_text('{"type": "Feature", "stac_version": "1.0.0", "assets": {"a": {"url": ""}}}')
    assert (kind_of(str(index)), kind_of(str(item))) == ("index", "stac")
