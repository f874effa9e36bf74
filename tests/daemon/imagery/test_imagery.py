"""Sources together: who may be used, chips without seams, what falls through to the next source, what is reported."""

from __future__ import annotations

import json
import logging
from datetime import date

import numpy as np
import pytest
from ground import ORIGIN, SIDE, cut, encode, paint
from http_server import Answer

from daemon.errors import ConfigError, ImageryForbidden, ImageryUnavailable
from daemon.imagery import Imagery
from daemon.tiling.grid import HALF_WORLD_M, Block, Tile, lonlat_to_mercator

Z, X, Y = ORIGIN
INNER = Block(Z, X // 4, Y // 4, 4)  # the upper left quarter of the picture


@pytest.fixture
def town(picture, tmp_path):
    """Writes some tiles of the picture ([(column, row), ...]) with a mark that tells sources apart."""

    def make(name: str, places, brighter: int = 0):
        root = tmp_path / name
        for column, row in places:
            part = picture[row * 256 : (row + 1) * 256, column * 256 : (column + 1) * 256]
            path = root / str(Z) / str(X + column) / f"{Y + row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(part + np.uint8(brighter)))
        return root

    return make


# --- who may be used


def test_imagery_without_permission_is_refused_and_every_key_named(configure, settings, tiles):
    config = configure(settings(tiles, licence=""), settings(tiles, name="two", attribution=" ", osm_permission=""))
    with pytest.raises(ImageryForbidden) as caught:
        Imagery.open(config)
    for key in ("imagery[0].licence (paint)", "imagery[1].attribution (two)", "imagery[1].osm_permission (two)"):
        assert key in str(caught.value)


@pytest.mark.parametrize("contact", ["", "  ", "me\r\nX-Evil: 1"])
def test_servers_are_not_asked_without_a_contact(configure, contact):
    with pytest.raises(ImageryForbidden, match=r"client\.contact"):
        Imagery.open(configure("http://127.0.0.1:9/{z}/{x}/{y}.png", client={"contact": contact}))


def test_a_directory_needs_no_contact(opened, tiles):
    assert opened(tiles, client={"contact": ""}).check() == []


def test_all_wrong_locations_are_named_at_once(configure, settings, tiles, tmp_path):
    with pytest.raises(ConfigError) as caught:
        Imagery.open(
            configure(
                settings(tmp_path / "none"),
                settings("https://example.org/tiles", name="b"),
                settings(tmp_path / "none.tif", name="c", kind="geotiff"),
                settings(tiles, name="d", min_zoom=5, max_zoom=4),
            )
        )
    named = [f"imagery[{i}].url ({name})" for i, name in enumerate(["paint", "b", "c", "d"])]
    assert [problem.split(":")[0] for problem in caught.value.problems] == named


def test_whom_to_name(opened, settings, tiles):
    (one,) = opened(settings(tiles, acquired=date(2021, 5, 6))).attributions()
    assert one == {"name": "paint", "licence": "CC-BY-4.0", "attribution": "Ground Painters", "acquired": "2021-05-06"}


# --- chips


@pytest.mark.parametrize("margin", [0, 1, 64, 256])
def test_a_chip_is_the_picture_across_all_tile_borders(opened, tiles, picture, margin):
    block = Block(Z, X // 2 + 1, Y // 2 + 1, 2)  # tiles 2 and 3 of the picture's 8
    chip = opened(tiles).chip(block, margin)
    assert chip.pixels.shape == (512 + 2 * margin, 512 + 2 * margin, 3) and chip.pixels.dtype == np.uint8
    assert chip.valid.all() and chip.valid.dtype == bool
    around = slice(512 - margin, 1024 + margin)
    assert (chip.pixels == picture[around, around]).all()
    assert chip.bounds == block.mercator(margin) and chip.source == "paint" and chip.crs == "EPSG:3857"


def test_margins_beyond_the_imagery_are_not_valid_and_continue_its_edge(opened, tiles, picture):
    chip = opened(tiles).chip(INNER, 64)
    assert not chip.valid[:64].any() and not chip.valid[:, :64].any() and chip.valid[64:, 64:].all()
    assert (chip.pixels[64:, 64:] == picture[: 1024 + 64, : 1024 + 64]).all()
    assert (chip.pixels[:64, 64:] == picture[0, : 1024 + 64]).all()
    assert (chip.pixels[64:, :64] == picture[: 1024 + 64, :1]).all()
    assert (chip.pixels[:60, :60] == picture[0, 0]).all()


def test_where_there_is_nothing_a_chip_is_empty(opened, tiles, settings):
    chip = opened(settings(tiles, acquired=date(2020, 1, 1))).chip(Block(Z, 0, 0, 4), 64)
    assert not chip.valid.any() and chip.pixels.shape == (1152, 1152, 3)
    assert (chip.source, chip.acquired) == ("", None)
    assert not opened().chip(INNER, 64).valid.any()


def test_later_sources_fill_only_what_earlier_ones_lack(opened, settings, town, picture):
    first = town("first", [(0, 0), (1, 0), (0, 1)])
    holed = picture[:256, 256:512].copy()
    holed[:100] = 255
    (first / str(Z) / str(X + 1) / f"{Y}.png").write_bytes(encode(holed))
    second = town("second", [(x, y) for x in range(2) for y in range(2)], brighter=5)
    chip = opened(settings(first), settings(second, name="second")).chip(Block(Z, X // 2, Y // 2, 2), 0)
    expected = picture[:512, :512].copy()
    expected[256:, 256:] += 5
    expected[:103, 256:] += 5  # three pixels more, for compression smears the edge of a blank
    assert chip.valid.all() and (chip.pixels == expected).all()
    assert chip.source == "paint"


@pytest.mark.parametrize(
    ("dates", "acquired"),
    [
        ((date(2020, 1, 1), date(2018, 6, 1)), date(2018, 6, 1)),
        ((date(2020, 1, 1), None), None),
        ((None, date(2018, 6, 1)), None),
    ],
)
def test_a_chip_is_as_old_as_the_oldest_that_it_is_made_of(opened, settings, town, dates, acquired):
    one, two = town("one", [(0, 0), (1, 0)]), town("two", [(0, 0), (1, 0), (0, 1)])
    imagery = opened(settings(one, acquired=dates[0]), settings(two, name="two", acquired=dates[1]))
    assert imagery.chip(Block(Z, X // 2, Y // 2, 2), 0).acquired == acquired
    assert imagery.chip(Block(Z, X, Y, 1), 0).acquired == dates[0]  # two gave nothing here


def test_a_tile_that_cannot_be_used_counts_as_missing_and_is_told(opened, settings, town, caplog):
    bad, good = town("bad", [(0, 0), (1, 0)]), town("good", [(0, 0)])
    for column in (0, 1):
        (bad / str(Z) / str(X + column) / f"{Y}.png").write_bytes(b"<html>sorry</html>")
    imagery = opened(settings(bad), settings(good, name="good"))
    with caplog.at_level(logging.WARNING):
        chip = imagery.chip(Block(Z, X // 2, Y // 2, 2), 0)
    assert chip.valid[:256, :256].all() and not chip.valid[:, 256:].any()
    assert imagery.invalid == {"paint": 2}
    assert f"tile {Z}/{X}/{Y} of paint counts as no imagery" in caplog.text


def test_a_failing_server_fails_the_block_and_not_its_tiles(opened, web, picture, tmp_path):
    cut(picture[:512, :512], tmp_path / "t")
    for path in (tmp_path / "t").rglob("*.png"):
        web.put("/" + "/".join(path.parts[-3:]), path.read_bytes())
    bad = f"/{Z}/{X + 1}/{Y + 1}.png"
    web.put(bad, status=500)
    imagery = opened(web.url("/{z}/{x}/{y}.png"))
    with pytest.raises(ImageryUnavailable, match="HTTP 500"):
        imagery.chip(Block(Z, X // 2, Y // 2, 2), 64)
    web.script(bad, Answer(200, encode(np.ascontiguousarray(picture[256:512, 256:512]))))
    chip = imagery.chip(Block(Z, X // 2, Y // 2, 2), 64)
    assert (chip.pixels[64:-64, 64:-64] == picture[:512, :512]).all()
    assert web.requests[0][1]["User-Agent"].startswith("mapgap/")
    assert "(+tests@example.org)" in web.requests[0][1]["User-Agent"]
    asked = len(web.requests)
    imagery.chip(Block(Z, X // 2, Y // 2, 2), 64)
    assert len(web.requests) == asked, "all of it, the missing margin too, is in the cache"


def test_a_chip_goes_on_across_the_antimeridian_but_a_block_does_not(opened, tmp_path):
    n, colours = 8, {}
    for x in range(n):
        path = tmp_path / "3" / str(x) / "4.png"
        path.parent.mkdir(parents=True)
        colours[x] = paint(256, seed=x)
        path.write_bytes(encode(colours[x]))
    imagery = opened(tmp_path)
    west = imagery.chip(Block(3, 0, 4, 1), 64)
    assert (west.pixels[64:-64, :64] == colours[7][:, -64:]).all() and west.valid[64:-64].all()
    east = imagery.chip(Block(3, 7, 4, 1), 64)
    assert (east.pixels[64:-64, -64:] == colours[0][:, :64]).all()
    beyond = imagery.chip(Block(3, 2, 1, 3), 0)  # columns 6, 7 and one beyond the edge
    assert beyond.valid[256:512, :512].all() and not beyond.valid[:, 512:].any()


def test_beyond_the_poles_there_is_nothing(opened, tmp_path):
    for y in (0, 7):
        path = tmp_path / "3" / "4" / f"{y}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(paint(256)))
    imagery = opened(tmp_path)
    for y, beyond in ((0, np.s_[:64]), (7, np.s_[-64:])):
        chip = imagery.chip(Block(3, 4, y, 1), 64)
        assert not chip.valid[beyond].any() and chip.valid[64:-64, 64:-64].all()


def test_the_world_in_one_tile_is_its_own_neighbour(opened, tmp_path):
    (tmp_path / "0" / "0").mkdir(parents=True)
    world = paint(256)
    (tmp_path / "0" / "0" / "0.png").write_bytes(encode(world))
    chip = opened(tmp_path).chip(Block(0, 0, 0, 1), 64)
    assert (chip.pixels[64:-64] == np.concatenate([world[:, -64:], world, world[:, :64]], axis=1)).all()


# --- coverage and check


def test_coverage_is_that_of_all_sources(opened, settings, town, web):
    one, two = town("one", [(0, 0), (1, 0)]), town("two", [(1, 0), (5, 5)])
    imagery = opened(settings(one), settings(two, name="two"))
    assert imagery.coverage(Z) == {Tile(Z, X + x, Y + y) for x, y in ((0, 0), (1, 0), (5, 5))}
    assert opened(settings(one), settings(web.url("/{z}/{x}/{y}.png"), name="web")).coverage(Z) is None


@pytest.fixture
def over_picture():
    """bbox in degrees of the middle of the picture."""
    west = (X + 2) / (1 << Z) * 360 - 180
    south = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * (Y + 6) / (1 << Z)))))
    return [west, south, west + 0.002, south + 0.002]


def test_check_says_what_is_wrong_with_each_source(opened, settings, tiles, town, web, tmp_path, over_picture):
    (tmp_path / "empty").mkdir()
    broken = town("broken", [(3, 5)])
    next(broken.rglob("*.png")).write_bytes(b"broken")
    web.put(f"/{Z}/0/0.png")
    imagery = opened(
        settings(tiles),
        settings(tmp_path / "empty", name="empty"),
        settings(tiles, name="low", max_zoom=12),
        settings(broken, name="broken"),
        settings(town("far", [(0, 0)]), name="far"),
        settings(web.url("/{z}/{x}/{y}.png"), name="web"),
        settings("http://127.0.0.1:9/{z}/{x}/{y}.png", name="dead"),
        area={"bbox": over_picture},
    )
    said = imagery.check()
    for (name, words), line in zip(
        [
            ("imagery[1] (empty)", "no tiles of zoom 0 to 22 found"),
            ("imagery[2] (low)", "no tiles of zoom 0 to 12 found"),
            ("imagery[3] (broken)", "not an image"),
            ("imagery[4] (far)", "none of its 1 tiles"),
            ("imagery[5] (web)", "no imagery at the middle of the area"),
            ("imagery[6] (dead)", "127.0.0.1:9"),
        ],
        said,
        strict=True,
    ):
        assert line.startswith(name) and words in line, line


def test_check_is_content_with_sources_that_work(opened, settings, tiles, web, over_picture):
    chosen = Tile(Z, *(int(v) for v in tile_of_middle(over_picture)))
    web.put(f"/{chosen}.png", encode(paint(256)))
    imagery = opened(settings(tiles), settings(web.url("/{z}/{x}/{y}.png"), name="web"), area={"bbox": over_picture})
    assert imagery.check() == []


def tile_of_middle(bbox) -> tuple[float, float]:
    x, y = lonlat_to_mercator((bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2)
    side = 2 * HALF_WORLD_M / (1 << Z)
    return (x + HALF_WORLD_M) / side, (HALF_WORLD_M - y) / side


def test_check_names_the_zooms_there_are(opened, tiles):
    (line,) = opened(tiles, tiling={"zoom": Z + 2}).check()
    assert f"tiling.zoom = {Z + 2}" in line and f"has: {Z}" in line


def test_check_notices_that_nothing_is_configured(opened):
    assert opened().check() == ["imagery: no source is configured; nothing can be looked at"]


# --- the real thing


def test_the_replay_of_banepa_and_kampala_is_seen_whole(opened, data):
    replay = data / "replay_buildings"
    imagery = opened(replay / "imagery", tiling={"zoom": 19})
    files = {Tile(*map(int, (*p.parts[-3:-1], p.stem))) for p in (replay / "imagery").rglob("*.jpg")}
    assert imagery.coverage(19) == {tile for tile in files if tile.z == 19} and len(files) > 100
    assert imagery.coverage(20) == {tile for tile in files if tile.z == 20}
    areas = json.loads((replay / "truth.json").read_text())["areas"]
    assert areas and imagery.check() == []
    for zoom in (19, 20):
        blocks = {Block.of(tile, 4) for tile in files if tile.z == zoom}
        seen = sum(int(imagery.chip(block, 0).valid.sum()) for block in blocks)
        assert seen == 256 * 256 * sum(tile.z == zoom for tile in files)
    assert imagery.invalid == {}


def test_picture_and_tiles_agree_on_where_they_are(tiles):
    assert len(list(tiles.rglob("*.png"))) == SIDE * SIDE
