"""How Fetcher behaves towards servers: redirects, turns, rests, slowness, and being told to stop."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from http_server import Answer, Web

from daemon.fetch import FetchError


def redirect(target: str, status: int = 302) -> Answer:
    return Answer(status, b"gone there", {"Location": target})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(web, fetcher, status):
    web.script("/a", redirect("b/c?x=1", status))
    web.script("/b/c", redirect(web.url("/d"), status))
    web.put("/d", b"here")
    answer = fetcher.get(web.url("/a"), max_bytes=10)
    assert (answer.content, answer.url) == (b"here", web.url("/d"))
    assert [path for path, _ in web.requests] == ["/a", "/b/c?x=1", "/d"]


def test_five_redirects_are_enough(web, fetcher):
    for i in range(5):
        web.script(f"/{i}", redirect(f"/{i + 1}"))
    web.put("/5", b"here")
    assert fetcher.get(web.url("/0"), max_bytes=10).content == b"here"
    web.script("/5", redirect("/6"))
    with pytest.raises(FetchError, match="more than 5 redirects") as caught:
        fetcher.get(web.url("/0"), max_bytes=10)
    assert not caught.value.transient
    assert web.count("/6") == 0


def test_a_redirect_loop_ends(web, fetchers):
    web.script("/a", redirect("/b"))
    web.script("/b", redirect("/a"))
    with pytest.raises(FetchError, match="more than 5 redirects"):
        fetchers(retries=5).get(web.url("/a"), max_bytes=10)
    assert len(web.requests) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org", "http://:80", "//[::1", "mailto:x", ""])
def test_redirects_to_elsewhere_than_the_web_are_refused(web, fetcher, target):
    web.script("/a", redirect(target))
    with pytest.raises(FetchError, match=r"redirects to|without a Location"):
        fetcher.get(web.url("/a"), max_bytes=10)


def test_the_body_of_a_redirect_is_not_unpacked_nor_read_without_end(web, fetcher):
    start = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nConnection: close\r\n\r\n"
    web.script("/a", web.drip(start, b"x" * 100_000, pause=0))
    web.put("/b", b"here")
    assert fetcher.get(web.url("/a"), max_bytes=10).content == b"here"


def test_a_redirect_into_a_private_network_is_refused_before_a_word_is_said(web, fetchers):
    inside = Web("127.0.0.2")
    try:
        inside.put("/admin", b"secret")
        web.script("/a", redirect(inside.url("/admin")))
        fetcher = fetchers(private=lambda address: address == "127.0.0.2", retries=3)
        with pytest.raises(FetchError, match="leads to a private address; refused") as caught:
            fetcher.get(web.url("/a"), max_bytes=10)
        assert not caught.value.transient
        # nor over a connection that was made for somebody who may
        assert fetcher.get(inside.url("/admin"), max_bytes=10).content == b"secret"
        with pytest.raises(FetchError, match="private address"):
            fetcher.get(web.url("/a"), max_bytes=10)
        assert len(inside.requests) == 1
    finally:
        inside.close()


def test_a_url_of_foreign_making_does_not_lead_into_a_private_network(web, fetchers):
    web.put("/a", b"secret")
    fetcher = fetchers(private=lambda address: address == "127.0.0.1", retries=3)
    answer = fetcher.get(web.url("/a"), max_bytes=100)
    assert answer.content == b"secret" and answer.private, "asked for by name, it is nobody's trick"
    with pytest.raises(FetchError, match="leads to a private address; refused") as caught:
        fetcher.get(web.url("/a"), max_bytes=100, foreign=True)
    assert not caught.value.transient and web.count("/a") == 1
    assert not fetchers(private=lambda address: False).get(web.url("/a"), max_bytes=100, foreign=True).private


def test_a_private_server_may_redirect_within_the_private_network(web, fetcher):
    other = Web("127.0.0.2")
    try:
        other.put("/a", b"here")
        web.script("/a", redirect(other.url("/a")))
        assert fetcher.get(web.url("/a"), max_bytes=10).content == b"here"
    finally:
        other.close()


def test_credentials_stay_with_the_server_they_are_for(web, fetcher):
    other = Web()
    try:
        other.put("/a", b"here")
        web.script("/a", redirect(other.url("/a")))
        fetcher.get(web.url("/a", "joe:pw"), max_bytes=10, headers={"X-Other": "stays"})
        fetcher.get(web.url("/a"), max_bytes=10, headers={"authorization": "Bearer t"})
        assert all("Authorization" in headers or "authorization" in headers for _, headers in web.requests)
        assert not any(name.lower() == "authorization" for _, headers in other.requests for name in headers)
        assert other.requests[0][1]["X-Other"] == "stays"
    finally:
        other.close()


def test_a_silent_server_is_given_up(web, fetchers):
    web.script("/a", web.hang(), Answer(body=b"awake"))
    assert fetchers(timeout=0.5, retries=1).get(web.url("/a"), max_bytes=10).content == b"awake"
    web.script("/a", web.hang())
    with pytest.raises(FetchError, match=r"nothing came for 0\.1 s") as caught:
        fetchers(timeout=0.1).get(web.url("/a"), max_bytes=10)
    assert caught.value.transient and caught.value.status is None


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ids=["status", "header", "body", "chunk"],
)  # fmt: skip
def test_a_dripping_server_is_given_up(web, fetchers, start):
    web.script("/a", web.drip(start, b"1"))
    with pytest.raises(FetchError, match="slower than 1024 bytes/s") as caught:
        fetchers(timeout=0.2).get(web.url("/a"), max_bytes=100_000)
    assert caught.value.transient


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_stop_ends_a_transfer_under_way(web, fetchers, answer):
    stop = threading.Event()
    under_way = threading.Event()
    inner = web.hang() if answer == "hang" else web.drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5000)

    def write(handler):
        under_way.set()
        inner.write(handler)

    web.script("/a", Answer(write=write))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fetchers(stop=stop, timeout=3600, retries=5).get, web.url("/a"), max_bytes=10**9)
        under_way.wait()
        stop.set()
        with pytest.raises(FetchError, match="the daemon stops"):
            future.result()


def test_stop_ends_a_wait(web, fetchers):
    stop = threading.Event()
    web.script("/a", Answer(503, headers={"Retry-After": "100"}))
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        stop.set()

    fetcher = fetchers(stop=stop, sleep=sleep, retries=5)
    with pytest.raises(FetchError, match="the daemon stops"):
        fetcher.get(web.url("/a"), max_bytes=10)
    with pytest.raises(FetchError, match="the daemon stops"):
        fetcher.get(web.url("/a"), max_bytes=10)
    assert len(waits) == 1 and web.count("/a") == 1


def test_stop_interrupts_the_sleep_that_is_the_default(web, fetchers):
    stop = threading.Event()
    asked = threading.Event()

    def write(handler):
        handler.wfile.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n")
        asked.set()

    web.script("/a", Answer(write=write))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fetchers(stop=stop, sleep=None, retries=5).get, web.url("/a"), max_bytes=10)
        asked.wait()
        stop.set()
        with pytest.raises(FetchError) as caught:
            future.result()
    assert caught.value.transient and web.count("/a") == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(web, fetchers, clock, status):
    web.script("/a", Answer(status, headers={"Retry-After": "17"}), Answer(body=b"rested"))
    assert fetchers(retries=1).get(web.url("/a"), max_bytes=10).content == b"rested"
    assert clock.sleeps == [17]


def test_retry_after_may_be_a_date(web, fetchers, clock):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    web.script("/a", Answer(503, headers={"Retry-After": date}), Answer(body=b"rested"))
    fetchers(retries=1).get(web.url("/a"), max_bytes=10)
    assert 0 < sum(clock.sleeps) <= 60


def test_retry_after_nothing_is_no_leave_to_hammer(web, fetchers, clock, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    web.script("/a", Answer(503, headers={"Retry-After": "0"}), Answer(body=b"rested"))
    fetchers(retries=1).get(web.url("/a"), max_bytes=10)
    assert clock.sleeps == [1]


def test_a_long_retry_after_is_not_waited_for_but_kept(web, fetchers, clock):
    web.script("/a", Answer(429, headers={"Retry-After": "86400"}), Answer(body=b"rested"))
    fetcher = fetchers(retries=3)
    with pytest.raises(FetchError, match="HTTP 429") as caught:
        fetcher.get(web.url("/a"), max_bytes=10)
    assert (caught.value.transient, caught.value.retry_after) == (True, 3600)
    with pytest.raises(FetchError, match=r"not asked: .* asked for a rest"):
        fetcher.get(web.url("/b"), max_bytes=10)
    assert len(web.requests) == 1 and clock.sleeps == []
    clock.now += 3600
    assert fetcher.get(web.url("/a"), max_bytes=10).content == b"rested"


def test_requests_keep_to_the_rate(web, fetchers, clock):
    web.put("/a", b"x")
    fetcher = fetchers(connections=1, rate=4)
    for _ in range(9):
        fetcher.get(web.url("/a"), max_bytes=10)
    assert clock.now - 1000 == pytest.approx(8 / 4)


def test_a_burst_is_no_larger_than_the_connections(web, fetchers, clock):
    web.put("/a", b"x")
    fetcher = fetchers(connections=3, rate=4)
    for _ in range(3):
        fetcher.get(web.url("/a"), max_bytes=10)
    assert clock.sleeps == []
    for _ in range(4):
        fetcher.get(web.url("/a"), max_bytes=10)
    assert clock.now - 1000 == pytest.approx(4 / 4)


def test_no_more_connections_than_allowed(web, fetchers):
    lock, state = threading.Lock(), {"now": 0, "most": 0}
    both = threading.Barrier(2)

    def write(handler):
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        both.wait()
        with lock:
            state["now"] -= 1
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    web.script("/a", Answer(write=write))
    fetcher = fetchers(connections=2, timeout=30)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: fetcher.get(web.url("/a"), max_bytes=10).content, range(12)))
    assert answers == [b"ok"] * 12
    assert state["most"] == 2


def test_a_server_that_keeps_failing_is_left_alone_for_a_while(web, fetchers, clock):
    fetcher = fetchers()
    web.put("/a", status=500)
    web.put("/b", b"well")
    for _ in range(5):
        with pytest.raises(FetchError, match="HTTP 500"):
            fetcher.get(web.url("/a"), max_bytes=10)
    with pytest.raises(FetchError, match=r"not asked: 5 requests in a row .* left alone; next try in 30 s") as caught:
        fetcher.get(web.url("/b"), max_bytes=10)
    assert caught.value.transient and caught.value.retry_after == pytest.approx(30)
    assert web.count("/b") == 0
    clock.now += 31
    with pytest.raises(FetchError, match="HTTP 500"):
        fetcher.get(web.url("/a"), max_bytes=10)
    with pytest.raises(FetchError, match="left alone"):
        fetcher.get(web.url("/b"), max_bytes=10)
    clock.now += 31
    for _ in range(3):
        assert fetcher.get(web.url("/b"), max_bytes=10).content == b"well"


def test_a_missing_file_is_no_failure_of_the_server(web, fetcher):
    for _ in range(20):
        with pytest.raises(FetchError, match="HTTP 404"):
            fetcher.get(web.url("/none"), max_bytes=10)
    assert web.count("/none") == 20


def test_one_failing_server_does_not_hold_up_another(web, fetcher):
    other = Web()
    try:
        other.put("/a", b"well")
        web.put("/a", status=500)
        for _ in range(6):
            with pytest.raises(FetchError):
                fetcher.get(web.url("/a"), max_bytes=10)
        assert fetcher.get(other.url("/a"), max_bytes=10).content == b"well"
    finally:
        other.close()


def test_many_threads_share_one_fetcher(web, fetchers):
    for i in range(50):
        web.put(f"/{i}", str(i).encode() * 1000)
    fetcher = fetchers(connections=8)
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda i: fetcher.get(web.url(f"/{i}"), max_bytes=10_000).content, range(50)))
    assert bodies == [str(i).encode() * 1000 for i in range(50)]
