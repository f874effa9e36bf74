"""A COG of a server is read in parts, with manners and through the cache; servers that cannot are named."""

from __future__ import annotations

import numpy as np
import pytest
from ground import ORIGIN
from http_server import Answer
from rasters import bands, expected, write

from daemon.errors import ImageryForbidden, ImageryUnavailable
from daemon.imagery.remote import BLOCK
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN
BLOCK_OF_ONE = Block(Z, X + 3, Y + 3, 1)
AREA = {"bbox": list(Block(Z, X + 1, Y + 1, 1).lonlat())}


@pytest.fixture(scope="module")
def cog(picture, tmp_path_factory) -> bytes:
    """The picture as a tiled GeoTIFF with overviews: some 17 MB."""
    path = tmp_path_factory.mktemp("cog") / "cog.tif"
    return write(path, bands(picture), tiled=True, blockxsize=256, blockysize=256, overviews=[2, 4]).read_bytes()


def asked_bytes(web) -> int:
    ranges = [headers["Range"].removeprefix("bytes=").split("-") for _, headers in web.requests]
    return sum(int(last) + 1 - int(first) for first, last in ranges)


def test_only_what_is_needed_is_asked_for_and_kept(web, opened, settings, picture, cog):
    web.script("/cog.tif", web.parts(cog, {"ETag": '"one"'}))
    source = settings(web.url("/cog.tif"), kind="geotiff")
    imagery = opened(source)
    assert web.requests == [], "opened when it is needed"
    chip = imagery.chip(BLOCK_OF_ONE, 0)
    assert chip.valid.all() and (chip.pixels == expected(picture, 3, 3)).all()
    assert 0 < asked_bytes(web) < len(cog) / 5
    assert all(headers["User-Agent"].startswith("mapgap/") for _, headers in web.requests)
    asked = len(web.requests)
    again = opened(source).chip(BLOCK_OF_ONE, 0)
    assert (again.pixels == chip.pixels).all()
    assert len(web.requests) == asked + 1, "one question whether it is the same file still"


def test_several_threads_read_one_file(web, opened, settings, picture, cog):
    web.script("/cog.tif", web.parts(cog))
    chip = opened(settings(web.url("/cog.tif"), kind="geotiff")).chip(Block(Z, X // 4, Y // 4, 4), 0)
    assert (chip.pixels == picture[:1024, :1024]).all()


def test_lower_zooms_come_from_overviews(web, opened, settings, picture, cog):
    web.script("/cog.tif", web.parts(cog))
    chip = opened(settings(web.url("/cog.tif"), kind="geotiff")).chip(Block(Z - 2, X // 8, Y // 8, 2), 0)
    mean = picture.reshape(512, 4, 512, 4, 3).mean(axis=(1, 3))
    assert np.abs(chip.pixels - mean).mean() < 2 and asked_bytes(web) < len(cog) / 4


def test_check_reads_a_tile(web, opened, settings, cog):
    web.script("/cog.tif", web.parts(cog))
    assert opened(settings(web.url("/cog.tif"), kind="geotiff"), area=AREA).check() == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda web, cog: Answer(200, cog), "no range requests); download it and name the copy"),
        (lambda web, cog: Answer(404), "HTTP 404"),
        (lambda web, cog: Answer(206, cog[:BLOCK], {"Content-Range": f"bytes 9-{BLOCK + 8}/{len(cog)}"}),
         "the server sent another one"),
        (lambda web, cog: Answer(206, cog[:BLOCK]), "the server sent another one"),
        (lambda web, cog: web.parts(b"<html>" + bytes(1000)), "not a GeoTIFF that can be read"),
        (lambda web, cog: web.parts(cog[:3000]), "not a GeoTIFF that can be read"),
        (lambda web, cog: Answer(403), "HTTP 403"),
    ],
)
def test_what_a_server_does_wrong_is_named(web, opened, settings, cog, answer, said):
    web.script("/cog.tif", answer(web, cog))
    (line,) = opened(settings(web.url("/cog.tif"), kind="geotiff"), area=AREA).check()
    assert said in line and line.startswith("imagery[0] (paint)")


def test_a_small_file_that_comes_whole_will_do(web, opened, settings, picture, tmp_path):
    small = write(tmp_path / "s.tif", bands(picture)[:, :256, :256], compress="deflate", predictor=2).read_bytes()
    small = small if len(small) < BLOCK else write(tmp_path / "t.tif", bands(picture)[:, :128, :128]).read_bytes()
    web.put("/s.tif", small)
    chip = opened(settings(web.url("/s.tif"), kind="geotiff")).chip(Block(Z, X, Y, 1), 0)
    assert (chip.pixels[:128, :128] == picture[:128, :128]).all()


def test_a_server_that_fails_on_the_way_is_unavailable_and_recovers(web, opened, settings, picture, cog):
    web.script("/cog.tif", web.parts(cog), web.parts(cog), Answer(503))
    imagery = opened(settings(web.url("/cog.tif"), kind="geotiff"))
    with pytest.raises(ImageryUnavailable, match="HTTP 503"):
        imagery.chip(Block(Z, X // 8, Y // 8, 8), 0)
    web.script("/cog.tif", web.parts(cog))
    assert (imagery.chip(BLOCK_OF_ONE, 0).pixels == expected(picture, 3, 3)).all()


def test_a_file_that_becomes_another_is_not_mixed_up(web, opened, settings, picture, cog, tmp_path):
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "overviews": [2, 4]}
    other = write(tmp_path / "o.tif", bands(255 - picture), **tiled)
    web.script("/cog.tif", web.parts(cog, {"ETag": '"one"'}))
    imagery = opened(settings(web.url("/cog.tif"), kind="geotiff"))
    imagery.chip(BLOCK_OF_ONE, 0)
    before = imagery.content_of("paint", Z)
    web.script("/cog.tif", web.parts(other.read_bytes(), {"ETag": '"two"'}))
    with pytest.raises(ImageryUnavailable, match="became another while it was read"):
        imagery.chip(Block(Z, X + 6, Y + 6, 1), 0)
    fresh = imagery.chip(Block(Z, X + 6, Y + 6, 1), 0)
    assert (fresh.pixels == 255 - expected(picture, 6, 6)).all()
    assert imagery.content_of("paint", Z) != before


def test_a_key_is_sent_and_not_told(web, opened, settings, cog, monkeypatch):
    monkeypatch.setenv("PAINT_KEY", "s3cret")
    web.script("/cog.tif", web.parts(cog), Answer(401))
    imagery = opened(settings(web.url("/cog.tif?sig={apikey}"), kind="geotiff", key_env="PAINT_KEY"))
    with pytest.raises(ImageryUnavailable) as caught:
        imagery.chip(BLOCK_OF_ONE, 0)
    assert web.requests[0][0] == "/cog.tif?sig=s3cret"
    assert "PAINT_KEY" in str(caught.value) and "s3cret" not in str(caught.value)


def test_without_a_contact_it_is_not_asked(opened, settings):
    with pytest.raises(ImageryForbidden, match=r"client\.contact"):
        opened(settings("https://example.org/cog.tif", kind="geotiff"), client={"contact": ""})


def test_where_it_lies_is_known_before_a_tile_is_asked_for(web, opened, settings, cog):
    web.script("/cog.tif", web.parts(cog))
    imagery = opened(settings(web.url("/cog.tif"), kind="geotiff"))
    source = imagery._sources[0]
    assert source.here(Tile(Z, X, Y)) is not None and source.here(Tile(Z, X + 100, Y)) is None
