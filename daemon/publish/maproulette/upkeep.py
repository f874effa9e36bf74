"""Tasks that exist are kept true: closed when the ledger closes, opened again when it does, told anew what changed.

Every write is made while the task is open for us (`Client.opened`), so that no mapper who has it open is disturbed: he
is left in peace, and it is tried again later. The task is read at the same time, and only a real transition is sent: a
status that is there already would, after 14 days, set the task back. Contents go as an upsert without any status, and
only to tasks that wait for a mapper.

What was written is kept after the task was released: a kill before leaves the discrepancy in the outbox and the task
noted as open, and nothing is lost; a kill after leaves nothing to do.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from daemon.db import Database
from daemon.errors import (
    LockConflict,
    MapRouletteInvalid,
    MapRouletteMissing,
    MapRouletteUnavailable,
    NameTaken,
    TaskLocked,
    UploadTooLarge,
)
from daemon.publish import outbox
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.cooperative import CHANGE_FILE
from daemon.publish.maproulette.records import ChallengeRow, TaskRow, forget_tasks, seen_as, set_opened, set_tasks
from daemon.publish.maproulette.replies import Status, Task
from daemon.publish.maproulette.tasks import digest_of
from daemon.publish.maproulette.waiting import CHANNEL, Waiting, rest_until
from daemon.publish.maproulette.wishes import step_to, wanted_status

log = logging.getLogger(__name__)


class Upkeep:
    """Keeps single tasks true."""

    def __init__(self, client: Client, db: Database):
        self._client = client
        self._db = db

    def keep(self, challenge: ChallengeRow, one: Waiting, now: datetime) -> None:
        """Bring one task in line with the ledger; one that is so already costs nothing.

        Raises:
            MapRouletteUnavailable, MapRouletteRefused: worth another try, or somebody's help; it stays in the outbox.
        """
        if not self._is_due(one, one.row, now):
            self._done(one, replace(one.row, elements=one.content.elements), now)
            return
        assert one.row.remote is not None, "only tasks that are there are kept"
        with self._db.transaction() as cursor:
            set_opened(cursor, one.row.remote)
        try:
            with self._client.opened(one.row.remote) as task:
                row = one.row if task is None else self._settle(challenge, one, task, now)
        except (TaskLocked, LockConflict) as error:
            log.info("task %s is left in peace: %s", one.due.key, error)
            self._put_off(one, str(error), now)
        except (MapRouletteInvalid, NameTaken, UploadTooLarge) as error:
            log.warning("task %s cannot be brought up to date: %s", one.due.key, error)
            self._put_off(one, str(error), now)
        except MapRouletteUnavailable as error:
            self._put_off(one, str(error), now)
            if not error.answered:
                raise
        except MapRouletteMissing:
            log.info("task %s is gone from the server", one.due.key)
            with self._db.transaction() as cursor:
                forget_tasks(cursor, [one.due.key])
                outbox.told(cursor, CHANNEL, [one.due])
                set_opened(cursor, None)
        else:
            self._done(one, row, now)

    def _done(self, one: Waiting, row: TaskRow, now: datetime) -> None:
        with self._db.transaction() as cursor:
            outbox.told(cursor, CHANNEL, [one.due])
            if row != one.row:
                set_tasks(cursor, [row], now)
            set_opened(cursor, None)

    def _is_due(self, one: Waiting, row: TaskRow, now: datetime) -> bool:
        """Whether a task, as far as it is known, is not as it should be."""
        wanted = wanted_status(one.discrepancy, now)
        if step_to(wanted, row) is not None:
            return True
        return wanted is Status.CREATED and row.is_open and row.digest != one.content.digest

    def _settle(self, challenge: ChallengeRow, one: Waiting, task: Task, now: datetime) -> TaskRow:
        """What the server has after the task, open for us, was written to where it had to be."""
        if challenge.group.way == CHANGE_FILE and task.cooperative_work is None:
            task = self._client.task(task.id)  # what is not sent back is erased: whoever opens it may not be told all
        row = seen_as(one.row, task.status or Status.CREATED, now, task.mapped_on, task.completed_by)
        row = replace(row, digest=digest_of(task.geometries, task.cooperative_work))
        step = step_to(wanted_status(one.discrepancy, now), row)
        content = one.content
        if step is Status.CREATED:
            self._client.set_task(task.id, step, content.work, geometries=content.collection)
            log.info("task %s is open again", one.due.key)
            return replace(
                row, status=step, since=now, ours=True, digest=content.digest, elements=content.elements
            )
        if step is not None:
            self._client.set_task(task.id, step, task.cooperative_work)
            log.info("task %s is closed as %d", one.due.key, step)
            return replace(row, status=step, since=now, ours=True)
        if self._is_due(one, row, now):
            assert challenge.remote is not None, "only tasks that are there are kept"
            self._client.put_task(content.body(challenge.remote), known=task.id)
            row = replace(row, digest=content.digest)
        return replace(row, elements=content.elements) if row.digest == content.digest else row

    def _put_off(self, one: Waiting, error: str, now: datetime) -> None:
        with self._db.transaction() as cursor:
            outbox.postpone(cursor, CHANNEL, [one.due], error, rest_until(one.due, now))
