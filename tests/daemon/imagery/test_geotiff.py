"""GeoTIFFs in any coordinate system give the same tiles as the picture they were made of."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
import rasterio
from ground import ORIGIN, SIDE
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject
from rasters import MERCATOR, bands, expected, write

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.geotiff import GeotiffSource
from daemon.imagery.raster_file import LocalPicture
from daemon.tiling.grid import Tile

Z, X, Y = ORIGIN
INNER = [(1, 1), (6, 2), (3, 5)]


def shift(a: np.ndarray, b: np.ndarray) -> float:
    """Pixels by which two pictures are shifted against each other."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (a, b)]
    (dx, dy), _ = cv2.phaseCorrelate(*grey, cv2.createHanningWindow((256, 256), cv2.CV_32F))
    return float(np.hypot(dx, dy))


@pytest.fixture
def source(settings):
    made = []

    def make(path, **others) -> GeotiffSource:
        made.append(GeotiffSource(settings(path, kind="geotiff", **others), LocalPicture(str(path))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_file_on_the_tile_grid_gives_its_own_pixels(source, picture, tmp_path):
    found = source(write(tmp_path / "a.tif", bands(picture), tiled=True, compress="deflate"))
    for x, y in [(0, 0), *INNER, (7, 7)]:
        image = found.tile(Tile(Z, X + x, Y + y))
        assert image.valid.all() and (image.pixels == expected(picture, x, y)).all()
    assert found.tile(Tile(Z, X + 8, Y)) is None
    assert found.tile(Tile(Z, X - 1, Y)) is None
    assert found.coverage(Z) == {Tile(Z, X + i, Y + j) for i in range(SIDE) for j in range(SIDE)}
    assert found.check() == []


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32645"])
def test_other_coordinate_systems_agree_with_the_tiles_within_a_pixel(source, picture, tmp_path, crs):
    side = picture.shape[0]
    box = rasterio.transform.array_bounds(side, side, MERCATOR)
    transform, width, height = calculate_default_transform("EPSG:3857", crs, side, side, *box)
    warped = np.zeros((3, height, width), np.uint8)
    reproject(
        bands(picture), warped, src_transform=MERCATOR, src_crs="EPSG:3857", dst_transform=transform, dst_crs=crs,
        resampling=Resampling.bilinear,
    )
    found = source(write(tmp_path / "a.tif", warped, transform, crs, nodata=0, tiled=True))
    for x, y in INNER:
        image = found.tile(Tile(Z, X + x, Y + y))
        assert image.valid.all()
        assert shift(image.pixels, expected(picture, x, y)) < 0.3
        assert np.abs(image.pixels.astype(int) - expected(picture, x, y)).mean() < 4
    assert found.coverage(Z) >= {Tile(Z, X + i, Y + j) for i in range(SIDE) for j in range(SIDE)}


def test_overviews_serve_lower_zooms(source, picture, tmp_path):
    lying = bands(picture).copy()
    path = write(tmp_path / "a.tif", lying, tiled=True, overviews=[2, 4])
    with rasterio.open(path, "r+", OVERVIEW_LEVEL=0) as overview:  # so that it shows where pixels come from
        overview.write(255 - overview.read())
    half = source(path).tile(Tile(Z - 1, X // 2 + 1, Y // 2 + 2))
    mean = picture[1024:1536, 512:1024].reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(half.pixels - (255 - mean)).mean() < 2
    assert (source(path).tile(Tile(Z, X, Y)).pixels == expected(picture, 0, 0)).all()


def test_without_overviews_lower_zooms_are_means(source, picture, tmp_path):
    found = source(write(tmp_path / "a.tif", bands(picture)))
    image = found.tile(Tile(Z - 1, X // 2 + 1, Y // 2 + 2))
    mean = picture[1024:1536, 512:1024].reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(image.pixels - mean).mean() < 3
    assert image.valid.all()
    assert len(found.coverage(Z - 1)) == 16


def test_pixels_are_enlarged_to_the_next_zoom_and_no_further(source, picture, tmp_path):
    found = source(write(tmp_path / "a.tif", bands(picture)))
    assert found.tile(Tile(Z + 1, 2 * X + 2, 2 * Y + 2)).valid.all()
    assert found.tile(Tile(Z + 2, 4 * X + 4, 4 * Y + 4)) is None
    assert found.coverage(Z + 2) == set()
    assert source(tmp_path / "a.tif", max_zoom=Z - 1).tile(Tile(Z, X, Y)) is None


def hole(picture: np.ndarray) -> np.ndarray:
    """Where imagery is missing: the two tiles in the north-west and a bit of the next, bool [H, W]."""
    missing = np.zeros(picture.shape[:2], bool)
    missing[:256, :600] = True
    return missing


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_missing_ground_is_not_valid(source, picture, tmp_path, kind):
    missing = hole(picture)
    ground = bands(np.where(missing[:, :, None], 0, picture).astype(np.uint8))
    present = np.where(missing, 0, 255).astype(np.uint8)
    path = tmp_path / "a.tif"
    if kind == "nodata":
        write(path, ground, nodata=0)
    elif kind == "alpha":
        colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        write(path, np.concatenate([ground, present[None]]), interp=colours)
    else:
        write(path, bands(picture), mask=present)
    found = source(path, mask_blank=False)
    assert found.tile(Tile(Z, X, Y)) is None
    third = found.tile(Tile(Z, X + 2, Y))
    assert not third.valid[:, :88].any() and third.valid[:, 88:].all()
    assert (third.pixels[:, 90:] == expected(picture, 2, 0)[:, 90:]).all()
    assert len(found.coverage(Z)) == SIDE * SIDE - 2
    assert Tile(Z, X + 1, Y) not in found.coverage(Z)


def test_a_configured_colour_and_blank_margins_are_not_valid(source, picture, tmp_path):
    path = write(tmp_path / "a.tif", bands(np.where(hole(picture)[:, :, None], 255, picture).astype(np.uint8)))
    assert source(path).tile(Tile(Z, X, Y)) is None
    assert source(path, mask_blank=False).tile(Tile(Z, X, Y)) is not None
    assert source(path, mask_blank=False, nodata=[255, 255, 255]).tile(Tile(Z, X, Y)) is None


def test_the_first_three_bands_are_shown_and_a_single_one_is_grey(source, picture, tmp_path):
    infrared = np.concatenate([bands(picture), np.full((1, *picture.shape[:2]), 9, np.uint8)])
    path = write(tmp_path / "four.tif", infrared, photometric="RGB", alpha="unspecified")
    four = source(path).tile(Tile(Z, X + 1, Y + 1))
    assert (four.pixels == expected(picture, 1, 1)).all() and four.valid.all()
    grey = source(write(tmp_path / "grey.tif", bands(picture)[1:2])).tile(Tile(Z, X + 1, Y + 1))
    assert (grey.pixels == expected(picture, 1, 1)[:, :, 1:2]).all()


def test_files_that_cannot_be_used_are_refused_with_a_reason(source, picture, tmp_path):
    small = bands(picture[:256, :256])
    write(tmp_path / "nowhere.tif", small, crs=None)
    write(tmp_path / "deep.tif", small.astype(np.uint16) * 256)
    (tmp_path / "page.tif").write_text("<html>")
    (tmp_path / "half.tif").write_bytes(write(tmp_path / "a.tif", small).read_bytes()[:60])
    cv2.imwrite(str(tmp_path / "photo.jpg"), picture[:256, :256])
    (tmp_path / "photo.jpg").rename(tmp_path / "photo.tif")
    for name, said in (
        ("nowhere.tif", "does not say where it lies"),
        ("deep.tif", "uint16"),
        ("page.tif", "not a GeoTIFF"),
        ("half.tif", "not a GeoTIFF"),
        ("photo.tif", "does not say where it lies"),
        ("none.tif", "no such file"),
    ):
        with pytest.raises(ImageInvalid, match=said) as caught:
            source(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_file_cut_off_in_its_pixels_is_a_named_error_where_they_lack(source, picture, tmp_path):
    path = write(tmp_path / "a.tif", bands(picture), tiled=True)
    path.write_bytes(path.read_bytes()[: 6 * 2**20])
    found = source(path)
    with pytest.raises(ImageInvalid, match=r"a\.tif"):
        for x in range(SIDE):
            for y in range(SIDE):
                found.tile(Tile(Z, X + x, Y + y))


def test_a_file_of_the_whole_world_has_its_edges(source, tmp_path):
    world = np.full((3, 512, 1024), 90, np.uint8)
    world[0] = np.linspace(10, 240, 1024).astype(np.uint8)
    found = source(write(tmp_path / "a.tif", world, from_origin(-180, 90, 360 / 1024, 180 / 512), "EPSG:4326"))
    assert found.coverage(1) == {Tile(1, x, y) for x in (0, 1) for y in (0, 1)}
    west, east = found.tile(Tile(1, 0, 0)), found.tile(Tile(1, 1, 1))
    assert west.valid.mean() > 0.98 and east.valid.mean() > 0.98
    assert west.pixels[128, 4, 0] < 30 and east.pixels[128, 250, 0] > 220


def test_another_file_under_the_same_name_is_told_apart_and_covers_its_tiles_anew(source, picture, tmp_path):
    path = write(tmp_path / "a.tif", bands(picture))
    file = source(path)
    before = file.content(Z)
    assert file.content(Z) == before
    assert file.coverage(Z, since=before.newest) == set()
    assert file.coverage(Z, since=before.newest - 1) == file.coverage(Z) != set()
    os.utime(path, (1_600_000_000, 1_600_000_000))
    after = file.content(Z)
    assert after.digest != before.digest and after.newest >= before.newest, "a copy may keep an old time"
    path.unlink()
    with pytest.raises(ImageryUnavailable, match="is its disk mounted"):
        file.content(Z)
