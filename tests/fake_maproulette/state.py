"""World: what the server's database holds, the clock it goes by, and the switches of its moods."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fake_maproulette.requests import forbidden, not_found

#: Statuses of tasks.
CREATED, FIXED, FALSE_POSITIVE, SKIPPED, DELETED, ALREADY_FIXED, TOO_HARD, ANSWERED, VALIDATED, DISABLED = range(10)
#: Statuses of challenges.
BUILDING, FAILED, READY, PARTIALLY_LOADED, FINISHED, DELETING = range(1, 7)
#: Whose a status is that was written by right of ownership.
NOBODY = -1
#: For how long a task stays locked.
LOCK_LASTS = timedelta(hours=1)
#: After so long without a change a challenge is archived.
ARCHIVED_AFTER = timedelta(days=183)


class Clock:
    """Time that passes only when told to; each look at it is a millisecond later, so that things have an order."""

    def __init__(self, now: datetime):
        self._now = now

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def advance(self, **duration: float) -> None:
        self._now += timedelta(**duration)


@dataclass
class UserRow:
    id: int
    osm_id: int
    name: str
    key: str
    score: int = 0


@dataclass
class ProjectRow:
    id: int
    owner: int
    fields: dict[str, Any]
    created: datetime
    modified: datetime
    deleted: bool = False

    @property
    def name(self) -> str:
        return self.fields["name"]


@dataclass
class ChallengeRow:
    """`fields` are the members of its JSON under their names; `rules` and `bounds` as strings, as they are stored."""

    id: int
    parent: int
    owner: int
    fields: dict[str, Any]
    created: datetime
    modified: datetime
    keywords: list[str] = field(default_factory=list)
    status: int | None = None
    status_message: str | None = None
    cooperative_type: int = 0
    archived: bool = False
    deleted: bool = False
    last_refresh: datetime | None = None
    rebuilds: int = 0

    @property
    def name(self) -> str:
        return self.fields["name"]

    @property
    def paused(self) -> bool:
        return bool(self.fields.get("paused"))


@dataclass
class TaskRow:
    id: int
    name: str
    parent: int
    instruction: str
    status: int
    priority: int
    geojson: dict[str, Any]
    cooperative_work: dict[str, Any] | None
    created: datetime
    modified: datetime
    changeset_id: int = -1
    mapped_on: datetime | None = None
    completed_by: int | None = None
    responses: str | None = None
    tags: list[str] = field(default_factory=list)
    skip_count: int = 0
    archived: bool = False
    review: int | None = None
    review_requested_by: int | None = None
    reviewed_by: int | None = None
    reviewed_at: datetime | None = None


@dataclass
class Lock:
    task: int
    user: int
    since: datetime


@dataclass
class Action:
    """A change of status, or of a review's."""

    task: int
    challenge: int
    user: int
    at: datetime
    old: int | None
    new: int
    kind: int = 1


@dataclass
class CommentRow:
    id: int
    task: int
    user: int
    at: datetime
    text: str


class World:
    """Everything. Whoever looks or changes something holds `lock`.

    Attributes:
        unique_index: False: as the public server was until 2026; a second task of a name is possible.
        nulls_first: how what has no time comes in a list that begins with the latest (PostgreSQL's own order).
        most_tasks: that a challenge may have.
        reset_days: after so many days a status that is written again falls back to "created".
        drops: of an upload's tasks, by name, those that fail without a word.
    """

    def __init__(self, now: datetime, seed: int = 0):
        self.lock = threading.RLock()
        self.clock = Clock(now)
        self.random = random.Random(seed)
        self.unique_index = True
        self.nulls_first = True
        self.most_tasks = 50_000
        self.reset_days = 14
        self.drops: Callable[[str], bool] = lambda name: False
        self.users: dict[int, UserRow] = {}
        self.projects: dict[int, ProjectRow] = {}
        self.challenges: dict[int, ChallengeRow] = {}
        self.tasks: dict[int, TaskRow] = {}
        self.locks: dict[int, Lock] = {}
        self.actions: list[Action] = []
        self.comments: list[CommentRow] = []
        self.jobs: list[Callable[[], None]] = []
        self._names: dict[tuple[int, str], list[int]] = {}
        self._of: dict[int, dict[int, None]] = {}
        self._numbers = iter(range(1001, 10**9))

    def number(self) -> int:
        """An id that nothing has yet."""
        return next(self._numbers)

    # -- people ---------------------------------------------------------------------------------------------------

    def add_user(self, name: str) -> UserRow:
        number = self.number()
        user = UserRow(number, 900_000 + number, name, f"{number}|{uuid.UUID(int=self.random.getrandbits(128)).hex}")
        self.users[number] = user
        return user

    def user_of(self, key: str | None) -> UserRow | None:
        """Whose a key is; what is no key is nobody's, without an error."""
        return next((user for user in self.users.values() if key is not None and user.key == key), None)

    def may_write(self, user: UserRow, project: int) -> bool:
        return self.projects[project].owner == user.id

    def require_write(self, user: UserRow, project: int) -> None:
        if not self.may_write(user, project):
            raise forbidden(f"User {user.name} does not have write access to project {project}")

    # -- tasks by name and by challenge ----------------------------------------------------------------------------

    def named(self, challenge: int, name: str) -> list[TaskRow]:
        """The tasks of a challenge whose name is this one in whatever case."""
        return [self.tasks[number] for number in self._names.get((challenge, name.lower()), [])]

    def tasks_of(self, challenge: int) -> Iterator[TaskRow]:
        """In the order of their ids."""
        return (self.tasks[number] for number in self._of.get(challenge, {}))

    def count(self, challenge: int) -> int:
        return len(self._of.get(challenge, {}))

    def add_task(self, row: TaskRow) -> None:
        self.tasks[row.id] = row
        self._of.setdefault(row.parent, {})[row.id] = None
        self._names.setdefault((row.parent, row.name.lower()), []).append(row.id)

    def remove_task(self, number: int) -> None:
        """With its comments and its history."""
        row = self.tasks.pop(number)
        del self._of[row.parent][number]
        self._names[row.parent, row.name.lower()].remove(number)
        self.locks.pop(number, None)
        self.comments = [one for one in self.comments if one.task != number]
        self.actions = [one for one in self.actions if one.task != number]

    def task(self, number: int) -> TaskRow:
        if number not in self.tasks:
            raise not_found(f"No task with id {number} found")
        return self.tasks[number]

    def challenge(self, number: int) -> ChallengeRow:
        if number not in self.challenges:
            raise not_found(f"No challenge with id {number} found")
        return self.challenges[number]

    # -- locks ----------------------------------------------------------------------------------------------------

    def lock_of(self, task: int) -> Lock | None:
        """The lock on a task, unless it has expired."""
        held = self.locks.get(task)
        if held is not None and self.clock() - held.since > LOCK_LASTS:
            del self.locks[task]
            held = None
        return held

    def lock_by(self, user: int) -> Lock | None:
        """The lock that a user holds."""
        found = (self.lock_of(task) for task in list(self.locks))
        return next((held for held in found if held is not None and held.user == user), None)

    # -- what happens by itself -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let what the server does in the background come to its end."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()

    def advance(self, **duration: float) -> None:
        """Let time pass; what the server does every night is done in the end."""
        self.clock.advance(**duration)
        self.settle()
        self.nightly()

    def nightly(self) -> None:
        """Archive challenges where nothing happened for half a year."""
        now = self.clock()
        for row in self.challenges.values():
            latest = max((task.modified for task in self.tasks_of(row.id)), default=row.modified)
            if not row.archived and min(now - row.modified, now - latest) > ARCHIVED_AFTER:
                row.archived = True


def start_of_time() -> datetime:
    """When a new world begins."""
    return datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
