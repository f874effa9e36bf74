"""People who look at tasks, and what they do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fake_maproulette import completion
from fake_maproulette.state import (
    ALREADY_FIXED,
    CREATED,
    FALSE_POSITIVE,
    FIXED,
    SKIPPED,
    TOO_HARD,
    CommentRow,
    TaskRow,
    UserRow,
    World,
)


class Mapper:
    """One user. A task is named by its id or by its name."""

    def __init__(self, world: World, user: UserRow):
        self._world = world
        self.user = user

    @property
    def name(self) -> str:
        return self.user.name

    def lock(self, task: int | str) -> None:
        """Have it open."""
        with self._world.lock:
            completion.open_task(self._world, self.user, self._row(task))

    def release(self, task: int | str) -> None:
        with self._world.lock:
            completion.release_task(self._world, self.user, self._row(task))

    def give(
        self,
        task: int | str,
        status: int,
        *,
        tags: Sequence[str] = (),
        responses: Mapping[str, Any] | None = None,
        comment: str = "",
        review: bool = False,
    ) -> None:
        """Open it, give it a status, with all that goes with one."""
        with self._world.lock:
            row = self._row(task)
            held = self._world.lock_by(self.user.id)
            if held is not None and held.task != row.id:
                del self._world.locks[held.task]
            completion.open_task(self._world, self.user, row)
            try:
                completion.complete(
                    self._world, self.user, row, status, tags=tags, responses=responses, review=review
                )
            finally:
                completion.release_task(self._world, self.user, row)
            if comment:
                completion.comment(self._world, self.user, row, comment)

    def fix(self, task: int | str, **more: Any) -> None:
        self.give(task, FIXED, **more)

    def false_positive(self, task: int | str, **more: Any) -> None:
        self.give(task, FALSE_POSITIVE, **more)

    def already_fixed(self, task: int | str, **more: Any) -> None:
        self.give(task, ALREADY_FIXED, **more)

    def skip(self, task: int | str, **more: Any) -> None:
        self.give(task, SKIPPED, **more)

    def too_hard(self, task: int | str, **more: Any) -> None:
        self.give(task, TOO_HARD, **more)

    def comment(self, task: int | str, text: str) -> CommentRow:
        with self._world.lock:
            return completion.comment(self._world, self.user, self._row(task), text)

    def review(self, task: int | str, status: int) -> None:
        """1 approved, 2 rejected, 3 approved with fixes, 4 disputed."""
        with self._world.lock:
            completion.give_review(self._world, self.user, self._row(task), status)

    def available(self) -> list[TaskRow]:
        """The tasks that one is offered: waiting, unlocked, in challenges that are shown."""
        with self._world.lock:
            return [
                row for row in self._world.tasks.values()
                if row.status in (CREATED, SKIPPED, TOO_HARD) and not row.archived and self._is_shown(row)
                and self._world.lock_of(row.id) is None
            ]

    def _is_shown(self, row: TaskRow) -> bool:
        challenge = self._world.challenges[row.parent]
        usable = not (challenge.deleted or challenge.archived or challenge.paused)
        return usable and bool(challenge.fields.get("enabled"))

    def _row(self, task: int | str) -> TaskRow:
        if isinstance(task, int):
            return self._world.task(task)
        return next(row for row in self._world.tasks.values() if row.name == task)
