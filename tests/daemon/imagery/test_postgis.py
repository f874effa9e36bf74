"""Raster tables of a real PostGIS, as raster2pgsql loads them; skipped where there is no PostGIS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date

import numpy as np
import psycopg2
import pytest
from gis_server import databases
from ground import ORIGIN
from psycopg2.extensions import parse_dsn
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject
from rasters import MERCATOR, PIXEL_M, bands

from daemon.errors import ConfigError, ImageryUnavailable
from daemon.tiling.grid import Block, Tile
from detectors.training.geoiter.raster_wkb import Band, Raster, write_raster

Z, X, Y = ORIGIN
INNER = Block(Z, X // 2 + 1, Y // 2 + 1, 2)
AREA = {"bbox": list(Block(Z, X + 1, Y + 1, 1).lonlat())}


@pytest.fixture(scope="module")
def databases_with_rasters(tmp_path_factory) -> Iterator[Callable[..., str]]:
    with databases(tmp_path_factory.mktemp("gis"), "postgis", "postgis_raster") as make:
        yield make


def parts_of(pixels: np.ndarray, transform, srid: int, nodata=None, side: int = 200) -> Iterator[bytes]:
    """Pixels [B, H, W] in squares that meet nowhere at the borders of tiles."""
    for row in range(0, pixels.shape[1], side):
        for column in range(0, pixels.shape[2], side):
            part = pixels[:, row : row + side, column : column + side]
            x, y = transform @ (column, row)
            yield write_raster(Raster(part.shape[1:], (x, y), (transform.a, transform.e), srid,
                                      tuple(Band(band, nodata) for band in part)))


def load(cursor, table: str, rasters, day: str | None = None) -> None:
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} (rid serial PRIMARY KEY, rast raster, taken date)")
    for raster in rasters:
        cursor.execute(f"INSERT INTO {table} (rast, taken) VALUES (ST_RastFromWKB(%s), %s)", (raster, day))
    cursor.execute(f"CREATE INDEX ON {table} USING gist (ST_ConvexHull(rast))")


@pytest.fixture(scope="module")
def gis(databases_with_rasters, picture) -> Iterator[str]:
    """The address of a database with the picture in several tables."""
    dsn = databases_with_rasters()
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        load(cursor, "ortho", parts_of(bands(picture), MERCATOR, 3857))
        load(cursor, "deep", parts_of(bands(picture)[:, :512, :512].astype(np.uint16) * 200, MERCATOR, 3857))
        # Two flights: an old one everywhere, a new one in the west, with a hole.
        load(cursor, "flights", parts_of(bands(picture)[:, :512, :512], MERCATOR, 3857), "2015-03-04")
        newer = bands(picture)[:, :512, :256].copy()
        newer[newer < 250] += 5
        newer[:, :50, :50] = 0
        load(cursor, "flights", parts_of(newer, MERCATOR, 3857, nodata=0), "2022-05-06")
        side = picture.shape[0]
        box = (MERCATOR.c, MERCATOR.f - side * PIXEL_M, MERCATOR.c + side * PIXEL_M, MERCATOR.f)
        transform, width, height = calculate_default_transform("EPSG:3857", "EPSG:32645", side, side, *box)
        warped = np.zeros((3, height, width), np.uint8)
        reproject(bands(picture), warped, src_transform=MERCATOR, src_crs="EPSG:3857", dst_transform=transform,
                  dst_crs="EPSG:32645")
        load(cursor, "utm", parts_of(warped, transform, 32645, nodata=0))
        # The north of the picture as it is, the rest in another system: raster2pgsql without -C lets both in.
        load(cursor, "mixed", parts_of(bands(picture)[:, :900], MERCATOR, 3857))
        load(cursor, "mixed", parts_of(warped, transform, 32645, nodata=0))
        half = picture.reshape(1024, 2, 1024, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
        coarse = from_origin(MERCATOR.c, MERCATOR.f, 2 * PIXEL_M, 2 * PIXEL_M)
        load(cursor, "o_2_ortho", parts_of(255 - bands(half), coarse, 3857))
        cursor.execute("SELECT AddOverviewConstraints('o_2_ortho', 'rast', 'ortho', 'rast', 2)")
        cursor.execute("CREATE TABLE empty (rast raster)")
        load(cursor, "nowhere", parts_of(bands(picture)[:, :256, :256], MERCATOR, 0))
        cursor.execute("CREATE ROLE reader LOGIN PASSWORD 's3cret'")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    connection.close()
    parts = parse_dsn(dsn)
    host = parts["host"].replace("/", "%2F")
    yield f"postgresql://{parts['user']}@/{parts['dbname']}?host={host}&port={parts.get('port', 5432)}"


def test_the_pixels_are_those_of_the_picture_without_seams(opened, settings, gis, picture):
    imagery = opened(settings(gis, kind="postgis", layer="ortho"), area=AREA)
    assert imagery.check() == []
    chip = imagery.chip(INNER, 64)
    assert chip.valid.all() and (chip.pixels == picture[448:1088, 448:1088]).all()
    assert imagery.coverage(Z) == {Tile(Z, X + i, Y + j) for i in range(8) for j in range(8)}
    assert not imagery.chip(Block(Z, X + 20, Y, 1), 0).valid.any()


def test_another_system_is_warped(opened, settings, gis, picture):
    chip = opened(settings(gis, kind="postgis", layer="public.utm")).chip(INNER, 0)
    assert chip.valid.all() and np.abs(chip.pixels.astype(int) - picture[512:1024, 512:1024]).mean() < 5


def test_rasters_of_several_systems_lie_each_in_its_own(opened, settings, gis, picture):
    imagery = opened(settings(gis, kind="postgis", layer="mixed"), area=AREA)
    assert imagery.check() == []
    chip = imagery.chip(INNER, 64)
    assert chip.valid.all()
    off = np.abs(chip.pixels.astype(int) - picture[448:1088, 448:1088]).mean(axis=(1, 2))
    assert off.max() < 6 and off[:440].max() < 1


def test_rasters_without_a_system_are_told_it(opened, settings, gis, picture):
    imagery = opened(settings(gis, kind="postgis", layer="nowhere", crs="EPSG:3857"), area=AREA)
    assert (imagery.chip(Block(Z, X, Y, 1), 0).pixels == picture[:256, :256]).all()
    assert imagery._sources[0].coverage(Z) == {Tile(Z, X, Y)}


def test_lower_zooms_come_from_the_overview(opened, settings, gis, picture):
    chip = opened(settings(gis, kind="postgis", layer="ortho")).chip(Block(Z - 1, X // 2 + 1, Y // 2 + 1, 1), 0)
    mean = picture[512:1024, 512:1024].reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(chip.pixels.astype(int) - (255 - mean)).mean() < 2, "the overview shows the negative"


def test_sixteen_bits_and_bands_in_any_order(opened, settings, gis, picture):
    source = settings(gis, kind="postgis", layer="deep", bands=[3, 1], depth=16)
    chip = opened(source).chip(Block(Z, X, Y, 1), 0)
    assert (chip.pixels == picture[:256, :256, [2, 0]].astype(np.uint16) * 200).all()
    (line,) = opened(settings(gis, kind="postgis", layer="deep", name="b"), area=AREA).check()
    assert "bands of uint16, but depth = 8" in line


def test_the_newest_is_on_top_and_each_raster_has_its_day(opened, settings, gis, picture):
    imagery = opened(settings(gis, kind="postgis", layer="flights", date_column="taken"))
    west = imagery.chip(Block(Z, X, Y, 1), 0)
    newer = picture[:256, :256].copy()
    newer[newer < 250] += 5
    assert (west.pixels[52:] == newer[52:]).all() and (west.pixels[:49, :49] == picture[:49, :49]).all()
    assert west.valid.all() and west.acquired == date(2015, 3, 4)
    assert imagery.chip(Block(Z, X, Y + 1, 1), 0).acquired == date(2022, 5, 6)
    assert imagery.chip(Block(Z, X + 1, Y, 1), 0).acquired == date(2015, 3, 4)


@pytest.mark.parametrize(
    ("layer", "others", "said"),
    [
        ("absent", {}, "layer is the table, column its raster column"),
        ("ortho", {"column": "picture"}, "column its raster column"),
        ("ortho", {"column": '"; DROP TABLE ortho; --'}, "column its raster column"),
        ("empty", {}, "holds no raster"),
        ("nowhere", {}, "do not say where they lie"),
        ("ortho", {"bands": [1, 2, 3, 4]}, "asks for the 4th"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(opened, settings, gis, layer, others, said):
    (line,) = opened(settings(gis, kind="postgis", layer=layer, **others), area=AREA).check()
    assert said in line and line.startswith("imagery[0] (paint): postgresql://")


def test_nothing_is_written_to_the_database(opened, settings, gis):
    imagery = opened(settings(gis, kind="postgis", layer="ortho"))
    imagery.chip(Block(Z, X, Y, 1), 0)
    with imagery._sources[0]._connection.cursor() as cursor, pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        cursor.execute("DELETE FROM ortho")


def test_a_lost_connection_is_made_anew(opened, settings, gis, picture):
    imagery = opened(settings(gis, kind="postgis", layer="ortho"))
    imagery.chip(Block(Z, X, Y, 1), 0)
    other = psycopg2.connect(re.sub("^postgresql", "postgres", gis))
    with other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                       "WHERE application_name = 'mapgap imagery'")
    other.close()
    assert (imagery.chip(INNER, 0).pixels == picture[512:1024, 512:1024]).all()


def test_a_password_comes_from_the_environment_and_is_not_told(opened, settings, monkeypatch):
    monkeypatch.setenv("GIS_PASSWORD", "s3cret")
    source = settings("postgresql://me@127.0.0.1:9/gis", kind="postgis", layer="ortho", key_env="GIS_PASSWORD")
    imagery = opened(source, area=AREA)
    with pytest.raises(ImageryUnavailable) as caught:
        imagery.chip(Block(Z, X, Y, 1), 0)
    (line,) = imagery.check()
    assert "127.0.0.1:9/gis public.ortho" in line and "s3cret" not in line + str(caught.value)


def test_wrong_settings_are_named(opened, settings):
    for url, layer, said in (("tables", "a", "expected postgresql://"), ("postgresql://db/gis", "", "layer is empty")):
        with pytest.raises(ConfigError, match=said):
            opened(settings(url, kind="postgis", layer=layer))
