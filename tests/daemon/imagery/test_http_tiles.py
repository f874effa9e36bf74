"""Tiles of a server: what its answers mean, what is kept, and how it is asked."""

from __future__ import annotations

import pytest
from ground import encode, paint
from http_server import Answer

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery import Cache
from daemon.imagery.address import UrlTemplate
from daemon.imagery.http import HttpTiles
from daemon.tiling.grid import Tile

TILE = Tile(18, 5, 7)
PATH = "/18/5/7.png"
PNG = encode(paint(256))
DAY = 86400.0


class Days:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def opened(web, fetchers, tmp_path, days):
    """Makes HttpTiles as after a restart: nothing in memory, the same cache on disk."""

    def make(query: str = "", quota: int = 10**7, max_bytes: int = 10**6, **manners) -> HttpTiles:
        cache = Cache(tmp_path / "cache", quota, 90 * DAY, clock=days)
        return HttpTiles(UrlTemplate(web.url("/{z}/{x}/{y}.png") + query), max_bytes, fetchers(**manners), cache)

    return make


def test_a_tile_is_asked_for_once_and_kept(web, opened):
    web.put(PATH, PNG)
    assert opened().read(TILE) == (PNG, web.url(PATH), None)
    assert opened().read(TILE)[0] == PNG
    assert web.count(PATH) == 1


@pytest.mark.parametrize("answer", [Answer(404), Answer(410), Answer(204), Answer(200, b"")])
def test_no_such_tile_is_no_imagery_and_is_asked_again_after_a_week(web, opened, days, answer):
    web.script(PATH, answer)
    assert opened().read(TILE) is None
    assert opened().read(TILE) is None
    assert web.count(PATH) == 1
    days.now += 8 * DAY
    web.put(PATH, PNG)
    assert opened().read(TILE)[0] == PNG


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failing_server_is_tried_again_and_then_unavailable(web, opened, clock, status):
    web.put(PATH, status=status)
    with pytest.raises(ImageryUnavailable, match=rf"{PATH}: HTTP {status}"):
        opened(retries=2).read(TILE)
    assert web.count(PATH) == 3
    assert len(clock.sleeps) >= 2
    web.put(PATH, PNG)
    assert opened().read(TILE)[0] == PNG


def test_retry_after_is_honoured(web, opened, clock):
    web.script(PATH, Answer(429, headers={"Retry-After": "17"}), Answer(200, PNG))
    assert opened(retries=1).read(TILE)[0] == PNG
    assert sum(clock.sleeps) >= 17


def test_a_silent_server_is_unavailable(web, opened):
    web.script(PATH, web.hang())
    with pytest.raises(ImageryUnavailable, match=r"0\.2 s"):
        opened(timeout=0.2).read(TILE)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_not_taken_for_missing_imagery(web, opened, status):
    web.put(PATH, status=status)
    with pytest.raises(ImageryUnavailable, match="are the key and the permission right"):
        opened().read(TILE)


@pytest.mark.parametrize("body", [b"<html>over quota</html>", PNG[:-20], b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named_and_not_kept(web, opened, body):
    web.put(PATH, body)
    with pytest.raises(ImageInvalid, match=PATH):
        opened().read(TILE)
    web.put(PATH, PNG)
    assert opened().read(TILE)[0] == PNG


def test_a_file_too_large_is_refused(web, opened):
    web.put(PATH, PNG + bytes(10**6))
    with pytest.raises(ImageInvalid, match=PATH):
        opened().read(TILE)


def test_an_old_tile_is_asked_for_again_by_its_tag(web, opened, days):
    web.put(PATH, PNG, headers={"ETag": '"one"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
    opened().read(TILE)
    days.now += 91 * DAY
    web.put(PATH, status=304)
    assert opened().read(TILE)[0] == PNG
    assert web.requests[-1][1]["If-None-Match"] == '"one"'
    assert opened().read(TILE)[0] == PNG  # fresh again
    assert web.count(PATH) == 2
    days.now += 91 * DAY
    newer = encode(paint(256, seed=4))
    web.put(PATH, newer)
    assert opened().read(TILE)[0] == newer


def test_an_old_tile_is_better_than_none_when_the_server_fails(web, opened, days):
    web.put(PATH, PNG)
    opened().read(TILE)
    days.now += 91 * DAY
    web.put(PATH, status=503)
    assert opened().read(TILE)[0] == PNG
    web.put(PATH, status=404)
    assert opened().read(TILE) is None


def test_keys_in_the_query_do_not_show(web, opened):
    web.put(PATH, b"no")
    with pytest.raises(ImageInvalid) as caught:
        opened("?key=SECRET").read(TILE)
    assert "SECRET" not in str(caught.value)
    web.put(PATH, status=500)
    with pytest.raises(ImageryUnavailable) as caught:
        opened("?key=SECRET").read(TILE)
    assert "SECRET" not in str(caught.value)
    assert web.requests[0][0] == f"{PATH}?key=SECRET"


def test_without_a_cache_one_file_is_still_asked_for_once_by_the_tiles_cut_from_it(web, opened):
    web.put(PATH, PNG)
    tiles = opened(quota=0)
    assert [tiles.read(TILE)[0] == PNG for _ in range(4)] == [True] * 4
    assert web.count(PATH) == 1
