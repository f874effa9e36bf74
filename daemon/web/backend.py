"""What every route works with."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from daemon.config import Config, Web, secret
from daemon.current_map import CurrentMap, open_current_map
from daemon.db import Database, connect_database, open_database
from daemon.errors import ConfigError, MapgapError
from daemon.exporting import context_of
from daemon.imagery import Imagery
from daemon.publish.feed import ExportContext
from daemon.web.guard import Guard
from detectors.catalogue import Kind
from detectors.registry import registry

log = logging.getLogger(__name__)

#: How much of client.rate pictures may use beside the daemon.
SHARE_OF_RATE = 0.25
#: Characters; shorter ones can be guessed.
SHORTEST_TOKEN = 16


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Backend:
    """Safe to share between threads.

    Attributes:
        db: with a connection for each request that is worked on at a time, and statements that end with their request.
        current_map: asked before a verdict is believed; knows the detectors, but no networks.
        kinds: (detector, kind) -> what people are told of it.
        guard: who may give verdicts.
    imagery: for pictures, asked less than the daemon asks; None: none can be used as configured.
        clock: aware, UTC.
    """

    config: Config
    db: Database
    current_map: CurrentMap
    guard: Guard
    imagery: Imagery | None = None
    kinds: Mapping[tuple[str, str], Kind] = field(default_factory=lambda: registry().kinds())
    clock: Callable[[], datetime] = utc_now

    @property
    def web(self) -> Web:
        return self.config.web

    @property
    def context(self) -> ExportContext:
        """Where an answer of now comes from, and whom it must name."""
        return replace(context_of(self.config), generated=self.clock(), kinds=self.kinds)


def read_token(web: Web) -> str | None:
    """What calls that change verdicts must bring; None where no token is configured.

    Raises:
        ConfigError: it cannot be had, or could be guessed.
    """
    token = secret(web.token_env, web.token_file, "web.token")
    if token is not None and len(token) < SHORTEST_TOKEN:
        key = "web.token_env" if web.token_env else "web.token_file"
        raise ConfigError(key, [f"a token of less than {SHORTEST_TOKEN} characters; `openssl rand -hex 32` makes one"])
    return token


async def backend_of(request: Request) -> Backend:
    """That of the application which a request came to."""
    return request.app.state.backend


def base_url(web: Web, request: Request) -> str:
    """How the server is reached, without a slash at the end: as configured, else where it listens. What a client's
    header Host says may be anything, and must not get into what others read."""
    if web.public_url:
        return web.public_url.rstrip("/")
    host, port = request.scope["server"]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


#: A parameter of a route.
BackendOf = Annotated[Backend, Depends(backend_of)]


@contextmanager
def open_backend(config: Config, stop: threading.Event) -> Iterator[Backend]:
    """What a server needs, for the length of the block; takes no lock, so that a daemon may work beside it.

    Args:
        stop: ends what is fetched for an answer under way.

    Raises:
        ConfigError: the token cannot be had, or the database or the area cannot be used as configured.
        DatabaseError, StorageFull: as `open_database`.
        ModelError: a detector cannot be made.
    """
    web = config.web
    guard = Guard(read_token(web), web.verdicts_per_hour, web.open_verdicts)
    hasty = config.database.model_copy(update={"pool": web.workers, "statement_timeout": web.timeout})
    with (
        open_database(config),
        connect_database(config.model_copy(update={"database": hasty})) as db,
        open_current_map(config) as current_map,
    ):
        imagery = open_imagery(config, stop)
        with closing(imagery) if imagery else nullcontext():
            yield Backend(config, db, current_map, guard, imagery)


def open_imagery(config: Config, stop: threading.Event) -> Imagery | None:
    """The sources as the daemon has them, asked a part as often; what a picture needs was mostly fetched before."""
    client = config.client
    modest = client.model_copy(update={
        "rate": client.rate * SHARE_OF_RATE, "connections": 1, "retries": 0,
        "timeout": min(client.timeout, config.web.picture_timeout),
    })
    try:
        return Imagery.open(config.model_copy(update={"client": modest}), stop) if config.imagery else None
    except MapgapError as error:
        log.warning("pictures cannot be drawn: %s", error)
        return None
