"""Reader: what MapRoulette's server has, and what its mappers said; nothing of it changes anything.

Its searches hide much unless told not to: finished tasks, those that somebody has open, those of archived challenges.
A name or an id also finds what was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from daemon.errors import MapRouletteInvalid, MapRouletteMissing, MapRouletteRefused
from daemon.publish.maproulette.exchange import Exchange, segment
from daemon.publish.maproulette.members import each, may, whole
from daemon.publish.maproulette.replies import (
    Challenge,
    Comment,
    HistoryEntry,
    Listed,
    Project,
    Status,
    Task,
    TaskMark,
    User,
    ViewedTask,
)

T = TypeVar("T")

#: Tasks that a challenge may have, whatever their status.
MOST_TASKS = 50_000
#: Tasks on one page of `marks`.
PAGE = 500
#: Full tasks on one page of `tasks`.
FULL_PAGE = 200


class Reader:
    """What can be read of one server. Ids below zero were made up in a dry run; there is nothing under them."""

    def __init__(self, exchange: Exchange):
        self._exchange = exchange

    def whoami(self) -> User:
        """Whose the key is.

        Raises:
            MapRouletteRefused: nobody's.
        """
        return User.of(self._exchange.read("/user/whoami"))

    def project_named(self, name: str) -> Project | None:
        """The project of exactly this name or displayed name; it may be a deleted one."""
        return self._maybe(f"/projectByName/{segment(name)}", Project.of)

    def project(self, project: int) -> Project | None:
        """A project by its id; it may be a deleted one."""
        return self._maybe(f"/project/{project}", Project.of)

    def challenges_of(self, project: int) -> list[Listed]:
        """All challenges of a project that are not deleted, disabled and archived ones among them."""
        if project < 0:
            return []
        query = {"projectIds": project, "limit": -1, "page": 0, "onlyEnabled": False}
        return each(self._exchange.read("/challenges/listing", query), Listed.of, "the list of challenges")

    def challenge(self, challenge: int) -> Challenge:
        """A challenge as it stands; it may be a deleted one.

        Raises:
            MapRouletteMissing: there is none.
        """
        answer = self._existing(f"/challenge/{challenge}", challenge)
        if isinstance(answer, dict) and answer.get("completionMetrics") is None:  # before 2026
            answer = {**answer, "completionMetrics": self._counts(challenge)}
        return Challenge.of(answer)

    def _counts(self, challenge: int) -> Any:
        """Tasks of a challenge by their status, as older servers tell them; None where this one does not."""
        with suppress(MapRouletteMissing, MapRouletteInvalid, MapRouletteRefused):
            answer = self._exchange.read(f"/data/challenge/{challenge}")
            for one in answer if isinstance(answer, list) else [answer]:
                if isinstance(one, dict) and whole(one.get("id", challenge)) == challenge:
                    return one.get("actions")
        return None

    def task(self, task: int) -> Task:
        """A task as it stands.

        Raises:
            MapRouletteMissing: there is none.
        """
        return Task.of(self._existing(f"/task/{task}", task))

    def task_named(self, challenge: int, name: str) -> Task | None:
        """The task of exactly this name in a challenge."""
        if challenge < 0:
            return None
        return self._maybe(f"/challenge/{challenge}/task/{segment(name)}", Task.of)

    # -- what people say ------------------------------------------------------------------------------------------

    def marks(
        self,
        challenges: Sequence[int],
        *,
        statuses: Sequence[int] = tuple(Status),
        reviews: Sequence[int] | None = None,
        sort: str = "mappedOn",
        descending: bool = True,
        page_size: int = PAGE,
        counted: bool = False,
    ) -> Iterator[TaskMark]:
        """Tasks of challenges, page by page, those included that the server hides unless told not to: finished ones,
        those that somebody has open, those of archived challenges.

        What changes meanwhile moves tasks between pages: one may come twice, or not at all.

        Args:
            reviews: only tasks with a review in these statuses.
            sort: "mappedOn", "reviewedAt", "id", ...; the order of tasks without such a time is the server's.
            counted: let the server count them, so that a page that is shorter than asked for is not taken for the last.
        """
        known = [challenge for challenge in challenges if challenge > 0]
        page = read = 0
        while known:
            query = {
                "cid": _list(known), "tStatus": _list(statuses), "ca": True, "excludeLocked": True,
                "includeTags": True, "sort": sort, "order": "DESC" if descending else "ASC",
                "limit": page_size, "page": page, "trStatus": None if reviews is None else _list(reviews),
                "includeTotal": True if counted else None,
            }
            answer = self._exchange.read("/tasks/box/-180/-90/180/90", query, body={}, method="PUT")
            total = may(answer, "total", int) or 0 if isinstance(answer, dict) else 0
            found = answer.get("tasks") if isinstance(answer, dict) else answer
            marks = each(found, TaskMark.of, "a page of tasks")
            yield from marks
            read += len(marks)
            if len(marks) < page_size:
                if page or not marks or read >= total:
                    return
                page_size = len(marks)  # the most that it gives at once
            page += 1

    def all_marks(self, challenge: int) -> Iterator[TaskMark]:
        """Every task of a challenge, on one page if the server gives so many, so that none is missed between two."""
        return self.marks([challenge], sort="id", descending=False, page_size=MOST_TASKS + 1, counted=True)

    def tasks(self, challenge: int, page_size: int = FULL_PAGE) -> Iterator[Task]:
        """All tasks of a challenge in full, in the order of their ids; slow for the server."""
        page = 0
        while challenge > 0:
            query = {"limit": page_size, "page": page}
            tasks = each(self._exchange.read(f"/challenge/{challenge}/tasks", query), Task.of, "a page of tasks")
            yield from tasks
            if len(tasks) < page_size:
                return
            page += 1

    def viewed(self, challenge: int, statuses: Sequence[int]) -> list[ViewedTask]:
        """The tasks of a challenge that have one of these statuses, each once, with what mappers said."""
        if challenge < 0:
            return []
        answer = self._exchange.read(f"/challenge/view/{challenge}", {"status": _list(statuses)})
        features = answer.get("features") if isinstance(answer, dict) else answer
        return list({one.id: one for one in each(features, ViewedTask.of, "the features of a challenge")}.values())

    def comments(self, challenge: int) -> list[Comment]:
        """All comments on the tasks of a challenge, in the order of their ids."""
        if challenge < 0:
            return []
        answer = self._exchange.read(f"/challenge/{challenge}/comments", {"limit": -1, "page": 0})
        return sorted(each(answer, Comment.of, "the comments of a challenge"), key=lambda one: one.id)

    def history(self, task: int) -> list[HistoryEntry]:
        """What happened to a task, in the order of time."""
        answer = self._existing(f"/task/{task}/history", task)
        return sorted(each(answer, HistoryEntry.of, "the history of a task"), key=lambda one: one.at)

    def _existing(self, path: str, number: int) -> Any:
        if number < 0:
            raise MapRouletteMissing(f"{path} was made up in a dry run")
        answer = self._exchange.read(path)
        if answer is None:
            raise MapRouletteMissing(f"MapRoulette, GET {path}: an empty answer")
        return answer

    def _maybe(self, path: str, of: Callable[[Any], T]) -> T | None:
        try:
            answer = self._exchange.read(path)
        except MapRouletteMissing:
            return None
        return None if answer is None else of(answer)


def _list(numbers: Iterable[int]) -> str:
    return ",".join(str(int(number)) for number in numbers)
