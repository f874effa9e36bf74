"""HTTP: one request after the other through contract, faults and endpoints."""

from __future__ import annotations

import gzip
import json
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from fake_maproulette import routes_challenges, routes_feedback, routes_projects, routes_tasks
from fake_maproulette.contract import LARGEST_BODY, Endpoint, contract
from fake_maproulette.faults import Fault, Faults
from fake_maproulette.mapper import Mapper
from fake_maproulette.requests import Failure, Reply, Request, html_failure, invalid, unauthorized
from fake_maproulette.state import TaskRow, World, start_of_time

ROUTES = {
    **routes_projects.ROUTES, **routes_challenges.ROUTES, **routes_tasks.ROUTES, **routes_feedback.ROUTES,
}
#: Replies from this size on are compressed where the client can bear it.
WORTH_COMPRESSING = 256


@dataclass(frozen=True)
class Seen:
    """A request that came. `status` is None where it was not answered."""

    endpoint: str
    method: str
    target: str
    body: bytes
    status: int | None
    user: str | None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0].removeprefix("/api/v2")

    @property
    def changes(self) -> bool:
        """Whether it is one that changes something; opening a task does."""
        reads = ("GET", "HEAD")
        return self.endpoint in ("task_start", "task_release") or (
            self.method not in reads and self.endpoint != "tasks_box"
        )

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeMapRoulette:
    """The server. What it holds is in `world`; look at it with `with fake.world.lock`, where requests are under way.

    Attributes:
        url: base of the API.
        owner: a user, for the one who publishes.
        requests: all that came, in order.
        violations: what of requests and replies was not by the contract.
        lenient: requests may be against the contract; replies may not.
        checks: False: nothing is held against the contract, for measuring.
        busy: seconds that were spent on requests.
    """

    def __init__(self, now: datetime | None = None, seed: int = 0, checks: bool = True):
        self.world = World(now or start_of_time(), seed)
        self.faults = Faults()
        self.owner = self.world.add_user("mapgap-bot")
        self.requests: list[Seen] = []
        self.violations: list[str] = []
        self.lenient = False
        self.checks = checks
        self.busy = 0.0
        self.released = threading.Event()
        self._mappers: dict[str, Mapper] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                fake._serve(self)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def handle_error(self, *args: object) -> None:
                """A client that hangs up is part of the game."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}/api/v2"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def clock(self) -> World:
        """Has `advance`, with which time passes and the nights with it."""
        return self.world

    def mapper(self, name: str) -> Mapper:
        """A user who looks at tasks; the same name is the same one."""
        with self.world.lock:
            if name not in self._mappers:
                self._mappers[name] = Mapper(self.world, self.world.add_user(name))
            return self._mappers[name]

    @property
    def writes(self) -> list[Seen]:
        """What came that changes something."""
        return [one for one in self.requests if one.changes]

    def forget_requests(self) -> None:
        self.requests.clear()

    def tasks(self, name: str | None = None) -> list[TaskRow]:
        """All tasks there are, or those of a name."""
        with self.world.lock:
            return [row for row in self.world.tasks.values() if name in (None, row.name)]

    def task(self, name: str) -> TaskRow:
        """The one task of this name."""
        found = self.tasks(name)
        assert len(found) == 1, f"{len(found)} tasks are called {name}"
        return found[0]

    # -- one request ----------------------------------------------------------------------------------------------

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(handler.command, handler.path, parts.path, query, dict(handler.headers), body)
        began = time.perf_counter()
        with self.world.lock:
            fault = self.faults.next(request.method, request.path.removeprefix("/api/v2"))
            found = contract().endpoint(request.method, request.path)
            reply = self._answer(request, found) if fault is None or fault.after else None
            if fault is not None:
                reply = self._faulty(fault)
            status = reply.status if reply is not None else None
            self.busy += time.perf_counter() - began
            self.requests.append(Seen(
                found[0].id if found else "", request.method, request.target, body, status,
                request.user.name if request.user else None,
            ))
        if reply is None:
            if fault in (Fault.HANG, Fault.LATE_HANG):
                self.released.wait()
            handler.close_connection = True
            return
        self._send(handler, request, reply)

    def _faulty(self, fault: Fault) -> Reply | None:
        """The reply of a fault; None where none is sent."""
        match fault:
            case Fault.ERROR:
                return Failure(500, "KO", "An error occurred, please try again").reply
            case Fault.PROXY:
                status = self.world.random.choice((502, 503, 504))
                return html_failure(status, f"{status} Bad Gateway").reply
            case Fault.LATE_PROXY:
                return html_failure(504, "504 Gateway Time-out").reply
            case Fault.HTML:
                return html_failure(200, "Welcome to the Wi-Fi").reply
        return None

    def _answer(self, request: Request, found: tuple[Endpoint, dict[str, str]] | None) -> Reply:
        try:
            reply = self._dispatch(request, found)
        except Failure as failure:
            reply = failure.reply
        if self.checks and found is not None:
            if not self.lenient:
                self.violations += contract().request_problems(found[0], request)
            self.violations += contract().reply_problems(found[0], reply)
        return reply

    def _dispatch(self, request: Request, found: tuple[Endpoint, dict[str, str]] | None) -> Reply:
        if len(request.body) > LARGEST_BODY:
            raise Failure(413, None)
        if request.method == "GET" and request.path.endswith("/") and len(request.path) > 1:
            return Reply(301, headers={"Location": request.path.rstrip("/")})
        if found is None:
            raise invalid(f"Invalid Path [{request.path}] for API")
        endpoint, params = found
        request.params = {name: unquote(value) for name, value in params.items()}
        for name in ("id", "challengeId", "status"):
            if name in request.params and not request.params[name].lstrip("-").isdigit():
                raise html_failure(400, "Bad Request")
        request.user = self.world.user_of(request.key)
        if endpoint.auth == "required" and request.user is None:
            raise unauthorized()
        try:
            return ROUTES[endpoint.id](self.world, request)
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(500, "KO", f"{type(error).__name__}: {error}") from error

    def _send(self, handler: BaseHTTPRequestHandler, request: Request, reply: Reply) -> None:
        content = reply.content
        headers = {"maproulette-request-id": str(uuid.uuid4()), **reply.headers}
        if content:
            headers["Content-Type"] = reply.kind
        if len(content) >= WORTH_COMPRESSING and "gzip" in request.header("Accept-Encoding"):
            content = gzip.compress(content, 1)
            headers["Content-Encoding"] = "gzip"
        handler.send_response(reply.status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if reply.status != 204:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
