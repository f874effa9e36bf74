"""The server itself: uvicorn, bound to an address, until told to stop."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from daemon.config import Config, Web
from daemon.errors import WebError
from daemon.web.app import create_app
from daemon.web.backend import Backend, open_backend
from daemon.web.protocol import patient_protocol

log = logging.getLogger(__name__)

#: Connections that the kernel holds before they are accepted.
BACKLOG = 128
#: The share of schedule.grace within which answers under way may end; then their queries are cancelled.
GRACE = 0.5
#: Seconds after which a thread that computes lets another go on. A request changes hands some ten times on its way, and
#: each time may wait for whoever writes a long list: by Python's own 5 ms, that is most of the time of a busy server.
HANDOVER = 0.0005


class WebServer:
    """Holds the address from the beginning, so that a port that is taken is known at once.

    Args:
        backend: what the routes work with.
        wrap: makes of the application what is served.

    Raises:
        WebError: the address cannot be listened on.
    """

    def __init__(self, backend: Backend, wrap: Callable[[FastAPI], ASGIApp] = lambda app: app):
        self._backend = backend
        self._wrap = wrap
        self._socket = listen(backend.web)

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, and end what is under way; within schedule.grace."""
        web, grace = self._backend.web, self._backend.config.schedule.grace * GRACE
        app = create_app(self._backend)
        settings = uvicorn.Config(
            self._wrap(app),
            http=patient_protocol(web.timeout),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            limit_concurrency=web.connections,
            timeout_keep_alive=web.keep_alive,  # type: ignore[arg-type]
            timeout_graceful_shutdown=grace,  # type: ignore[arg-type]
            h11_max_incomplete_event_size=web.max_head,
        )
        log.info("serving at %s", self.url)
        usual = sys.getswitchinterval()
        sys.setswitchinterval(HANDOVER)
        try:
            _Uvicorn(settings, stop, self._backend).run([self._socket])
        finally:
            sys.setswitchinterval(usual)
            app.state.pictures.close()

    def close(self) -> None:
        """Let go of the address; `run` has done so."""
        self._socket.close()


class WebCompanion:
    """The server beside the stages of `mapgap run`; see `daemon.scheduler.Companion`."""

    name = "web"

    def __init__(self, config: Config):
        self._config = config

    def run(self, stop: threading.Event, works: Callable[[], None]) -> None:
        with open_backend(self._config, stop) as backend, closing(WebServer(backend)) as server:
            works()
            server.run(stop)


class _Uvicorn(uvicorn.Server):
    """uvicorn that heeds an event instead of signals."""

    def __init__(self, settings: uvicorn.Config, stop: threading.Event, backend: Backend):
        super().__init__(settings)
        self._stop = stop
        self._backend = backend

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._backend.web.workers
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        return self._stop.is_set() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A thread that waits for the database cannot be cancelled, its query can.
        timer = threading.Timer(self.config.timeout_graceful_shutdown or 0, self._backend.db.interrupt)
        timer.start()
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(web: Web) -> socket.socket:
    """The socket that the configuration names; to be closed.

    Raises:
        WebError: the address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # Inherited by each connection. asyncio does so only for sockets made with the number of the protocol, and
        # without it an answer's body waits for the acknowledgement of its head, which clients put off for 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise WebError(
            f"web.host {web.host!r}, web.port {web.port}: cannot be listened on: {error.strerror or error}; choose "
            "another port, or see who has it (`ss -ltnp`)"
        ) from None
    listener.set_inheritable(False)
    return listener
