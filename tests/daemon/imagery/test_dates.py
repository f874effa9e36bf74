"""On which day imagery was taken: told by headers, services, or the source; never taken for younger than it is."""

from __future__ import annotations

import json
import logging
from datetime import date

import pytest
from ground import ORIGIN, encode, paint

from daemon.errors import ConfigError, ImageryUnavailable
from daemon.imagery.dates import oldest_day
from daemon.tiling.grid import Block

Z, X, Y = ORIGIN
ONE, TWO = Block(Z, X, Y, 1), Block(Z, X + 1, Y, 1)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2019-06-01", date(2019, 6, 1)),
        ("2019-06-01T12:30:00Z", date(2019, 6, 1)),
        ("2019-06", date(2019, 6, 1)),
        ("2019", date(2019, 1, 1)),
        ("20190601", date(2019, 6, 1)),
        (20190601, date(2019, 6, 1)),
        ("20190601123000", date(2019, 6, 1)),
        ("6/1/2019-10/2/2021", date(2019, 6, 1)),
        ("10 Sep 2019", date(2019, 9, 10)),
        ("September 2019", date(2019, 9, 1)),
        ("Sep 10, 2019", date(2019, 9, 10)),
        ("2021-05-02/2018-03-04", date(2018, 3, 4)),
        (1559347200000, date(2019, 6, 1)),
        ("1559347200000", date(2019, 6, 1)),
        ("", None),
        ("unknown", None),
        ("2019-13-40", None),
        ("1700-01-01", None),
        ("2999-01-01", None),
        (True, None),
        (float("nan"), None),
        (1e300, None),
        (None, None),
    ],
)
def test_the_oldest_day_that_a_text_names(text, day):
    assert oldest_day(text) == day


def test_headers_of_tiles_tell_their_days_also_from_the_cache(web, opened, settings):
    header = "X-VE-TILEMETA-CAPTUREDATESRANGE"
    last = {"Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
    web.put(f"/{Z}/{X}/{Y}.png", encode(paint(256)), headers={header: "6/1/2019-10/2/2021", **last})
    web.put(f"/{Z}/{X + 1}/{Y}.png", encode(paint(256)), headers=last)
    source = settings(web.url("/{z}/{x}/{y}.png"), date_header=header, acquired=date(2015, 2, 3))
    for _ in range(2):
        imagery = opened(source)
        assert imagery.chip(ONE, 0).acquired == date(2019, 6, 1)
        assert imagery.chip(TWO, 0).acquired == date(2015, 2, 3), "else per source; Last-Modified is no such day"
        assert imagery.chip(Block(Z, X // 4, Y // 4, 4), 0).acquired == date(2015, 2, 3), "the oldest of all"
    assert web.count(f"/{Z}/{X}/{Y}.png") == 1
    assert opened(source.model_copy(update={"acquired": None})).chip(TWO, 0).acquired is None


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"resourceSets": [{"resources": [{"vintageStart": "01 Jun 2019", "vintageEnd": "02 Oct 2021"},
                                                    {"vintageStart": "05 Jul 2020"}]}]}),
        '<Response><Metadata vintageStart="2020-07-05"/>'
        '<a xmlns="urn:x"><vintageStart>2019-06-01</vintageStart></a></Response>',
    ],
)
def test_a_service_tells_the_days_of_tiles(web, opened, settings, tiles, monkeypatch, answer):
    monkeypatch.setenv("PAINT_KEY", "s3cret")
    web.put("/meta", answer.encode())
    source = settings(tiles, date_url=web.url("/meta?at={lat},{lon}&q={quadkey}&key={apikey}"), key_env="PAINT_KEY",
                      date_field="vintageStart", date_zoom=14)
    imagery = opened(source)
    assert imagery.chip(Block(Z, X // 4, Y // 4, 4), 0).acquired == date(2019, 6, 1)
    assert web.count("/meta") <= 2, "one question for all tiles of a larger one"
    west, south, east, north = Block(14, X >> 4, Y >> 4, 1).lonlat()
    assert f"/meta?at={(south + north) / 2:.6f},{(west + east) / 2:.6f}&q=" in web.requests[0][0]
    assert web.requests[0][0].endswith("key=s3cret")


def test_where_the_service_says_nothing_the_day_of_the_source_counts(web, opened, settings, tiles, caplog):
    web.put("/meta", b"<html>")
    source = settings(tiles, date_url=web.url("/meta?{quadkey}"), date_field="day", acquired=date(2016, 1, 1))
    with caplog.at_level(logging.WARNING):
        assert opened(source).chip(ONE, 0).acquired == date(2016, 1, 1)
    assert "where no day is told, that of the source counts" in caplog.text
    web.put("/meta", status=503)
    with pytest.raises(ImageryUnavailable, match="HTTP 503"):
        opened(source, client={"cache": 0}).chip(ONE, 0)


def test_a_wrong_address_of_a_service_is_named(opened, settings, tiles):
    with pytest.raises(ConfigError, match=r"date_url: does not know \{what\}"):
        opened(settings(tiles, date_url="https://example.org/{what}", date_field="day"))
