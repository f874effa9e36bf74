"""What becomes of a task when somebody opens it, lets go of it, gives it a status, or writes about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fake_maproulette.requests import Failure, forbidden, invalid
from fake_maproulette.state import (
    ALREADY_FIXED,
    ANSWERED,
    CREATED,
    DELETED,
    DISABLED,
    FALSE_POSITIVE,
    FIXED,
    SKIPPED,
    TOO_HARD,
    VALIDATED,
    Action,
    CommentRow,
    Lock,
    TaskRow,
    UserRow,
    World,
)
from fake_maproulette.tasks import refresh_status

_VERDICTS = {FIXED, FALSE_POSITIVE, SKIPPED, ALREADY_FIXED, TOO_HARD}
#: From a status to those that somebody may give a task which another has completed.
PROGRESSIONS: Mapping[int, set[int]] = {
    CREATED: set(range(10)),
    FALSE_POSITIVE: {FIXED},
    SKIPPED: {*_VERDICTS, ANSWERED},
    TOO_HARD: {*_VERDICTS, ANSWERED},
    DELETED: {CREATED},
    DISABLED: {CREATED},
    FIXED: set(), ALREADY_FIXED: set(), ANSWERED: set(), VALIDATED: set(),
}


def may_progress(old: int, new: int) -> bool:
    return old == new or new in (DELETED, DISABLED) or new in PROGRESSIONS[old]


def open_task(world: World, user: UserRow, row: TaskRow) -> None:
    """Lock a task.

    Raises:
        Failure: 403 where somebody else has it, 409 where the user has another.
    """
    require_unlocked(world, user, row)
    held = world.lock_by(user.id)
    if held is not None and held.task != row.id:
        parent = world.challenge(world.task(held.task).parent).name
        raise Failure(
            409, "Conflict", f"User {user.id} already has a lock on task {held.task}",
            lockedTaskId=held.task, parentName=parent, bundledTasks=[], startedAt=held.since.isoformat(),
        )
    world.locks[row.id] = Lock(row.id, user.id, world.clock())


def release_task(world: World, user: UserRow, row: TaskRow) -> None:
    """Unlock a task, if the user has it."""
    held = world.lock_of(row.id)
    if held is not None and held.user == user.id:
        del world.locks[row.id]


def require_unlocked(world: World, user: UserRow, row: TaskRow) -> None:
    held = world.lock_of(row.id)
    if held is not None and held.user != user.id:
        raise forbidden(f"Current task {row.id} is locked by user {held.user}, cannot update")


def complete(
    world: World,
    user: UserRow,
    row: TaskRow,
    status: int,
    *,
    tags: Sequence[str] = (),
    responses: Any = None,
    review: bool = False,
) -> None:
    """PUT /task/{id}/{status}: the user's own doing, who gets the credit.

    Raises:
        Failure: 400 or 403.
    """
    if status not in PROGRESSIONS:
        raise invalid(f"Invalid status {status}")
    challenge = world.challenge(row.parent)
    if challenge.paused:
        raise invalid(f"Challenge {challenge.id} is paused")
    require_unlocked(world, user, row)
    own = row.completed_by == user.id and row.status in _VERDICTS and status in _VERDICTS
    if not own and not may_progress(row.status, status):
        raise invalid(f"Invalid task status supplied: cannot go from {row.status} to {status}")
    now = world.clock()
    world.actions.append(Action(row.id, row.parent, user.id, now, row.status, status))
    row.status, row.mapped_on, row.modified, row.completed_by = status, now, now, user.id
    row.responses = None if responses is None else json.dumps(responses)
    row.tags += [tag for tag in tags if tag not in row.tags]
    if status == SKIPPED:
        row.skip_count += 1
    else:
        user.score += 1
    if status == CREATED:
        row.mapped_on = row.completed_by = row.responses = None
    if review and status in (FIXED, FALSE_POSITIVE, ALREADY_FIXED, TOO_HARD):
        row.review, row.review_requested_by = 0, user.id
    release_task(world, user, row)
    refresh_status(world, challenge, status)


def comment(world: World, user: UserRow, row: TaskRow, text: str) -> CommentRow:
    written = CommentRow(world.number(), row.id, user.id, world.clock(), text)
    world.comments.append(written)
    return written


def give_review(world: World, user: UserRow, row: TaskRow, status: int) -> None:
    """What a reviewer thinks of a mapper's work."""
    now = world.clock()
    world.actions.append(Action(row.id, row.parent, user.id, now, row.review, status, kind=2))
    row.review, row.reviewed_by, row.reviewed_at, row.modified = status, user.id, now, now
