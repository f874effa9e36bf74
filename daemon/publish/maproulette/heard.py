"""What was heard of tasks: verdicts, comments, and how far the feeds were read. And what of it is new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.model import plain
from daemon.publish.maproulette.replies import Comment, Person, Status, ViewedTask
from daemon.publish.maproulette.settings import REASONS
from daemon.reviews.verdicts import Verdict

#: The way verdicts come, as the ledger notes it.
CAME_BY = "maproulette"
#: What a task's status says of a discrepancy. "Answered" and "validated" are no verdicts.
VERDICTS: Mapping[Status, Verdict] = {
    Status.FIXED: Verdict.FIXED,
    Status.FALSE_POSITIVE: Verdict.FALSE_POSITIVE,
    Status.SKIPPED: Verdict.SKIPPED,
    Status.ALREADY_FIXED: Verdict.ALREADY_FIXED,
    Status.TOO_HARD: Verdict.TOO_HARD,
}
#: Two moments of one change of status, as different places write them, differ by less.
SAME_MOMENT = timedelta(seconds=2)


class Step(NamedTuple):
    """A status that a person gave a task."""

    status: Status
    at: datetime
    person: Person | None
    """None: it was given by right of ownership."""


class Told(NamedTuple):
    """A verdict that was kept."""

    review: int
    verdict: Verdict
    at: datetime
    holds: bool
    """Nobody took it back."""


def reason_of(responses: Mapping[str, Any], tags: Iterable[str]) -> str | None:
    """Why, in words: the answer to "why is it wrong?", or else the tags that say so; None where nobody said."""
    answer = responses.get("reason")
    if isinstance(answer, str) and answer.strip():
        return " ".join(answer.split())
    words = {tag: reason for reason, tag in REASONS.items()}
    return ", ".join(words[tag] for tag in tags if tag in words) or None


def not_told(steps: Sequence[Step], told: Sequence[Told]) -> list[Step]:
    """The steps that were not heard before, each verdict told being one of them at most. Histories and tasks date one
    and the same a little differently.
    """
    left, new = list(told), []
    for step in steps:
        same = [
            one for one in left
            if one.verdict is VERDICTS[step.status] and abs(one.at - step.at) < SAME_MOMENT
        ]
        if same:
            left.remove(min(same, key=lambda one, at=step.at: abs(one.at - at)))
        else:
            new.append(step)
    return new


def is_told(viewed: ViewedTask, told: Sequence[Told]) -> bool:
    """Whether what a task says now was heard."""
    if viewed.status not in VERDICTS:
        return True
    if not told or told[-1].verdict is not VERDICTS[viewed.status]:
        return False
    return viewed.mapped_on is None or viewed.mapped_on - told[-1].at < SAME_MOMENT


def read_heard(cursor: Cursor) -> dict[str, datetime]:
    cursor.execute(query("heard_upto"))
    return dict(cursor.fetchall())


def note_heard(cursor: Cursor, feed: str, upto: datetime) -> None:
    cursor.execute(query("note_heard"), {"feed": feed, "upto": upto})


def read_told(cursor: Cursor, tasks: Mapping[int, str]) -> dict[int, list[Told]]:
    """What was heard of these tasks (number -> key), the oldest first."""
    told: dict[int, list[Told]] = {}
    cursor.execute(query("told_by_tasks"), {"tasks": [str(task) for task in tasks]})
    for task, review, key, verdict, at, holds in cursor.fetchall():
        if tasks[task] == key:
            told.setdefault(task, []).append(Told(review, Verdict(verdict), at, holds))
    return told


def keep_comments(cursor: Cursor, comments: Sequence[Comment]) -> None:
    if not comments:
        return
    cursor.execute(query("keep_comments"), {
        "ids": [one.id for one in comments], "tasks": [one.task for one in comments],
        "whos": [plain(one.name) or None for one in comments], "ats": [one.created for one in comments],
        "texts": [plain(one.text) for one in comments],
    })
    if tasks := sorted({task for (task,) in cursor.fetchall()}):
        cursor.execute(query("attach_comments"), {"tasks": tasks})
