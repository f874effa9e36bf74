"""How the look stage spends its time, for gauges: what is waited for, and how busy the networks are.

    imagery   pixels are fetched, read and put together; for a block that was not looked at ahead, all of it is waiting
    engine    networks look, or what they said is remembered
    wait      the look stage has nothing to judge, because the block in hand is still being seen
    judge     claims are made and compared with what is known
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WORK = ("imagery", "engine", "wait", "judge")
#: Seconds back from now that count as recent.
RECENT = 120.0


class Pace:
    """Adds up since it was made. Safe to share between threads.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._seconds = dict.fromkeys(WORK, 0.0)
        self._tiles: Counter[str] = Counter()
        self._spells: deque[tuple[str, float, float]] = deque()

    @contextmanager
    def spend(self, work: str) -> Iterator[None]:
        """What happens within the block is this work, whether it succeeds or not."""
        start = self._clock()
        try:
            yield
        finally:
            end = self._clock()
            with self._lock:
                self._seconds[work] += end - start
                self._spells.append((work, start, end))
                while self._spells[0][2] < end - RECENT:
                    self._spells.popleft()

    def count(self, result: str, tiles: int) -> None:
        """So many tiles were "judged", without imagery ("no_imagery") or "failed"."""
        with self._lock:
            self._tiles[result] += tiles

    def as_json(self) -> dict[str, Any]:
        """{"seconds": {work: s}, "tiles": {result: n}, "recent": {work: share of the recent time, 0..1}}."""
        with self._lock:
            now = self._clock()
            first = max(self._began, now - RECENT)
            spent = dict.fromkeys(WORK, 0.0)
            for work, start, end in self._spells:
                spent[work] += max(0.0, end - max(start, first))
            span = max(now - first, 1e-3)
            return {
                "seconds": {work: round(seconds, 3) for work, seconds in self._seconds.items()},
                "tiles": dict(self._tiles),
                "recent": {work: round(min(1.0, seconds / span), 4) for work, seconds in spent.items()},
            }
