"""MBTiles give the picture, whoever wrote the file; hostile ones do no harm and are named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from ground import ORIGIN, encode, paint

from daemon.errors import ConfigError, ImageInvalid, ImageryUnavailable
from daemon.imagery import mbtiles
from daemon.imagery.mbtiles import MbtilesFile
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN
SOUTH = (1 << Z) - 1


def make(path: Path, *statements: str, tiles=(), kind="png") -> Path:
    """An MBTiles file; `tiles` are (z, x, row from the south, image)."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE metadata (name text, value text)")
        database.execute("INSERT INTO metadata VALUES ('format', ?)", (kind,))
        if not statements:
            database.execute("CREATE TABLE tiles (zoom_level int, tile_column int, tile_row int, tile_data blob)")
        for statement in statements:
            database.execute(statement)
        if tiles:
            database.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", tiles)
    database.close()
    return path


@pytest.fixture(scope="module")
def town(tiles, tmp_path_factory) -> Path:
    rows = [(Z, int(p.parts[-2]), SOUTH - int(p.stem), p.read_bytes()) for p in tiles.rglob("*.png")]
    return make(tmp_path_factory.mktemp("mb") / "town.mbtiles", tiles=rows)


def test_the_pixels_are_those_of_the_picture(opened, settings, picture, town):
    imagery = opened(settings(town, kind="mbtiles"))
    inner = imagery.chip(Block(Z, X // 2 + 1, Y // 2 + 1, 2), 64)
    assert (inner.pixels == picture[448:1088, 448:1088]).all() and inner.valid.all()
    assert imagery.coverage(Z) == {Tile(Z, X + i, Y + j) for i in range(8) for j in range(8)}
    assert imagery.check() == []


def test_without_its_table_of_metadata_the_images_say_what_they_are(opened, settings, picture, tmp_path):
    path = make(tmp_path / "a.mbtiles", tiles=[(Z, X, SOUTH - Y, encode(np.ascontiguousarray(picture[:256, :256])))])
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE metadata")
    database.close()
    imagery = opened(settings(path, kind="mbtiles"), area={"bbox": list(Block(Z, X, Y, 1).lonlat())})
    assert imagery.check() == []
    assert (imagery.chip(Block(Z, X, Y, 1), 0).pixels == picture[:256, :256]).all()


def test_a_view_over_deduplicated_images_is_a_table_too(tmp_path):
    path = make(
        tmp_path / "a.mbtiles",
        "CREATE TABLE map (zoom_level int, tile_column int, tile_row int, tile_id text)",
        "CREATE TABLE images (tile_id text, tile_data blob)",
        "CREATE VIEW tiles AS SELECT zoom_level, tile_column, tile_row, tile_data FROM map JOIN images USING (tile_id)",
        "INSERT INTO map VALUES (1, 0, 0, 'a'), (1, 1, 0, 'a')",
        "INSERT INTO images VALUES ('a', x'89504e47')",
    )
    file = MbtilesFile(str(path), 1000)
    assert file.read(Tile(1, 1, 1)).data == b"\x89PNG" and file.read(Tile(1, 1, 0)) is None
    assert file.zooms() == {1}
    file.close()


def test_a_new_file_is_noticed(town, tmp_path):
    path = tmp_path / "copy.mbtiles"
    path.write_bytes(town.read_bytes())
    file = MbtilesFile(str(path), 10**6)
    digest, newest = file.state(Z)
    assert file.tiles(Z, since=newest + 1) == set() and len(file.tiles(Z, since=newest - 1)) == 64
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO metadata VALUES ('x', zeroblob(100000))")
    database.close()
    assert file.state(Z)[0] != digest
    path.unlink()
    with pytest.raises(ImageryUnavailable, match="is its disk mounted"):
        file.state(Z)
    file.close()


def test_the_file_is_never_written_to(town, tmp_path):
    path = tmp_path / "a.mbtiles"
    path.write_bytes(town.read_bytes())
    before = path.read_bytes(), path.stat().st_mtime_ns
    file = MbtilesFile(str(path), 10**6)
    assert file.read(Tile(Z, X, Y)) and file.zooms() and file.tiles(Z)
    with pytest.raises(ImageInvalid), file._asking(1.0) as connection:
        connection.execute("DELETE FROM tiles")
    with pytest.raises(ImageInvalid), file._asking(1.0) as connection:
        connection.execute(f"ATTACH '{tmp_path / 'other.db'}' AS other")
    file.close()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE VIEW tiles AS SELECT 18 AS zoom_level, 5 AS tile_column, 7 AS tile_row, load_extension('/x.so') AS "
          "tile_data"], "not an MBTiles file that can be read"),
        (["CREATE VIEW tiles AS SELECT 18 AS zoom_level, 5 AS tile_column, 7 AS tile_row, randomblob(900000000) AS "
          "tile_data"], "larger than client.max_image"),
        (["CREATE TABLE t (x)", "CREATE VIEW tiles AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
          "SELECT 18 AS zoom_level, 5 AS tile_column, 7 AS tile_row, i AS tile_data FROM n WHERE i < 0"],
         "was called off"),
        (["CREATE TABLE t (x)"], "no such table: tiles"),
        (["CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)",
          "INSERT INTO tiles VALUES (18, 5, 7, 'text')"], "not an image but a str"),
        (["CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)",
          "INSERT INTO tiles VALUES (18, 5, 7, zeroblob(60000))"], "60000 bytes, more than client.max_image = 50000"),
        (["CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)",
          "INSERT INTO tiles VALUES (18, 5, 7, zeroblob(10000000))"], "larger than client.max_image = 50000"),
    ],
)
def test_hostile_files_are_named_and_do_no_harm(tmp_path, monkeypatch, statements, said):
    monkeypatch.setattr(mbtiles, "TILE_PATIENCE", 0.2)
    file = MbtilesFile(str(make(tmp_path / "evil.mbtiles", *statements)), 50_000)
    with pytest.raises(ImageInvalid, match=said) as caught:
        file.read(Tile(18, 5, SOUTH - 7))
    assert "evil.mbtiles" in str(caught.value)
    file.close()


def test_what_is_no_mbtiles_file_is_found(opened, settings, tmp_path):
    (tmp_path / "text.mbtiles").write_text("hello" * 100)
    vectors = make(tmp_path / "vector.mbtiles", kind="pbf", tiles=[(Z, X, SOUTH - Y, b"\x1f\x8b")])
    said = opened(
        settings(tmp_path / "text.mbtiles", kind="mbtiles"), settings(vectors, kind="mbtiles", name="v")).check()
    assert "not an MBTiles file" in said[0] and "its tiles are 'pbf', no pictures" in said[1]
    with pytest.raises(ConfigError, match="no such file"):
        opened(settings(tmp_path / "none.mbtiles", kind="mbtiles"))


def test_rubbish_in_its_tables_is_left_out(tmp_path):
    rubbish = [("a", 1, 1, b""), (Z, -5, 1, b""), (Z, "x", None, b""), (99, 1, 1, b"")]
    rows = [(Z, X, SOUTH - Y, encode(paint(256))), *rubbish]
    file = MbtilesFile(str(make(tmp_path / "a.mbtiles", tiles=rows)), 10**6)
    assert file.zooms() == {Z} and file.tiles(Z) == {Tile(Z, X, Y)}
    file.close()
