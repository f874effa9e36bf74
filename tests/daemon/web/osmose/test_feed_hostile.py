"""Whatever is asked, the server answers, with something that is no failure of its own, and goes on."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import quote, urlsplit

import pytest
from claims import house, missing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MEAN = [
    "", "0", "-1", "nan", "inf", "-inf", "1e308", "1e999", "0x10", "null", "true", "[]", "{}", "'", '"', "' OR 1=1 --",
    "1; DROP TABLE discrepancy", "%s", "%(limit)s", "\\", "../../etc/passwd", "\u0000", "\ud7ff", "𝟙", "١٢", "💩" * 50,
    "9" * 400, "1,2,3,4", "4,3,2,1", "nan,nan,nan,nan", "inf,-inf,inf,-inf", "-1e308,-1e308,1e308,1e308",
    "180,90,-180,-90", "0,0,0,0", "1,,2,3", " 1 , 2 , 3 , 4 ", ",".join("1" * 3000),
]
NAMES = [
    "bbox", "item", "class", "source", "level", "tags", "country", "username", "status", "start_date", "end_date",
    "fixable", "osm_type", "osm_id", "useDevItem", "limit", "offset", "after", "full", "count", "langs", "since",
    "zoom",
]
PATHS = [
    "/issues", "/issues.csv", "/issues.josm", "/issues/14/1/1.geojson", "/issues/14/1/1.mvt", "/issues/14/1/1.heat.mvt",
    "/changes", "/items",
]


def is_answered(status: int) -> bool:
    return status in (200, 204, 307, 400, 404, 405, 410, 413, 414, 422, 431)


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_a_parameter_is_a_failure(feed, name):
    feed.show(missing(house(50, 50)))
    for value in MEAN:
        for path in PATHS[:1] if name not in ("limit", "bbox", "since") else PATHS:
            answer = feed.get(f"{path}?{name}={quote(value, safe='')}&osm_type=way")
            assert is_answered(answer.status_code), (path, value, answer.text)
            assert answer.headers["access-control-allow-origin"] == "*"
    assert len(feed.listed()) == 1


@pytest.mark.parametrize("path", [
    "/issue/{}", "/issue/{}/done", "/issue/{}/fix/{}", "/issue/{}/fresh_elems/{}", "/false-positive/{}",
    "/items/{}/class/{}", "/issues/{}/{}/{}.geojson", "/issues/{}/{}/{}.mvt", "/issues/{}/{}/{}.heat.mvt", "/user/{}",
    "/user_count/{}",
])
def test_no_part_of_a_path_is_a_failure(feed, path):
    feed.show(missing(house(50, 50)))
    for value in MEAN:
        answer = feed.get(path.replace("{}", quote(value, safe="")))
        assert is_answered(answer.status_code), (value, answer.text)
    assert len(feed.listed()) == 1


@pytest.mark.parametrize("query", [
    f"item={','.join(map(str, range(10_000)))}", f"item={'8540,' * 10_000}",
    f"class={','.join(map(str, range(10_000)))}", f"source={','.join(f'1-{n}' for n in range(7000))}",
    f"tags={'building,' * 5000}", "&".join(["item=8540"] * 5000),
    f"langs={'de,' * 10_000}",
])
def test_long_queries_are_answered_or_refused(feed, query):
    feed.show(missing(house(50, 50)))
    answer = feed.get(f"/issues?{query}")
    assert answer.status_code in (200, 414, 431)
    assert len(feed.listed()) == 1


def test_ten_thousand_items_are_read(feed):
    (uuid,) = feed.show(missing(house(50, 50)))
    assert feed.listed(f"item={','.join(map(str, range(1000, 9999)))}") == [uuid]


def send(feed, request: bytes) -> bytes:
    """The first line of the answer to what a client sends as it likes."""
    address = urlsplit(feed.served.base)
    with socket.create_connection((address.hostname, address.port), timeout=30) as link:
        with suppress(BrokenPipeError, ConnectionResetError):
            link.sendall(request)
        with suppress(ConnectionResetError):
            return link.recv(1 << 16).split(b"\r\n")[0]
        return b""


def test_ten_megabytes_of_query_are_refused(feed):
    feed.show(missing(house(50, 50)))
    line = send(feed, b"GET /api/0.3/issues?item=" + b"8" * 10_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line == b"" or line.split()[1] in (b"400", b"414", b"431")
    assert len(feed.listed()) == 1


@pytest.mark.parametrize(
    "query", [b"item=\xff\xfe", b"bbox=%ff%fe,1,2,3", b"country=%c3%28", b"langs=\xe2\x82", b"tags=%00"],
)
def test_bytes_that_are_no_text_are_answered(feed, query):
    feed.show(missing(house(50, 50)))
    line = send(feed, b"GET /api/0.3/issues?" + query + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert is_answered(int(line.split()[1]))
    assert len(feed.listed()) == 1


@pytest.mark.parametrize("header", [
    b"Accept-Language: \xff\xfe", b"Accept-Language: " + b"a," * 9000, b"If-None-Match: " + b'"' * 9000,
    b"If-Modified-Since: 99999999999", b"User-Agent: \xf0\x9f\x92\xa9\x01", b"Authorization: Bearer \xff",
    b"Host: \xff", b"X-Forwarded-For: \xff, 1.2.3.4",
])
def test_no_header_is_a_failure(feed, header):
    (uuid,) = feed.show(missing(house(50, 50)))
    for path in (b"issues?full=true", b"issues.rss", b"issue/" + uuid.encode() + b"/done"):
        head = b"GET /api/0.3/" + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        line = send(feed, head + header + b"\r\n\r\n")
        assert is_answered(int(line.split()[1])), line


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(PATHS),
    query=st.dictionaries(st.sampled_from(NAMES), st.one_of(st.sampled_from(MEAN), st.text(max_size=30)), max_size=5),
)
def test_no_combination_is_a_failure(feed, path, query):
    text = "&".join(f"{name}={quote(value.encode('utf-8', 'replace'), safe='')}" for name, value in query.items())
    assert is_answered(feed.status(f"{path}?{text}"))
