"""Manners towards one server: how many at once, how often, and when to leave it alone."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: First back-off in seconds; doubles with each try up to the longest.
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
#: A server that asks for a longer rest, in seconds, is not waited for: the request fails, as do those after it.
LONGEST_WAIT = 120.0
#: A server's Retry-After counts up to this many seconds.
LONGEST_REST = 3600.0
#: After so many requests in a row that failed for good, a server is left alone for so many seconds.
FAILURES_TO_OPEN = 5
OPEN_FOR = 30.0


class Resting(Exception):
    """The server is not to be asked for `seconds`; the message says why."""

    def __init__(self, reason: str, seconds: float):
        super().__init__(reason)
        self.seconds = seconds


def backoff(attempt: int) -> float:
    """Seconds to wait before try `attempt` + 1, with full jitter.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(attempt, 16)))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or an HTTP date), at most LONGEST_REST.

    None where there is no header or it cannot be read.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), LONGEST_REST)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max(0.0, (when - (now or datetime.now(UTC))).total_seconds()), LONGEST_REST)


class Server:
    """What is known of one server. Safe to share between threads.

    Args:
        name: scheme, host and port, for messages.
        connections: requests under way at once.
        rate: requests a second; up to `connections` may come in a burst (token bucket).
        clock: monotonic seconds.
    """

    def __init__(self, name: str, connections: int, rate: float, clock: Callable[[], float]):
        self.name = name
        self.slots = threading.BoundedSemaphore(connections)
        self._spacing = 1 / rate
        self._burst = (connections - 1) * self._spacing
        self._clock = clock
        self._lock = threading.Lock()
        self._full = clock()  # when the bucket is full of tokens again
        self._rest_until = clock()
        self._failures = 0

    def turn(self) -> float:
        """Seconds to wait before the next request may go out; the turn is taken.

        Raises:
            Resting: the server is left alone for longer than is worth waiting.
        """
        with self._lock:
            now = self._clock()
            rest = self._rest_until - now
            if self._failures >= FAILURES_TO_OPEN:
                if rest > 0:
                    raise Resting(f"{self._failures} requests in a row failed; {self.name} is left alone", rest)
                self._rest_until = now + OPEN_FOR  # one request finds out; the others go on resting meanwhile
                rest = 0.0
            if rest > LONGEST_WAIT:
                raise Resting(f"{self.name} asked for a rest", rest)
            start = max(now + max(0.0, rest), self._full - self._burst)
            self._full = max(self._full, start) + self._spacing
            return start - now

    def rest(self, seconds: float) -> None:
        """Nobody asks for so long: the server said so."""
        with self._lock:
            self._rest_until = max(self._rest_until, self._clock() + seconds)

    def succeeded(self) -> None:
        with self._lock:
            if self._failures >= FAILURES_TO_OPEN:
                self._rest_until = self._clock()
            self._failures = 0

    def failed(self) -> None:
        """A request failed for good although trying again might have helped."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_TO_OPEN:
                self._rest_until = max(self._rest_until, self._clock() + OPEN_FOR)
