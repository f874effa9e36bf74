"""Tiles of directories: where they are looked for, at which zooms, and how they are made of others."""

from __future__ import annotations

import os

import numpy as np
import pytest
from ground import ORIGIN, cut, encode, paint

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.directory import DirectoryTiles
from daemon.imagery.source import reduce
from daemon.imagery.template import TileTemplate
from daemon.imagery.xyz import XyzSource
from daemon.tiling.grid import Tile

Z, X, Y = ORIGIN


@pytest.fixture
def source(settings):
    def make(url, **others) -> XyzSource:
        chosen = settings(url, **others)
        return XyzSource(chosen, DirectoryTiles(chosen.url, chosen.tms, 10**7), 4096 * 4096)

    return make


def part(picture: np.ndarray, x: int, y: int, size: int = 256) -> np.ndarray:
    return picture[y * size : (y + 1) * size, x * size : (x + 1) * size]


def test_a_directory_gives_its_tiles(source, tiles, picture):
    image = source(tiles).tile(Tile(Z, X + 2, Y + 5))
    assert (image.pixels == part(picture, 2, 5)).all() and image.valid.all()


def test_what_is_not_there_is_no_imagery(source, tiles):
    paint_source = source(tiles)
    assert paint_source.tile(Tile(Z, X + 8, Y)) is None
    assert paint_source.tile(Tile(Z, 0, 0)) is None


def test_an_empty_file_is_no_imagery(source, tmp_path):
    path = tmp_path / "18" / "5" / "7.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert source(tmp_path).tile(Tile(18, 5, 7)) is None


def test_several_endings_may_be_mixed(source, tmp_path):
    for x, ending in enumerate((".png", ".jpg", ".jpeg", ".webp", ".JPG")):
        path = tmp_path / "18" / f"{x}" / f"3{ending}"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode(paint(256), ".jpg" if "j" in ending.lower() else ending))
    mixed = source(tmp_path)
    for x in (0, 3, 1, 4, 2, 0):
        assert mixed.tile(Tile(18, x, 3)) is not None
    assert mixed.coverage(18) == {Tile(18, x, 3) for x in range(5)}


@pytest.mark.parametrize(
    "form", ["{z}/{x}/{y}.png", "{zoom}/{y}/{x}.png", "z{z}/{x}_{y}.png", "{z}/{x}/{-y}.png", "flat/{x},{y},{z}"]
)
def test_templates_say_where_tiles_lie(source, tmp_path, form):
    ground = paint(256)
    tile = Tile(18, 193344, 110120)
    path = tmp_path / "some dir" / TileTemplate(form).fill(tile)
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(ground))
    for url in (f"{tmp_path}/some dir/{form}", f"file://{tmp_path}/some%20dir/{form}"):
        found = source(url)
        assert (found.tile(tile).pixels == ground).all()
        assert found.coverage(18) == {tile}
        assert found.check() == []


def test_rows_may_be_counted_from_the_south(source, tmp_path):
    path = tmp_path / "2" / "1" / "3.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(paint(256)))
    south = source(tmp_path, tms=True)
    assert south.tile(Tile(2, 1, 0)) is not None and south.tile(Tile(2, 1, 3)) is None
    assert south.coverage(2) == {Tile(2, 1, 0)}


@pytest.mark.parametrize(("text", "said"), [("/t/{z}/{x}.png", "lacks {y}"), ("/t/{z}/{x}/{q}", "does not know {q}")])
def test_a_template_that_cannot_work_is_named(source, text, said):
    assert said in source(text).check()[0]


def test_the_zoom_above_is_enlarged_by_one_level_only(source, tiles, picture):
    found = source(tiles)
    image = found.tile(Tile(Z + 1, 2 * X + 3, 2 * Y + 2))
    assert image.valid.all()
    shown = reduce(image).pixels.astype(int)
    assert np.abs(shown - picture[256:384, 384:512]).mean() < 4
    assert found.tile(Tile(Z + 2, 4 * X, 4 * Y)) is None
    assert found.coverage(Z + 1) == {Tile(Z + 1, 2 * X + i, 2 * Y + j) for i in range(16) for j in range(16)}
    assert found.coverage(Z + 2) == set()


def test_the_zoom_below_is_reduced_by_one_level_only(source, tiles, picture):
    found = source(tiles)
    image = found.tile(Tile(Z - 1, X // 2 + 1, Y // 2 + 2))
    mean = picture[1024:1536, 512:1024].reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(image.pixels - mean).max() <= 1
    assert found.tile(Tile(Z - 2, X // 4, Y // 4)) is None
    assert len(found.coverage(Z - 1)) == 16


def test_what_is_made_of_three_children_has_a_quarter_without_imagery(source, tmp_path):
    for x, y in ((0, 0), (1, 0), (0, 1)):
        path = tmp_path / "5" / str(x) / f"{y}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(paint(256)))
    valid = source(tmp_path).tile(Tile(4, 0, 0)).valid
    assert valid[:128].all() and valid[:, :128].all() and not valid[128:, 128:].any()


def test_configured_zooms_bound_what_the_directory_has(source, tiles):
    assert source(tiles, max_zoom=Z - 1).tile(Tile(Z, X, Y)) is None
    assert source(tiles, min_zoom=Z + 1).coverage(Z) == set()


def test_tiles_of_512_pixels_are_four_of_the_zoom_below(source, picture, tmp_path):
    cut(picture, tmp_path, size=512)
    found = source(tmp_path, tile_size=512)
    for x, y in ((0, 0), (3, 0), (2, 5), (7, 7)):
        assert (found.tile(Tile(Z, X + x, Y + y)).pixels == part(picture, x, y)).all()
    assert found.coverage(Z) == {Tile(Z, X + i, Y + j) for i in range(8) for j in range(8)}
    mean = picture[512:1024, :512].reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(found.tile(Tile(Z - 1, X // 2, Y // 2 + 1)).pixels - mean).max() <= 1
    assert len(found.coverage(Z - 1)) == 16
    assert found.tile(Tile(Z + 1, 2 * X, 2 * Y)).valid.all()
    assert found.tile(Tile(Z + 2, 4 * X, 4 * Y)) is None


def test_a_file_that_changes_is_seen(source, picture, tmp_path):
    cut(picture[:512, :512], tmp_path, size=512)
    found = source(tmp_path, tile_size=512)
    before = found.tile(Tile(Z, X, Y)).pixels
    cut(paint(512, seed=9), tmp_path, size=512)
    assert (found.tile(Tile(Z, X, Y)).pixels != before).any()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>moved</html>", "not an image but an HTML page"),
        (encode(paint(512)), "is tile_size = 512 meant?"),
        (encode(paint(256))[:5000], "truncated"),
        (bytes(10**7 + 1), "more than client.max_image"),
    ],
)
def test_a_bad_file_is_named(source, tmp_path, content, said):
    path = tmp_path / "18" / "5" / "7.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ImageInvalid) as caught:
        source(tmp_path).tile(Tile(18, 5, 7))
    assert str(path) in str(caught.value) and said in str(caught.value)


def test_what_is_no_file_is_not_waited_for(source, tmp_path):
    (tmp_path / "18" / "5").mkdir(parents=True)
    os.mkfifo(tmp_path / "18" / "5" / "7.png")
    with pytest.raises(ImageInvalid, match="not a file"):
        source(tmp_path).tile(Tile(18, 5, 7))


def test_a_directory_that_vanishes_is_a_failure_and_not_missing_imagery(source, tmp_path):
    cut(paint(512), tmp_path / "mount")
    found = source(tmp_path / "mount")
    assert found.tile(Tile(Z, X, Y)) is not None
    (tmp_path / "mount").rename(tmp_path / "gone")
    with pytest.raises(ImageryUnavailable, match="is its disk mounted"):
        found.tile(Tile(Z, X, Y))


def test_names_that_are_no_tiles_are_passed_over(source, tmp_path):
    cut(paint(256), tmp_path)
    names = ["readme.txt", "18/notes", "18/193344/x.png", "18/193344/007.png", "18/193344/9999999.png", "99/1/1.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert source(tmp_path).coverage(18) == {Tile(18, 193344, 110120)}


def test_files_that_came_later_are_told_apart_whatever_time_they_carry(source, picture, tmp_path):
    cut(picture, tmp_path)
    there = source(tmp_path)
    before = there.content(Z)
    assert there.content(Z) == before
    assert there.coverage(Z, since=before.newest) == set()
    path = next(iter(tmp_path.rglob(f"{Y + 5}.*")))
    path.write_bytes(path.read_bytes())
    os.utime(path, (1_600_000_000, 1_600_000_000))
    after = there.content(Z)
    assert after.digest != before.digest
    changed = there.coverage(Z, since=before.newest)
    assert [tile.y for tile in changed] == [Y + 5]
    assert {tile.z for tile in there.coverage(Z + 1, since=before.newest)} == {Z + 1}
    path.unlink()
    assert there.content(Z).digest not in (before.digest, after.digest)
