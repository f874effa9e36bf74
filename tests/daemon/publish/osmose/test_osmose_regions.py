"""An area is cut into sources of a size that a frontend can take, once and for all."""

from __future__ import annotations

import logging
import re

import pytest
from claims import LAT, LON, house, missing
from hypothesis import given
from hypothesis import strategies as st

from daemon.discrepancies.life import close, publish
from daemon.errors import FrontendRefused
from daemon.publish.osmose.regions import DEEPEST, country_of, quadkey, region_of
from daemon.publish.osmose.sources import divide
from daemon.tiling.grid import tile_at

points = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(point=points, zoom=st.integers(0, DEEPEST))
def test_a_region_is_a_tile_and_the_name_of_a_part_begins_with_its_whole(point, zoom):
    key = quadkey(*point, zoom)
    assert re.fullmatch(r"[a-d]*", key) and len(key) == zoom and quadkey(*point, DEEPEST).startswith(key)
    x = sum((("abcd".index(letter) & 1) << zoom - 1 - i) for i, letter in enumerate(key))
    y = sum((("abcd".index(letter) >> 1) << zoom - 1 - i) for i, letter in enumerate(key))
    assert (x, y) == tile_at(*point, zoom)[1:]


def test_the_quadkey_is_the_one_that_is_written_down():
    """Tile 3,5 of zoom 3 has the quadkey 213 (Bing Maps Tile System)."""
    assert quadkey(-22.5, -52.5, 3) == "cbd"


@given(point=points, zoom=st.integers(0, 14), depth=st.integers(0, DEEPEST))
def test_a_point_is_in_one_region_whatever_was_divided(point, zoom, depth):
    whole = quadkey(*point, DEEPEST)
    divided = {whole[:i] for i in range(zoom, depth)}
    assert region_of(*point, zoom, divided) == whole[:max(zoom, depth)]
    assert region_of(*point, zoom, divided | {"x", whole[:zoom] + "x"}) == whole[:max(zoom, depth)]


def test_sources_are_named_so_that_a_frontend_can_find_them():
    assert country_of("nepal", "") == "nepal" and country_of("nepal", "dabc") == "nepal_dabc"


def spread(rig, count: int) -> list[str]:
    """Houses in two tiles of zoom 18, which are some 130 m wide."""
    claims = [missing(house(10 + 14 * (i % 13), 10 + 14 * (i // 13), 8, 8)) for i in range(count)]
    keys = rig.ledger.look(*claims, now=rig.now).opened
    with rig.ledger.cursor() as cursor:
        return publish(cursor, keys, now=rig.now)


def test_an_area_is_cut_by_the_tiles_of_a_zoom_each_with_a_document_of_its_own(rig):
    spread(rig, 60)
    rig.frontend.state.unlocked = True
    channel = rig.channel(region_zoom=14)
    channel.cycle()
    countries = {upload.country for upload in rig.frontend.uploads}
    assert countries == {country_of("banepa", quadkey(LON, LAT, 14))}
    rig.later(60)
    rig.channel(region_zoom=8).cycle()
    assert rig.open(*countries) == set(), "of another cut, what was sent is taken back"
    (new,) = {upload.country for upload in rig.frontend.uploads} - countries
    assert rig.open(new) == rig.wanted(new) and len(rig.open(new)) == 60


def test_a_source_that_outgrows_is_named_and_divided_only_when_somebody_says_so(rig, caplog):
    keys = spread(rig, 60)
    rig.frontend.state.unlocked = True
    channel = rig.channel(region_most=50)
    with caplog.at_level(logging.WARNING):
        channel.cycle()
    assert "banepa has 60 issues" in caplog.text and "mapgap osmose divide banepa" in caplog.text
    assert len(rig.open()) == 60
    with rig.ledger.cursor() as cursor:
        assert divide(cursor, channel.plan, "banepa") == ["banepa_b"]
        assert divide(cursor, channel.plan, "banepa") == [] == divide(cursor, channel.plan, "nowhere")
    rig.later(60)
    channel.cycle()
    assert [upload.country for upload in rig.frontend.uploads[1:]] == ["banepa_b", "banepa"], "the part first"
    assert rig.open() == set() and rig.open("banepa_b") == rig.wanted("banepa_b") and len(rig.open("banepa_b")) == 60
    with rig.ledger.cursor() as cursor:
        close(cursor, keys[:1], "fixed", now=rig.now)
    channel.cycle()
    assert len(rig.open("banepa_b")) == 59


def test_a_source_is_divided_by_itself_until_each_is_small_enough_where_that_was_asked_for(rig):
    spread(rig, 120)
    rig.frontend.state.unlocked = True
    channel = rig.channel(divide="auto", region_most=100)
    channel.cycle()
    leaves = {name: count.issues for name, count in rig.counts().items() if not count.source.divided}
    assert sum(leaves.values()) == 120 and max(leaves.values()) <= 100 and len(leaves) >= 2
    assert all(rig.open(name) == rig.wanted(name) for name in leaves if leaves[name])
    assert not any(upload.country == "banepa" for upload in rig.frontend.uploads), "it never had anything to take back"


def test_the_whole_stands_until_its_parts_are_taken(rig):
    spread(rig, 60)
    channel = rig.channel()
    channel.cycle()
    with rig.ledger.cursor() as cursor:
        divide(cursor, channel.plan, "banepa")
    rig.later(60)
    with pytest.raises(FrontendRefused, match="banepa_b"):
        channel.cycle()
    assert len(rig.open()) == 60
    rig.frontend.state.register("mapgap", "banepa_b", "s3cret-code")
    rig.later(3600)
    channel.cycle()
    assert rig.open() == set() and len(rig.open("banepa_b")) == 60


def test_an_issue_stays_in_its_source_though_its_place_moved(rig):
    (key,) = rig.show(missing(house(50, 50)))
    rig.frontend.state.unlocked = True
    channel = rig.channel(region_zoom=14)
    channel.cycle()
    (country,) = rig.counts()
    before = rig.open(country)
    rig.ledger.all("UPDATE discrepancy SET lon = lon + 1 WHERE key = %s RETURNING key", key)
    channel.round(force=True)
    assert rig.open(country) == before and list(rig.counts()) == [country]
