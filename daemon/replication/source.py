"""ReplicationSource: state, change files and times of one replication server or directory."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from daemon import __version__
from daemon.config import Config, Replication
from daemon.errors import ReplicationMissing, ReplicationNotYet, ReplicationRefused, SequenceGap, TooFarBehind
from daemon.fetch import Fetcher
from daemon.replication.changefile import ChangeFile, check, newest_object
from daemon.replication.cookies import CookieFile
from daemon.replication.place import open_place
from daemon.replication.state import MAX_STATE_BYTES, State, as_utc, parse_state, sequence_path

#: A hole of so many state files in a row is searched across by `ReplicationSource.sequence_at`.
HOLE = 4
#: Manners towards a replication server: requests at once, and requests a second, two a file. Only catching up comes
#: near them: a week of minutes takes some nine minutes then, whatever the latency. pyosmium keeps one connection busy
#: without a limit, which is as much where a server answers in 25 ms.
CONNECTIONS = 4
RATE = 40.0
TIME = "%Y-%m-%dT%H:%M:%SZ"


class ReplicationSource:
    """A directory in planet style, behind http://, https:// or file://.

    Safe to share between threads. Every method raises ReplicationUnavailable (worth another try), ReplicationMissing
    (404, 410, no such file) or ReplicationRefused (asking again will not help), besides what it names itself.

    Args:
        config: where it is and how large its files may be.
        fetcher: how to get at it; None will do for file://.
        scratch_dir: where change files lie while they are used; made if need be. What an earlier process that was
            killed left there is removed.
        cookies: for a server with a login.
    """

    def __init__(
        self, config: Replication, fetcher: Fetcher | None, scratch_dir: Path, cookies: CookieFile | None = None
    ):
        #: Whose sequences these are, see `config.server_of`.
        self.server = config.server
        self._place = open_place(config.url, fetcher, cookies)
        self._limits = config
        self._interval = (-1, timedelta(0))  # as of which sequence
        self._scratch_dir = Path(scratch_dir)
        self._fetcher = fetcher
        try:
            self._scratch_dir.mkdir(parents=True, exist_ok=True)
            _sweep(self._scratch_dir)
        except OSError as error:
            raise ReplicationRefused(f"{self._scratch_dir}: no place for change files: {error.strerror}") from None

    @classmethod
    def open(cls, config: Config, stop: threading.Event | None = None, url: str | None = None) -> ReplicationSource:
        """The source that `config` names, with what it needs; to be closed, or used in a `with`.

        Args:
            stop: when set, requests under way end with ReplicationUnavailable.
            url: another than replication.url; one of replication.coarse.

        Raises:
            ConfigError: replication.cookie_file is not usable.
        """
        replication, contact = config.replication, config.client.contact.strip()
        cookies = None
        if replication.cookie_file is not None:
            cookies = CookieFile(replication.cookie_file, replication.url)
        knobs = replication.model_copy(update={"url": url or replication.url})
        fetcher = None
        if not knobs.url.startswith("file:"):
            who = f" (+{contact})" if contact and contact.isascii() and contact.isprintable() else ""
            fetcher = Fetcher(
                f"mapgap/{__version__}{who}",
                connections=CONNECTIONS,
                rate=RATE,
                timeout=replication.timeout,
                retries=replication.retries,
                stop=stop,
            )
        return cls(knobs, fetcher, config.data_dir / "scratch", cookies)

    def close(self) -> None:
        """Close the connections."""
        if self._fetcher is not None:
            self._fetcher.close()

    def __enter__(self) -> ReplicationSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def newest(self) -> State:
        """What state.txt says.

        Raises:
            StateInvalid: it is not a state file.
        """
        return self._read_state("state.txt")

    def state(self, sequence: int) -> State:
        """What the state file of one sequence says.

        Raises:
            ReplicationMissing: there is none; servers may leave them out.
            StateInvalid: it is not a state file.
            SequenceGap: it is the state of another sequence.
            ValueError: not within 0 to LAST_SEQUENCE.
        """
        relative = f"{sequence_path(sequence)}.state.txt"
        state = self._read_state(relative)
        if state.sequence != sequence:
            raise SequenceGap(
                f"{self._place.name(relative)}: says it is sequence {state.sequence}, expected {sequence}; "
                "the server's files are mixed up"
            )
        return state

    @contextmanager
    def fetch(self, sequence: int) -> Iterator[ChangeFile]:
        """The change file of a sequence, checked; it is gone at the end of the `with`.

        Raises:
            ChangeFileInvalid: truncated, damaged, too large, not an osmChange.
            ReplicationMissing: it is not there (yet), although state.txt may say so.
            SequenceGap: it is not there, while later ones are; or its state file is that of another sequence.
            TooFarBehind: it and those before it are no more there.
            StateInvalid: its state file is none.
            StorageFull: no room in the scratch directory.
            ValueError: not within 0 to LAST_SEQUENCE.
        """
        file = self.obtain(sequence)
        try:
            yield file
        finally:
            file.path.unlink(missing_ok=True)

    def obtain(self, sequence: int) -> ChangeFile:
        """As `fetch`, but the caller has to remove the file."""
        relative = f"{sequence_path(sequence)}.osc.gz"
        handle, name = tempfile.mkstemp(dir=self._scratch_dir, prefix=f"{os.getpid()}-{sequence}-", suffix=".osc.gz")
        os.close(handle)
        path = Path(name)
        try:
            try:
                self._place.copy(relative, path, self._limits.max_compressed)
            except ReplicationMissing as error:
                raise self._absence(sequence, error) from None
            check(path, self._place.name(relative), self._limits)
            return ChangeFile(sequence, self._time(sequence, path), path, self.server)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def start_at(self, timestamp: datetime, step_back: timedelta, newest: State | None = None) -> State:
        """The state after which to go on with data of which only the time is known.

        An extract's time is that of its newest edit, or of when its making began; an edit with an older time may have
        been committed, and replicated, later. So the way begins `step_back` earlier, or with the oldest file there is
        where that reaches back far enough without. What is read twice changes nothing (daemon/osm/guard.py).

        Raises:
            TooFarBehind, StateInvalid: as `sequence_at`.
        """
        newest = newest or self.newest()
        try:
            sequence = self.sequence_at(timestamp - step_back, newest)
        except TooFarBehind:
            sequence = self.sequence_at(timestamp, newest)
        state = self._state_or_none(sequence)
        return State(sequence, min(timestamp, newest.timestamp)) if state is None else state

    def sequence_at(self, timestamp: datetime, newest: State | None = None) -> int:
        """The last sequence whose state is not younger than `timestamp`: data of that time continues with the next one.

        Binary search over the state files, some 25 requests on the planet's server. Single state files may be missing,
        and old ones may have been removed.

        Args:
            timestamp: a naive one is taken for UTC.
            newest: what `newest` said just now; asked for where it is not given.

        Raises:
            TooFarBehind: the server's oldest state is younger than `timestamp`, or it has no state files.
            StateInvalid: a state file is none.
        """
        wanted = as_utc(timestamp)
        newest = newest or self.newest()
        if newest.timestamp <= wanted:
            return newest.sequence
        found, oldest = None, newest
        low, top = -1, newest.sequence  # the answer lies between the two, or is `found`, which is `low`
        while top - low > 1:
            middle = (low + top) // 2
            end = min(middle + HOLE, top)
            state = next(filter(None, map(self._state_or_none, range(middle, end))), None)
            if state is None and end == top:
                top = middle
            elif state is None:  # removed, and so are all before it
                low = end - 1
            elif state.timestamp <= wanted:
                low, found = state.sequence, state
            else:
                top, oldest = middle, state
        if found is not None:
            return found.sequence
        if oldest.sequence == 1 and self._begins_after(wanted, oldest, newest):
            return 0
        raise TooFarBehind(
            f"{self._place.name('')}: the oldest state there is, sequence {oldest.sequence} of "
            f"{oldest.timestamp:{TIME}}, is younger than {wanted:{TIME}}; bootstrap from a newer file, or name a "
            "server that keeps larger files for longer in replication.coarse"
        )

    def interval(self, newest: State) -> timedelta:
        """How far apart this server's states are now: the shorter of the last two steps; 0 where it does not say."""
        known, interval = self._interval
        if known != newest.sequence:
            before = [self._state_or_none(newest.sequence - n) for n in (1, 2) if newest.sequence >= n]
            times = [newest.timestamp, *(state.timestamp for state in before if state is not None)]
            interval = max(timedelta(0), min((a - b for a, b in pairwise(times)), default=timedelta(0)))
            self._interval = newest.sequence, interval
        return interval

    def _read_state(self, relative: str) -> State:
        return parse_state(self._place.read(relative, MAX_STATE_BYTES), self._place.name(relative))

    def _state_or_none(self, sequence: int) -> State | None:
        try:
            return self.state(sequence)
        except ReplicationMissing:
            return None

    def _time(self, sequence: int, path: Path) -> datetime | None:
        state = self._state_or_none(sequence)
        return newest_object(path) if state is None else state.timestamp

    def _begins_after(self, wanted: datetime, first: State, newest: State) -> bool:
        """Whether sequence 1, of a server that has no state for 0, may be taken to continue data of `wanted`.

        It may if it is no further away than such a server's files usually are from each other.
        """
        second = self._state_or_none(2) if newest.sequence > 1 else None
        return second is None or first.timestamp - wanted <= 2 * (second.timestamp - first.timestamp)

    def _absence(self, sequence: int, error: ReplicationMissing) -> ReplicationMissing | SequenceGap:
        """Why a change file is not there: not yet, or no more."""
        newest = self.newest()
        if sequence > newest.sequence:
            return ReplicationMissing(f"{error}; the server has got to sequence {newest.sequence}")
        later = {min(sequence + 1, newest.sequence), newest.sequence} - {sequence}
        if any(self._state_or_none(other) for other in later):
            if sequence > 1 and not any(self._state_or_none(other) for other in (sequence, sequence - 1)):
                return TooFarBehind(
                    f"{error}; the server has removed it and what was before it, and has got to {newest.sequence} of "
                    f"{newest.timestamp:{TIME}}; bootstrap from a newer extract (`mapgap bootstrap --force`), or name "
                    "a server that keeps larger files for longer in replication.coarse"
                )
            return SequenceGap(
                f"{error}; the server has later ones, up to {newest.sequence}. If it has removed old files, bootstrap "
                "from a newer extract; otherwise its hole has to be filled before anything can go on"
            )
        return ReplicationNotYet(
            f"{error}; state.txt speaks of sequence {newest.sequence} already, so the server is ahead of its data: "
            "to be tried again later"
        )


def _sweep(scratch_dir: Path) -> None:
    for path in scratch_dir.glob("*.osc.gz*"):
        match = re.match(r"(\d+)-\d+-", path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            path.unlink(missing_ok=True)
