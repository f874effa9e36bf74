"""New tasks: a few one by one, many as a file. Whatever the server answers, what is there is read back from it.

Each is an intention in the database before the server is asked, so that a kill, or an answer that never comes, leaves
behind what may have been made; its name is looked up before it is sent again. An upload answers "done" even when it
dropped tasks: the names that are there afterwards are compared with those that were sent, the missing ones are sent
again, and then one by one, which tells why the server will not have them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from daemon.config import MapRoulette
from daemon.db import Database
from daemon.errors import (
    MapRouletteError,
    MapRouletteInvalid,
    MapRouletteUnavailable,
    NameTaken,
    UploadTooLarge,
)
from daemon.publish import outbox
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.records import (
    OUR_CLOSES,
    ChallengeRow,
    TaskRow,
    add_to_challenge,
    forget_tasks,
    set_tasks,
)
from daemon.publish.maproulette.replies import Status, Task, TaskMark
from daemon.publish.maproulette.tasks import digest_of
from daemon.publish.maproulette.waiting import CHANNEL, Waiting, rest_until

log = logging.getLogger(__name__)

#: How often the tasks that an upload dropped are uploaded again, before they are sent one by one.
UPLOADS_AGAIN = 1
#: After an answer that never came the server may still be at work: for so long nothing of it is sent again.
SETTLE = timedelta(minutes=2)


class Filling:
    """Makes tasks in a challenge."""

    def __init__(self, client: Client, db: Database, knobs: MapRoulette, stop: threading.Event):
        self._client = client
        self._db = db
        self._knobs = knobs
        self._stop = stop

    def fill(
        self, challenge: ChallengeRow, waiting: Sequence[Waiting], data_time: datetime | None, now: datetime
    ) -> bool:
        """Make tasks that are intentions; whether some were there already, so that more is to be told of them at once.

        Raises:
            ChallengeFull: the others have to go elsewhere.
            ChallengeBusy, MapRouletteUnavailable: worth another try, later.
            MapRouletteMissing: there is no such challenge any more.
        """
        adopted = 0
        if len(waiting) >= self._knobs.bulk:
            missing = self._read_back(challenge, waiting, now, made=False)
            adopted = len(waiting) - len(missing)
            waiting = self._upload(challenge, missing, data_time, now)
        for one in waiting:
            if self._stop.is_set():
                break
            adopted += self._make(challenge, one, now)
        return adopted > 0

    def clear(self, challenge: ChallengeRow, one: Waiting, now: datetime) -> bool:
        """A task is not wanted any more before anybody knows whether it was made; whether it was."""
        found = None if challenge.remote is None else self._client.task_named(challenge.remote, one.due.key)
        if found is not None:
            self._adopt(challenge, one, found, now)
            return True
        with self._db.transaction() as cursor:
            outbox.told(cursor, CHANNEL, [one.due])
            forget_tasks(cursor, [one.due.key])
        return False

    def _make(self, challenge: ChallengeRow, one: Waiting, now: datetime) -> bool:
        """Make one task; whether it was there already."""
        assert challenge.remote is not None, "a challenge is made before it is filled"
        try:
            found = self._client.task_named(challenge.remote, one.due.key)
            if found is not None:
                self._adopt(challenge, one, found, now)
                return True
            made = self._client.put_task(one.content.body(challenge.remote), looked_up=True)
        except (MapRouletteInvalid, NameTaken, UploadTooLarge) as error:
            self._put_off(one, error, now)
            return False
        except MapRouletteUnavailable as error:
            self._put_off(one, error, now)
            if error.answered:
                return False
            raise
        self._keep(challenge, [_made(one, made.id, now)], [one.due], now, more=1)
        return False

    def _adopt(self, challenge: ChallengeRow, one: Waiting, found: Task, now: datetime) -> None:
        """Keep in mind a task that is there; it stays due, because what it says may be older."""
        status = found.status or Status.CREATED
        row = replace(
            one.row, remote=found.id, status=status, since=found.mapped_on or now,
            digest=digest_of(found.geometries, found.cooperative_work),
            ours=status in OUR_CLOSES and found.completed_by is None,
        )
        self._keep(challenge, [row], [], now, more=0)

    def _upload(
        self, challenge: ChallengeRow, waiting: Sequence[Waiting], data_time: datetime | None, now: datetime
    ) -> list[Waiting]:
        """Upload tasks, none of which is there, as files; returns those that the server dropped again and again."""
        missing, size = list(waiting), self._knobs.upload_size
        for _ in range(1 + UPLOADS_AGAIN):
            if not missing:
                break
            pieces = list(_pieces(missing, size))
            while pieces:
                if self._stop.is_set():
                    return []
                try:
                    self._send(challenge, pieces[0], data_time, now)
                except UploadTooLarge as error:  # a proxy in front may bear less than the server
                    size = min(size, sum(len(one.content.line()) for one in pieces[0])) // 2
                    if len(pieces[0]) > 1:
                        pieces = list(_pieces([one for piece in pieces for one in piece], size))
                        continue
                    log.warning("%s: task %s: %s", challenge.name, pieces[0][0].due.key, error)
                del pieces[0]
            missing = self._read_back(challenge, missing, now, made=True)
            if missing:
                names = ", ".join(one.due.key for one in missing[:5]) + (", ..." if len(missing) > 5 else "")
                log.warning("%s: %d tasks were dropped in an upload: %s", challenge.name, len(missing), names)
        return missing

    def _send(
        self, challenge: ChallengeRow, piece: Sequence[Waiting], data_time: datetime | None, now: datetime
    ) -> None:
        assert challenge.remote is not None, "a challenge is made before it is filled"
        try:
            self._client.add_tasks(challenge.remote, [one.content.line() for one in piece], data_time)
        except MapRouletteUnavailable as error:
            if not error.answered:
                with self._db.transaction() as cursor:
                    dues = [one.due for one in piece]
                    outbox.postpone(cursor, CHANNEL, dues, str(error), max(now + SETTLE, rest_until(dues[0], now)))
                raise
            log.warning("%s: an upload of %d tasks failed: %s", challenge.name, len(piece), error)
        except (MapRouletteInvalid, NameTaken) as error:  # one by one it will turn out which task is to blame
            log.warning("%s: an upload of %d tasks was refused: %s", challenge.name, len(piece), error)

    def _read_back(
        self, challenge: ChallengeRow, waiting: Sequence[Waiting], now: datetime, *, made: bool
    ) -> list[Waiting]:
        """Keep which of the tasks are there; returns the others.

        Args:
            made: just now, by us: what is there holds what was sent. Else nobody knows what it holds.
        """
        assert challenge.remote is not None, "a challenge is made before it is filled"
        there = {mark.name: mark for mark in self._client.all_marks(challenge.remote)}
        found = [one for one in waiting if one.due.key in there]
        rows = [
            _made(one, there[one.due.key].id, now) if made else _found(one, there[one.due.key], now) for one in found
        ]
        if found:
            self._keep(challenge, rows, [one.due for one in found] if made else [], now, more=len(found) * made)
        return [one for one in waiting if one.due.key not in there]

    def _put_off(self, one: Waiting, error: MapRouletteError, now: datetime) -> None:
        log.warning("task %s cannot be made now: %s", one.due.key, error)
        until = rest_until(one.due, now)
        if isinstance(error, MapRouletteUnavailable) and not error.answered:
            until = max(until, now + SETTLE)
        with self._db.transaction() as cursor:
            outbox.postpone(cursor, CHANNEL, [one.due], str(error), until)

    def _keep(
        self, challenge: ChallengeRow, rows: Sequence[TaskRow], told: Sequence[outbox.Due], now: datetime, *, more: int
    ) -> None:
        with self._db.transaction() as cursor:
            outbox.told(cursor, CHANNEL, told)
            set_tasks(cursor, rows, now)
            add_to_challenge(cursor, challenge.id, more)


def _made(one: Waiting, remote: int, now: datetime) -> TaskRow:
    return replace(
        one.row, remote=remote, status=Status.CREATED, since=now, ours=True, digest=one.content.digest,
        elements=one.content.elements,
    )


def _found(one: Waiting, mark: TaskMark, now: datetime) -> TaskRow:
    ours = mark.status in OUR_CLOSES and mark.completed_by is None
    return replace(one.row, remote=mark.id, status=mark.status, since=mark.mapped_on or now, ours=ours)


def _pieces(waiting: Sequence[Waiting], size: int) -> Iterator[list[Waiting]]:
    """Parts whose lines together have at most `size` bytes."""
    piece: list[Waiting] = []
    room = size
    for one in waiting:
        length = len(one.content.line())
        if piece and length > room:
            yield piece
            piece, room = [], size
        piece.append(one)
        room -= length
    if piece:
        yield piece
