"""What to apply next, and when to ask for it: from the server that is followed, or in larger files while far behind.

Where the store stands is one server, one sequence of that server, one time, which move together with the data in one
transaction (sql/0007). On that server the next file is sequence + 1. Onto another one, coarser or finer, the time
leads: to the last state that is not younger (less replication.step_back). Its next file holds all edits since then, so
nothing is left out; what it holds twice changes nothing. Hence the phases of catching up (days, hours, minutes) need no
memory of their own, and neither a kill between any two files nor a changed replication.url loses or skips anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from daemon.config import Config, Replication
from daemon.errors import OsmDataError, ReplicationError
from daemon.replication.changefile import ChangeFile
from daemon.replication.follow import follow
from daemon.replication.source import ReplicationSource
from daemon.replication.state import State

log = logging.getLogger(__name__)

#: A portion of larger files holds the edits of so long, or one file.
PORTION = timedelta(days=1)
#: A server of larger files that fails is left alone for so many seconds; smaller files do meanwhile.
ASIDE = 3600.0
#: A file that is due is looked for so many times per interval, if not more seldom.
LOOKS = 120


class Standing(Protocol):
    """Where the store stands: a time, and a sequence where it is known, of `server` (None: replication.url's)."""

    @property
    def sequence(self) -> int | None: ...
    @property
    def timestamp(self) -> datetime | None: ...
    @property
    def server(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Portion:
    """Change files to apply now.

    Attributes:
        source: where they come from.
        after: sequence of that server before the first of them.
        upto: the newest there, and the time that the server has got to.
        limit: at most so many files.
        newest: what the followed server has, wherever these come from.
        coarse: these are larger files, of another server than replication.url's.
        since: time of sequence `after`, where a time led there.
    """

    source: ReplicationSource
    after: int
    upto: State
    limit: int
    newest: State
    coarse: bool
    since: datetime | None = None

    def files(self, limit: int, stop: threading.Event) -> Iterator[ChangeFile]:
        """At most `limit` of them; see `follow`."""
        since = self.since
        with closing(follow(self.source, self.after, limit, stop, self.upto)) as files:
            for file in files:
                yield replace(file, since=since)
                since = None

    def leaves(self, applied: int) -> bool:
        """Whether there is more to apply after so many of them."""
        return self.coarse or self.after + applied < self.upto.sequence


class Feed:
    """The servers that the configuration names. Used by one thread.

    Args:
        config: how to follow them.
        main: that of replication.url.
        coarse: those of replication.coarse, the coarsest first.
        now: aware, UTC.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: Replication,
        main: ReplicationSource,
        coarse: tuple[ReplicationSource, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ):
        self._config = config
        self.main = main
        self._coarse = coarse
        self._now = now
        self._clock = clock
        self._aside: dict[str, float] = {}
        self._seen: list[State] = []  # of the followed server, each newest there was; the last three
        self._ask_at = now()
        self._step_back = timedelta(seconds=config.step_back)

    @classmethod
    def open(cls, config: Config, stop: threading.Event, resources: ExitStack) -> Feed:
        """As `config` says; `resources` closes it.

        Raises:
            ReplicationRefused, ConfigError: a URL or the cookie file cannot be used.
        """
        main, *coarse = (
            resources.enter_context(ReplicationSource.open(config, stop, url))
            for url in (config.replication.url, *config.replication.coarse)
        )
        return cls(config.replication, main, tuple(coarse))

    def next(self, standing: Standing) -> Portion | None:
        """What to apply now; None while the server cannot have anything new, in which case it is not asked.

        Raises:
            TooFarBehind: the server has nothing that goes on from there.
            OsmDataError: neither a sequence nor a time is known.
            ReplicationError: it cannot be asked.
        """
        seen = self._seen[-1].sequence if self._seen else None
        if self._is_on(self.main, standing) and standing.sequence == seen and self._now() < self._ask_at:
            return None
        newest = self.main.newest()
        self._note(newest)
        for source in self._coarse:
            if self._clock() < self._aside.get(source.server, 0.0):
                continue
            try:
                portion = self._coarse_portion(source, standing, newest)
            except ReplicationError as error:
                self._put_aside(source, error)
                continue
            if portion is not None:
                return portion
        after, since = self._start(self.main, standing, newest)
        if newest.sequence - after <= self._config.catch_up:
            self._rest(newest)
        return Portion(self.main, after, newest, self._config.catch_up, newest, False, since)

    def does_without(self, portion: Portion | None, error: ReplicationError) -> bool:
        """Whether the way goes on in smaller files although `portion` failed."""
        if portion is None or not portion.coarse:
            return False
        self._put_aside(portion.source, error)
        return True

    def _coarse_portion(self, source: ReplicationSource, standing: Standing, newest: State) -> Portion | None:
        """What is worth taking from larger files, None where nothing is."""
        if self._is_on(source, standing):
            upto = source.newest()
            if upto.sequence <= (standing.sequence or 0):
                return None
            interval = source.interval(upto)
        else:
            files = newest.sequence - (standing.sequence or 0)
            if standing.timestamp is None or (self._is_on(self.main, standing) and files <= self._config.catch_up):
                return None
            upto = source.newest()
            interval = source.interval(upto)
            # Less than a whole file forward is not worth it; and a way back to smaller files must not lead here again.
            if upto.timestamp - standing.timestamp < interval + self._step_back:
                return None
        after, since = self._start(source, standing, upto)
        limit = max(1, int(PORTION / interval)) if interval else self._config.catch_up
        return Portion(source, after, upto, min(limit, self._config.catch_up), newest, True, since)

    def _start(self, source: ReplicationSource, standing: Standing, upto: State) -> tuple[int, datetime | None]:
        """The sequence after which to go on; and the time of it, where it was found by time."""
        if standing.sequence is not None and self._is_on(source, standing):
            return standing.sequence, None
        if standing.timestamp is None:
            raise OsmDataError("the bootstrapped file says neither its sequence nor its time; use an extract that does")
        start = source.start_at(standing.timestamp, self._step_back, upto)
        log.info(
            "goes on at %s by the data's time, %s: after the state of %s", source.server, standing.timestamp,
            start.timestamp, extra={"sequence": start.sequence},
        )
        return start.sequence, start.timestamp

    def _is_on(self, source: ReplicationSource, standing: Standing) -> bool:
        """Whether the store's sequence is one of this server."""
        return standing.sequence is not None and (standing.server or self.main.server) == source.server

    def _put_aside(self, source: ReplicationSource, error: ReplicationError) -> None:
        self._aside[source.server] = self._clock() + ASIDE
        log.warning("does without %s for %.0f s: %s", source.server, ASIDE, error)

    def _note(self, newest: State) -> None:
        if not self._seen or newest.sequence > self._seen[-1].sequence:
            self._seen = [*self._seen[-2:], newest]
        elif newest.sequence < self._seen[-1].sequence:
            self._seen = [newest]

    def _rest(self, newest: State) -> None:
        """Once all that there is is applied, leave the server alone until it can have the next file."""
        now = self._now()
        interval = self._interval(newest)
        due = min(newest.timestamp + interval, now + interval)  # a server whose clock is ahead is asked all the same
        self._ask_at = max(due, now + interval / LOOKS)

    def _interval(self, newest: State) -> timedelta:
        """The shortest of the server's last steps; a server that stood still for a week goes on at its old pace."""
        if len(self._seen) < 2:
            try:
                return self.main.interval(newest)
            except ReplicationError as error:
                log.info("the server's rhythm is not known, so it is asked at every look: %s", error)
                return timedelta(0)
        pairs = zip(self._seen, self._seen[1:], strict=False)
        return max(timedelta(0), min((b.timestamp - a.timestamp) / (b.sequence - a.sequence) for a, b in pairs))
