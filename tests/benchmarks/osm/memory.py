"""Peak resident memory of another process and its children, by Linux' /proc.

What wait4 and getrusage tell of a child counts what its parent had when it started it, so they are of no use here.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from pathlib import Path

#: Seconds between two looks.
INTERVAL = 0.1


class Watch:
    """Looks at a process until it is gone."""

    def __init__(self, pid: int):
        self._pid = pid
        self._peaks = {"VmRSS": 0, "RssAnon": 0}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def peak_mb(self) -> tuple[float, float]:
        """Resident memory, and what of it the system cannot take back: without pages of files. Ends the watch."""
        self._done.set()
        self._thread.join()
        return self._peaks["VmRSS"] / 1024, self._peaks["RssAnon"] / 1024

    def _look(self) -> None:
        while not self._done.wait(INTERVAL if self._peaks["VmRSS"] else 0.01):
            family = [self._pid, *_children(self._pid)]
            for what, peak in self._peaks.items():
                self._peaks[what] = max(peak, sum(_kilobytes(pid, what) for pid in family))
            self._peaks["VmRSS"] = max(self._peaks["VmRSS"], _kilobytes(self._pid, "VmHWM"))


def _kilobytes(pid: int, what: str) -> int:
    try:
        found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:  # gone meanwhile
        return 0
    return int(found[1]) if found else 0


def _children(pid: int) -> list[int]:
    """Children and their children. Not every kernel lists them with the parent, so all processes are asked."""
    parents: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        parents[int(fields[1])].append(int(stat.parent.name))
    found, new = [], [pid]
    while new:
        new = [child for parent in new for child in parents[parent]]
        found += new
    return found
