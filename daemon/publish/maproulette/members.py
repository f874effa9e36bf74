"""Reading members of JSON: what is absent and what is null are the same, and what is wrong is said by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TypeVar

from daemon.errors import ReplyInvalid

T = TypeVar("T")
Number = TypeVar("Number", bound=IntEnum)

_DIGITS = re.compile(r"-?[0-9]{1,18}")
#: Milliseconds since 1970 that are a time at all.
_LAST_MOMENT = 250e12


def responses_of(value: Any) -> dict[str, Any]:
    """A mapper's answers, which come as a JSON string (or as an object); empty where there are none to be read."""
    return json_of({"responses": value}, "responses") or {}


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


def object_of(value: Any, what: str) -> dict[str, Any]:
    """An object.

    Raises:
        ReplyInvalid: it is something else.
    """
    if not isinstance(value, dict):
        raise ReplyInvalid(f"MapRoulette's reply: a {what} should be an object, and is {type(value).__name__}")
    return value


def need(value: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A member that has to be there.

    Raises:
        ReplyInvalid: it is not, or of another kind.
    """
    found = may(value, name, kind)
    if found is None:
        raise ReplyInvalid(f"MapRoulette's reply: `{name}` should be {kind.__name__}, and is {value.get(name)!r:.80}")
    return found


def may(value: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """A member that may be there; None where it is not, or of another kind. A whole number may come as its digits."""
    found = whole(value.get(name)) if kind is int else value.get(name)
    return found if isinstance(found, kind) and (kind is bool or not isinstance(found, bool)) else None


def flag(value: Mapping[str, Any], name: str) -> bool:
    """Whether a member is there and true."""
    return value.get(name) is True


def whole(value: Any) -> int | None:
    """A whole number, which may be written as 7, 7.0 or "7"; None for all else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def status_of(kind: type[Number], value: Mapping[str, Any]) -> Number:
    """The status; the one of number 0 where there is none.

    Raises:
        ReplyInvalid: nobody knows it.
    """
    found = value.get("status")
    try:
        return kind(0 if found is None else whole(found))
    except ValueError:
        raise ReplyInvalid(f"MapRoulette's reply: `status` {found!r:.40} is not known") from None


def review_of(value: Mapping[str, Any]) -> int | None:
    """The status of a task's review, which older servers put into an object of its own."""
    nested = may(value, "review", dict) or {}
    return may(value, "reviewStatus", int) if "reviewStatus" in value else may(nested, "reviewStatus", int)


def json_of(value: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """An object that may be there, also as JSON in a string."""
    found = value.get(name)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            return None
    return found if isinstance(found, dict) else None


def words(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of words, of {name} objects, or words with commas between them."""
    found = value.get(name)
    if isinstance(found, str):
        found = found.split(",")
    if not isinstance(found, list):
        return ()
    all_of_them = (one.get("name") if isinstance(one, dict) else one for one in found)
    return tuple(word.strip() for word in all_of_them if isinstance(word, str) and word.strip())


def time_of(value: Mapping[str, Any], name: str) -> datetime | None:
    """A time in UTC, from ISO 8601 or from milliseconds since 1970; None where there is none.

    Raises:
        ReplyInvalid: it is no time.
    """
    found = value.get(name)
    if isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < _LAST_MOMENT:
        return datetime.fromtimestamp(found / 1000, UTC)
    if not isinstance(found, str) or not found:
        return None
    try:
        time = datetime.fromisoformat(found)
    except ValueError:
        raise ReplyInvalid(f"MapRoulette's reply: `{name}` is no time: {found!r:.40}") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def readable_time_of(value: Mapping[str, Any], name: str) -> datetime | None:
    """A time in UTC; None where there is none, or what is there was written for people."""
    try:
        return time_of(value, name)
    except ReplyInvalid:
        return None


def need_time(value: Mapping[str, Any], name: str) -> datetime:
    """A time in UTC that has to be there.

    Raises:
        ReplyInvalid: it is not.
    """
    time = time_of(value, name)
    if time is None:
        raise ReplyInvalid(f"MapRoulette's reply: `{name}` should be a time, and is {value.get(name)!r:.80}")
    return time
