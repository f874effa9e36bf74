"""A made-up replication server whose files a test can spoil, and sources that follow it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from http_server import Web

from daemon.config import Replication
from daemon.fetch import Fetcher
from daemon.replication import ReplicationSource
from daemon.replication.state import sequence_path

START = datetime(2024, 6, 1, tzinfo=UTC)


class Minutes:
    """Minutely files below /minute; sequence n ends n minutes after `start`."""

    start = START

    def __init__(self, web: Web):
        self.web = web

    def publish(self, first: int, last: int) -> None:
        for sequence in range(first, last + 1):
            self.put(sequence, "osc.gz", self.change_file(sequence))
            self.put(sequence, "state.txt", self.state_file(sequence))
        self.say(last)

    def say(self, newest: int) -> None:
        """What the state.txt at the top says."""
        self.web.put("/minute/state.txt", self.state_file(newest))

    def put(self, sequence: int, suffix: str, content: bytes, status: int = 200) -> None:
        self.web.put(self.path(sequence, suffix), content, status)

    def path(self, sequence: int, suffix: str) -> str:
        return f"/minute/{sequence_path(sequence)}.{suffix}"

    def time_of(self, sequence: int) -> datetime:
        return START + timedelta(minutes=sequence)

    def state_file(self, sequence: int) -> bytes:
        time = f"{self.time_of(sequence):%Y-%m-%dT%H:%M:%SZ}".replace(":", "\\:")
        return f"#made up\nsequenceNumber={sequence}\ntimestamp={time}\n".encode()

    def change_file(self, sequence: int) -> bytes:
        """One node, edited seven seconds before the end of the minute."""
        time = f"{self.time_of(sequence) - timedelta(seconds=7):%Y-%m-%dT%H:%M:%SZ}"
        node = f'<create><node id="{sequence}" version="1" timestamp="{time}" lat="1" lon="2"/></create>'
        return gzip.compress(f'<osmChange version="0.6">{node}</osmChange>'.encode(), mtime=0)


@pytest.fixture
def minutes(web: Web) -> Minutes:
    return Minutes(web)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the sources of a test put change files."""
    return tmp_path / "scratch"


@pytest.fixture
def open_source(web: Web, fetchers: Callable[..., Fetcher], scratch: Path) -> Callable[..., ReplicationSource]:
    """Opens a source: of `web`/minute, or of the `url` given; settings of [replication] by keyword."""

    def make(url: str | None = None, fetcher: Fetcher | None = None, **settings: Any) -> ReplicationSource:
        config = Replication(url=url or web.url("/minute"), **settings)
        return ReplicationSource(config, fetcher or fetchers(), scratch)

    return make


@pytest.fixture
def source(open_source: Callable[..., ReplicationSource]) -> ReplicationSource:
    return open_source()
