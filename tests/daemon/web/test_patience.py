"""Clients that dribble, that take nothing, that say nothing: each is let go of, and the others are served meanwhile."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from claims import Ledger
from starlette.responses import StreamingResponse
from web_server import PATIENCE, Served, backend_of, serving

from daemon.db import Database

SHORT = {"timeout": 0.2, "keep_alive": 0.2}


@pytest.fixture(scope="module")
def hasty(one_ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with very little patience, and a route that answers without end."""

    def with_flood(app):
        @app.get("/flood")
        def flood() -> StreamingResponse:
            return StreamingResponse(iter(lambda: b"x" * 65536, b""))

        return app

    with serving(backend_of(one_ledger.database, tmp_path_factory.mktemp("hasty"), **SHORT), wrap=with_flood) as served:
        yield served


def connect(served: Served) -> socket.socket:
    parts = urlsplit(served.base)
    return socket.create_connection((parts.hostname, parts.port), PATIENCE)


def dribble(client: socket.socket, text: bytes, piece: bytes) -> bytes:
    """Send a beginning, then piece after piece until the server has had enough; what it said."""
    client.sendall(text)
    client.settimeout(0.02)
    said = b""
    for _ in range(round(PATIENCE / 0.02)):
        try:
            if not (received := client.recv(65536)):
                return said
            said += received
        except TimeoutError:
            pass
        except ConnectionError:
            return said
        try:
            client.sendall(piece)
        except ConnectionError:
            return said
    raise AssertionError("the server listens for ever")


def test_who_dribbles_headers_is_dropped(hasty: Served) -> None:
    with connect(hasty) as client:
        said = dribble(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X-A: 1\r\n")
        assert said == b""
    assert hasty.get("/healthz").status_code == 200


def test_who_dribbles_a_second_request_is_dropped_too(hasty: Served) -> None:
    with connect(hasty) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in client.recv(65536)
        dribble(client, b"GET /hea", b"l")


def test_who_says_nothing_is_dropped(hasty: Served) -> None:
    with connect(hasty) as client:
        assert client.recv(1) == b""


def test_who_dribbles_a_body_is_told_and_dropped(hasty: Served) -> None:
    head = b"POST /api/v1/discrepancies/bld-0000000/reviews HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    with connect(hasty) as client:
        assert b" 408 " in dribble(client, head, b"x")


def test_who_takes_nothing_is_dropped(hasty: Served) -> None:
    with connect(hasty) as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        poll_hang_up(client)
    assert hasty.get("/healthz").status_code == 200


def poll_hang_up(client: socket.socket) -> None:
    """Wait until the server has reset the connection, without taking anything."""
    poll = select.poll()
    poll.register(client, select.POLLHUP | select.POLLERR)
    assert poll.poll(PATIENCE * 1000), "the server waits for ever"


def test_a_head_without_end_is_refused(hasty: Served) -> None:
    with connect(hasty) as client:
        said = dribble(client, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000, b"a")
        assert not said or b" 400 " in said


def test_too_many_connections_are_told_to_come_again(database: Database, tmp_path: Path) -> None:
    with serving(backend_of(database, tmp_path, connections=4)) as served:
        idle = [connect(served) for _ in range(4)]
        try:
            assert served.get("/healthz").status_code == 503
        finally:
            for client in idle:
                client.close()
