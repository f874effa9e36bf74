"""Where several sources have imagery: the order given, the newest or the finest goes first, the others fill gaps."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from ground import ORIGIN, encode, paint
from rasters import MERCATOR, bands, place, write

from daemon.imagery.source import oldest
from daemon.tiling.grid import Block, Tile

Z, X, Y = ORIGIN
FOUR = Block(Z, X // 2, Y // 2, 2)


@pytest.fixture
def three(settings, picture, tiles, tmp_path):
    """An old source of tiles everywhere, a new but coarse raster over the west, and a fine undated one in the north."""
    coarse = picture[:512, :256].reshape(256, 2, 128, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    new = write(tmp_path / "new.tif", bands(coarse), MERCATOR @ type(MERCATOR).scale(2))
    fine = np.full((512, 1024, 3), 0, np.uint8)
    fine[:] = paint(1024)[:512]
    undated = write(tmp_path / "fine.tif", bands(fine), MERCATOR @ type(MERCATOR).scale(0.5))
    return (
        settings(tiles, name="old", acquired=date(2012, 1, 1)),
        settings(new, name="new", kind="geotiff", acquired=date(2023, 1, 1)),
        settings(undated, name="fine", kind="geotiff"),
    )


def corners(imagery) -> list[str]:
    """Which source gives each of the four tiles: north-west, north-east, south-west, south-east."""
    return [imagery.chip(Block(Z, X + column, Y + row, 1), 0).source for row in (0, 1) for column in (0, 1)]


@pytest.mark.parametrize(
    ("ranking", "who"),
    [
        ("order", ["old", "old", "old", "old"]),
        ("newest", ["new", "old", "new", "old"]),
        ("finest", ["fine", "fine", "old", "old"]),
    ],
)
def test_who_goes_first_at_each_place(opened, three, ranking, who):
    assert corners(opened(*three, mosaic={"ranking": ranking})) == who


def test_equals_stay_in_the_order_given(opened, settings, tiles):
    same = [settings(tiles, name=name, acquired=date(2020, 1, 1)) for name in ("a", "b")]
    for ranking in ("order", "newest", "finest"):
        assert corners(opened(*same, mosaic={"ranking": ranking})) == ["a"] * 4
        assert corners(opened(*same[::-1], mosaic={"ranking": ranking})) == ["b"] * 4


def test_what_the_first_lacks_the_next_fills_and_the_chip_is_as_old_as_both(opened, settings, picture, tiles, tmp_path):
    holed = bands(picture[:256, :256]).copy()
    holed[:, 100:156, 100:156] = 9
    new = write(tmp_path / "new.tif", holed, place(0, 0), nodata=9)
    imagery = opened(settings(tiles, name="old", acquired=date(2012, 1, 1)),
                     settings(new, name="new", kind="geotiff", acquired=date(2023, 1, 1)), mosaic={"ranking": "newest"})
    chip = imagery.chip(Block(Z, X, Y, 1), 0)
    assert chip.valid.all() and (chip.pixels == picture[:256, :256]).all()
    assert (chip.source, chip.acquired) == ("new", date(2012, 1, 1))


def test_days_of_tiles_rank_them_tile_by_tile(web, opened, settings):
    for name, days in (("a", ("2015-01-01", "2022-01-01")), ("b", ("2018-01-01", "2018-01-01"))):
        for column, day in enumerate(days):
            web.put(f"/{name}/{Z}/{X + column}/{Y}.png", encode(paint(256)), headers={"X-Day": day})
    sources = [settings(web.url(f"/{n}/{{z}}/{{x}}/{{y}}.png"), name=n, date_header="X-Day") for n in ("a", "b")]
    imagery = opened(*sources, mosaic={"ranking": "newest"})
    assert [imagery.chip(Block(Z, X + c, Y, 1), 0).source for c in (0, 1)] == ["b", "a"]


def test_a_source_that_cannot_tell_comes_last_and_stops_nobody(opened, settings, web, picture, tiles):
    web.put("/c.xml", b"<nothing/>")
    broken = settings(web.url("/c.xml"), name="broken", kind="wmts", layer="a", acquired=date(2024, 1, 1))
    imagery = opened(broken, settings(tiles, acquired=date(2012, 1, 1)), mosaic={"ranking": "newest"})
    assert (imagery.chip(FOUR, 0).pixels == picture[:512, :512]).all()


def test_sources_of_other_bands_are_not_mixed(configure, settings, tiles):
    with pytest.raises(Exception, match="paint gives 3 of 8 bits, deep gives 4 of 16 bits"):
        configure(settings(tiles), settings(tiles, name="deep", bands=[1, 2, 3, 4], depth=16))


def test_one_unknown_day_makes_all_unknown():
    assert oldest([]) is None and oldest([date(2020, 1, 1), None]) is None
    assert oldest([date(2020, 1, 1), date(2019, 1, 1)]) == date(2019, 1, 1)


def test_coverage_is_that_of_all(opened, three):
    assert opened(*three).coverage(Z) >= {Tile(Z, X + i, Y + j) for i in range(8) for j in range(8)}
