"""Files that are not what they seem."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detectors.datasets.picture import read_picture, read_plane
from detectors.datasets.vectors import read_vectors
from detectors.errors import DatasetInvalid


def test_a_recipe_of_gdal_is_not_opened_whatever_its_name(tmp_path: Path, write_image: Callable):
    """A VRT may draw on any file of the machine, or on the network."""
    secret = write_image(tmp_path / "secret.tif", np.full((8, 8), 7, np.uint8))
    trap = tmp_path / "trap.tif"
    trap.write_text(f"""<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">
        <SimpleSource><SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
        </VRTRasterBand></VRTDataset>""")
    with pytest.raises(DatasetInvalid, match="not a GeoTIFF, PNG or JPEG"):
        read_picture(trap, 1)


def test_a_small_file_that_declares_a_huge_image_is_refused(tmp_path: Path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
                     + chunk(b"IEND", b""))
    for reading in (lambda: read_picture(bomb, 3), lambda: read_plane(bomb)):
        with pytest.raises(DatasetInvalid, match="60000 x 60000"):
            reading()


def test_a_file_that_was_cut_off_is_named(tmp_path: Path, write_image: Callable):
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    path = write_image(tmp_path / "cut.tif", noise)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(DatasetInvalid, match=r"cut\.tif: not a readable image"):
        read_picture(path, 3)


def test_an_empty_file_and_a_missing_one_are_named(tmp_path: Path):
    (tmp_path / "empty.tif").touch()
    for name in ("empty.tif", "missing.tif"):
        with pytest.raises(DatasetInvalid, match=name):
            read_picture(tmp_path / name, 3)


def test_floating_point_pixels_are_refused(tmp_path: Path, write_image: Callable):
    path = write_image(tmp_path / "float.tif", np.zeros((8, 8), np.float32))
    with pytest.raises(DatasetInvalid, match="float32"):
        read_picture(path, 1)


def test_signed_pixels_below_zero_are_no_imagery(tmp_path: Path, write_image: Callable):
    path = write_image(tmp_path / "signed.tif", np.array([[-9999, 5], [300, 0]], np.int16))
    picture = read_picture(path, 1)
    assert picture.pixels.dtype == np.uint16
    assert picture.valid.tolist() == [[False, True], [True, True]]
    assert picture.pixels[1, 0, 0] == 300


@pytest.mark.parametrize("text", [
    "", "[]", '{"features": [{"geometry": {"type": "Point", "coordinates": 5}}]}', "{}",
    '{"features": 5}',
    '{"features": [{"geometry": {"type": "Polygon"}}]}',
    '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [1, 1], [0, 0]]]}}]}',
    '{"features": [], "crs": {"properties": {"name": "no such system"}}}', "[" * 100_000,
])
def test_broken_geojson_is_named(tmp_path: Path, text: str):
    path = tmp_path / "labels.geojson"
    path.write_text(text)
    with pytest.raises(DatasetInvalid, match=r"labels\.geojson: not a readable FeatureCollection"):
        read_vectors(path)


def test_coordinates_that_are_no_numbers_are_named(tmp_path: Path):
    path = tmp_path / "labels.geojson"
    path.write_text('{"features": [{"geometry": {"type": "Point", "coordinates": [NaN, 5]}}]}')
    with pytest.raises(DatasetInvalid, match="feature 0 has coordinates that are no numbers"):
        read_vectors(path)


def test_a_database_that_is_no_geopackage_is_named(tmp_path: Path):
    path = tmp_path / "labels.gpkg"
    path.write_bytes(b"SQLite format 3\0 and no more")
    with pytest.raises(DatasetInvalid, match="not a readable GeoPackage"):
        read_vectors(path)


def test_other_vector_formats_are_refused(tmp_path: Path):
    path = tmp_path / "labels.kml"
    path.write_text("<!DOCTYPE kml [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><kml>&a;</kml>")
    with pytest.raises(DatasetInvalid, match=r"\.geojson and \.gpkg"):
        read_vectors(path)
