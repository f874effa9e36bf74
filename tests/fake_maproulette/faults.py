"""What goes wrong on the way: by a script, or at random from a seed."""

from __future__ import annotations

import random
import re
from collections import Counter
from enum import Enum, auto


class Fault(Enum):
    """What may happen to a request."""

    ERROR = auto()
    """500 with a message; nothing was done."""
    PROXY = auto()
    """502, 503 or 504 with a page of the proxy; nothing was done."""
    LATE_PROXY = auto()
    """504 of the proxy, and yet all was done."""
    HANG = auto()
    """Nothing is ever answered, and nothing was done."""
    LATE_HANG = auto()
    """Nothing is ever answered, and yet all was done."""
    REFUSED = auto()
    """The connection breaks before anything is done."""
    LOST_REPLY = auto()
    """The connection breaks after all was done."""
    HTML = auto()
    """200 with a page of a captive portal; nothing was done."""

    @property
    def after(self) -> bool:
        """Whether what was asked for is done."""
        return self in (Fault.LATE_PROXY, Fault.LATE_HANG, Fault.LOST_REPLY)


#: What may happen at random; nobody has to wait for it.
QUICK = (Fault.ERROR, Fault.PROXY, Fault.LATE_PROXY, Fault.REFUSED, Fault.LOST_REPLY)


class Faults:
    """Decides what happens to each request. `happened` counts what did."""

    def __init__(self) -> None:
        self._scripts: list[tuple[str, re.Pattern[str], list[Fault | None]]] = []
        self._random: random.Random | None = None
        self._rate = 0.0
        self._kinds: tuple[Fault, ...] = QUICK
        self._pattern = re.compile("")
        self.happened: Counter[Fault] = Counter()

    def script(self, method: str, path: str, *faults: Fault | None) -> None:
        """The next requests of a method ("" is any) whose path without query has `path` (a pattern) meet these, one
        after the other; None is none."""
        self._scripts.append((method, re.compile(path), list(faults)))

    def at_random(self, seed: int, rate: float, kinds: tuple[Fault, ...] = QUICK, path: str = "") -> None:
        """From now on each request has a fault with this probability."""
        self._random, self._rate, self._kinds, self._pattern = random.Random(seed), rate, kinds, re.compile(path)

    def stop(self) -> None:
        """All goes well from now on."""
        self._scripts.clear()
        self._random = None

    def next(self, method: str, path: str) -> Fault | None:
        fault = self._scripted(method, path)
        if fault is None and self._random is not None and self._pattern.search(path):
            draw, kind = self._random.random(), self._random.choice(self._kinds)
            fault = kind if draw < self._rate else None
        if fault is not None:
            self.happened[fault] += 1
        return fault

    def _scripted(self, method: str, path: str) -> Fault | None:
        for wanted, pattern, faults in self._scripts:
            if faults and wanted in ("", method) and pattern.search(path):
                return faults.pop(0)
        return None
