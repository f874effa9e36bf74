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

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TypeVar

from daemon.errors import ReplyInvalid

T = TypeVar("T")
Number = TypeVar("Number", bound=IntEnum)


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
        person = cls(value) if isinstance(value, int) else cls(_need(value, "id", int), _may(value, "username", str))
        return person if person.id > 0 else None


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
        return cls(**{name: _may(counts, names.get(name, name), int) or 0 for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class User:
    """Whose the key is."""

    id: int
    osm_id: int | None
    name: str | None

    @classmethod
    def of(cls, value: Any) -> User:
        value = _object(value, "user")
        profile = _may(value, "osmProfile", dict) or {}
        return cls(_need(value, "id", int), _may(profile, "id", int), _may(profile, "displayName", str))


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
        value = _object(value, "project")
        return cls(
            _need(value, "id", int), _need(value, "owner", int), _need(value, "name", str),
            _may(value, "displayName", str), _may(value, "description", str),
            _is(value, "enabled"), _is(value, "deleted"), _is(value, "isArchived"),
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
        value = _object(value, "challenge")
        return cls(
            _need(value, "id", int), _need(value, "name", str), _need(value, "parent", int),
            _is(value, "enabled"), _is(value, "deleted"), _is(value, "isArchived"), _is(value, "paused"),
            _status(ChallengeStatus, value), _may(value, "statusMessage", str),
            _may(value, "cooperativeType", int) or 0, _time(value, "dataOriginDate"), _time(value, "modified"),
            Metrics.of(value.get("completionMetrics")), _words(value, "tags"), value,
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
        value = _object(value, "challenge in a list")
        return cls(
            _need(value, "id", int), _need(value, "name", str), _need(value, "parent", int),
            _is(value, "enabled"), _is(value, "isArchived"), _is(value, "paused"), _status(ChallengeStatus, value),
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
        value = _object(value, "task")
        status = _may(value, "status", int)
        person = Person.of(value.get("completedBy"))
        return cls(
            _need(value, "id", int), _need(value, "name", str), _need(value, "parent", int),
            None if status is None else _status(Status, value),
            _time(value, "modified"), _time(value, "mappedOn"), person.id if person else None,
            responses_of(value.get("completionResponses")),
            _may(value, "geometries", dict) or {}, _may(value, "cooperativeWork", dict),
            _may(value, "instruction", str) or "", _may(value, "priority", int) or 0,
            _words(value, "tags"), _may(value, "lockedBy", int), _is(value, "archived"), _review(value),
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
    point: tuple[float, float]
    """Longitude, latitude in degrees."""
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
        value = _object(value, "task mark")
        review = _may(value, "pointReview", dict) or {}
        place = _may(value, "point", dict) or {}
        return cls(
            _need(value, "id", int), _need(value, "title", str), _need(value, "parentId", int),
            _status(Status, value), (_number(place, "lng"), _number(place, "lat")),
            _time(value, "mappedOn"), Person.of(value.get("completedBy")), _words(value, "tags"),
            _may(review, "reviewStatus", int), Person.of(review.get("reviewedBy")), _time(review, "reviewedAt"),
            _may(value, "lockedBy", int), _may(value, "priority", int) or 0,
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
        value = _object(value, "comment")
        return cls(
            _need(value, "id", int), _need(value, "taskId", int), _need(value, "challengeId", int),
            _need_time(value, "created"),
            _need(value, "comment", str), _may(value, "osm_id", int) or 0, _may(value, "osm_username", str) or "",
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
        value = _object(value, "history entry")
        return cls(
            _need(value, "taskId", int), _need_time(value, "timestamp"), _need(value, "actionType", int),
            Person.of(value.get("user")),
            _may(value, "oldStatus", int), _may(value, "status", int), _may(value, "reviewStatus", int),
            _may(value, "comment", str),
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
        value = _may(_object(feature, "task in an export"), "properties", dict) or {}
        number = value.get("mr_taskStatus")
        status = _STATUS_NAMES.get(number, number) if isinstance(number, str) else number
        return cls(
            _need(value, "mr_taskId", int), _need(value, "mr_taskName", str),
            _status(Status, {"status": status}), _time(value, "mr_mappedOn"), _may(value, "mr_mapper", str) or None,
            _words(value, "mr_tags"), responses_of(value.get("mr_responses")),
        )


#: Statuses as exports write them, older names among them.
_STATUS_NAMES = {
    "Created": 0, "Fixed": 1, "Not_An_Issue": 2, "False_Positive": 2, "Skipped": 3, "Deleted": 4, "Already_Fixed": 5,
    "Too_Hard": 6, "Can't_Complete": 6, "Answered": 7, "Validated": 8, "Disabled": 9,
}


def responses_of(value: Any) -> dict[str, Any]:
    """A mapper's answers, which come as a JSON string (or as an object); empty where there are none to be read."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def each(value: Any, of: Callable[[Any], T], what: str) -> list[T]:
    """The members of a list; null counts as an empty one.

    Raises:
        ReplyInvalid: it is no list, or one of its members is not what it should be.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise ReplyInvalid(f"MapRoulette's reply: {what} should be a list, and is {type(value).__name__}")
    return [of(one) for one in value]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ReplyInvalid(f"MapRoulette's reply: a {what} should be an object, and is {type(value).__name__}")
    return value


def _need(value: Mapping[str, Any], name: str, kind: type[T]) -> T:
    found = _may(value, name, kind)
    if found is None:
        raise ReplyInvalid(f"MapRoulette's reply: `{name}` should be {kind.__name__}, and is {value.get(name)!r:.80}")
    return found


def _may(value: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    found = value.get(name)
    return found if isinstance(found, kind) and (kind is bool or not isinstance(found, bool)) else None


def _is(value: Mapping[str, Any], name: str) -> bool:
    return value.get(name) is True


def _number(value: Mapping[str, Any], name: str) -> float:
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ReplyInvalid(f"MapRoulette's reply: `{name}` should be a number, and is {found!r:.80}")
    return float(found)


def _status(kind: type[Number], value: Mapping[str, Any]) -> Number:
    number = value.get("status")
    try:
        return kind(0 if number is None else number)
    except ValueError:
        raise ReplyInvalid(f"MapRoulette's reply: `status` {number!r:.40} is not known") from None


def _review(value: Mapping[str, Any]) -> int | None:
    nested = _may(value, "review", dict) or {}
    return _may(value, "reviewStatus", int) if "reviewStatus" in value else _may(nested, "reviewStatus", int)


def _words(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of words, of {name} objects, or words with commas between them."""
    found = value.get(name)
    if isinstance(found, str):
        found = found.split(",")
    if not isinstance(found, list):
        return ()
    words = (one.get("name") if isinstance(one, dict) else one for one in found)
    return tuple(word.strip() for word in words if isinstance(word, str) and word.strip())


def _time(value: Mapping[str, Any], name: str) -> datetime | None:
    found = value.get(name)
    if not isinstance(found, str) or not found:
        return None
    try:
        time = datetime.fromisoformat(found)
    except ValueError:
        raise ReplyInvalid(f"MapRoulette's reply: `{name}` is no time: {found!r:.40}") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _need_time(value: Mapping[str, Any], name: str) -> datetime:
    time = _time(value, name)
    if time is None:
        raise ReplyInvalid(f"MapRoulette's reply: `{name}` should be a time, and is {value.get(name)!r:.80}")
    return time
