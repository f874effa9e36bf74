"""What every request passes on its way in, and every answer on its way out.

In:  the client's address (behind a proxy that is trusted), slashes collapsed and none at the end (a redirect would
     cost editors their CORS), bodies whole, small and in time.
Out: CORS and safety headers on whatever is answered; a failure that nobody named is a 500 without its story.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.config import Web
from daemon.web.errors import answer

_SLASHES = re.compile("/{2,}")
#: On every answer. Anybody may read from any page; nothing here is to be run or framed.
HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Link, Retry-After, Content-Language, X-Total-Count, X-Layers",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
#: A page may show its own pictures and style, and run nothing.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE, OPTIONS",
    # Any that a library adds by itself; "*" does not stand for the first (Fetch standard, 3.3.5).
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Max-Age": "86400",
}
#: Longest path, characters: none is longer that means anything.
LONGEST_PATH = 1024


class Door:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, web: Web):
        self._app = app
        self._web = web
        self._proxies = [ipaddress.ip_network(network) for network in web.trusted_proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        path = _SLASHES.sub("/", scope["path"]).rstrip("/") or "/"
        scope = {
            **scope, "path": path, "raw_path": path.encode("utf-8", "replace"), "client": self._client(scope, headers)
        }
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(MutableHeaders(scope=message))
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            return await refusal(scope, receive, send_guarded)
        try:
            body = await asyncio.wait_for(self._body(headers, receive), self._web.timeout)
        except TimeoutError:
            return await _refuse(408, "the body of the request did not come in time")(scope, receive, send_guarded)
        if body is None:
            return await self._too_large()(scope, receive, send_guarded)
        try:
            await self._app(scope, _Replay(body, receive), send_guarded)
        except Exception as error:  # whatever it is, the client must not read it, and the others go on being served
            failed = answer(error, Request(scope))
            if not started:
                await failed(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers=PREFLIGHT)
        if len(scope["path"]) > LONGEST_PATH:
            return _refuse(414, f"a path of more than {LONGEST_PATH} characters")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._web.max_head:
            # h11 counts only what it waits for the rest of.
            return _refuse(431, f"headers of more than {self._web.max_head} bytes")
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            return _refuse(400, "a NUL character")
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:12]) > self._web.max_body:
            return self._too_large()
        return None

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole of it; None where it is too large."""
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return b""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._web.max_body:
                return None
            if message["type"] != "http.request" or not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> Response:
        return _refuse(413, f"a body of more than {self._web.max_body} bytes")

    def _client(self, scope: Scope, headers: Headers) -> tuple[str, int] | None:
        """The one that asks; the last that a trusted proxy names, where that is who speaks to us."""
        client = scope.get("client")
        if not client or not self._proxies:
            return client
        address = client[0]
        named = [part.strip() for line in headers.getlist("x-forwarded-for") for part in line.split(",")]
        while named and _within(address, self._proxies):
            address = named.pop()
        return (address if _is_address(address) else client[0]), client[1]


class _Replay:
    """`receive` for an application whose request's body was read already."""

    def __init__(self, body: bytes, receive: Receive):
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self._body = self._body, None
        return await self._receive() if body is None else {"type": "http.request", "body": body, "more_body": False}


def _refuse(status: int, detail: str) -> Response:
    """An answer after which the rest of the request is of no interest."""
    return JSONResponse({"detail": detail}, status, {"Connection": "close"})


def _add_headers(headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if headers.get("content-type", "").startswith("text/html"):
        headers.setdefault("Content-Security-Policy", POLICY)


def _within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
