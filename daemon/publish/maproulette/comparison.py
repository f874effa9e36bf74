"""Everything that is known of a challenge's tasks, held against what the server has: once a day, and after a loss.

Found that way are tasks that somebody deleted, statuses that changed without anybody telling, tasks that nobody here
knew of (because what was known got lost), and two tasks of one name, which the server allowed for years.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from daemon.db import Database, query
from daemon.discrepancies.model import Discrepancy
from daemon.errors import LockConflict, MapRouletteMissing, TaskLocked
from daemon.publish import outbox
from daemon.publish.feed import ExportContext
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.records import (
    OUR_CLOSES,
    ChallengeRow,
    TaskRow,
    forget_tasks,
    read_tasks,
    read_tasks_in,
    seen_as,
    set_challenge,
    set_opened,
    set_tasks,
)
from daemon.publish.maproulette.replies import OPEN, Status, TaskMark
from daemon.publish.maproulette.tasks import contents_of, digest_of
from daemon.publish.maproulette.waiting import CHANNEL
from daemon.publish.maproulette.wishes import step_to, wanted_status

log = logging.getLogger(__name__)

#: Discrepancies that are held against their tasks in one go.
AT_ONCE = 500


class Comparison:
    """Holds challenges against the server."""

    def __init__(self, client: Client, db: Database, context: ExportContext, *, move_nodes: bool):
        self._client = client
        self._db = db
        self._context = context
        self._move_nodes = move_nodes

    def compare(self, challenge: ChallengeRow, now: datetime) -> int:
        """Take over what the server has, and note in the outbox what is not as the ledger wants it; returns how many.

        Raises:
            MapRouletteError: the server did not tell all; nothing was taken over.
        """
        assert challenge.remote is not None, "only what is on the server can be compared"
        marks = list(self._client.all_marks(challenge.remote))
        named: dict[str, list[TaskMark]] = defaultdict(list)
        for mark in marks:
            named[mark.name].append(mark)
        with self._db.transaction() as cursor:
            cursor.execute(query("keys_taken"), {"keys": sorted(named)})
            keys = [key for (key,) in cursor.fetchall()]
            rows = read_tasks_in(cursor, challenge.id) | read_tasks(cursor, keys)
        chosen = {key: _chosen(named[key], rows.get(key)) for key in keys}
        known = [_merged(challenge, rows.get(key), mark, now) for key, mark in chosen.items()]
        known = self._with_digests(challenge.remote, [row for row in known if row is not None])
        vanished = [r for r in rows.values() if r.challenge == challenge.id and r.remote and r.key not in named]
        gone = [row.key for row in vanished if self._is_gone(row)]
        for key, mark in chosen.items():
            self._withdraw(mark, [other for other in named[key] if other.id != mark.id])
        with self._db.transaction() as cursor:
            set_tasks(cursor, [row for row in known if row != rows.get(row.key)], now)
            forget_tasks(cursor, gone)
            set_challenge(cursor, replace(challenge, total=len(marks)))
        if gone:
            log.info("%s: %d tasks are gone from the server", challenge.name, len(gone))
        return self._note_differences(challenge, now)

    def _with_digests(self, challenge: int, rows: Sequence[TaskRow]) -> list[TaskRow]:
        """The same with what each task says, where that was not known."""
        unknown = {row.remote for row in rows if row.digest is None}
        if not unknown:
            return list(rows)
        digests = {
            task.id: digest_of(task.geometries, task.cooperative_work)
            for task in self._client.tasks(challenge) if task.id in unknown
        }
        return [replace(row, digest=row.digest or digests.get(row.remote or 0)) for row in rows]

    def _is_gone(self, row: TaskRow) -> bool:
        assert row.remote is not None, "only what was on the server can be gone from it"
        try:
            self._client.task(row.remote)
        except MapRouletteMissing:
            return True
        return False

    def _withdraw(self, kept: TaskMark, others: Sequence[TaskMark]) -> None:
        """Of several tasks of one name, all but one are withdrawn."""
        for mark in others:
            if mark.status not in OPEN:
                continue
            log.warning("task %s is on the server twice; task %d is withdrawn, %d stays", kept.name, mark.id, kept.id)
            with self._db.transaction() as cursor:
                set_opened(cursor, mark.id)
            try:
                with self._client.opened(mark.id) as task:
                    if task is not None and task.status in OPEN:
                        self._client.set_task(mark.id, Status.DISABLED, task.cooperative_work)
            except (TaskLocked, LockConflict) as error:
                log.info("task %d is left in peace until the next comparison: %s", mark.id, error)
            with self._db.transaction() as cursor:
                set_opened(cursor, None)

    def _note_differences(self, challenge: ChallengeRow, now: datetime) -> int:
        differing = 0
        for discrepancies in self._discrepancies(challenge):
            with self._db.transaction() as cursor:
                rows = read_tasks(cursor, [d.key for d in discrepancies])
                contents = contents_of(
                    cursor, [(d, challenge.group.way) for d in discrepancies], self._context,
                    move_nodes=self._move_nodes,
                )
                keys = []
                for one in discrepancies:
                    wanted, row = wanted_status(one, now), rows.get(one.key)
                    if row is None or row.remote is None:
                        continue
                    is_old = wanted is Status.CREATED and row.is_open and row.digest != contents[one.key].digest
                    if is_old or step_to(wanted, row) is not None:
                        keys.append(one.key)
                if keys:
                    outbox.note(cursor, CHANNEL, keys, now)
            differing += len(keys)
        return differing

    def _discrepancies(self, challenge: ChallengeRow) -> Iterator[list[Discrepancy]]:
        after = ""
        while True:
            with self._db.transaction() as cursor:
                known = {"challenge": challenge.id, "after": after, "limit": AT_ONCE}
                cursor.execute(query("published_in_challenge"), known)
                found = [Discrepancy.of(row) for row in cursor.fetchall()]
            if not found:
                return
            yield found
            after = found[-1].key


def _chosen(marks: Sequence[TaskMark], row: TaskRow | None) -> TaskMark:
    """Of the tasks of one name the one that stays: the known one, else one a mapper has judged, else the oldest."""

    def rank(mark: TaskMark) -> tuple[bool, bool, int]:
        is_known = row is not None and mark.id == row.remote
        return not is_known, mark.status in OPEN or mark.status in OUR_CLOSES, mark.id

    return min(marks, key=rank)


def _merged(challenge: ChallengeRow, row: TaskRow | None, mark: TaskMark, now: datetime) -> TaskRow | None:
    """What is known of a task after it was seen; None where another challenge's task of the name is the known one."""
    if row is not None and row.remote is not None and row.challenge != challenge.id:
        return None
    if row is None or row.remote is None:
        row = row or TaskRow(mark.name, challenge.id, None, now)
        ours = mark.status in OUR_CLOSES and mark.completed_by is None
        return replace(
            row, challenge=challenge.id, remote=mark.id, status=mark.status,
            since=mark.mapped_on or now, ours=ours,
        )
    return seen_as(replace(row, remote=mark.id), mark.status, now, mark.mapped_on, mark.completed_by)

