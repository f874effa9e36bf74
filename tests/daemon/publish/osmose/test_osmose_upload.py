"""All that a frontend, or what stands in its place, can answer is understood, and the code goes nowhere else."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from claims import NOW
from http_server import Answer, Web
from osmose_frontend import Frontend as Server

from daemon.errors import DocumentRefused, FrontendRefused, FrontendUnavailable, PublishError
from daemon.fetch import Fetcher
from daemon.publish.osmose.upload import Frontend, Status
from daemon.publish.osmose.xml import closing, opening

CODE = "pa55&word=ü"
CLASS = b'<class id="1" item="8540"><classtext lang="en" title="x"/></class>'
DOCUMENT = gzip.compress(opening("analyser", NOW) + CLASS + closing("analyser"))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.state.register("mapgap", "banepa", CODE)
    yield server
    server.close()


@pytest.fixture
def client(fetchers) -> Callable[..., Frontend]:
    def make(base: str, code: str | None = CODE, **settings) -> Frontend:
        return Frontend(base, "mapgap", code, fetchers(**settings))

    return make


class Page(Web):
    """A web server that takes POST, too, and answers it like GET."""

    def __init__(self) -> None:
        super().__init__()
        handler = self._server.RequestHandlerClass
        self.bodies: list[bytes] = []

        def post(this) -> None:
            self.bodies.append(this.rfile.read(int(this.headers["Content-Length"])))
            handler.do_GET(this)

        handler.do_POST = post


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.close()


def send(client, page: Page, status: int, body: bytes, headers: dict[str, str] | None = None, **settings) -> str:
    page.script("/control/send-update", Answer(status, body, headers or {}))
    return client(page.url("/"), **settings).send("banepa", DOCUMENT)


def test_a_document_is_merged_once_and_known_from_then_on(server, client):
    frontend = client(server.url)
    assert frontend.send("banepa", DOCUMENT) == "merged" and frontend.send("banepa", DOCUMENT) == "known"
    assert server.uploads[0].name == "mapgap-banepa.xml.gz" and server.uploads[0].content == DOCUMENT
    assert frontend.status("banepa") == Status(NOW, "1") and frontend.status("nowhere") is None


@pytest.mark.parametrize(("status", "body"), [
    (400, b'{"detail":"FAIL: Already up to date"}'), (409, b"<p>FAIL: Already up to date</p>"),
    (400, b"FAIL: Already up to date"), (200, b"FAIL: Already up to date\n"),
])
def test_that_it_was_known_is_as_good_in_each_form_that_it_was_ever_said_in(client, page, status, body):
    assert send(client, page, status, body) == "known"


def test_only_ok_is_ok(client, page):
    """An older frontend says with 200 what went wrong."""
    assert send(client, page, 200, b"OK") == "merged" == send(client, page, 200, b'"OK"\n')
    with pytest.raises(DocumentRefused, match="KeyError: 7"):
        send(client, page, 200, b"Traceback (most recent call last):\n ...\nKeyError: 7")
    with pytest.raises(DocumentRefused, match="HTTP 200"):
        send(client, page, 200, b"<html>It works!</html>")


@pytest.mark.parametrize(("status", "body", "error", "said"), [
    (403, b'{"detail":"AUTH FAIL"}', FrontendRefused, "AUTH FAIL.*'mapgap'.*'banepa'.*register it"),
    (401, b"FAIL", FrontendRefused, "code_env"),
    (404, b"no", FrontendRefused, "osmose.url"),
    (405, b'{"detail":"Method Not Allowed"}', FrontendRefused, "osmose.url"),
    (422, b'{"detail":[{"loc":["body","code"],"msg":"Field required"}]}', DocumentRefused, "misses a field.*code"),
    (406, b'{"detail":"FAIL: File extension not allowed."}', DocumentRefused, "extension"),
    (413, b"<h1>413 Request Entity Too Large</h1>", DocumentRefused, "413"),
    (500, b'{"detail":"Traceback\\n x\\nKeyError: 9"}', DocumentRefused, "KeyError: 9"),
    (500, b'{"detail":"relation \\"class_tmp\\" already exists"}', FrontendUnavailable, "without classes"),
    (500, b"Internal Server Error", FrontendUnavailable, "500 Internal"),
    (502, b"", FrontendUnavailable, "502"), (503, b"busy", FrontendUnavailable, "busy"),
    (504, b"", FrontendUnavailable, "504"), (429, b"", FrontendUnavailable, "429"),
    (301, b"", FrontendRefused, "redirects"), (302, b"", FrontendRefused, "redirects"),
    (308, b"", FrontendRefused, "redirects"), (204, b"", DocumentRefused, "204"), (400, b"", DocumentRefused, "400"),
])
def test_each_refusal_says_what_to_do_or_that_it_may_pass(client, page, status, body, error, said):
    with pytest.raises(error, match=said) as raised:
        send(client, page, status, body, {"Location": "/elsewhere"})
    assert raised.value.transient == (error is FrontendUnavailable) and page.count("/elsewhere") == 0


def test_the_code_follows_no_redirect_and_is_in_no_message(client, page, caplog):
    other = Page()
    try:
        for target in (other.url("/control/send-update"), other.url(f"/?code={CODE}"), "https://127.0.0.1:1/", "::"):
            with pytest.raises(FrontendRefused, match=r"redirects.*osmose\.url") as raised:
                send(client, page, 307, b"", {"Location": target})
            assert CODE not in str(raised.value)
        assert other.requests == []
        for body in (CODE.encode(), b'{"detail": "wrong code pa55&word=\\u00fc"}'):
            with pytest.raises(FrontendRefused) as raised:
                send(client, page, 403, body)
            assert CODE not in str(raised.value) and "***" in str(raised.value)
        assert CODE not in caplog.text and CODE.encode() in page.bodies[0]
    finally:
        other.close()


def test_a_server_that_asks_for_time_is_heard(client, page):
    with pytest.raises(FrontendUnavailable) as raised:
        send(client, page, 503, b"", {"Retry-After": "77"})
    assert raised.value.retry_after == 77
    with pytest.raises(FrontendUnavailable) as raised:
        send(client, page, 502, b"")
    assert raised.value.retry_after is None


def test_silence_floods_and_nonsense_end_in_a_named_failure(client, page):
    page.script("/control/send-update", page.hang())
    with pytest.raises(FrontendUnavailable, match="nothing came"):
        client(page.url(), timeout=0.3).send("banepa", DOCUMENT)
    with pytest.raises(FrontendRefused, match="refused"):
        send(client, page, 200, b"x" * 300_000)
    page.script("/control/send-update", page.raw(b"SSH-2.0-OpenSSH\r\n"))
    with pytest.raises(PublishError):
        client(page.url()).send("banepa", DOCUMENT)
    with pytest.raises(FrontendUnavailable):
        client("http://127.0.0.1:1").send("banepa", DOCUMENT)


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b'{"timestamp": 5}', b'{"timestamp": "soon", "analyser_version": ""}',
])
def test_a_status_that_is_none_is_named(client, page, body):
    page.put("/control/status/banepa/mapgap", body)
    with pytest.raises(FrontendRefused, match=r"not what an Osmose frontend answers.*osmose\.url"):
        client(page.url()).status("banepa")
    page.put("/control/status/banepa/mapgap", b"<h1>Not Found</h1>", 404)
    with pytest.raises(FrontendRefused, match="404"):
        client(page.url()).status("banepa")


def test_a_status_is_in_utc_whether_or_not_it_says_so(client, page):
    page.put("/control/status/banepa/mapgap", b'{"timestamp": "2026-11-22 05:08:49", "analyser_version": "1"}')
    assert client(page.url()).status("banepa").timestamp == datetime(2026, 11, 22, 5, 8, 49, tzinfo=UTC)
    page.put("/control/status/banepa/mapgap", b'{"timestamp": "2026-11-22T05:08:49+01:00", "analyser_version": ""}')
    assert client(page.url()).status("banepa").timestamp == datetime(2026, 11, 22, 4, 8, 49, tzinfo=UTC)


def test_a_stop_ends_an_upload_that_is_waited_for(page):
    stop = threading.Event()
    page.script("/control/send-update", page.hang())
    fetcher = Fetcher("mapgap-test", connections=1, rate=1e6, timeout=60.0, retries=0, stop=stop)
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(FrontendUnavailable, match="stops"):
        Frontend(page.url(), "mapgap", CODE, fetcher).send("banepa", DOCUMENT)
    timer.join()
    fetcher.close()
