"""The HTTP side of a frontend, with the troubles that a network and an overworked server make."""

from __future__ import annotations

import json
import re
import threading
import traceback
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from osmose_frontend.lint import lint
from osmose_frontend.state import AlreadyUpToDate, Broken, State

FIELDS = ("analyser", "country", "code", "content")


class Upload(NamedTuple):
    """One upload as it came in."""

    country: str
    name: str
    content: bytes
    status: int
    """As answered, or as would have been where the answer got lost."""


class Frontend:
    """A frontend on a port of its own.

    Attributes:
        state: what it keeps.
        uploads: all that came to be judged, in order; each is linted when it comes.
        troubles: what happens to the next uploads, one each: "lost" (merged, no answer), "cut" (hangs up before), a
            status such as 503 (not merged), "redirect", "crash" (500 without a word), or (status, answer).
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC), *, unlocked: bool = False):
        self.state = State(clock, unlocked)
        self.uploads: list[Upload] = []
        self.troubles: list[str | int | tuple[int, object]] = []
        self.faults: list[str] = []
        self.requests: list[str] = []
        self._lock = threading.Lock()
        frontend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                frontend._get(self)

            def do_DELETE(self) -> None:
                frontend._get(self)

            def do_POST(self) -> None:
                frontend._post(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *args: object) -> None:
                """Hanging up is what some of the troubles are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- requests -------------------------------------------------------------------------------------------------

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            self.requests.append(f"POST {handler.path}")
            trouble = self.troubles.pop(0) if self.troubles else None
            if urlsplit(handler.path).path != "/control/send-update":
                return _answer(handler, 404, {"detail": "Not Found"})
            if trouble == "cut":
                handler.close_connection = True
                return None
            if trouble == "redirect":
                return _answer(handler, 307, {}, {"Location": "http://127.0.0.1:1/control/send-update"})
            if trouble == "crash":
                return _answer(handler, 500, b"Internal Server Error")
            if isinstance(trouble, int):
                return _answer(handler, trouble, b"come again", {"Retry-After": "120"})
            if isinstance(trouble, tuple):
                return _answer(handler, *trouble)
            status, said = self._upload(handler.headers.get("Content-Type", ""), body)
            if trouble == "lost":
                handler.close_connection = True
                return None
        return _answer(handler, status, said)

    def _upload(self, content_type: str, body: bytes) -> tuple[int, object]:
        given = _form(content_type, body)
        if missing := [name for name in FIELDS if name not in given]:
            return 422, {"detail": [{"loc": ["body", name], "msg": "Field required"} for name in missing]}
        analyser, country, code = (given[name][1].decode() for name in FIELDS[:3])
        name, content = given["content"]
        source = self.state.source_of(analyser, country, code)
        if source is None:
            return 403, {"detail": "AUTH FAIL"}
        try:
            lint(content, newest=None)
        except Exception:
            self.faults.append(traceback.format_exc())
        status, said = self._merge(source, name, content)
        self.uploads.append(Upload(country, name, content, status))
        return status, said

    def _merge(self, source: int, name: str, content: bytes) -> tuple[int, object]:
        try:
            self.state.upload(source, name, content)
        except AlreadyUpToDate:
            return 400, {"detail": "FAIL: Already up to date"}
        except ExpatError:
            return 500, b"Internal Server Error"
        except (Broken, KeyError, ValueError, OSError):
            return 500, {"detail": traceback.format_exc().rstrip()}
        return 200, b"OK"

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        with self._lock:
            self.requests.append(f"{handler.command} {handler.path}")
            if found := re.fullmatch(r"/control/status/([^/]+)/([^/]+)", path):
                return self._status(handler, *found.groups())
            if path in ("/api/0.3/issues", "/api/0.3/issues.json"):
                issues = [
                    {"id": str(key), "lat": one.lat, "lon": one.lon, "item": str(one.item)}
                    for key, one in self.state.visible().items()
                ]
                return _answer(handler, 200, {"issues": issues})
            if found := re.fullmatch(r"/api/0\.3/(issue|false-positive)/([0-9a-f-]{36})(?:/(done|false))?", path):
                return self._issue(handler, found[1], uuid.UUID(found[2]), found[3])
        return _answer(handler, 404, {"detail": "Not Found"})

    def _status(self, handler: BaseHTTPRequestHandler, country: str, analyser: str) -> None:
        known = self.state.sources.get((analyser, country))
        last = self.state.last.get(known.id) if known else None
        if last is None:
            return _answer(handler, 404, {"detail": "Not Found"})
        timestamp = str(last.timestamp.replace(tzinfo=None))
        return _answer(handler, 200, {
            "version": 1, "timestamp": timestamp, "analyser_version": last.analyser_version or "", "nodes": None,
            "ways": None, "relations": None,
        })

    def _issue(self, handler: BaseHTTPRequestHandler, what: str, key: uuid.UUID, verdict: str | None) -> None:
        if what == "false-positive":
            is_there = self.state.verdicts.pop(key, None) is not None
            return _answer(handler, 200 if is_there else 410, None if is_there else {"detail": "FAIL"})
        if verdict:
            closed = self.state.close(key, verdict)
            return _answer(handler, 200 if closed else 410, None if closed else {"detail": "FAIL"})
        one = self.state.issues.get(key)
        if one is None:
            return _answer(handler, 410, {"detail": "Id is not present in database."})
        title = self.state.classes[one.item, one.number].texts["classtext"]
        return _answer(handler, 200, {"uuid": str(key), "item": one.item, "class": one.number, "title": title})


def _form(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Name -> (file name, content) of multipart/form-data."""
    found = re.fullmatch(r"multipart/form-data; boundary=(\S+)", content_type)
    if found is None:
        return {}
    form = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + found[1].encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'\bname="([^"]*)"', head)
        file_name = re.search(rb'\bfilename="([^"]*)"', head)
        if name:
            form[name[1].decode()] = (file_name[1].decode() if file_name else "", content)
    return form


def _answer(
    handler: BaseHTTPRequestHandler, status: int, said: object, headers: dict[str, str] | None = None
) -> None:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "text/plain" if isinstance(said, bytes) else "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Access-Control-Allow-Origin", "*")
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
