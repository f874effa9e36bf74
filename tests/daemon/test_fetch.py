"""What Fetcher brings home, what it refuses, and what it says about it."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from http_server import Answer, Web

from daemon.fetch import FetchError, shown
from daemon.fetch.courtesy import retry_after
from daemon.fetch.wire import is_private


def test_get_brings_the_body_and_names_the_caller(web, fetcher):
    web.put("/a", b"hello", headers={"ETag": '"1"'})
    answer = fetcher.get(web.url("/a"), max_bytes=5)
    assert (answer.status, answer.content, answer.headers["etag"]) == (200, b"hello", '"1"')
    assert web.requests[0][1]["User-Agent"] == "mapgap-test (tests@example.org)"


def test_connections_are_kept_alive(web, fetcher):
    peers = set()

    def write(handler):
        peers.add(handler.client_address)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    web.script("/a", Answer(write=write))
    for _ in range(5):
        fetcher.get(web.url("/a"), max_bytes=100)
    assert len(peers) == 1


def test_not_modified_is_an_answer_to_a_conditional_request_only(web, fetcher):
    web.put("/a", status=304)
    assert fetcher.get(web.url("/a"), max_bytes=5, headers={"If-None-Match": '"1"'}).status == 304
    with pytest.raises(FetchError, match="HTTP 304"):
        fetcher.get(web.url("/a"), max_bytes=5)


def test_download_replaces_the_file_at_once(web, fetcher, tmp_path):
    web.put("/a", b"new" * 100_000)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    assert fetcher.download(web.url("/a"), path, max_bytes=300_000).content == b""
    assert path.read_bytes() == b"new" * 100_000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("announced", [True, False])
def test_failed_download_leaves_the_old_file_and_nothing_else(web, fetcher, tmp_path, announced):
    headers = {} if announced else {"Connection": "close"}
    web.put("/a", b"x" * 1_000_001, headers=headers)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(FetchError, match=r"1000000 .*allowed; refused") as caught:
        fetcher.download(web.url("/a"), path, max_bytes=1_000_000)
    assert not caught.value.transient
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_download_to_a_full_disk_says_so(web, small_disk):
    web.put("/a", b"x" * 1_000_000)
    small_disk(
        """
        from daemon.errors import StorageFull
        from daemon.fetch import Fetcher
        fetcher = Fetcher("test", connections=1, rate=1000, timeout=5, retries=0)
        try:
            fetcher.download(URL, DISK / "file", max_bytes=10**7)
        except StorageFull as error:
            assert "make room in" in str(error)
            assert list(DISK.iterdir()) == []
        else:
            raise AssertionError("no error")
        """,
        URL=web.url("/a"),
    )


def test_a_body_of_exactly_the_limit_passes(web, fetcher):
    web.put("/a", b"x" * 1000)
    web.put("/b", b"x" * 1000, headers={"Connection": "close"})
    assert len(fetcher.get(web.url("/a"), max_bytes=1000).content) == 1000
    assert len(fetcher.get(web.url("/b"), max_bytes=1000).content) == 1000


def test_an_endless_body_is_cut_off(web, fetcher):
    web.script("/a", web.drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000, pause=0))
    with pytest.raises(FetchError, match="more than the 500000 bytes allowed"):
        fetcher.get(web.url("/a"), max_bytes=500_000)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b""], ids=["header", "1xx"])
def test_an_endless_header_is_cut_off(web, fetcher, start):
    web.script("/a", web.drip(start, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, pause=0))
    with pytest.raises(FetchError):
        fetcher.get(web.url("/a"), max_bytes=100)


@pytest.mark.parametrize("chunk", [b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"])
def test_chunked_bodies_are_read(web, fetcher, chunk):
    web.put("/a", chunk, headers={"Transfer-Encoding": "chunked"})
    assert fetcher.get(web.url("/a"), max_bytes=5).content == b"hello"


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf of it",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"",
        b"220 mail.example.org ESMTP\r\n",
    ],
    ids=["short", "short chunk", "in the header", "nothing", "another protocol"],
)
def test_an_answer_that_breaks_off_is_tried_again(web, fetchers, content, tmp_path):
    web.script("/a", web.raw(content), Answer(body=b"whole"))
    assert fetchers(retries=1).get(web.url("/a"), max_bytes=100).content == b"whole"
    web.script("/a", web.raw(content), Answer(body=b"whole"))
    fetchers(retries=1).download(web.url("/a"), tmp_path / "a", max_bytes=100)
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_codings_are_undone_in_memory_but_not_on_disk(web, fetcher, tmp_path, coding, pack):
    web.put("/a", pack(b"hello" * 1000), headers={"Content-Encoding": coding})
    assert fetcher.get(web.url("/a"), max_bytes=5000).content == b"hello" * 1000
    fetcher.download(web.url("/a"), tmp_path / "a", max_bytes=5000)
    assert (tmp_path / "a").read_bytes()[:2] == pack(b"hello" * 1000)[:2]
    assert web.requests[0][1]["Accept-Encoding"] == "identity"


def test_a_coding_that_blows_up_is_refused(web, fetcher):
    web.put("/bomb", gzip.compress(b"\0" * 10_000_000), headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="unpacks to more than the 20000 bytes allowed"):
        fetcher.get(web.url("/bomb"), max_bytes=20_000)


@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", b"not gzip at all"), ("gzip", gzip.compress(b"hello")[:-6]), ("br", b"hello")]
)
def test_a_damaged_or_unknown_coding_is_refused(web, fetcher, coding, body):
    web.put("/a", body, headers={"Content-Encoding": coding})
    with pytest.raises(FetchError, match="Content-Encoding"):
        fetcher.get(web.url("/a"), max_bytes=1000)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416, 451])
def test_what_will_not_get_better_is_not_tried_again(web, fetchers, status):
    web.put("/a", status=status)
    with pytest.raises(FetchError, match=f"HTTP {status}") as caught:
        fetchers(retries=3).get(web.url("/a"), max_bytes=10)
    assert (caught.value.status, caught.value.transient, web.count("/a")) == (status, False, 1)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_get_better_is_tried_again(web, fetchers, clock, status):
    web.script("/a", Answer(status), Answer(status), Answer(200, b"at last"))
    assert fetchers(retries=2).get(web.url("/a"), max_bytes=10).content == b"at last"
    assert web.count("/a") == 3
    first, second = clock.sleeps
    assert 0 <= first <= 1 and 0 <= second <= 2


def test_the_last_failure_says_how_often_it_was_tried(web, fetchers):
    web.put("/a", status=500)
    with pytest.raises(FetchError, match=r"HTTP 500 .*\(tried 4 times\)") as caught:
        fetchers(retries=3).get(web.url("/a"), max_bytes=10)
    assert caught.value.transient and caught.value.status == 500


def test_backoff_doubles_up_to_a_minute_with_full_jitter(web, fetchers, clock, monkeypatch):
    asked = []
    monkeypatch.setattr("random.uniform", lambda low, high: asked.append((low, high)) or high)
    web.put("/a", status=500)
    with pytest.raises(FetchError):
        fetchers(retries=8).get(web.url("/a"), max_bytes=10)
    assert asked == [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (0, 32), (0, 60), (0, 60)]
    assert clock.sleeps == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_refused_connection_may_get_better(fetchers):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a?token=hunter2"
        with pytest.raises(FetchError, match="connection refused") as caught:
            fetchers(retries=1).get(url, max_bytes=10)
    assert caught.value.transient and caught.value.status is None


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a", "file:///etc/passwd", "http://", "/a", "http://[::1/a", "http://h:99999/", "http://%zz/"]
)
def test_other_urls_are_refused(fetcher, url):
    with pytest.raises(FetchError) as caught:
        fetcher.get(url, max_bytes=10)
    assert not caught.value.transient


def test_messages_hold_no_secrets(web, fetchers, caplog):
    caplog.set_level(logging.DEBUG)
    fetcher = fetchers(retries=1)
    web.put("/500", status=500)
    web.put("/302", status=302, headers={"Location": "/404?key=hunter2"})
    web.put("/loop", status=302, headers={"Location": "/loop?key=hunter2"})
    web.put("/ftp", status=302, headers={"Location": "ftp://joe:hunter2@example.org/"})
    web.script("/cut", web.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    gone = Web()
    gone.close()
    paths = ["/404", "/500", "/302", "/loop", "/ftp", "/cut"]
    urls = [web.url(f"{path}?key=hunter2&hunter2", "joe:hunter2") for path in paths]
    for url in [*urls, gone.url("/x?key=hunter2", "joe:hunter2"), "http://joe:hunter2@[::1/", "http://joe:hunter2@h:x/"]:
        with pytest.raises(FetchError) as caught:
            fetcher.get(url, max_bytes=10)
        error = caught.value
        assert "hunter2" not in str(error) and "joe" not in str(error)
        assert error.__suppress_context__ or error.__context__ is None
    assert not [r for r in caplog.records if "hunter2" in r.getMessage()]
    assert web.requests[0][1]["Authorization"].startswith("Basic ")


def test_cookies_and_netrc_are_not_used(web, fetcher, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login joe password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    web.put("/a", b"", headers={"Set-Cookie": "id=1"})
    fetcher.get(web.url("/a"), max_bytes=10)
    fetcher.get(web.url("/a"), max_bytes=10)
    for _, headers in web.requests:
        assert "Cookie" not in headers and "Authorization" not in headers


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://joe:pw@example.org/a/b?key=1&b&c=#x", "https://example.org/a/b?key=...&...&c=..."),
        ("http://example.org:8080/{z}/{x}", "http://example.org:8080/{z}/{x}"),
        ("http://example.org/a\r\nb", "http://example.org/ab"),
        ("http://[::1/", "(unreadable URL)"),
    ],
)
def test_urls_are_shown_without_secrets(url, text):
    assert shown(url) == text


def test_retry_after_in_seconds_or_as_a_date_is_capped():
    now = datetime(2024, 6, 1, tzinfo=UTC)
    assert retry_after("120") == 120
    assert retry_after("9" * 50) == 3600
    assert retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after(format_datetime(now - timedelta(days=1), usegmt=True), now) == 0
    assert retry_after(format_datetime(now + timedelta(days=9), usegmt=True), now) == 3600
    assert retry_after("soon") is None and retry_after("-1") is None and retry_after(None) is None


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.1", True), ("169.254.169.254", True), ("0.0.0.0", True),
        ("100.64.0.1", True), ("::1", True), ("fe80::1%eth0", True), ("fd00::1", True), ("::ffff:127.0.0.1", True),
        ("224.0.0.1", True), ("8.8.8.8", False), ("2001:4860:4860::8888", False), ("::ffff:8.8.8.8", False),
    ],
)
def test_private_addresses_are_known(address, private):
    assert is_private(address) is private


# -- requests of any method -------------------------------------------------------------------------------------------


class Office:
    """A server that writes down what it is sent, and answers with one status after the other."""

    def __init__(self, *statuses: int):
        self.statuses, self.seen = list(statuses), []
        office = self

        class Handler(BaseHTTPRequestHandler):
            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                office.seen.append((self.command, self.path, body))
                status = office.statuses.pop(0)
                content = gzip.compress(f"answer {status}".encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_any

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/a"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def __enter__(self) -> Office:
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_send_brings_the_answer_whatever_its_status_and_follows_nothing(fetchers, status):
    with Office(status) as office:
        answer = fetchers(retries=5).send("PUT", office.url, max_bytes=100, body=b"content")
    assert (answer.status, answer.content) == (status, f"answer {status}".encode())
    assert office.seen == [("PUT", "/a", b"content")]


def test_send_tries_again_only_where_it_is_told_that_it_may(fetchers, clock):
    with Office(500, 503, 200) as office:
        answer = fetchers(retries=5).send(
            "POST", office.url, max_bytes=100, body=b"x", again=lambda answer: answer.status >= 500
        )
    assert (answer.status, len(office.seen), office.seen[0]) == (200, 3, ("POST", "/a", b"x"))


def test_send_brings_the_last_answer_when_all_tries_are_used(fetchers):
    with Office(500, 502) as office:
        answer = fetchers(retries=1).send("GET", office.url, max_bytes=100, again=lambda answer: True)
    assert (answer.status, answer.content) == (502, b"answer 502")


def test_send_does_not_say_that_nothing_happened_when_the_answer_is_lost(web, fetchers):
    web.script("/a", web.raw(b""))
    with pytest.raises(FetchError) as caught:
        fetchers(retries=3).send("GET", web.url("/a"), max_bytes=100)
    assert (caught.value.transient, caught.value.status, web.count("/a")) == (True, None, 1)


def test_send_refuses_an_answer_that_is_too_large(web, fetchers):
    web.put("/a", b"x" * 101)
    with pytest.raises(FetchError, match="101 bytes announced"):
        fetchers(retries=3).send("GET", web.url("/a"), max_bytes=100, again=lambda answer: True)
    assert web.count("/a") == 1


def test_send_stops_in_the_middle_of_a_body(fetchers):
    stop = threading.Event()
    received = []

    def read_slowly(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while piece := connection.recv(65536):
                received.append(len(piece))
                stop.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = threading.Thread(target=read_slowly, args=(listener,))
        reader.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(FetchError, match="the daemon stops"):
            fetchers(timeout=60.0, stop=stop).send("PUT", url, max_bytes=100, body=b"x" * 100_000_000)
        reader.join()
    assert sum(received) < 100_000_000
