"""Images with a label file each: GeoTIFF and mask, GeoTIFF and vectors, the Massachusetts sets."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from detectors.datasets import UNKNOWN
from detectors.datasets.paired import empty_white
from detectors.errors import DatasetInvalid

#: The images' upper left corner, as in conftest.py.
WEST, NORTH = 465000.0, 5080000.0


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(1).integers(30, 200, (40, 50, 3), dtype=np.uint8)


def test_an_image_and_its_mask_become_a_place(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:30] = 255
    write_image(tmp_path / "set/images/one.tif", grey, step=0.5)
    write_image(tmp_path / "set/masks/one.png", mask)
    (place,) = read(tmp_path / "set", "geotiff")
    assert place.name == "one" and place.classes == ("background", "building")
    assert np.array_equal(place.pixels, grey)
    assert np.array_equal(place.truth(), mask // 255)
    assert place.gsd == pytest.approx(0.5, rel=1e-6)
    assert place.provenance.labels_licence == "the test's own"


def test_a_web_mercator_image_keeps_its_bounds(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    write_image(tmp_path / "set/images/one.tif", grey, crs="EPSG:3857", origin=(1e6, 6e6))
    write_image(tmp_path / "set/masks/one.tif", grey[..., 0] // 255, crs="EPSG:3857", origin=(1e6, 6e6))
    (place,) = read(tmp_path / "set", "geotiff")
    assert place.bounds == pytest.approx((1e6, 6e6 - 40, 1e6 + 50, 6e6))
    assert place.gsd == pytest.approx(1 / np.cosh((6e6 - 20) / 6378137.0))


def test_degrees_are_measured_at_their_latitude_and_made_square(
    tmp_path: Path, write_image: Callable, read: Callable
):
    """At 60 degrees north a degree of longitude is half as long."""
    pixels = np.zeros((100, 200, 1), np.uint8)
    pixels[:, 100:] = 200
    for folder in ("images", "masks"):
        write_image(tmp_path / f"set/{folder}/one.tif", pixels // (1 if folder == "images" else 200), crs="EPSG:4326",
                    step=1e-5, origin=(25.0, 60.0005))
    (place,) = read(tmp_path / "set", "geotiff", bands=1)
    assert place.valid.shape == (100, 100)
    assert place.gsd == pytest.approx(1.1132, rel=0.01)
    assert np.array_equal(place.truth(), np.tile(np.arange(100) >= 50, (100, 1)))


def test_codes_are_named_by_the_source_and_others_are_unknown(
    tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray
):
    codes = np.repeat(np.array([[7, 3, 9, 7, 0]], np.uint8), 40, axis=0).repeat(10, axis=1)
    write_image(tmp_path / "set/images/one.tif", grey)
    write_image(tmp_path / "set/masks/one.tif", codes)
    (place,) = read(tmp_path / "set", "geotiff", label_classes={"3": "water", "7": "forest"})
    assert place.classes == ("water", "forest")
    assert place.truth()[0, ::10].tolist() == [1, 0, UNKNOWN, 1, UNKNOWN]


def test_no_data_is_not_valid(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    grey[:5] = 0
    grey[20, 20] = (0, 90, 90)
    write_image(tmp_path / "set/images/one.tif", grey, nodata=0)
    write_image(tmp_path / "set/masks/one.tif", np.zeros((40, 50), np.uint8))
    (place,) = read(tmp_path / "set", "geotiff")
    assert not place.valid[:5].any() and place.valid[5:].all()
    assert (place.truth()[:5] == UNKNOWN).all()


def test_polygons_of_another_coordinate_system_lie_where_they_belong(
    tmp_path: Path, write_image: Callable, write_geojson: Callable, read: Callable, grey: np.ndarray
):
    """The same rectangle in metres and in degrees."""
    from rasterio.warp import transform_geom
    from shapely.geometry import mapping, shape

    rectangle = shapely.box(WEST + 10, NORTH - 30, WEST + 25, NORTH - 8)
    lonlat = shape(transform_geom("EPSG:32633", "EPSG:4326", mapping(rectangle)))
    for name, geometry, crs in (("metres", rectangle, "EPSG:32633"), ("degrees", lonlat, None)):
        write_image(tmp_path / f"{name}/images/one.tif", grey)
        write_geojson(tmp_path / f"{name}/labels/one.geojson", [({}, geometry)], crs)
        (place,) = read(tmp_path / name, "geotiff")
        assert place.outlines[0].bounds == pytest.approx((10, 8, 25, 30), abs=1e-3)
        assert place.truth()[8:30, 10:25].all() and place.truth().sum() == 22 * 15


def test_centre_lines_are_roads_where_the_source_says_so(
    tmp_path: Path, write_image: Callable, write_geojson: Callable, read: Callable, grey: np.ndarray
):
    write_image(tmp_path / "set/images/one.tif", grey)
    across = shapely.LineString([(WEST - 5, NORTH - 20), (WEST + 60, NORTH - 20)])
    write_geojson(tmp_path / "set/labels.geojson", [({"highway": "track", "width": "6"}, across)])
    (place,) = read(tmp_path / "set", "geotiff", foreground="road")
    assert place.classes == ("background", "road")
    assert place.truth()[17:23].all() and place.truth().sum() == 6 * 50
    with pytest.raises(DatasetInvalid, match='foreground = "road"'):
        read(tmp_path / "set", "geotiff")


def test_a_geopackage_is_read_too(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    """A file with the tables that OGC 12-128r18 asks for, and an envelope in each geometry's header."""
    write_image(tmp_path / "set/images/one.tif", grey)
    polygon = shapely.box(WEST + 10, NORTH - 30, WEST + 25, NORTH - 8)
    blob = b"GP\x00\x03" + struct.pack("<i4d", 32633, *np.array(polygon.bounds)[[0, 2, 1, 3]]) + shapely.to_wkb(polygon)
    with sqlite3.connect(tmp_path / "set/labels.gpkg") as db:
        db.executescript("""
            CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT, srs_id INTEGER PRIMARY KEY, organization TEXT,
                                               organization_coordsys_id INTEGER, definition TEXT);
            CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, geometry_type_name TEXT,
                                                srs_id INTEGER, z INTEGER, m INTEGER);
            CREATE TABLE "la""nd use" (fid INTEGER PRIMARY KEY, geom BLOB, code TEXT);
            INSERT INTO gpkg_spatial_ref_sys VALUES ('UTM 33N', 32633, 'EPSG', 32633, '');
            INSERT INTO gpkg_geometry_columns VALUES ('la"nd use', 'geom', 'POLYGON', 32633, 0, 0);
        """)
        db.execute('INSERT INTO "la""nd use" VALUES (1, ?, ?)', (blob, "f"))
        db.execute('INSERT INTO "la""nd use" VALUES (2, NULL, ?)', ("f",))
    db.close()
    (place,) = read(tmp_path / "set", "geotiff", label_key="code", label_classes={"f": "forest"})
    assert place.classes == ("forest",)
    assert (place.truth() == 0).sum() == 22 * 15 and (place.truth() == UNKNOWN).sum() == 40 * 50 - 22 * 15


def test_mnih_layout_gives_roads_at_one_metre(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    road = np.zeros((40, 50), np.uint8)
    road[:, 20:27] = 255
    write_image(tmp_path / "set/sat/10078660_15.tiff", grey, crs=None)
    write_image(tmp_path / "set/map/10078660_15.tif", road, crs=None)
    (place,) = read(tmp_path / "set", "massachusetts")
    assert place.classes == ("background", "road") and place.gsd == pytest.approx(1.0)
    assert np.array_equal(place.truth(), road // 255)
    (place,) = read(tmp_path / "set", "massachusetts", foreground="building")
    assert place.classes == ("background", "building")


def test_train_and_test_with_their_labels_beside_them(
    tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray
):
    for use in ("train", "test"):
        write_image(tmp_path / f"tiff/{use}/{use}_15.tiff", grey, crs=None)
        write_image(tmp_path / f"tiff/{use}_labels/{use}_15.tif", grey[..., 0] // 255, crs=None)
    for use in ("train", "test"):
        assert [p.name for p in read(tmp_path / "tiff", "massachusetts", use=use)] == [f"{use}_15"]


def test_white_at_the_edge_is_no_imagery_and_a_white_roof_is():
    pixels = np.full((100, 100, 3), 90, np.uint8)
    pixels[:, :30] = 253
    pixels[40:80, 50:90] = 255
    empty = empty_white(pixels)
    assert empty[:, :30].all() and not empty[:, 30:].any()
    pixels[0:10, 60:70] = 255
    assert not empty_white(pixels)[:, 30:].any(), "a little white at the edge is a roof"


def test_an_image_without_labels_is_named(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    write_image(tmp_path / "set/images/one.tif", grey)
    write_image(tmp_path / "set/images/two.tif", grey)
    write_image(tmp_path / "set/masks/one.tif", grey[..., 0] * 0)
    with pytest.raises(DatasetInvalid, match=r"two\.tif: no labels"):
        read(tmp_path / "set", "geotiff")


def test_a_mask_of_another_size_is_refused(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    write_image(tmp_path / "set/images/one.tif", grey)
    write_image(tmp_path / "set/masks/one.tif", np.zeros((40, 51), np.uint8))
    with pytest.raises(DatasetInvalid, match="51 x 40 px, but its image has 50 x 40"):
        read(tmp_path / "set", "geotiff")


@pytest.mark.parametrize(("keys", "said"), [
    ({"bands": 4}, "3 bands of uint8"),
    ({"dtype": "uint16"}, "3 bands of uint8"),
    ({"images": "../../*.tif"}, "leaves the data set"),
    ({"images": "nothing*.tif"}, "no images"),
    ({"label_classes": {"9": "water"}}, "none of its values is a class"),
    ({"label_classes": {"forest": "forest"}}, "a raster's codes are integers"),
    ({"label_file": "../outside.geojson"}, "leads out of the data set"),
    ({"band_order": [1, 2]}, "band_order names 2"),
])
def test_what_the_source_asks_for_and_the_files_lack_is_said(
    tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray, keys: dict, said: str
):
    write_image(tmp_path / "set/images/one.tif", grey)
    write_image(tmp_path / "set/masks/one.tif", np.zeros((40, 50), np.uint8))
    with pytest.raises(DatasetInvalid, match=said):
        read(tmp_path / "set", "geotiff", **keys)


def test_an_image_that_says_nothing_of_its_size_needs_gsd(
    tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray
):
    write_image(tmp_path / "set/images/one.png", grey)
    write_image(tmp_path / "set/masks/one.png", np.zeros((40, 50), np.uint8))
    with pytest.raises(DatasetInvalid, match="set gsd_m"):
        read(tmp_path / "set", "geotiff")
    (place,) = read(tmp_path / "set", "geotiff", gsd_m=0.3)
    assert place.gsd == pytest.approx(0.3)


def test_vectors_on_an_image_without_coordinates_are_refused(
    tmp_path: Path, write_image: Callable, write_geojson: Callable, read: Callable, grey: np.ndarray
):
    write_image(tmp_path / "set/images/one.png", grey)
    write_geojson(tmp_path / "set/labels/one.geojson", [({}, shapely.box(0, 0, 1, 1))])
    with pytest.raises(DatasetInvalid, match="no coordinate system"):
        read(tmp_path / "set", "geotiff", gsd_m=0.3)


def test_grey_masks_are_no_masks_of_one_thing(tmp_path: Path, write_image: Callable, read: Callable, grey: np.ndarray):
    write_image(tmp_path / "set/images/one.tif", grey)
    write_image(tmp_path / "set/masks/one.tif", grey)
    with pytest.raises(DatasetInvalid, match="neither 0 nor 255"):
        read(tmp_path / "set", "geotiff")


def test_the_real_massachusetts_roads(data: Path, read: Callable):
    train = read(data / "roads/massachusetts/train", "massachusetts")
    test = read(data / "roads/massachusetts/test", "massachusetts")
    assert (len(train), len(test)) == (36, 11)
    assert {p.valid.shape for p in train + test} == {(512, 512)}
    assert all(p.gsd == pytest.approx(1.0) for p in test)
    share = np.mean([(p.truth() == 1).mean() for p in test])
    assert 0.05 < share < 0.12
