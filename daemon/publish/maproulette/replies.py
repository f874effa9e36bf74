"""What MapRoulette's server says, as values. A member that is absent and one that is null are the same.

Times are UTC. Numbers of statuses and priorities are the server's own:

    task status       0 created, 1 fixed, 2 not an issue (false positive), 3 skipped, 4 deleted, 5 already fixed,
                      6 too hard, 7 answered, 8 validated, 9 disabled
    review            0 requested, 1 approved, 2 rejected, 3 approved with fixes, 4 disputed, 5 unnecessary,
                      6 and 7 approved with revisions
    challenge status  0 or none: nothing known, 1 building, 2 failed, 3 ready, 4 partially loaded, 5 finished,
                      6 deleting tasks
    priority          0 high, 1 medium, 2 low
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from daemon.publish.maproulette.members import (
    flag,
    json_of,
    may,
    need,
    need_time,
    object_of,
    readable_time_of,
    responses_of,
    review_of,
    status_of,
    time_of,
    words,
)


class Status(IntEnum):
    """Of a task."""

    CREATED = 0
    FIXED = 1
    FALSE_POSITIVE = 2
    SKIPPED = 3
    DELETED = 4
    ALREADY_FIXED = 5
    TOO_HARD = 6
    ANSWERED = 7
    VALIDATED = 8
    DISABLED = 9


#: Statuses in which a task waits for a mapper.
OPEN = frozenset({Status.CREATED, Status.SKIPPED, Status.TOO_HARD})


class ChallengeStatus(IntEnum):
    NONE = 0
    BUILDING = 1
    FAILED = 2
    READY = 3
    PARTIALLY_LOADED = 4
    FINISHED = 5
    DELETING = 6


#: Statuses in which a challenge takes no tasks.
BUSY = frozenset({ChallengeStatus.BUILDING, ChallengeStatus.DELETING})


@dataclass(frozen=True, slots=True)
class Person:
    """A user; `name` is None where the server gives the id only."""

    id: int
    name: str | None = None

    @classmethod
    def of(cls, value: Any) -> Person | None:
        """From an id or {id, username}; None for the server's own writes (id -1)."""
        if isinstance(value, bool) or not isinstance(value, int | dict):
            return None
        person = cls(value) if isinstance(value, int) else cls(may(value, "id", int) or 0, may(value, "username", str))
        return person if person.id > 0 or (person.id == 0 and person.name) else None


@dataclass(frozen=True, slots=True)
class Metrics:
    """How many tasks of a challenge have which status; all 0 where the server does not say."""

    total: int = 0
    available: int = 0
    fixed: int = 0
    false_positive: int = 0
    skipped: int = 0
    deleted: int = 0
    already_fixed: int = 0
    too_hard: int = 0
    answered: int = 0
    validated: int = 0
    disabled: int = 0

    @classmethod
    def of(cls, value: Any) -> Metrics:
        counts = value if isinstance(value, dict) else {}
        names = {"false_positive": "falsePositive", "already_fixed": "alreadyFixed", "too_hard": "tooHard"}
        return cls(**{name: may(counts, names.get(name, name), int) or 0 for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class User:
    """Whose the key is."""

    id: int
    osm_id: int | None
    name: str | None

    @classmethod
    def of(cls, value: Any) -> User:
        value = object_of(value, "user")
        profile = may(value, "osmProfile", dict) or {}
        return cls(need(value, "id", int), may(profile, "id", int), may(profile, "displayName", str))


@dataclass(frozen=True, slots=True)
class Project:
    id: int
    owner: int
    name: str
    display_name: str | None = None
    description: str | None = None
    enabled: bool = False
    deleted: bool = False
    archived: bool = False

    @classmethod
    def of(cls, value: Any) -> Project:
        value = object_of(value, "project")
        return cls(
            need(value, "id", int), may(value, "owner", int) or 0, need(value, "name", str),
            may(value, "displayName", str), may(value, "description", str),
            flag(value, "enabled"), flag(value, "deleted"), flag(value, "isArchived"),
        )


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge. `metrics` is all 0 with older servers, and in what a write answers.

    Attributes:
        parent: id of its project.
        cooperative_type: 0 none, 1 tag fix, 2 change file.
        tags: keywords; empty in what reading by id answers.
        fields: all members as they came.
    """

    id: int
    name: str
    parent: int
    enabled: bool = False
    deleted: bool = False
    archived: bool = False
    paused: bool = False
    status: ChallengeStatus = ChallengeStatus.NONE
    status_message: str | None = None
    cooperative_type: int = 0
    data_origin: datetime | None = None
    modified: datetime | None = None
    metrics: Metrics = Metrics()
    tags: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, value: Any) -> Challenge:
        value = object_of(value, "challenge")
        return cls(
            need(value, "id", int), need(value, "name", str), need(value, "parent", int),
            flag(value, "enabled"), flag(value, "deleted"), flag(value, "isArchived"), flag(value, "paused"),
            status_of(ChallengeStatus, value), may(value, "statusMessage", str),
            may(value, "cooperativeType", int) or 0, time_of(value, "dataOriginDate"), time_of(value, "modified"),
            Metrics.of(value.get("completionMetrics")), words(value, "tags"), value,
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """A challenge in the list of a project's challenges, which has those that are not deleted."""

    id: int
    name: str
    parent: int
    enabled: bool = False
    archived: bool = False
    paused: bool = False
    status: ChallengeStatus = ChallengeStatus.NONE

    @classmethod
    def of(cls, value: Any) -> Listed:
        value = object_of(value, "challenge in a list")
        return cls(
            need(value, "id", int), need(value, "name", str), need(value, "parent", int),
            flag(value, "enabled"), flag(value, "isArchived"), flag(value, "paused"), status_of(ChallengeStatus, value),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """A task as stored.

    Attributes:
        name: our key of it.
        parent: id of its challenge.
        status: None where the server only echoes what it was sent.
        completed_by: id of the mapper who gave the status; None after a write of our own.
        responses: a mapper's answers to the questions of the instruction.
        geometries: FeatureCollection.
        cooperative_work: as sent; has to be sent again with every PUT, which erases it otherwise.
    """

    id: int
    name: str
    parent: int
    status: Status | None = None
    modified: datetime | None = None
    mapped_on: datetime | None = None
    completed_by: int | None = None
    responses: Mapping[str, Any] = field(default_factory=dict)
    geometries: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cooperative_work: Mapping[str, Any] | None = field(default=None, repr=False)
    instruction: str = field(default="", repr=False)
    priority: int = 0
    tags: tuple[str, ...] = ()
    locked_by: int | None = None
    archived: bool = False
    review: int | None = None

    @classmethod
    def of(cls, value: Any) -> Task:
        value = object_of(value, "task")
        status = may(value, "status", int)
        person = Person.of(value.get("completedBy"))
        return cls(
            need(value, "id", int), need(value, "name", str), need(value, "parent", int),
            None if status is None else status_of(Status, value),
            time_of(value, "modified"), time_of(value, "mappedOn"), person.id if person else None,
            responses_of(value.get("completionResponses")),
            json_of(value, "geometries") or {}, json_of(value, "cooperativeWork"),
            may(value, "instruction", str) or "", may(value, "priority", int) or 0,
            words(value, "tags"), may(value, "lockedBy", int), flag(value, "archived"), review_of(value),
        )


@dataclass(frozen=True, slots=True)
class TaskMark:
    """A task as a mark on the map, which is how tasks are searched for.

    Attributes:
        name: our key of it.
        challenge: id of its challenge.
        mapped_on: when it got its status; None where it never got one, or was set back to 0.
        completed_by: the mapper; None after a write of our own.
        review: status of its review; None: no review was asked for.
        reviewed_at: when the review was given.
    """

    id: int
    name: str
    challenge: int
    status: Status
    mapped_on: datetime | None = None
    completed_by: Person | None = None
    tags: tuple[str, ...] = ()
    review: int | None = None
    reviewed_by: Person | None = None
    reviewed_at: datetime | None = None
    locked_by: int | None = None
    priority: int = 0

    @classmethod
    def of(cls, value: Any) -> TaskMark:
        value = object_of(value, "task mark")
        review = may(value, "pointReview", dict) or {}
        return cls(
            need(value, "id", int), need(value, "title", str), need(value, "parentId", int),
            status_of(Status, value),
            time_of(value, "mappedOn"), Person.of(value.get("completedBy")), words(value, "tags"),
            may(review, "reviewStatus", int), Person.of(review.get("reviewedBy")), time_of(review, "reviewedAt"),
            may(value, "lockedBy", int), may(value, "priority", int) or 0,
        )


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody wrote about a task. `person` is an OSM account's id, not MapRoulette's."""

    id: int
    task: int
    challenge: int
    created: datetime
    text: str
    person: int
    name: str

    @classmethod
    def of(cls, value: Any) -> Comment:
        value = object_of(value, "comment")
        return cls(
            need(value, "id", int), need(value, "taskId", int), need(value, "challengeId", int),
            need_time(value, "created"),
            need(value, "comment", str), may(value, "osm_id", int) or 0, may(value, "osm_username", str) or "",
        )


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a task's history. `action`: 0 comment, 1 status, 2 review, 3 update, 4 review of a review."""

    task: int
    at: datetime
    action: int
    person: Person | None = None
    old_status: int | None = None
    status: int | None = None
    review: int | None = None
    comment: str | None = None

    @classmethod
    def of(cls, value: Any) -> HistoryEntry:
        value = object_of(value, "history entry")
        return cls(
            need(value, "taskId", int), need_time(value, "timestamp"), need(value, "actionType", int),
            Person.of(value.get("user")),
            may(value, "oldStatus", int), may(value, "status", int), may(value, "reviewStatus", int),
            may(value, "comment", str),
        )


@dataclass(frozen=True, slots=True)
class ViewedTask:
    """A task in the export of a challenge. `mapper` is a name; tags are words."""

    id: int
    name: str
    status: Status
    mapped_on: datetime | None = None
    mapper: str | None = None
    tags: tuple[str, ...] = ()
    responses: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, feature: Any) -> ViewedTask:
        value = may(object_of(feature, "task in an export"), "properties", dict) or {}
        given = value.get("mr_taskStatus")
        status = _STATUS_NAMES.get(_NOT_LETTERS.sub("", given.lower()), given) if isinstance(given, str) else given
        return cls(
            need(value, "mr_taskId", int), need(value, "mr_taskName", str),
            status_of(Status, {"status": status}),
            readable_time_of(value, "mr_mappedOn"), may(value, "mr_mapper", str) or None,
            words(value, "mr_tags"), responses_of(value.get("mr_responses")),
        )


#: Letters of the statuses as exports write them, older names among them; servers differ in all else of them.
_STATUS_NAMES = {
    "created": 0, "fixed": 1, "notanissue": 2, "falsepositive": 2, "skipped": 3, "deleted": 4, "alreadyfixed": 5,
    "toohard": 6, "cantcomplete": 6, "answered": 7, "validated": 8, "disabled": 9,
}
_NOT_LETTERS = re.compile("[^a-z]")
