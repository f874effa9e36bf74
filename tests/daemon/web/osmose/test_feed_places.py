"""Where issues lie on the Z-order curve: a tile is one stretch of it, and a box is covered by few."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from claims import house, missing

from daemon.db import query
from daemon.tiling.grid import Tile, tile_at
from daemon.web.osmose.places import (
    LAST_PLACE,
    MOST_TILES,
    WORLD,
    Stretch,
    place_of,
    square_of,
    stretch_of_tile,
    stretches_of,
)


def places(ledger, points) -> list[int]:
    lon, lat = zip(*points, strict=True)
    rows = ledger.all("SELECT place_of(x, y) FROM unnest(%s::float8[], %s::float8[]) AS p (x, y)", list(lon), list(lat))
    return [place for (place,) in rows]


def points(count: int, seed: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return list(zip(rng.uniform(-180, 180, count).tolist(), rng.uniform(-85, 85, count).tolist(), strict=True))


def test_the_database_and_the_program_know_the_same_curve(ledger):
    chosen = points(300, 1)
    expected = [place_of(tile_at(lon, lat, 31)) for lon, lat in chosen]
    assert places(ledger, chosen) == expected


@pytest.mark.parametrize("z", [0, 1, 7, 14, 18, 31])
def test_a_tile_is_the_stretch_of_exactly_its_points(ledger, z):
    chosen = points(200, 2)
    for (lon, lat), place in zip(chosen, places(ledger, chosen), strict=True):
        stretch = stretch_of_tile(tile_at(lon, lat, z))
        assert stretch.low <= place <= stretch.high
        x, y = square_of(place >> 2 * (31 - z))
        assert (x, y) == tile_at(lon, lat, z)[1:]


@pytest.mark.parametrize("tile", [Tile(3, 8, 0), Tile(3, 0, -1), Tile(32, 0, 0), Tile(-1, 0, 0), Tile(10**30, 1, 1)])
def test_what_is_no_tile_has_no_stretch(tile):
    assert stretch_of_tile(tile) is None


def test_a_box_is_covered_by_few_stretches_that_hold_all_of_it(ledger):
    chance = random.Random(4)
    for _ in range(60):
        lon, lat = chance.uniform(-179, 170), chance.uniform(-80, 75)
        width, height = 10 ** chance.uniform(-5, 0.9), 10 ** chance.uniform(-5, 0.6)
        box = (lon, lat, lon + width, lat + height)
        stretches = stretches_of([box])
        assert 1 <= len(stretches) <= MOST_TILES
        assert all(a.high < b.low for a, b in pairwise(stretches))
        inside = [(lon + width * chance.random(), lat + height * chance.random()) for _ in range(10)]
        inside += [(box[0], box[1]), (box[2], box[3])]
        for place in places(ledger, inside):
            assert any(stretch.low <= place <= stretch.high for stretch in stretches)


def test_the_world_is_one_stretch():
    assert stretches_of([WORLD]) == [Stretch(0, LAST_PLACE, WORLD)]


def test_poles_belong_to_the_first_and_last_row(ledger):
    north, south = places(ledger, [(0.0, 90.0), (0.0, -90.0)])
    assert square_of(north)[1] == 0
    assert square_of(south)[1] == 2**31 - 1


def test_the_name_of_an_issue_is_made_of_its_key_alone(feed):
    (uuid,) = feed.show(missing(house(50, 50)))
    key = feed.key(uuid)
    feed.ledger.look(missing(house(51, 50, 12)), now=feed.clock.now)
    assert feed.uuid(key) == uuid
    ((again,),) = feed.ledger.all("SELECT encode(substring(sha256(%s::bytea) for 16), 'hex')::uuid::text", key)
    assert again == uuid


def test_lists_and_tiles_are_read_from_the_index_in_its_order(feed):
    """Neither sorts what it finds, nor reads the table for it."""
    feed.show(*(missing(house(50 + 20 * i, 50)) for i in range(5)))
    values = {
        "status": "open", "kinds": ["building/missing"], "start": None, "end": None, "low": [0], "high": [LAST_PLACE],
        "west": [-180.0], "south": [-90.0], "east": [180.0], "north": [90.0], "limit": 100, "offset": 0,
        "after_place": -1, "after_uuid": "00000000-0000-0000-0000-000000000000",
    }
    with feed.ledger.cursor() as cursor:
        cursor.execute(query("feed_snapshot"))
        cursor.execute("EXPLAIN " + query("feed_page"), values)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Only Scan using discrepancy_feed" in plan
    assert "Seq Scan" not in plan and "Bitmap" not in plan
    assert plan.count("->  Sort") <= 1  # of the few stretches
