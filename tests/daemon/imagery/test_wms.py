"""A WMS gives the picture whatever version it speaks and in whatever coordinate system; what it says wrong is named."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from ground import ORIGIN, encode, paint
from http_server import Answer

from daemon.errors import ConfigError, ImageryForbidden, ImageryUnavailable
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN
BLOCK = Block(Z, X // 2 + 1, Y // 2 + 1, 2)  # tiles 2 and 3 of the picture's 8
AREA = {"bbox": list(Block(Z, X + 1, Y + 1, 1).lonlat())}
CAPABILITIES = """<?xml version="1.0"?>
<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms">
 <Capability><Request><GetMap><Format>image/png</Format></GetMap></Request>
  <Layer><CRS>EPSG:4326</CRS><Layer><Name>paint</Name></Layer></Layer></Capability>
</WMS_Capabilities>"""


def off(chip, picture) -> tuple[float, float]:
    """Pixels by which a chip of BLOCK is shifted against the picture, and mean difference of grey levels."""
    wanted = picture[512:1024, 512:1024]
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (chip.pixels, wanted)]
    (dx, dy), _ = cv2.phaseCorrelate(*grey, cv2.createHanningWindow((512, 512), cv2.CV_32F))
    return float(np.hypot(dx, dy)), float(np.abs(chip.pixels.astype(int) - wanted).mean())


@pytest.mark.parametrize("version", ["", "1.1.1", "1.3.0"])
def test_mercator_gives_the_very_pixels(opened, settings, map_server, picture, version):
    source = settings(f"{map_server}/service?", kind="wms", layer="paint", version=version)
    imagery = opened(source, area=AREA)
    assert imagery.check() == []
    chip = imagery.chip(BLOCK, 0)
    assert chip.valid.all() and (chip.pixels == picture[512:1024, 512:1024]).all()


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32645"])
def test_other_systems_are_warped_and_their_axes_written_as_the_version_wants(
    opened, settings, map_server, picture, version, crs
):
    source = settings(f"{map_server}/service", kind="wms", layer="paint", version=version, crs=crs)
    chip = opened(source).chip(BLOCK, 0)
    shift, difference = off(chip, picture)
    assert chip.valid.all() and shift < 0.5 and difference < 6


def test_a_request_of_an_editors_index_is_filled_in(opened, settings, map_server, picture):
    request = (f"{map_server}/service?SERVICE=WMS&REQUEST=GetMap&LAYERS=paint&STYLES=&FORMAT=image/png&"
               "TRANSPARENT=TRUE&VERSION={}&{}={{proj}}&WIDTH={{width}}&HEIGHT={{height}}&BBOX={{bbox}}")
    for url, crs in ((request.format("1.1.1", "SRS"), ""), (request.format("1.3.0", "CRS"), "EPSG:4326")):
        shift, difference = off(opened(settings(url, kind="wms", crs=crs)).chip(BLOCK, 0), picture)
        assert shift < 0.5 and difference < 6


def test_where_the_server_has_nothing_the_mask_says_so(opened, settings, map_server):
    imagery = opened(settings(f"{map_server}/service", kind="wms", layer="paint"))
    assert not imagery.chip(Block(Z, X // 4 - 2, Y // 4, 4), 0).valid.any()


def test_what_is_asked_holds_what_was_configured(web, opened, settings):
    web.put("/wms", encode(paint(512)))
    source = settings(
        web.url("/wms?map=/maps/a.map&service=WMS"), kind="wms", layer="one,two", style="plain", version="1.3.0",
        crs="EPSG:4326", format="image/jpeg", time="2023-06-01", tile_size=512,
    )
    opened(source).chip(Block(Z, X, Y, 1), 0)
    asked = {key: values[0] for key, values in parse_qs(urlsplit(web.requests[0][0]).query).items()}
    south, west, north, east = map(float, asked.pop("BBOX").split(","))
    wanted = Block(Z - 1, X // 2, Y // 2, 1).lonlat()
    rim = 2 / 512 * (wanted[2] - wanted[0])
    assert (west, south, east, north) == pytest.approx(
        (wanted[0] - rim, wanted[1] - rim, wanted[2] + rim, wanted[3] + rim), abs=rim / 5)
    assert asked == {
        "map": "/maps/a.map", "SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetMap", "LAYERS": "one,two",
        "STYLES": "plain", "CRS": "EPSG:4326", "WIDTH": "512", "HEIGHT": "512", "FORMAT": "image/jpeg",
        "TRANSPARENT": "TRUE", "TIME": "2023-06-01",
    }


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"layer": "nothing"}, "has no layer 'nothing'; set layer to one of: paint"),
        ({"crs": "EPSG:25832"}, "does not come in EPSG:25832; offered: "),
        ({"format": "image/gif"}, "does not offer format 'image/gif'; offered: image/png"),
    ],
)
def test_what_the_server_does_not_have_is_found_by_check(opened, settings, map_server, others, said):
    source = settings(f"{map_server}/service", kind="wms", **{"layer": "paint", **others})
    (line,) = opened(source, area=AREA).check()
    assert line.startswith("imagery[0] (paint): ") and said in line


@pytest.mark.parametrize(
    ("url", "others", "said"),
    [
        ("https://example.org/wms", {}, "layer is empty"),
        ("https://example.org/{z}", {"layer": "a"}, "no {bbox}"),
        ("https://example.org/wms?bbox={bbox}&x={what}", {}, "does not know {what}"),
        ("https://example.org/wms", {"layer": "a", "crs": "EPSG:99999"}, "'EPSG:99999' is not known"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_asked(opened, settings, url, others, said):
    with pytest.raises(ConfigError) as caught:
        opened(settings(url, kind="wms", **others))
    assert said in str(caught.value)


def test_an_error_that_comes_as_xml_with_200_is_no_lack_of_imagery(web, opened, settings):
    report = ('<ServiceExceptionReport version="1.3.0"><ServiceException code="LayerNotDefined">\n'
              "  Layer paint fell over" + " and over" * 100 + "</ServiceException></ServiceExceptionReport>")
    web.put("/wms", report.encode(), headers={"Content-Type": "text/xml"})
    fixed = {"kind": "wms", "layer": "paint", "version": "1.3.0", "crs": "EPSG:3857", "format": "image/png"}
    with pytest.raises(ImageryUnavailable) as caught:
        opened(settings(web.url("/wms"), **fixed)).chip(Block(Z, X, Y, 1), 0)
    assert "answers with an error: LayerNotDefined Layer paint fell over and over" in str(caught.value)
    assert str(caught.value).endswith(" ...") and len(str(caught.value)) < 500
    (line,) = opened(settings(web.url("/wms"), kind="wms", layer="paint"), area=AREA).check()
    assert "answers with an error: LayerNotDefined" in line


def test_capabilities_are_asked_for_once_and_kept(web, opened, settings):
    web.script("/wms", Answer(200, CAPABILITIES.encode()), Answer(200, encode(paint(256))))
    source = settings(web.url("/wms"), kind="wms", layer="paint")
    assert opened(source).chip(Block(Z, X, Y, 1), 0).valid.any()
    assert opened(source).chip(Block(Z, X + 1, Y, 1), 0).valid.any()
    assert [("GetCapabilities" in path) for path, _ in web.requests] == [True, False, False]
    assert "CRS=EPSG:4326" in web.requests[1][0]


def test_huge_capabilities_are_refused_by_their_size(web, opened, settings):
    huge = CAPABILITIES.replace("</Capability>", "<!--" + "x" * 3_000_000 + "--></Capability>").encode()
    for answer in (
        Answer(200, huge),
        Answer(200, b"<", headers={"Content-Length": str(50 * 1024**2)}),
        web.drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"<!-- " * 100_000, 0.0),
    ):
        web.script("/wms", answer)
        imagery = opened(
            settings(web.url("/wms"), kind="wms", layer="paint"), area=AREA, client={"max_document": 1_000_000})
        (line,) = imagery.check()
        assert "1000000" in line and "(client.max_document)" in line


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]><lolz>&lol2;</lolz>', "declares entities"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "declares entities"),
        ('<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]><a/>', "declares entities"),
        ("<a>" * 100_000, "more than 64 elements within each other"),
        ("<a><b></a>", "not XML that can be read"),
        ("<html><body>Sorry</body></html>", "not the capabilities of a WMS but a document 'html'"),
        ("", "it is empty"),
    ],
)
def test_hostile_and_broken_descriptions_are_refused_by_name(web, opened, settings, document, said):
    web.put("/wms", document.encode())
    (line,) = opened(settings(web.url("/wms"), kind="wms", layer="paint"), area=AREA).check()
    assert said in line and "root:" not in line
    asked = len(web.requests)
    web.put("/wms", CAPABILITIES.encode())
    opened(settings(web.url("/wms"), kind="wms", layer="paint"), area=AREA).check()
    assert len(web.requests) > asked, "what was of no use is not kept"


@pytest.mark.parametrize("status", [401, 403])
def test_an_expired_key_is_told_with_its_variable_and_never_with_its_value(
    web, opened, settings, monkeypatch, status, tmp_path
):
    monkeypatch.setenv("PAINT_KEY", "s3cret/key")
    web.put("/wms", b"who are you, s3cret/key?", status=status)
    source = settings(web.url("/wms?token={apikey}"), kind="wms", layer="paint", key_env="PAINT_KEY")
    (line,) = opened(source, area=AREA).check()
    assert f"HTTP {status}" in line and "key in environment variable PAINT_KEY" in line and "s3cret" not in line
    assert "token=s3cret%2Fkey" in web.requests[0][0]
    with pytest.raises(ImageryUnavailable) as caught:
        opened(source).chip(Block(Z, X, Y, 1), 0)
    assert "s3cret" not in str(caught.value)


def test_a_service_needs_a_contact(opened, settings):
    with pytest.raises(ImageryForbidden, match=r"client\.contact"):
        opened(settings("https://example.org/wms", kind="wms", layer="a"), client={"contact": ""})


def test_a_tile_is_asked_for_at_its_place(web, opened, settings):
    web.put("/wms", encode(paint(256)))
    fixed = {"kind": "wms", "layer": "p", "version": "1.1.1", "crs": "EPSG:3857", "format": "image/png"}
    opened(settings(web.url("/wms"), **fixed)).chip(Block(Z, X, Y, 1), 0)
    box = [float(v) for v in parse_qs(urlsplit(web.requests[0][0]).query)["BBOX"][0].split(",")]
    assert box == pytest.approx(Block(Z, *Tile(Z, X, Y)[1:], 1).mercator(), abs=0.001)
