"""An open load: requests start when their time has come, whether or not those before are answered.

Each answer's time is counted from the moment at which its request was due, so that a server that stalls is not spared
the requests that it kept from being sent (coordinated omission).
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field

import numpy as np

#: Requests that can be under way at a time.
WORKERS = 24

#: Sends one request and says what kind it was.
Sender = Callable[[int], str]
#: What a worker sends through, for as long as it works.
Senders = Callable[[], AbstractContextManager[Sender]]


@dataclass
class Latencies:
    """Seconds from when each request was due to its answer, by kind."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def percentiles(self, kind: str) -> tuple[float, float, float]:
        """(p50, p95, p99) in milliseconds."""
        p50, p95, p99 = np.percentile(self.seconds[kind], (50, 95, 99)) * 1000
        return float(p50), float(p95), float(p99)


def run_load(senders: Senders, rate: float, count: int, warm: int = 0) -> Latencies:
    """Send `count` requests, `rate` a second; the first `warm` of them are not counted."""
    found, lock, taken = Latencies(), threading.Lock(), iter(range(count))
    start = time.perf_counter() + 0.2
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with senders() as send:
                while True:
                    with lock:
                        number = next(taken, None)
                    if number is None:
                        return
                    due = start + number / rate
                    time.sleep(max(0.0, due - time.perf_counter()))
                    kind = send(number)
                    if number >= warm:
                        found.seconds[kind].append(time.perf_counter() - due)
        except BaseException as error:
            failures.append(error)
            raise

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return found


def http_senders(port: int, requests: Sequence[tuple[str, str]]) -> Senders:
    """Ask a server on this machine for (kind, path), one after the other, over connections that are kept."""

    @contextmanager
    def sender() -> Iterator[Sender]:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:

            def send(number: int) -> str:
                kind, path = requests[number % len(requests)]
                try:
                    status = _get(connection, path)
                except (http.client.RemoteDisconnected, ConnectionError):  # it had been idle for too long
                    connection.close()
                    status = _get(connection, path)
                assert status in (200, 204), (path, status)
                return kind

            yield send

    return sender


def _get(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status
