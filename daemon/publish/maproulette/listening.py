"""Listener: what mappers said in MapRoulette, each verdict once, with its reasons.

The server cannot be asked what is new. So tasks are read in the order in which mappers last touched them, the latest
first, until one is older than the newest heard of before (a little more is read, for what was being written then).
Tasks move between the pages while they are read; so what took more than a page is read again until nothing turns up
that was not there before. Verdict and moment are kept in one transaction, the oldest first: after a kill anywhere, what
was not kept is read again, and what was kept is known by its task, verdict and moment.

Only the last thing that was done to a task can be seen so; what was done before, and by whom, is in its history, which
is asked for each task that is new. What we closed ourselves has nobody who did it there, although the task may still
name the mapper who had it before. Tasks that were set back turn up nowhere; `go_through` finds them, once a night.

A reviewer's word about a verdict is heard, too. One that he rejects counts no longer; a false positive so rejected
never stood, and its discrepancy opens again, while the server gives the task back to its mapper. If he approves of it
after all, it holds again. A false positive set back to "created" by an owner is taken back in the same way; that its
task or its challenge was deleted changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from psycopg2.extensions import cursor as Cursor

from daemon.db import Database, query
from daemon.errors import DiscrepancyUnknown, MapRouletteMissing
from daemon.publish.maproulette.client import Client
from daemon.publish.maproulette.heard import (
    CAME_BY,
    SAME_MOMENT,
    VERDICTS,
    Step,
    is_told,
    keep_comments,
    not_told,
    note_heard,
    read_heard,
    read_told,
    reason_of,
)
from daemon.publish.maproulette.reader import PAGE
from daemon.publish.maproulette.records import note_status, read_challenges, read_tasks_in
from daemon.publish.maproulette.replies import Person, Status, Task, TaskMark, ViewedTask
from daemon.reviews.intake import AskedMap, take_verdict
from daemon.reviews.verdicts import overturn, uphold
from daemon.sections.publish import Reviews

log = logging.getLogger(__name__)

#: Statuses that a mapper gives.
FINISHED = (*VERDICTS, Status.ANSWERED, Status.VALIDATED)
#: Statuses of a review: rejected, and those that approve of the verdict. What is disputed is not settled yet.
REJECTED, APPROVED = 2, (1, 3, 6, 7)
#: Read again so much of what was heard: the server's clock dates what it has not written yet.
AGAIN = timedelta(minutes=5)
#: Readings of one feed at most in one round; what moves faster is found by the next round.
READINGS = 5
#: Of the entries of a task's history, those that are a change of status.
STATUS_CHANGE = 1
#: Everything is gone through so often.
NIGHTLY = timedelta(days=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Listener:
    """Listens to the tasks of all challenges that are known.

    Args:
        current_map: is asked about what a mapper calls fixed.
        bot: the id of the key's owner on the server, whose closes are our own; None: not known.
    """

    def __init__(
        self, client: Client, db: Database, current_map: AskedMap, reviews: Reviews, stop: threading.Event,
        bot: int | None = None,
    ):
        self._client = client
        self._db = db
        self._map = current_map
        self._reviews = reviews
        self._stop = stop
        self.bot = bot

    def listen(self, now: datetime) -> int:
        """Hear what is new; once a night, go through everything. Returns how many verdicts were new.

        Raises:
            MapRouletteError: what was heard before is kept; the rest is heard next time.
        """
        challenges = self._challenges()
        if not challenges:
            return 0
        with self._db.transaction() as cursor:
            upto = read_heard(cursor)
        heard = self._hear_verdicts(challenges, upto.get("verdicts", LONG_AGO), now)
        self._hear_reviews(challenges, upto.get("reviews", LONG_AGO), now)
        if now - upto.get("all", LONG_AGO) >= NIGHTLY:
            heard += self.go_through(now)
        self._hear_comments()
        return heard

    def go_through(self, now: datetime) -> int:
        """Hold all tasks against what was heard of them, and hear what was missed; how many verdicts were new."""
        heard = 0
        for challenge in self._challenges():
            if self._stop.is_set():
                return heard
            try:
                heard += self._go_through(challenge, now)
            except MapRouletteMissing:
                log.info("challenge %d is gone from the server; what was said in it is kept", challenge)
        with self._db.transaction() as cursor:
            note_heard(cursor, "all", now)
        return heard

    # -- verdicts -------------------------------------------------------------------------------------------------

    def _hear_verdicts(self, challenges: Sequence[int], upto: datetime, now: datetime) -> int:
        heard = 0
        for mark in self._read(challenges, "mappedOn", upto - AGAIN):
            if self._stop.is_set():
                break
            heard += self._hear(mark, now, "verdicts")
        return heard

    def _read(
        self, challenges: Sequence[int], sort: str, since: datetime, reviews: Sequence[int] | None = None
    ) -> list[TaskMark]:
        """All that was touched since then, the oldest first."""
        found: dict[tuple[int, Status, datetime], TaskMark] = {}
        newest: datetime | None = None
        for _ in range(READINGS):
            before = len(found)
            count = 0
            for mark in self._client.marks(challenges, statuses=FINISHED, reviews=reviews, sort=sort, page_size=PAGE):
                count += 1
                at = mark.reviewed_at if sort == "reviewedAt" else mark.mapped_on
                if at is None:  # the server puts those first that have no time
                    continue
                if at < since:
                    break
                if newest is None or at <= newest:
                    found.setdefault((mark.id, mark.status, at), mark)
            newest = newest or max((at for _, _, at in found), default=None)
            if count <= PAGE or len(found) == before:
                break
        return [found[one] for one in sorted(found, key=lambda one: (one[2], one[0]))]

    def _hear(self, mark: TaskMark, now: datetime, feed: str | None = None) -> int:
        """Keep what mappers did to a task, unless it is known, and how far the feed was heard; how much was new."""
        if mark.mapped_on is None:
            return 0
        with self._db.transaction() as cursor:
            told = read_told(cursor, {mark.id: mark.name}).get(mark.id, [])
            if any(one.at == mark.mapped_on for one in told):
                if feed:
                    note_heard(cursor, feed, min(mark.mapped_on, now))
                return 0
        steps = self._steps(mark, mark.mapped_on)
        new = not_told(steps, told)
        task = self._task(mark) if new and new[-1].at == mark.mapped_on else None
        with self._db.transaction() as cursor:
            heard = sum(self._take(cursor, mark, step, task, now) for step in new)
            if feed:
                note_heard(cursor, feed, min(mark.mapped_on, now))
        return heard

    def _steps(self, mark: TaskMark, mapped_on: datetime) -> list[Step]:
        """The verdicts that people gave a task, the oldest first; the last one that it shows is dated as it shows."""
        try:
            history = self._client.history(mark.id)
        except MapRouletteMissing:
            history = []
        changes = [one for one in history if one.action == STATUS_CHANGE and one.status in VERDICTS]
        shown = [one for one in changes if one.status == mark.status and abs(one.at - mapped_on) < SAME_MOMENT]
        last = shown[-1] if shown else None
        steps = [
            Step(Status(one.status), one.at, one.person)
            for one in changes if one is not last and one.person is not None and one.person.id != self.bot
        ]
        person = last.person if last else mark.completed_by
        if mark.status in VERDICTS and not self._is_ours(mark.status, person):
            steps.append(Step(mark.status, mapped_on, person))
        return steps

    def _is_ours(self, status: Status, person: Person | None) -> bool:
        """A mapper's step has a mapper. What has none was done by right of ownership; and who closes so is us."""
        return status is Status.ALREADY_FIXED if person is None else person.id == self.bot

    def _task(self, mark: TaskMark) -> Task | None:
        """The task in full as the verdict left it; None if it is gone, or somebody went on with it."""
        try:
            task = self._client.task(mark.id)
        except MapRouletteMissing:
            return None
        return task if (task.status, task.mapped_on) == (mark.status, mark.mapped_on) else None

    def _take(self, cursor: Cursor, mark: TaskMark, step: Step, task: Task | None, now: datetime) -> int:
        """Keep a verdict with its reasons; 1 if it was new."""
        is_last = step.at == mark.mapped_on
        tags = list(mark.tags)
        responses = dict(task.responses) if task and is_last else {}
        detail = {"task": mark.id, "challenge": mark.challenge, "tags": tags, "responses": responses}
        if step.person is not None:
            detail["user"] = step.person.id
        who = step.person.name if step.person else None
        try:
            review = take_verdict(
                cursor, self._map, self._reviews, mark.name, VERDICTS[step.status], who, reason_of(responses, tags),
                CAME_BY, step.at, detail, now=now,
            )
        except DiscrepancyUnknown:
            log.info("task %d is about %r, of which nothing is known here", mark.id, mark.name)
            return 0
        if not review.recorded:
            return 0
        if is_last:
            note_status(cursor, mark.name, mark.status, step.at)
        cursor.execute(query("attach_comments"), {"tasks": [mark.id]})
        cursor.execute(query("note_uncommented"), {"challenge": mark.challenge})
        return 1

    # -- reviews of verdicts --------------------------------------------------------------------------------------

    def _hear_reviews(self, challenges: Sequence[int], upto: datetime, now: datetime) -> None:
        for mark in self._read(challenges, "reviewedAt", upto - AGAIN, reviews=(REJECTED, *APPROVED)):
            if self._stop.is_set():
                return
            self._hear(mark, now)  # what is reviewed may have been finished after the verdicts were read
            with self._db.transaction() as cursor:
                reviewer = mark.reviewed_by.name if mark.reviewed_by else None
                at = mark.reviewed_at or now
                for one in read_told(cursor, {mark.id: mark.name}).get(mark.id, []):
                    if one.at != mark.mapped_on:
                        continue
                    if mark.review == REJECTED:
                        overturn(cursor, one.review, who=reviewer, at=at, now=now, by="rejected by a reviewer")
                    else:
                        uphold(cursor, one.review, who=reviewer, now=now)
                note_heard(cursor, "reviews", min(at, now))

    # -- comments -------------------------------------------------------------------------------------------------

    def _hear_comments(self) -> None:
        with self._db.transaction() as cursor:
            cursor.execute(query("uncommented"))
            challenges = [challenge for (challenge,) in cursor.fetchall()]
        for challenge in challenges:
            if self._stop.is_set():
                return
            try:
                comments = self._client.comments(challenge)
            except MapRouletteMissing:
                comments = []
            with self._db.transaction() as cursor:
                keep_comments(cursor, comments)
                cursor.execute(query("commented"), {"challenge": challenge})

    # -- everything -----------------------------------------------------------------------------------------------

    def _go_through(self, challenge: int, now: datetime) -> int:
        seen = self._client.viewed(challenge, FINISHED)
        with self._db.transaction() as cursor:
            ours = next((row for row in read_challenges(cursor) if row.remote == challenge), None)
            rows = read_tasks_in(cursor, ours.id) if ours else {}
            told = read_told(cursor, {one.id: one.name for one in seen})
            cursor.execute(query("note_uncommented"), {"challenge": challenge})
        heard = 0
        for one in seen:
            row = rows.get(one.name)
            if is_told(one, told.get(one.id, [])) or (row is not None and row.ours and row.status == one.status):
                continue
            try:
                heard += self._hear(mark_of(self._client.task(one.id), one), now)
            except MapRouletteMissing:
                continue
        finished = {one.id for one in seen}
        self._find_set_back({
            row.remote: row.key for row in rows.values() if row.remote and not row.ours and row.remote not in finished
        }, now)
        return heard

    def _find_set_back(self, tasks: Mapping[int, str], now: datetime) -> None:
        """Take back the verdicts of those tasks that wait for a mapper again, although nobody here let them."""
        with self._db.transaction() as cursor:
            told = read_told(cursor, tasks)
        for number, verdicts in told.items():
            if not verdicts[-1].holds:
                continue
            try:
                task = self._client.task(number)
            except MapRouletteMissing:
                continue  # deleted: what was said of it holds
            if task.status is not Status.CREATED:
                continue
            at = task.modified or now
            with self._db.transaction() as cursor:
                overturn(cursor, verdicts[-1].review, who=None, at=at, now=now, by="its task was set back to created")
                note_status(cursor, task.name, Status.CREATED, at)

    def _challenges(self) -> list[int]:
        with self._db.transaction() as cursor:
            return [row.remote for row in read_challenges(cursor) if row.remote is not None and row.remote > 0]


def mark_of(task: Task, viewed: ViewedTask) -> TaskMark:
    """What `marks` would tell of a task; without a moment of its own, it has that of the last change."""
    mapper = None if task.completed_by is None else Person(task.completed_by, viewed.mapper)
    return TaskMark(
        task.id, task.name, task.parent, task.status or viewed.status,
        task.mapped_on or task.modified, mapper, viewed.tags,
    )
