"""The server of mapgap as a test sees it: the real one, on a free port of 127.0.0.1, in a thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
from fastapi import FastAPI
from starlette.types import ASGIApp

from daemon.config import parse
from daemon.current_map import CurrentMap
from daemon.db import Database
from daemon.eyes import Interest, detectors_of
from daemon.osm import open_store
from daemon.web.backend import Backend, open_imagery, utc_now
from daemon.web.guard import Guard
from daemon.web.server import WebServer

REPOSITORY = Path(__file__).resolve().parent.parent
#: For servers that have one, and the header that brings it.
TOKEN = "a-token-that-nobody-guesses"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
#: Seconds after which a test gives up on an answer.
PATIENCE = 30.0


def backend_of(
    database: Database,
    directory: Path,
    *,
    token: str | None = None,
    clock: Callable[[], datetime] = utc_now,
    sections: Mapping[str, Any] | None = None,
    **web: Any,
) -> Backend:
    """A backend over a test's database.

    Args:
        directory: relative paths of the configuration are taken from it.
        sections: of config.toml, beside [web].
        web: knobs of [web].
    """
    values = {"data_dir": "data", "database": {"dsn": database.dsn}, **(sections or {}), "web": {"port": 0, **web}}
    config = parse(values, "a test", directory)
    detectors = detectors_of(config)
    current_map = CurrentMap(open_store(config, Interest(detectors).selects), detectors)
    guard = Guard(token, config.web.verdicts_per_hour, config.web.open_verdicts)
    return Backend(config, database, current_map, guard, open_imagery(config, threading.Event()), clock=clock)


class Served:
    """A server that runs; asks it what a test wants to know."""

    def __init__(self, url: str, backend: Backend):
        self.base = url
        self.backend = backend
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.ask("POST", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """The answer to a path with its query, exactly as given; redirects are not followed."""
        prepared = self._session.prepare_request(requests.Request(method, self.base, **options))
        prepared.url = self.base + path
        return self._session.send(prepared, timeout=PATIENCE, allow_redirects=False)

    def json(self, path: str, **options: Any) -> Any:
        answer = self.get(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        self._session.close()


@contextmanager
def serving(backend: Backend, wrap: Callable[[FastAPI], ASGIApp] = lambda app: app) -> Iterator[Served]:
    """The server over a backend, for the length of the block.

    Args:
        wrap: what is to be served in place of the application.
    """
    stop = threading.Event()
    with closing(WebServer(backend, wrap)) as server:
        thread = threading.Thread(target=server.run, args=(stop,), name="served")
        thread.start()
        try:
            with closing(Served(server.url, backend)) as served:
                yield served
        finally:
            stop.set()
            thread.join()
            if backend.imagery:
                backend.imagery.close()


@contextmanager
def mapgap_serve(config_path: Path, program: str = "") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`mapgap serve` as a process of its own: its address and itself; it is ended with the block.

    Args:
        program: Python to run in place of the command, with the same arguments but for `serve`.
    """
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    words = ["-c", program] if program else ["-m", "daemon", "serve"]
    process = subprocess.Popen(
        [sys.executable, *words, "--config", str(config_path)], text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path}, cwd=config_path.parent,
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("serving at "):
                yield line.split()[-1], process
                return
        raise AssertionError("".join(said))
    finally:
        process.kill()
        process.communicate()
