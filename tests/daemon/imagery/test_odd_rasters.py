"""Rasters as they come: every one gives the right pixels, or says what to do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from ground import ORIGIN
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasters import MERCATOR, PIXEL_M, bands, expected, place, write

from daemon.errors import ImageInvalid
from daemon.imagery.geotiff import GeotiffSource
from daemon.imagery.raster_file import LocalPicture
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN


@pytest.fixture
def source(settings):
    made = []

    def make(path, **others) -> GeotiffSource:
        made.append(GeotiffSource(settings(path, kind="geotiff", **others), LocalPicture(str(path))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_sixteen_bits_and_any_bands_come_as_they_are(opened, settings, picture, tmp_path):
    deep = np.concatenate([bands(picture).astype(np.uint16) * 250, bands(picture)[:2].astype(np.uint16) + 1000])
    path = write(tmp_path / "deep.tif", deep, tiled=True, overviews=[2])
    imagery = opened(settings(path, kind="geotiff", bands=[5, 4, 3, 2, 1], depth=16))
    chip = imagery.chip(Block(Z, X // 2 + 1, Y // 2 + 1, 2), 64)
    assert chip.pixels.dtype == np.uint16 and chip.pixels.shape == (640, 640, 5) and chip.valid.all()
    assert (chip.pixels[64:-64, 64:-64] == deep[::-1, 512:1024, 512:1024].transpose(1, 2, 0)).all()


def test_one_band_alone_and_margins_without_imagery(opened, settings, picture, tmp_path):
    path = write(tmp_path / "one.tif", bands(picture)[:1].astype(np.uint16) * 200)
    imagery = opened(settings(path, kind="geotiff", bands=[1], depth=16))
    chip = imagery.chip(Block(Z, X, Y, 1), 16)
    assert chip.pixels.shape == (288, 288, 1) and not chip.valid[:16].any() and chip.valid[16:, 16:].all()
    assert (chip.pixels[:16, 16:] == chip.pixels[16, 16:]).all(), "the edge goes on where nothing is"
    half = imagery.chip(Block(Z - 1, X // 2, Y // 2, 1), 0)
    assert half.pixels.shape == (256, 256, 1)


def test_values_are_stretched_to_what_the_model_takes(source, picture, tmp_path):
    reflectance = (bands(picture).astype(np.float32) / 255 * 0.5 + 0.1).astype(np.float32)
    reflectance[:, :256, :256] = np.nan
    path = write(tmp_path / "float.tif", reflectance, nodata=np.nan)
    found = source(path, stretch=[0.1, 0.6])
    assert (found.tile(Tile(Z, X + 1, Y + 1)).pixels == expected(picture, 1, 1)).all()
    assert found.tile(Tile(Z, X, Y)) is None
    deep = source(path, stretch=[0.1, 0.6], depth=16).tile(Tile(Z, X + 1, Y + 1)).pixels
    assert deep.dtype == np.uint16 and np.abs(deep / 257 - expected(picture, 1, 1)).max() < 0.1
    with pytest.raises(ImageInvalid, match="bands of float32, but depth = 8; set stretch"):
        source(path)


def test_floats_without_nodata_are_not_valid_beyond_the_file(source, picture, tmp_path):
    path = write(tmp_path / "float.tif", bands(picture[:300, :300]).astype(np.float32))
    valid = source(path, stretch=[0, 255]).tile(Tile(Z, X + 1, Y + 1)).valid
    assert valid[:40, :40].all() and not valid[46:].any() and not valid[:, 46:].any()


def test_not_a_number_is_no_imagery(source, picture, tmp_path):
    values = bands(picture[:256, :256]).astype(np.float32)
    values[1, 40:80, 40:80] = np.nan
    tile = source(write(tmp_path / "a.tif", values), stretch=[0, 255]).tile(Tile(Z, X, Y))
    assert not tile.valid[40:80, 40:80].any() and tile.valid[:38].all() and tile.valid[82:].all()
    assert (tile.pixels[tile.valid] == picture[:256, :256][tile.valid]).all()


def test_a_system_that_is_tied_to_no_place_does_not_count(source, picture, tmp_path):
    path = write(tmp_path / "a.tif", bands(picture[:256, :256]), crs='LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(ImageInvalid, match=r"a\.tif: does not say where it lies .* set crs"):
        source(path)
    assert (source(path, crs="EPSG:3857").tile(Tile(Z, X, Y)).pixels == picture[:256, :256]).all()


def test_ground_control_points_alone_are_named(source, picture, tmp_path):
    corners = [GroundControlPoint(row, column, *(MERCATOR @ (column, row))) for row in (0, 256) for column in (0, 256)]
    shape = {"driver": "GTiff", "count": 3, "height": 256, "width": 256, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", gcps=corners, crs="EPSG:3857", **shape) as file:
        file.write(bands(picture[:256, :256]))
    with pytest.raises(ImageInvalid, match="ground control points only"):
        source(tmp_path / "a.tif")


@pytest.mark.parametrize("driver", ["PNG", "JP2OpenJPEG"])
def test_other_pictures_say_where_they_lie_in_their_own_ways(source, picture, tmp_path, driver):
    path = tmp_path / ("a.png" if driver == "PNG" else "a.jp2")
    shape = {"count": 3, "height": 256, "width": 256, "dtype": "uint8"}
    options = {"worldfile": "YES"} if driver == "PNG" else {"quality": 100, "reversible": "YES"}
    with rasterio.open(path, "w", driver=driver, crs="EPSG:3857", transform=MERCATOR, **shape, **options) as file:
        file.write(bands(picture[:256, :256]))
    path.with_name("a.png.aux.xml").unlink(missing_ok=True)
    found = source(path, crs="EPSG:3857" if driver == "PNG" else "")  # beside a PNG lies a world file, and no system
    assert (found.tile(Tile(Z, X, Y)).pixels == picture[:256, :256]).all()


def test_scale_and_offset_are_applied_before_the_stretch(source, picture, tmp_path):
    raw = (bands(picture).astype(np.uint16) * 20 + 1000)
    path = write(tmp_path / "scaled.tif", raw, scales=(0.0001,) * 3, offsets=(-0.1,) * 3)
    image = source(path, stretch=[0.0, 0.51]).tile(Tile(Z, X + 2, Y + 3))
    assert np.abs(image.pixels.astype(int) - expected(picture, 2, 3)).max() <= 1
    with pytest.raises(ImageInvalid, match="values are to be scaled; set stretch"):
        source(path, depth=16)


def test_a_palette_gives_its_colours_and_its_holes(source, tmp_path):
    colours = {0: (0, 0, 0, 0), 1: (200, 30, 40, 255), 2: (10, 180, 60, 255), 7: (30, 60, 220, 255)}
    index = np.full((512, 512), 1, np.uint8)
    index[:256, 256:], index[256:, :256], index[256:, 256:] = 2, 7, 0
    found = source(write(tmp_path / "palette.tif", index[None], colormap=colours, nodata=0), mask_blank=False)
    for column, row, value in ((0, 0, 1), (1, 0, 2), (0, 1, 7)):
        image = found.tile(Tile(Z, X + column, Y + row))
        assert image.valid.all() and (image.pixels == colours[value][:3]).all()
    assert found.tile(Tile(Z, X + 1, Y + 1)) is None


def test_inks_become_colours(source, picture, tmp_path):
    small = picture[:256, :256].astype(int)
    black = 255 - small.max(axis=2, keepdims=True)
    inks = np.round((255 - black - small) * 255 / np.maximum(255 - black, 1))
    four = np.concatenate([inks, black], axis=2).astype(np.uint8).transpose(2, 0, 1)
    path = write(tmp_path / "cmyk.tif", np.ascontiguousarray(four), photometric="CMYK")
    assert b"\x06\x01\x03\0\x01\0\0\0\x05\0" in path.read_bytes(), "tag 262, of the colours, says CMYK"
    image = source(path).tile(Tile(Z, X, Y))
    assert image.valid.all() and np.abs(image.pixels.astype(int) - expected(picture, 0, 0)).max() <= 2


def test_alpha_of_sixteen_bits_is_a_mask(source, picture, tmp_path):
    deep = np.concatenate([bands(picture).astype(np.uint16) * 257, np.full((1, 2048, 2048), 65535, np.uint16)])
    deep[3, :, :300] = 0
    interp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    found = source(write(tmp_path / "alpha.tif", deep, interp=interp), depth=16)
    assert found.tile(Tile(Z, X, Y)) is None
    image = found.tile(Tile(Z, X + 1, Y))
    assert not image.valid[:, :44].any() and image.valid[:, 46:].all() and image.pixels.shape == (256, 256, 3)
    assert (image.pixels[:, 46:] == expected(picture, 1, 0)[:, 46:].astype(np.uint16) * 257).all()


def test_all_nodata_is_no_imagery(source, opened, settings, tmp_path):
    path = write(tmp_path / "empty.tif", np.full((3, 512, 512), 17, np.uint8), nodata=17)
    found = source(path)
    assert found.tile(Tile(Z, X, Y)) is None and found.coverage(Z) == set()
    imagery = opened(settings(path, kind="geotiff"))
    assert not imagery.chip(Block(Z, X, Y, 2), 0).valid.any()
    (line,) = imagery.check()
    assert "has nothing at tiling.zoom" in line


@pytest.mark.parametrize("angle", [12.0, -75.0, 180.0])
def test_a_rotated_raster_is_turned_back(source, picture, tmp_path, angle):
    middle = 1024.0
    turn = Affine.translation(middle, middle) @ Affine.rotation(angle) @ Affine.translation(-middle, -middle)
    # A pixel (c, r) of the file shows the picture at turn * (c, r).
    warped = cv2.warpAffine(
        picture, np.array([[turn.a, turn.b, turn.c + (turn.a + turn.b - 1) / 2],
                           [turn.d, turn.e, turn.f + (turn.d + turn.e - 1) / 2]]),
        (2048, 2048), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
    )
    found = source(write(tmp_path / "turned.tif", bands(warped), MERCATOR @ turn))
    assert found._raster.extent.resolution == pytest.approx(PIXEL_M, rel=0.001)
    for x, y in ((3, 3), (4, 3), (3, 4)):
        image = found.tile(Tile(Z, X + x, Y + y))
        assert image.valid.all()
        soft = cv2.GaussianBlur(expected(picture, x, y), (0, 0), 2).astype(int)
        assert np.abs(cv2.GaussianBlur(image.pixels, (0, 0), 2).astype(int) - soft).mean() < 2
    corner = found.tile(Tile(Z, X, Y))
    assert angle == 180.0 or corner is None or not corner.valid.all()


def test_a_raster_that_does_not_say_its_system_is_told_it(source, picture, tmp_path):
    path = write(tmp_path / "silent.tif", bands(picture), crs=None)
    with pytest.raises(ImageInvalid, match=r"does not say where it lies .*; set crs, or"):
        source(path)
    image = source(path, crs="EPSG:3857").tile(Tile(Z, X + 1, Y + 1))
    assert (image.pixels == expected(picture, 1, 1)).all()


def test_bands_that_are_not_there_are_named(source, picture, tmp_path):
    path = write(tmp_path / "a.tif", bands(picture[:256, :256]))
    with pytest.raises(ImageInvalid, match=r"has 3 bands, but bands = \[1, 2, 3, 4\] asks for the 4th"):
        source(path, bands=[1, 2, 3, 4])


def test_a_block_that_unpacks_to_too_much_is_refused(source, tmp_path):
    path = tmp_path / "bomb.tif"
    shape = {"driver": "GTiff", "count": 1, "height": 20_000, "width": 20_000, "dtype": "uint8", "compress": "deflate",
             "tiled": True, "blockxsize": 20_000, "blockysize": 20_000, "sparse_ok": True, "crs": "EPSG:3857",
             "transform": MERCATOR}
    with rasterio.open(path, "w", **shape):
        pass
    with pytest.raises(ImageInvalid, match="unpacks to 400000000 bytes"):
        source(path)


def test_blank_black_of_sixteen_bits_is_no_imagery(source, picture, tmp_path):
    deep = bands(picture[:512, :512]).astype(np.uint16) * 250
    deep[:, :, :100] = 0
    image = source(write(tmp_path / "a.tif", deep), depth=16).tile(Tile(Z, X, Y))
    assert not image.valid[:, :100].any() and image.valid[:, 100:].all()


# --- VRT


def vrt(path, *sources, extra="", size=512, attributes=""):
    """A VRT that puts parts of 256 px side by side."""
    west, north = MERCATOR.c, MERCATOR.f
    parts = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>{{band}}'
        f'</SourceBand><SrcRect xOff="0" yOff="0" xSize="256" ySize="256"/>'
        f'<DstRect xOff="{column * 256}" yOff="{row * 256}" xSize="256" ySize="256"/></SimpleSource>'
        for name, relative, column, row in sources)
    all_bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"{attributes}><ColorInterp>{colour}</ColorInterp>'
        f"{parts.format(band=band)}{extra}</VRTRasterBand>"
        for band, colour in ((1, "Red"), (2, "Green"), (3, "Blue")))
    transform = f"{west}, {PIXEL_M}, 0, {north}, 0, -{PIXEL_M}"
    path.write_text(f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>EPSG:3857</SRS>'
                    f"<GeoTransform>{transform}</GeoTransform>{all_bands}</VRTDataset>")
    return path


@pytest.fixture
def parts(picture, tmp_path):
    (tmp_path / "mosaic" / "parts").mkdir(parents=True)
    for column in (0, 1):
        part = bands(picture[:256, column * 256 : (column + 1) * 256])
        write(tmp_path / "mosaic" / "parts" / f"{column}.tif", part, place(column, 0))
    return tmp_path / "mosaic"


def test_a_mosaic_gives_the_pixels_of_its_parts(opened, settings, picture, parts):
    path = vrt(parts / "all.vrt", ("parts/0.tif", 1, 0, 0), (str(parts / "parts" / "1.tif"), 0, 1, 0))
    imagery = opened(settings(path, kind="vrt"))
    chip = imagery.chip(Block(Z, X // 2, Y // 2, 2), 0)
    assert chip.valid[:256].all() and (chip.pixels[:256] == picture[:256, :512]).all()
    before = imagery.content_of("paint", Z)
    write(parts / "parts" / "1.tif", bands(picture[256:512, :256]), place(1, 0))
    assert imagery.content_of("paint", Z) != before, "a part that is another makes it another"


def test_a_mosaic_of_mosaics(opened, settings, picture, parts):
    vrt(parts / "parts" / "inner.vrt", ("1.tif", 1, 1, 0), size=512)
    inner = ("parts/inner.vrt", 1, 1, 0)
    path = vrt(parts / "outer.vrt", ("parts/0.tif", 1, 0, 0))
    shifted = vrt(parts / "second.vrt", inner)
    text = shifted.read_text().replace('<SrcRect xOff="0"', '<SrcRect xOff="256"')
    shifted.write_text(text)
    imagery = opened(settings(path, kind="vrt"), settings(shifted, kind="vrt", name="second"))
    chip = imagery.chip(Block(Z, X // 2, Y // 2, 2), 0)
    assert (chip.pixels[:256] == picture[:256, :512]).all()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("../secret.tif", "only files at or below"),
        ("/etc/passwd", "only files at or below"),
        ("/vsicurl/http://127.0.0.1:9/a.tif", "only files at or below"),
        ("link.tif", "only files at or below"),
        ("&lt;VRTDataset/&gt;", "only files at or below"),
        ("http://127.0.0.1:9/a.tif", "no such file"),
        ("service.tif", "neither GeoTIFF, JPEG 2000, JPEG, PNG nor VRT"),
        ("absent.tif", "no such file"),
        ("all.vrt", "more than 4 VRTs within each other"),
    ],
)
def test_a_mosaic_names_only_pixels_of_its_own_directory(opened, settings, parts, named, said):
    write(parts.parent / "secret.tif", np.zeros((3, 256, 256), np.uint8))
    (parts / "link.tif").symlink_to(parts.parent / "secret.tif")
    (parts / "service.tif").write_text('<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>')
    path = vrt(parts / "all.vrt", (named, 1, 0, 0))
    with pytest.raises(Exception, match=said):
        opened(settings(path, kind="vrt"))


@pytest.mark.parametrize(
    ("extra", "attributes", "said"),
    [
        ("<PixelFunctionLanguage>Python</PixelFunctionLanguage>", "", "PixelFunctionLanguage"),
        ("", ' subClass="VRTDerivedRasterBand"', "VRTDerivedRasterBand"),
        ("", ' subClass="VRTRawRasterBand"', "VRTRawRasterBand"),
        ("<OpenOptions><OOI key='a'>b</OOI></OpenOptions>", "", "OpenOptions"),
    ],
)
def test_a_mosaic_that_does_more_is_refused(opened, settings, parts, extra, attributes, said):
    path = vrt(parts / "all.vrt", ("parts/0.tif", 1, 0, 0), extra=extra, attributes=attributes)
    with pytest.raises(Exception, match=f"has '{said}'; a VRT here puts rasters together"):
        opened(settings(path, kind="vrt"))


def test_a_mosaic_with_entities_is_refused(opened, settings, tmp_path):
    path = tmp_path / "a.vrt"
    path.write_text('<!DOCTYPE VRTDataset [<!ENTITY x SYSTEM "file:///etc/passwd">]><VRTDataset>&x;</VRTDataset>')
    with pytest.raises(Exception, match="declares entities"):
        opened(settings(path, kind="vrt"))
