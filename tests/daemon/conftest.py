"""For whatever reads from the network: a web server to be scripted, a Fetcher, a clock of our own, a small disk."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_server import Web

from daemon.fetch import Fetcher


class Clock:
    """Time that passes only when somebody sleeps. `sleeps` holds how long each slept, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on 127.0.0.1; see http_server.py."""
    web = Web()
    yield web
    web.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fetchers(clock: Clock) -> Iterator[Callable[..., Fetcher]]:
    """Makes Fetchers that wait on `clock`, are in no hurry limits unless told, and are closed in the end."""
    made = []

    def make(**settings: Any) -> Fetcher:
        defaults = {"connections": 4, "rate": 1e6, "timeout": 5.0, "retries": 0, "clock": clock, "sleep": clock.sleep}
        made.append(Fetcher("mapgap-test (tests@example.org)", **(defaults | settings)))
        return made[-1]

    yield make
    for fetcher in made:
        fetcher.close()


@pytest.fixture
def fetcher(fetchers: Callable[..., Fetcher]) -> Fetcher:
    """A Fetcher that does not try again."""
    return fetchers()


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[..., None]:
    """Runs Python code that sees a file system of 256 kB at DISK (a Path); other names are given by keyword.

    The disk is a tmpfs in a mount namespace of its own, so it needs no privileges and leaves nothing behind.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'

    def within(*command: str) -> subprocess.CompletedProcess[str]:
        whole = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(disk), *command]
        root = Path(__file__).resolve().parents[2]
        return subprocess.run(whole, capture_output=True, text=True, timeout=60, cwd=root, check=False)

    try:
        probe = within("true")
    except FileNotFoundError:
        pytest.skip("a small disk needs `unshare` of util-linux")
    if probe.returncode != 0:
        pytest.skip(f"a small disk needs user namespaces: {probe.stderr.strip()}")

    def run(code: str, **names: str) -> None:
        known = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        prelude = f"from pathlib import Path\nDISK = Path({str(disk)!r})\n{known}"
        done = within(sys.executable, "-c", prelude + textwrap.dedent(code))
        assert done.returncode == 0, done.stderr

    return run
