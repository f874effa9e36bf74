"""A WMTS gives the picture by REST and by key-value pairs, a TMS as well; what they say wrong is named."""

from __future__ import annotations

import pytest
from ground import ORIGIN, encode, paint
from http_server import Web

from daemon.errors import ConfigError, ImageryUnavailable
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN
BLOCK = Block(Z, X // 2 + 1, Y // 2 + 1, 2)
AREA = {"bbox": list(Block(Z, X + 1, Y + 1, 1).lonlat())}
DENOMINATOR = 559082264.0287178


def capabilities(*, tile: int = 256, left: float = -20037508.342789244, system: str = "EPSG::3857",
                 limits: str = "", resource: str = "", get: str = "", style: str = "default", levels=(17, 18),
                 digits: int = 12) -> bytes:
    """Capabilities of one layer, `paint`, in one matrix set, `grid`, whose matrices are called L17, L18, ..."""
    matrices = "".join(
        f"<TileMatrix><ows:Identifier>L{z}</ows:Identifier>"
        f"<ScaleDenominator>{DENOMINATOR / 2**z * 256 / tile:.{digits}f}</ScaleDenominator>"
        f"<TopLeftCorner>{left} 20037508.342789244</TopLeftCorner><TileWidth>{tile}</TileWidth>"
        f"<TileHeight>{tile}</TileHeight><MatrixWidth>{2**z}</MatrixWidth><MatrixHeight>{2**z}</MatrixHeight>"
        "</TileMatrix>" for z in levels)
    return f"""<Capabilities xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1"
 xmlns:xlink="http://www.w3.org/1999/xlink">
 <ows:OperationsMetadata><ows:Operation name="GetTile"><ows:DCP><ows:HTTP>{get}</ows:HTTP></ows:DCP></ows:Operation>
 </ows:OperationsMetadata>
 <Contents><Layer><ows:Identifier>paint</ows:Identifier><Style><ows:Identifier>{style}</ows:Identifier></Style>
 <Format>image/png</Format><Dimension><ows:Identifier>Time</ows:Identifier><Default>2020</Default></Dimension>
 <TileMatrixSetLink><TileMatrixSet>grid</TileMatrixSet>{limits}</TileMatrixSetLink>{resource}</Layer>
 <TileMatrixSet><ows:Identifier>grid</ows:Identifier><ows:SupportedCRS>urn:ogc:def:crs:{system}</ows:SupportedCRS>
 {matrices}</TileMatrixSet></Contents></Capabilities>""".encode()


def kvp(address: str) -> str:
    return f'<ows:Get xlink:href="{address}"/>'


def rest(template: str) -> str:
    return f'<ResourceURL format="image/png" resourceType="tile" template="{template}"/>'


@pytest.mark.parametrize("path", ["/wmts/1.0.0/WMTSCapabilities.xml", "/service"])
def test_both_ways_of_asking_give_the_very_pixels(opened, settings, map_server, picture, path):
    imagery = opened(settings(map_server + path, kind="wmts", layer="paint"), area=AREA)
    assert imagery.check() == []
    chip = imagery.chip(BLOCK, 0)
    assert chip.valid.all() and (chip.pixels == picture[512:1024, 512:1024]).all()


def test_a_tms_counts_rows_from_the_south(opened, settings, map_server, picture):
    url = map_server + "/tms/1.0.0/paint/mercator/{z-1}/{x}/{y}.png"  # its first level is the one of four tiles
    chip = opened(settings(url, kind="tms")).chip(BLOCK, 0)
    assert chip.valid.all() and (chip.pixels == picture[512:1024, 512:1024]).all()
    upside_down = opened(settings(url.replace("{y}", "{-y}"), name="other")).chip(BLOCK, 0)
    assert (upside_down.pixels == chip.pixels).all()


def test_limits_are_kept_to(web, opened, settings):
    limits = ("<TileMatrixSetLimits><TileMatrixLimits><TileMatrix>L18</TileMatrix>"
              f"<MinTileRow>{Y}</MinTileRow><MaxTileRow>{Y}</MaxTileRow>"
              f"<MinTileCol>{X}</MinTileCol><MaxTileCol>{X}</MaxTileCol></TileMatrixLimits></TileMatrixSetLimits>")
    web.put("/c.xml", capabilities(limits=limits, get=kvp(web.url("/kvp?"))))
    web.put("/kvp", encode(paint(256)))
    chip = opened(settings(web.url("/c.xml"), kind="wmts", layer="paint")).chip(Block(Z, X // 2, Y // 2, 2), 0)
    assert chip.valid[:256, :256].all() and not chip.valid[256:].any() and not chip.valid[:, 256:].any()
    assert len(web.requests) == 2
    for part in (f"TILEMATRIX=L18&TILEROW={Y}&TILECOL={X}", "TILEMATRIXSET=grid", "STYLE=default", "Time=2020"):
        assert part in web.requests[1][0]


def test_a_rounded_scale_is_that_of_the_grid(web, opened, settings):
    web.put("/c.xml", capabilities(get=kvp(web.url("/kvp?")), digits=2))
    web.put("/kvp", encode(paint(256)))
    assert opened(settings(web.url("/c.xml"), kind="wmts", layer="paint")).chip(Block(Z, X, Y, 1), 0).valid.all()
    assert f"TILEMATRIX=L18&TILEROW={Y}&TILECOL={X}" in web.requests[-1][0]


def test_beyond_what_a_service_has_is_no_imagery_and_other_refusals_are_told(web, opened, settings):
    report = ('<ExceptionReport xmlns="http://www.opengis.net/ows/1.1"><Exception exceptionCode="{}" locator="TILEROW">'
              "<ExceptionText>Row is out of range</ExceptionText></Exception></ExceptionReport>")
    web.put("/c.xml", capabilities(get=kvp(web.url("/kvp?"))))
    source = settings(web.url("/c.xml"), kind="wmts", layer="paint")
    for status, column in ((400, 0), (200, 1)):
        web.put("/kvp", report.format("TileOutOfRange").encode(), status=status)
        assert not opened(source).chip(Block(Z, X + column, Y, 1), 0).valid.any()
    web.put("/kvp", report.format("InvalidParameterValue").encode(), status=400)
    with pytest.raises(ImageryUnavailable, match="HTTP 400"):
        opened(source).chip(Block(Z, X + 2, Y, 1), 0)


def test_rest_addresses_are_filled_in_and_keep_the_key(web, opened, settings, monkeypatch):
    monkeypatch.setenv("PAINT_KEY", "s3cret")
    template = web.url("/rest/{layer}/{Style}/{Time}/{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}.png")
    web.put("/c.xml", capabilities(resource=rest(template), style="night view"))
    web.put(f"/rest/paint/night%20view/2022/grid/L18/{Y}/{X}.png", encode(paint(256)))
    source = settings(web.url("/c.xml?key={apikey}"), kind="wmts", layer="paint", key_env="PAINT_KEY", time="2022")
    imagery = opened(source)
    assert imagery.chip(Block(Z, X, Y, 1), 0).valid.all()
    assert web.requests[1][0].endswith("?key=s3cret")
    with pytest.raises(ImageryUnavailable) as caught:
        web.put(f"/rest/paint/night%20view/2022/grid/L18/{Y}/{X + 1}.png", b"key s3cret is no good", status=403)
        imagery.chip(Block(Z, X + 1, Y, 1), 0)
    assert "PAINT_KEY" in str(caught.value) and "s3cret" not in str(caught.value)


def test_a_key_that_the_capabilities_repeat_is_not_kept_nor_told(web, opened, settings, monkeypatch, tmp_path):
    monkeypatch.setenv("PAINT_KEY", "s3cret")
    template = web.url("/rest/s3cret/{TileMatrix}/{TileRow}/{TileCol}.png")
    web.put("/c.xml", capabilities(resource=rest(template)))
    web.put(f"/rest/s3cret/L18/{Y}/{X}.png", b"no picture", status=200)
    imagery = opened(settings(web.url("/c.xml"), kind="wmts", layer="paint", key_env="PAINT_KEY"))
    assert not imagery.chip(Block(Z, X, Y, 1), 0).valid.any()
    assert web.requests[-1][0] == f"/rest/s3cret/L18/{Y}/{X}.png"
    address = imagery._sources[0]._tiles.address.fill(Tile(Z, X, Y))
    assert "s3cret" not in address and "{apikey}" in address


def test_tiles_of_512_pixels_are_of_the_zoom_below(web, opened, settings):
    web.put("/c.xml", capabilities(tile=512, get=kvp(web.url("/kvp?"))))
    large = paint(512)
    web.put("/kvp", encode(large))
    imagery = opened(settings(web.url("/c.xml"), kind="wmts", layer="paint", tile_size=512))
    assert (imagery.chip(Block(Z, X, Y, 1), 0).pixels == large[:256, :256]).all()
    assert f"TILEMATRIX=L17&TILEROW={Y // 2}&TILECOL={X // 2}" in web.requests[-1][0]


@pytest.mark.parametrize(
    ("changes", "others", "said"),
    [
        ({}, {"layer": "other"}, "has no layer 'other'; set layer to one of: paint"),
        ({}, {"matrix_set": "mine"}, "no TileMatrixSet mine on the web-mercator grid"),
        ({"system": "EPSG::2056"}, {}, "it has: grid (urn:ogc:def:crs:EPSG::2056)"),
        ({"left": -20037600.0}, {}, "no TileMatrixSet on the web-mercator grid"),
        ({"tile": 512}, {}, "its tiles have 512 px: set tile_size"),
        ({}, {"style": "night"}, "has no style 'night'; it has: default"),
        ({}, {"format": "image/jpeg"}, "does not offer format 'image/jpeg'"),
        ({"resource": rest("http://127.0.0.1:9/{Elevation}/{TileMatrix}")}, {}, "want elevation"),
        ({"resource": rest("file:///etc/{TileMatrix}")}, {}, "which is no http:// or https:// URL"),
        ({"resource": rest("http://127.0.0.1:9/{apikey}/{TileMatrix}")}, {}, "asks for {apikey}"),
        ({"levels": ("x",)}, {}, ""),
    ],
)
def test_what_cannot_be_used_is_found_by_check(web, opened, settings, changes, others, said):
    if changes.get("levels"):
        document = capabilities().replace(b"<TileWidth>256", b"<TileWidth>wide")
        said = "a number that is none"
    else:
        document = capabilities(get=kvp(web.url("/kvp?")), **changes)
    web.put("/c.xml", document)
    source = settings(web.url("/c.xml"), kind="wmts", **{"layer": "paint", **others})
    (line,) = opened(source, area=AREA).check()
    assert line.startswith("imagery[0] (paint): ") and said in line


def test_a_layer_must_be_named(opened, settings):
    with pytest.raises(ConfigError, match="layer is empty"):
        opened(settings("https://example.org/wmts", kind="wmts"))


def test_capabilities_of_the_open_internet_do_not_lead_into_a_private_network(web, opened, settings, monkeypatch):
    other = Web()
    try:
        web.put("/c.xml", capabilities(get=kvp(other.url("/kvp?"))))
        other.put("/kvp", encode(paint(256)))
        imagery = opened(settings(web.url("/c.xml"), kind="wmts", layer="paint"))
        asked = []
        monkeypatch.setattr(imagery._fetcher, "_private", lambda address: bool(asked) or asked.append(address))
        with pytest.raises(ImageryUnavailable, match="leads to a private address; refused"):
            imagery.chip(Block(Z, X, Y, 1), 0)
        assert other.requests == []
    finally:
        other.close()
