"""A process that dies at a chosen moment: what it had not committed or sent by then never happens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

from psycopg2.extensions import cursor as Cursor

from daemon.db import Database
from daemon.fetch import Fetcher


class Killed(BaseException):
    """kill -9: no handler of any error runs to its end."""


class Moment(Enum):
    BEFORE_REQUEST = auto()
    AFTER_REQUEST = auto()
    """The server has done it, and its answer is lost with the process."""
    BEFORE_COMMIT = auto()
    AFTER_COMMIT = auto()


class Life:
    """How long a process lives: until the n-th request or transaction (None: for ever)."""

    def __init__(self, rng: random.Random | None = None, most: int = 40):
        self.left = rng.randint(1, most) if rng else None
        self._late = bool(rng and rng.random() < 0.5)
        self.died: Moment | None = None

    def begin(self) -> None:
        """Something is about to be done."""
        if self.died:
            raise Killed

    def end(self, before: Moment, after: Moment) -> bool:
        """Whether the moment has come; where it comes before, nothing was done."""
        if self.left is None:
            return False
        self.left -= 1
        if self.left == 0:
            self.died = after if self._late else before
        return self.left == 0


class MortalFetcher:
    """Sends what a process sends while it lives."""

    def __init__(self, fetcher: Fetcher, life: Life):
        self._fetcher, self._life = fetcher, life

    def send(self, *args: Any, **more: Any) -> Any:
        self._life.begin()
        over = self._life.end(Moment.BEFORE_REQUEST, Moment.AFTER_REQUEST)
        if over and self._life.died is Moment.BEFORE_REQUEST:
            raise Killed
        answer = self._fetcher.send(*args, **more)
        if over:
            raise Killed
        return answer


class MortalDatabase(Database):
    """Commits what a process commits while it lives. Uses the connections of another."""

    def __init__(self, database: Database, life: Life):
        self._database, self._life = database, life

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        self._life.begin()
        over = False
        with self._database.transaction() as cursor:
            yield cursor
            self._life.begin()
            over = self._life.end(Moment.BEFORE_COMMIT, Moment.AFTER_COMMIT)
            if over and self._life.died is Moment.BEFORE_COMMIT:
                raise Killed
        if over:
            raise Killed
