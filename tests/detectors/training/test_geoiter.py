"""GeoIter on a real PostgreSQL with PostGIS rasters: what comes out is what lies in the tables, pixel by pixel."""

from __future__ import annotations

import gc
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg2
import pytest
import shapely
from gis_server import databases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import make_dsn, parse_dsn
from rasterio.features import rasterize
from rasterio.transform import from_origin

from detectors.datasets import UNKNOWN, Source, read_source
from detectors.errors import DatabaseLost, DatasetInvalid
from detectors.training.geoiter.grid import TileGrid
from detectors.training.geoiter.raster_wkb import Band, Raster, RasterInvalid, read_raster, write_raster

SRID, PIXEL, SIDE = 32645, 0.5, 400
WEST, NORTH = 400000.0, 3057000.0
EXTENT = (WEST, NORTH - SIDE * PIXEL, WEST + SIDE * PIXEL, NORTH)
PIECE = 100
IMAGE = "SELECT ST_Clip(ST_Union(rast), {tile}) FROM ortho WHERE ST_Intersects(rast, {tile})"
LABEL = """SELECT ST_Union(ST_AsRaster(geom, (SELECT rast FROM tile_rast), '8BUI', kind, 0), 'MAX')
FROM building WHERE ST_Intersects(geom, {tile})"""
#: The same without aggregates: rows are laid over each other in their order.
IMAGE_ROWS = "SELECT rast FROM ortho WHERE ST_Intersects(rast, {tile})"
LABEL_ROWS = """SELECT ST_AsRaster(geom, (SELECT rast FROM tile_rast), '8BUI', kind, 0)
FROM building WHERE ST_Intersects(geom, {tile}) ORDER BY kind"""


class Town:
    """A made-up town: what is in the database's tables, as arrays and polygons."""

    def __init__(self, make: Callable[..., str], dtype: str = "uint8", bands: int = 3):
        random = np.random.default_rng(4)
        self.dsn = make()
        self.pixels = random.integers(1, np.iinfo(dtype).max, (SIDE, SIDE, bands)).astype(dtype)
        corners = random.uniform(0, SIDE * PIXEL - 12, (120, 2))
        self.buildings = [
            (shapely.affinity.rotate(shapely.box(WEST + x, NORTH - y - h, WEST + x + w, NORTH - y), turn), kind)
            for (x, y), w, h, turn, kind in zip(corners, random.uniform(2, 12, 120), random.uniform(2, 12, 120),
                                                random.uniform(0, 90, 120), random.integers(1, 4, 120), strict=True)
        ]
        link = psycopg2.connect(self.dsn)
        with link, link.cursor() as cursor:
            cursor.execute("CREATE TABLE ortho (rast raster); CREATE TABLE building (geom geometry, kind int)")
            for row in range(0, SIDE, PIECE):
                for column in range(0, SIDE, PIECE):
                    part = self.pixels[row : row + PIECE, column : column + PIECE]
                    corner = (WEST + column * PIXEL, NORTH - row * PIXEL)
                    put_raster(cursor, "ortho", raster_of(part, corner))
            for geometry, kind in self.buildings:
                cursor.execute("INSERT INTO building VALUES (ST_SetSRID(%s::geometry, %s), %s)",
                               (shapely.to_wkb(geometry, hex=True), SRID, int(kind)))
            cursor.execute("CREATE INDEX ON ortho USING gist (ST_ConvexHull(rast));"
                           "CREATE INDEX ON building USING gist (geom)")
        link.close()

    def window(self, bounds: tuple[float, float, float, float]) -> np.ndarray:
        """The pixels [C, H, W] within bounds."""
        column, row = round((bounds[0] - WEST) / PIXEL), round((NORTH - bounds[3]) / PIXEL)
        height, width = round((bounds[3] - bounds[1]) / PIXEL), round((bounds[2] - bounds[0]) / PIXEL)
        return self.pixels[row : row + height, column : column + width].transpose(2, 0, 1)

    def burned(self, bounds: tuple[float, float, float, float], side: int) -> np.ndarray:
        """What GDAL burns of the buildings on a grid of `side` pixels."""
        pixel = (bounds[2] - bounds[0]) / side
        shapes = sorted(((g, int(k)) for g, k in self.buildings), key=lambda pair: pair[1])
        return rasterize(shapes, (side, side), transform=from_origin(bounds[0], bounds[3], pixel, pixel), dtype="uint8")


def raster_of(pixels: np.ndarray, corner: tuple[float, float], nodata: float | None = None, srid: int = SRID,
              pixel: float = PIXEL) -> Raster:
    bands = tuple(Band(pixels[..., band], nodata) for band in range(pixels.shape[2]))
    return Raster(pixels.shape[:2], corner, (pixel, -pixel), srid, bands)


def put_raster(cursor, table: str, raster: Raster) -> None:
    cursor.execute(f"INSERT INTO {table} VALUES (ST_RastFromWKB(%s))", (write_raster(raster),))


@pytest.fixture(scope="session")
def gis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    with databases(tmp_path_factory.mktemp("gis"), "postgis", "postgis_raster") as make:
        yield make


@pytest.fixture(scope="module")
def town(gis: Callable[..., str]) -> Town:
    return Town(gis)


def open_iterator(town: Town, **changes):
    from detectors.training.geoiter import GeoIter

    arguments = {
        "dsn": town.dsn, "extent": EXTENT, "srid": SRID, "size": 64, "resolution": (PIXEL, PIXEL), "label_sql": LABEL,
        "image_sql": IMAGE, "batch_size": 4, "max_iter": 3, "seed": 7,
    }
    return GeoIter(**(arguments | changes))


def all_of(iterator) -> list[tuple[np.ndarray, np.ndarray, list]]:
    return [(batch.data[0].asnumpy(), batch.label[0].asnumpy(), batch.bounds) for batch in iterator]


@pytest.mark.parametrize(("image_sql", "label_sql"), [(IMAGE, LABEL), (IMAGE_ROWS, LABEL_ROWS)])
def test_every_pixel_and_label_is_what_the_tables_hold(town: Town, image_sql: str, label_sql: str) -> None:
    with open_iterator(town, image_sql=image_sql, label_sql=label_sql) as iterator:
        assert iterator.provide_data[0][:2] == ("data", (4, 3, 64, 64))
        assert iterator.provide_label[0][:2] == ("softmax_label", (4, 64, 64))
        batches = all_of(iterator)
    assert len(batches) == 3
    seen = set()
    for data, label, bounds in batches:
        assert data.dtype == label.dtype == np.uint8
        for n in range(4):
            np.testing.assert_array_equal(data[n], town.window(bounds[n]))
            np.testing.assert_array_equal(label[n], town.burned(bounds[n], 64))
            seen.add(bounds[n])
    assert len(seen) == 12
    assert {0, 1, 2, 3} == set(np.unique([label for _, label, _ in batches]))


def test_it_is_an_iterator_as_mxnet_knows_them(town: Town) -> None:
    from detectors.segmentation.mxnet_runtime import load_mxnet

    with open_iterator(town, size=(48, 32), max_iter=2) as iterator:
        assert isinstance(iterator, load_mxnet().io.DataIter)
        assert iterator.iter_next() and iterator.getpad() == 0
        assert iterator.getdata()[0].shape == iterator.provide_data[0].shape == (4, 3, 32, 48)
        assert iterator.getlabel()[0].shape == iterator.provide_label[0].shape == (4, 32, 48)
        assert list(iterator.getindex()) == [0, 1, 2, 3]
        assert iterator.next().data[0].shape == (4, 3, 32, 48)
        with pytest.raises(StopIteration):
            iterator.next()


def test_a_seed_gives_the_same_batches_however_many_threads_read_them(town: Town) -> None:
    runs = []
    for threads in (1, 4):
        with open_iterator(town, threads=threads) as iterator:
            iterator.reset()  # nothing was read yet
            first = all_of(iterator)
            iterator.reset()
            runs.append(first + all_of(iterator))
            assert iterator.epoch == 1
    for one, other in zip(*runs, strict=True):
        assert one[2] == other[2]
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert runs[0][0][2] != runs[0][3][2], "another epoch has other tiles"
    with open_iterator(town, seed=8) as iterator:
        assert all_of(iterator)[0][2] != runs[0][0][2]


def test_an_epoch_left_in_the_middle_starts_the_next_one_from_its_beginning(town: Town) -> None:
    with open_iterator(town) as iterator:
        all_of(iterator)
        iterator.reset()
        whole = all_of(iterator)
    with open_iterator(town) as iterator:
        iterator.next()
        iterator.reset()
        assert all_of(iterator)[0][2] == whole[0][2]


def test_imagery_is_resampled_in_the_database(town: Town) -> None:
    sql = """SELECT ST_Resample(ST_Union(rast), (SELECT rast FROM tile_rast), 'NearestNeighbour')
             FROM ortho WHERE ST_Intersects(rast, ST_Envelope((SELECT rast FROM tile_native)))"""
    with open_iterator(town, resolution=(PIXEL, 2 * PIXEL), image_sql=sql, size=32) as iterator:
        for data, label, bounds in all_of(iterator):
            for n in range(4):
                assert bounds[n][2] - bounds[n][0] == 32 * 2 * PIXEL
                native = town.window(bounds[n])
                choices = np.stack([native[:, y::2, x::2] for y in (0, 1) for x in (0, 1)])
                assert (choices == data[n]).all(axis=(1, 2, 3)).any(), "each pixel is one of the four it covers"
                np.testing.assert_array_equal(label[n], town.burned(bounds[n], 32))


@pytest.mark.parametrize(("dtype", "bands", "given"), [("uint16", 5, np.int32), ("uint8", 1, np.uint8)])
def test_grey_and_multi_band_imagery_of_16_bits(gis, dtype: str, bands: int, given: type) -> None:
    town = Town(gis, dtype, bands)
    with open_iterator(town, max_iter=1) as iterator:
        ((data, _, bounds),) = all_of(iterator)
    assert data.dtype == given and data.shape == (4, bands, 64, 64)
    for n in range(4):
        np.testing.assert_array_equal(data[n], town.window(bounds[n]))


def test_tiles_without_labels_are_zeros_and_those_without_imagery_are_skipped_and_counted(town: Town) -> None:
    east = (WEST, EXTENT[1], WEST + 2 * SIDE * PIXEL, NORTH)
    with open_iterator(town, extent=east, label_sql=LABEL + " AND false", max_iter=6, unknown=UNKNOWN) as iterator:
        batches = all_of(iterator)
        assert iterator.skipped > 0
    partly = 0
    for data, label, bounds in batches:
        for n in range(4):
            inside = round(min(64, (EXTENT[2] - bounds[n][0]) / PIXEL))
            assert inside > 0
            partly += inside < 64
            assert not label[n, :, :inside].any() and (label[n, :, inside:] == UNKNOWN).all()
            assert data[n, :, :, :inside].all() and not data[n, :, :, inside:].any()
    assert partly
    with open_iterator(town, extent=east, label_sql=LABEL + " AND false", max_iter=6) as iterator:
        assert not any(label.any() for _, label, _ in all_of(iterator)), "unless asked for, labels are the query's"


def test_ground_without_imagery_anywhere_is_an_error_and_no_endless_search(town: Town, monkeypatch) -> None:
    monkeypatch.setattr("detectors.training.geoiter.stream.MOST_EMPTY", 20)
    with pytest.raises(DatasetInvalid, match="20 random tiles in a row have no imagery"):
        open_iterator(town, image_sql=IMAGE + " AND false")


@pytest.mark.parametrize(("changes", "said"), [
    ({"image_sql": "SELECT rast FROM orto WHERE ST_Intersects(rast, {tile})"},
     r'image_sql: relation "orto" does not exist \(42P01\)[^%]*\n    SELECT rast FROM orto'),
    ({"label_sql": "SELECT ST_AsRaster(geom, 1)\nFROM building\nWHERE geom && {tile}"},
     r"label_sql: function st_asraster\(geometry, integer\) does not exist"),
    ({"image_sql": "SELECT rast FROM ortho, tile_rast t, generate_series(1, 20000)"}, "column reference \"rast\""),
    ({"image_sql": "SELECT t.rast FROM tile_rast t, generate_series(1, 20001)"}, "image_sql: more than 20000 rows"),
    ({"image_sql": "SELECT ST_AddBand(ST_MakeEmptyRaster(1000, 1000, 0, 0, 1), '8BUI') FROM tile_rast, "
                   "generate_series(1, 17)"}, "image_sql: 17000000 pixels for a tile"),
    ({"image_sql": "SELECT ST_Union(rast) FROM ortho"}, "neither {tile} nor tile_rast"),
    ({"label_sql": "  "}, "label_sql is empty"),
    ({"label_sql": "SELECT {tile}"}, "label_sql: cannot cast type geometry to raster"),
    ({"label_sql": LABEL.replace("'8BUI', kind", "'16BUI', 300")}, "label_sql: the value 300"),
    ({"label_sql": LABEL.replace("'8BUI', kind", "'32BF', 0.5")}, "label_sql: the value 0.5"),
    ({"label_sql": IMAGE}, "label_sql: 3 bands; labels have one"),
    ({"image_sql": IMAGE.replace("ST_Union(rast)", "ST_Reclass(ST_Union(rast), 1, '[0-255]:0-255', '32BF', 0)")},
     "image_sql: the rasters have 3 bands of float32 and uint8"),
    ({"image_sql": IMAGE.replace("ST_Union(rast)", "ST_Rescale(ST_Union(rast), 0.7)")}, "image_sql: pixels of 0.7 x"),
    ({"image_sql": "SELECT rast FROM tile_rast"}, "5 random tiles in a row have no imagery"),
    ({"resolution": (PIXEL, 0)}, "resolution"), ({"size": 0}, "size 0"), ({"size": 5000}, "more than the extent"),
    ({"extent": (2, 0, 1, 1)}, "extent"), ({"batch_size": 0}, "batch_size"), ({"threads": 0}, "threads"),
    ({"srid": 4326, "extent": (85.0, 27.0, 85.1, 27.1), "resolution": (1e-6, 1e-6)}, "SRID 4326 is in degrees"),
    ({"srid": 123456}, "SRID 123456 is not in spatial_ref_sys"),
    ({"dsn": "dbname=x secret"}, "the dsn is none"),
])
def test_what_is_wrong_is_named_with_the_query_that_it_is_in(town: Town, changes: dict, said: str,
                                                             monkeypatch) -> None:
    monkeypatch.setattr("detectors.training.geoiter.stream.MOST_EMPTY", 5)
    with pytest.raises(DatasetInvalid, match=said) as failure:
        open_iterator(town, **changes)
    assert "secret" not in str(failure.value)
    if str(failure.value).startswith(("image_sql", "label_sql")):
        assert "%(" not in str(failure.value), "the query is shown as the user wrote it"


def test_another_coordinate_system_or_a_grid_in_between_is_refused_with_advice(town: Town) -> None:
    shifted = "SELECT ST_SetUpperLeft(rast, ST_UpperLeftX(rast) + 0.2, ST_UpperLeftY(rast)) FROM ({}) t(rast)"
    with pytest.raises(DatasetInvalid, match=r"0\.400 pixels right.*ST_Resample"):
        open_iterator(town, image_sql=shifted.format(IMAGE))
    with pytest.raises(DatasetInvalid, match=r"SRID 3857, the tiles 32645; use ST_Transform"):
        open_iterator(town, image_sql=f"SELECT ST_SetSRID(rast, 3857) FROM ({IMAGE}) t(rast)")


def test_percent_signs_braces_comments_and_a_last_semicolon_stay_the_users_own(town: Town) -> None:
    sql = """SELECT ST_Clip(ST_Union(rast), {tile}) -- 100 % of it: {tile}
             FROM ortho WHERE ST_Intersects(rast, {tile}) AND 'ab' LIKE 'a%' AND 7 % 4 = ANY('{1,3}'::int[])
             AND {native} = 0.5 AND {resampled} = 0.5 AND ST_SRID(rast) = {srid}; """
    with open_iterator(town, image_sql=sql) as iterator, open_iterator(town) as plain:
        np.testing.assert_array_equal(all_of(iterator)[0][0], all_of(plain)[0][0])


def test_nothing_can_be_written_and_no_query_runs_for_ever(town: Town) -> None:
    link = psycopg2.connect(town.dsn)
    with link, link.cursor() as cursor:
        cursor.execute("CREATE FUNCTION meddle() RETURNS int LANGUAGE sql AS 'DELETE FROM building RETURNING 1'")
        cursor.execute("SELECT count(*) FROM building")
        before = cursor.fetchone()
    with pytest.raises(DatasetInvalid, match=r"image_sql: cannot execute DELETE in a read-only transaction"):
        open_iterator(town, image_sql=IMAGE + " AND meddle() > 0")
    with pytest.raises(DatasetInvalid, match=r"label_sql: .*statement timeout .*2 s are allowed"):
        open_iterator(town, label_sql=LABEL + " AND pg_sleep(30) IS NOT NULL", timeout_s=2.0)
    with link, link.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM building")
        assert cursor.fetchone() == before
    link.close()


def test_the_password_is_in_no_message(town: Town) -> None:
    dsn = make_dsn(town.dsn, password="hush-hush")
    with pytest.raises(DatasetInvalid) as failure:
        open_iterator(town, dsn=dsn, image_sql=IMAGE + " AND 'hush-hush' = 1")
    assert "image_sql" in str(failure.value) and "hush" not in str(failure.value)
    with pytest.raises(DatabaseLost, match="dbname=nowhere") as failure:
        open_iterator(town, dsn=make_dsn(dsn, dbname="nowhere"))
    assert "hush" not in str(failure.value)


def test_a_database_without_rasters_is_told_what_to_do(gis, town: Town) -> None:
    with pytest.raises(DatasetInvalid, match="CREATE EXTENSION postgis; CREATE EXTENSION postgis_raster"):
        open_iterator(town, dsn=gis("template0"))


def test_connections_that_the_server_cuts_are_made_anew(town: Town) -> None:
    with open_iterator(town, max_iter=8) as plain:
        expected = all_of(plain)
    with open_iterator(town, max_iter=8, backoff_s=0.01, threads=3) as iterator:
        found = all_of_cutting(iterator, town.dsn)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def all_of_cutting(iterator, dsn: str) -> list:
    """All batches, while somebody ends every connection after each."""
    link = psycopg2.connect(dsn)
    link.autocommit = True
    found = []
    for batch in iterator:
        found.append((batch.data[0].asnumpy(), batch.label[0].asnumpy()))
        with link.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                           "WHERE application_name = 'mapgap GeoIter' AND datname = current_database()")
    link.close()
    return found


def test_a_server_that_stays_away_ends_in_a_clear_error(gis) -> None:
    town = Town(gis)
    with open_iterator(town, max_iter=50, retries=2, backoff_s=0.01) as iterator:
        iterator.next()
        name = parse_dsn(town.dsn)["dbname"]
        link = psycopg2.connect(make_dsn(town.dsn, dbname="postgres"))
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
        link.close()
        with pytest.raises(DatabaseLost, match=rf"lost the connection to .*{name}.*2 more attempts failed"):
            all_of(iterator)


def test_closing_ends_threads_connections_and_running_queries(town: Town) -> None:
    before = threading.active_count()
    iterator = open_iterator(town, threads=3)
    iterator.next()
    iterator.close()
    iterator.close()
    assert threading.active_count() == before
    assert connections(town.dsn) == 0
    with pytest.raises(DatabaseLost, match="closed"):
        iterator.next()
    forgotten = open_iterator(town)
    gone = weakref.ref(forgotten)
    del forgotten
    gc.collect()
    assert gone() is None and threading.active_count() == before and connections(town.dsn) == 0


def test_the_interpreter_exits_at_once_in_the_middle_of_long_queries(town: Town) -> None:
    code = f"""
from detectors.training.geoiter import GeoIter
slow = {IMAGE!r} + " AND (ST_XMin({{tile}}) = %r OR pg_sleep(100) IS NOT NULL)"
from detectors.training.geoiter.grid import TileGrid
grid = TileGrid.of({EXTENT!r}, {SRID}, 64, ({PIXEL}, {PIXEL}))
first = grid.tile(7, 0, 0).bounds[0]
iterator = GeoIter({town.dsn!r}, {EXTENT!r}, {SRID}, 64, ({PIXEL}, {PIXEL}), {LABEL!r}, slow % first, 1, 9, seed=7)
print(iterator.next().data[0].shape)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=50,
                          cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 3, 64, 64)"
    assert "Traceback" not in done.stderr
    assert connections(town.dsn) == 0


def connections(dsn: str) -> int:
    """How many GeoIters' connections the server still has; those that were just closed may take it a moment."""
    link = psycopg2.connect(dsn)
    link.autocommit = True
    with link.cursor() as cursor:
        for _ in range(200):
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapgap GeoIter' "
                           "AND datname = current_database()")
            count = cursor.fetchone()[0]
            if not count:
                break
            cursor.execute("SELECT pg_stat_clear_snapshot(), pg_sleep(0.01)")
    link.close()
    return count


def test_naming_the_package_loads_no_mxnet() -> None:
    code = "import sys, detectors.training.geoiter, detectors.training.geoiter.stream; sys.exit('mxnet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0


NUMBERS = {"8BUI": "u1", "8BSI": "i1", "16BSI": "i2", "16BUI": "u2", "32BSI": "i4", "32BUI": "u4", "32BF": "f4",
           "64BF": "f8"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_rasters_go_to_postgis_and_come_back_the_same(town: Town, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(NUMBERS)))
    dtype = np.dtype(NUMBERS[kind])
    height, width, count = (data.draw(st.integers(1, most)) for most in (9, 9, 4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    bands = tuple(
        Band(np.frombuffer(random.bytes(height * width * dtype.itemsize), dtype).reshape(height, width)
             if dtype.kind != "f" else random.normal(0, 1e3, (height, width)).astype(dtype),
             data.draw(st.sampled_from([None, 0.0, 7.0])))
        for _ in range(count)
    )
    pixel = data.draw(st.floats(0.01, 1000))
    corner = data.draw(st.tuples(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7)))
    raster = Raster((height, width), corner, (pixel, -pixel), SRID, bands)
    link = psycopg2.connect(town.dsn)
    with link, link.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE one ON COMMIT DROP AS SELECT ST_RastFromWKB(%s) AS rast",
                       (write_raster(raster),))
        cursor.execute("SELECT ST_AsBinary(rast), ST_Width(rast), ST_Height(rast), ST_UpperLeftX(rast), "
                       "ST_UpperLeftY(rast), ST_ScaleX(rast), ST_ScaleY(rast), ST_SRID(rast), ST_NumBands(rast) "
                       "FROM one")
        back, *facts = cursor.fetchone()
        assert facts == [width, height, *corner, pixel, -pixel, SRID, count]
        found = read_raster(back)
        assert (found.shape, found.srid) == ((height, width), SRID)
        assert (found.upper_left, found.scale) == (corner, (pixel, -pixel))
        for number, (band, other) in enumerate(zip(bands, found.bands, strict=True), 1):
            assert other.values.dtype == dtype and other.nodata == band.nodata
            np.testing.assert_array_equal(other.values, band.values)
            cursor.execute("SELECT ST_BandPixelType(rast, %s), ST_BandNoDataValue(rast, %s), "
                           "(ST_DumpValues(rast, %s, false)) FROM one", (number, number, number))
            assert cursor.fetchone() == (kind, band.nodata, band.values.tolist())
            cursor.execute("SELECT ST_Count(rast, %s, true) FROM one", (number,))
            assert cursor.fetchone()[0] == band.known().sum()
    link.close()


def test_rasters_of_less_than_a_byte_and_of_the_other_byte_order(town: Town) -> None:
    link = psycopg2.connect(town.dsn)
    with link, link.cursor() as cursor:
        for kind, value in (("1BB", 1), ("2BUI", 3), ("4BUI", 9)):
            cursor.execute("SELECT ST_AsBinary(ST_AddBand(ST_MakeEmptyRaster(3, 2, 0, 0, 1), %s::text, %s::float8, "
                           "NULL))", (kind, value))
            assert (read_raster(cursor.fetchone()[0]).bands[0].values == value).all()
    link.close()
    big = struct.pack(">BHH6diHH", 0, 0, 1, 2.0, -2.0, 5.0, 6.0, 0.0, 0.0, 3857, 2, 1)
    raster = read_raster(big + bytes([6 | 0x40]) + struct.pack(">3H", 9, 513, 9))
    assert raster.bands[0].values.tolist() == [[513, 9]] and raster.bands[0].known().tolist() == [[True, False]]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bytes_that_are_no_raster_are_refused_and_nothing_else_happens(data: st.DataObject) -> None:
    good = write_raster(raster_of(np.arange(24, dtype=np.uint16).reshape(3, 4, 2), (0, 0)))
    cut = data.draw(st.integers(0, len(good)))
    flips = data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4))
    bad = bytearray(good)
    for at, value in flips:
        bad[at] = value
    try:
        read_raster(bytes(bad[:cut]))
    except RasterInvalid:
        pass
    else:
        assert cut == len(good)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.05, 30), st.integers(1, 4), st.integers(0, 2**32))
def test_tiles_lie_in_the_extent_on_whole_native_pixels(width: int, height: int, native: float, coarser: int,
                                                        seed: int) -> None:
    ground = width * native * coarser, height * native * coarser
    extent = (1000.0, 2000.0, 1000 + ground[0] * 1.7, 2000 + ground[1] * 1.2)
    grid = TileGrid.of(extent, SRID, (width, height), (native, native * coarser))
    for number in range(5):
        bounds = grid.tile(seed, 0, number).bounds
        assert bounds == grid.tile(seed, 0, number).bounds
        assert bounds[0] >= extent[0] and bounds[3] <= extent[3]
        assert bounds[2] <= extent[2] + 0.02 * native and bounds[1] >= extent[1] - 0.02 * native
        steps = (bounds[0] - extent[0]) / native, (extent[3] - bounds[3]) / native
        assert all(abs(step - round(step)) < 0.01 for step in steps)


def test_real_imagery_and_osm_buildings(gis, data: Path) -> None:
    source = Source(path="buildings/banepa", zoom=19, use="test", imagery="", imagery_licence="", labels="",
                    labels_licence="")
    (place,) = read_source(data, source)
    dsn = gis()
    pixel = (place.bounds[2] - place.bounds[0]) / place.valid.shape[1]
    west, north = place.bounds[0], place.bounds[3]
    to_ground = [pixel, 0, 0, -pixel, west, north]
    link = psycopg2.connect(dsn)
    with link, link.cursor() as cursor:
        cursor.execute("CREATE TABLE ortho (rast raster); CREATE TABLE building (geom geometry, kind int)")
        for row in range(0, place.valid.shape[0], 512):
            for column in range(0, place.valid.shape[1], 512):
                corner = (west + column * pixel, north - row * pixel)
                part = place.pixels[row : row + 512, column : column + 512]
                put_raster(cursor, "ortho", raster_of(part, corner, srid=3857, pixel=pixel))
        outlines = [shapely.affinity.affine_transform(outline, to_ground) for outline in place.outlines]
        for outline in outlines:
            cursor.execute("INSERT INTO building VALUES (ST_SetSRID(%s::geometry, 3857), 1)",
                           (shapely.to_wkb(outline, hex=True),))
        cursor.execute("CREATE INDEX ON ortho USING gist (ST_ConvexHull(rast));"
                       "CREATE INDEX ON building USING gist (geom)")
    link.close()
    from detectors.training.geoiter import GeoIter

    with GeoIter(dsn, place.bounds, 3857, 256, (pixel, pixel), LABEL_ROWS, IMAGE_ROWS, 4, 2, seed=3) as iterator:
        batches = all_of(iterator)
    assert any(label.any() for _, label, _ in batches)
    for pixels, label, bounds in batches:
        for n in range(4):
            column, row = round((bounds[n][0] - west) / pixel), round((north - bounds[n][3]) / pixel)
            window = np.s_[row : row + 256, column : column + 256]
            np.testing.assert_array_equal(pixels[n].transpose(1, 2, 0), place.pixels[window])
            burned = rasterize(outlines, (256, 256), transform=from_origin(bounds[n][0], bounds[n][3], pixel, pixel),
                               dtype="uint8")
            np.testing.assert_array_equal(label[n], burned)
