"""A real web server on loopback that answers as a test tells it to, path by path: well, badly, or not at all."""

from __future__ import annotations

import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One answer. Content-Length is added where neither it nor Transfer-Encoding is given; `headers` may lie about it.

    `write`, given the handler, takes over after the request was read and does as it likes with the socket.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[BaseHTTPRequestHandler], None] | None = None


class Web:
    """The server. `requests` holds (path with query, headers) of every request, in order.

    `released` is set when the server closes: answers that never end wait for it.
    """

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None):
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.released = threading.Event()
        self._answers: dict[str, list[Answer]] = defaultdict(list)
        self._lock = threading.Lock()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                web._answer(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *args: object) -> None:
                """A client that hangs up is what many of these tests are about."""

        self._server = Server((address, 0), Handler)
        self.scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_port
        self.address = address
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def url(self, path: str = "", credentials: str = "") -> str:
        return f"{self.scheme}://{credentials + '@' if credentials else ''}{self.address}:{self.port}{path}"

    def put(self, path: str, body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """`path` always answers so."""
        self.script(path, Answer(status, body, headers or {}))

    def script(self, path: str, *answers: Answer) -> None:
        """`path` answers with one after the other; the last one stays."""
        with self._lock:
            self._answers[path] = list(answers)

    def count(self, path: str) -> int:
        """How often `path` was asked for, with whatever query."""
        return sum(1 for asked, _ in self.requests if asked.partition("?")[0] == path)

    def hang(self) -> Answer:
        """Accepts the request and never says a word."""
        return Answer(write=lambda handler: self._hold(handler))

    def drip(self, start: bytes, piece: bytes = b"x", pause: float = 0.01) -> Answer:
        """Sends `start`, then `piece` for ever, with a pause after each."""

        def write(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(start)
            while not self.released.wait(pause):
                handler.wfile.write(piece)
            handler.close_connection = True

        return Answer(write=write)

    def parts(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """A file of which parts can be asked for by a Range of the form bytes=FIRST-LAST."""

        def write(handler: BaseHTTPRequestHandler) -> None:
            first, last = 0, len(body) - 1
            wanted = handler.headers.get("Range")
            if wanted:
                first, last = (int(v) for v in wanted.removeprefix("bytes=").split("-"))
                last = min(last, len(body) - 1)
            handler.send_response(206 if wanted else 200)
            if wanted:
                handler.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            for name, value in {"Content-Length": str(last + 1 - first), **(headers or {})}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body[first : last + 1])

        return Answer(write=write)

    def raw(self, content: bytes) -> Answer:
        """Sends exactly these bytes and hangs up."""

        def write(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(content)
            handler.close_connection = True

        return Answer(write=write)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _hold(self, handler: BaseHTTPRequestHandler) -> None:
        self.released.wait()
        handler.close_connection = True

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        with self._lock:
            self.requests.append((handler.path, dict(handler.headers)))
            answers = self._answers.get(path) or [Answer(404, b"nothing here\n")]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.write is not None:
            answer.write(handler)
            return
        handler.send_response(answer.status)
        headers = dict(answer.headers)
        if not {"content-length", "transfer-encoding", "connection"} & {name.lower() for name in headers}:
            headers["Content-Length"] = str(0 if answer.status == 304 else len(answer.body))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(answer.body)
