"""For whatever reads from the network: a Fetcher, and a clock of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from town import town

from daemon.fetch import Fetcher

__all__ = ["town"]


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
