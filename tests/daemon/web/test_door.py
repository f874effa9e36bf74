"""What every request passes on its way in, and every answer on its way out."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send
from web_server import Served

from daemon.config import Web
from daemon.web.door import LONGEST_PATH, Door


def test_slashes_are_collapsed_wherever_they_are(served: Served) -> None:
    assert served.json("//api///v1//discrepancies")["discrepancies"] == []


@pytest.mark.parametrize("path", ["/api/0.3/issues/", "/api/0.3/items//", "/api/v1/discrepancies/", "/healthz/"])
def test_a_slash_at_the_end_is_no_redirect_and_no_host_is_believed(served: Served, path: str) -> None:
    answer = served.get(path, headers={"Host": "elsewhere.example"})
    assert answer.status_code == 200
    assert "elsewhere" not in f"{answer.headers}{answer.text}"


def test_long_answers_are_packed_for_who_takes_them_so(served: Served) -> None:
    plain, packed = (
        served.get("/api/0.3/items", headers={"Accept-Encoding": encoding}) for encoding in ("identity", "gzip")
    )
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json() and packed.headers["etag"] == plain.headers["etag"]
    assert {"Accept-Language", "Accept-Encoding"} <= set(packed.headers["vary"].split(", "))
    assert int(packed.headers["content-length"]) < len(plain.content) / 2


@pytest.mark.parametrize(("path", "status"), [
    ("/healthz", 200), ("/nothing", 404), ("/api/v1/discrepancies?limit=0", 422),
])
def test_every_answer_may_be_read_by_any_page_and_run_by_none(served: Served, path: str, status: int) -> None:
    answer = served.get(path)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "server" not in answer.headers


def test_a_browser_that_asks_first_is_told_yes(served: Served) -> None:
    path = "/api/v1/discrepancies/bld-0000000/reviews"
    answer = served.ask("OPTIONS", path, headers={"Origin": "https://example.org"})
    assert answer.status_code == 204
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"].split(", ") == ["Authorization", "*"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read_and_while_it_is(served: Served) -> None:
    path, much = "/api/v1/discrepancies/bld-0000000/reviews", b"x" * 70_000
    announced = served.post(path, data=much)
    dribbled = served.post(path, data=iter([much[:40_000], much[40_000:]]))  # in chunks, without a length
    for answer in (announced, dribbled):
        assert answer.status_code == 413 and "65536" in answer.json()["detail"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_head_that_is_too_large_is_refused_however_fast_it_comes(served: Served) -> None:
    for headers in ({"X-One": "x" * 70_000}, {f"X-{i}": "x" * 50 for i in range(1_300)}):
        answer = served.get("/healthz", headers=headers)
        assert answer.status_code in (400, 431) and answer.headers["connection"] == "close"
    assert served.get("/healthz", headers={"X-One": "x" * 60_000}).status_code == 200


def test_paths_and_queries_that_mean_nothing_are_refused(served: Served) -> None:
    assert served.get("/" + "x" * (LONGEST_PATH + 1)).status_code == 414
    assert served.get("/api/v1/%00").status_code == 400
    assert served.get("/api/v1/discrepancies?kind=a%00b").status_code == 400
    assert served.get("/api/v1/discrepancies?kind=" + "x" * 10_000_000).status_code == 400
    assert served.get("/api/v1/discrepancies?" + "&".join(f"kind=k{i}" for i in range(5_000))).status_code == 422
    assert served.get("/api/v1/discrepancies?kind=%ff%fe").status_code == 200
    assert served.get("/api/v1/discrepancies/..%2f..%2fetc%2fpasswd").status_code == 404


@pytest.mark.parametrize(
    ("proxies", "named", "address"),
    [
        ([], "192.0.2.7", "127.0.0.1"),
        (["127.0.0.0/8"], "192.0.2.7", "192.0.2.7"),
        (["127.0.0.1"], "198.51.100.1, 192.0.2.7", "192.0.2.7"),
        (["127.0.0.1", "192.0.2.0/24"], "198.51.100.1, 192.0.2.7", "198.51.100.1"),
        (["192.0.2.0/24"], "198.51.100.1", "127.0.0.1"),
        (["127.0.0.1"], "no address", "127.0.0.1"),
        (["127.0.0.1"], "", "127.0.0.1"),
    ],
)
def test_the_client_is_whom_a_trusted_proxy_names_last(proxies: list[str], named: str, address: str) -> None:
    clients = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        clients.append(scope["client"][0])

    scope = {
        "type": "http", "method": "GET", "path": "/", "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(b"x-forwarded-for", named.encode())],
    }
    asyncio.run(Door(note, Web(trusted_proxies=proxies))(scope, _nothing, _nothing))
    assert clients == [address]


async def _nothing(*_: object) -> None:
    raise AssertionError("neither a body to read nor an answer to send")
