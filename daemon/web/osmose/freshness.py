"""Whether a client has an answer already: ETag and Last-Modified (RFC 9110, 8.8 and 13).

An answer depends on the ledger, and on the program that writes it. Two questions are asked, the cheap one first: has
anything happened in the ledger since? If so, does this answer say something else? Time is that at which this server
first saw the ledger as it is, since the ledger's own moments may come late and out of order.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from daemon import __version__
from daemon.web.osmose.parameters import Kinds

#: W/"what is answered - line of the history - what the answer says"
_TAG = re.compile(r'(?:W/)?"([0-9a-f]{16})-([0-9]{1,19})(?:-([0-9a-f]{16}))?"', re.ASCII)
#: Longest header that is looked at, characters.
_LONGEST = 2000


class Freshness:
    """Safe between threads.

    Args:
        kinds: what people are told of each kind; another catalogue makes other answers.
        clock: aware, UTC.
    """

    def __init__(self, kinds: Kinds, clock: Callable[[], datetime]):
        self._edition = _digest(repr((__version__, sorted(kinds.items()))).encode())
        self._clock = clock
        self._lock = threading.Lock()
        self._sequence = -1
        self._since = datetime.fromtimestamp(0, UTC)

    def headers(
        self, scope: str, sequence: int, body: bytes | None = None, *, dated: bool = True
    ) -> dict[str, str]:
        """What goes with an answer; `body` where it is at hand.

        A second in which the ledger changed may see it change again: only when it is over, it is told as a date.

        Args:
            scope: what is asked for, in which language.
            sequence: line of the ledger's history that the answer knows.
            dated: the answer depends on nothing but the ledger.
        """
        since, now = self._see(sequence), self._clock().replace(microsecond=0)
        said = "" if body is None else f"-{_digest(body)}"
        date = {"Last-Modified": format_datetime(since, usegmt=True)} if dated and since < now else {}
        return {"ETag": f'W/"{self._name(scope)}-{sequence}{said}"', "Vary": "Accept-Language", **date}

    def has(self, headers: Mapping[str, str], scope: str, sequence: int) -> dict[str, str] | None:
        """What to answer 304 with, where nothing at all happened since the client got its answer; else None."""
        since = self._see(sequence)
        if (tags := headers.get("if-none-match")) is not None:
            return self._first(tags, scope, lambda tag: int(tag[2]) == sequence)
        if (text := headers.get("if-modified-since")) is not None:
            date = _date(text)
            return {"Vary": "Accept-Language"} if date is not None and since <= date <= self._clock() else None
        return None

    def has_same(self, headers: Mapping[str, str], scope: str, body: bytes) -> dict[str, str] | None:
        """What to answer 304 with, where the client's answer says the same as this one; else None."""
        digest = _digest(body)
        return self._first(headers.get("if-none-match", ""), scope, lambda tag: tag[3] == digest)

    def _see(self, sequence: int) -> datetime:
        """When the ledger was first seen at this line or behind it, in whole seconds."""
        with self._lock:
            if sequence > self._sequence:
                self._sequence, self._since = sequence, self._clock().replace(microsecond=0)
            return self._since

    def _name(self, scope: str) -> str:
        return hashlib.sha256(f"{self._edition}\0{scope}".encode("utf-8", "replace")).hexdigest()[:16]

    def _first(self, tags: str, scope: str, fits: Callable[[re.Match[str]], bool]) -> dict[str, str] | None:
        name = self._name(scope)
        fitting = (tag[0] for tag in _TAG.finditer(tags[:_LONGEST]) if tag[1] == name and fits(tag))
        tag = next(fitting, None)
        return None if tag is None else {"ETag": tag, "Vary": "Accept-Language"}


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
