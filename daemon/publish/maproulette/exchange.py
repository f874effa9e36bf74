"""One call of MapRoulette's API and its answer: tried again where that is harmless, each failure under its name.

The statuses say little: 204 and 201 do not mean that all was done, a duplicate name is a 500, 403 is a missing right
as well as a task that somebody has open, and an error of the web server in front is a page of HTML. What they mean is
decided here, once.

The key goes to the configured server only (redirects are not followed), and is kept out of whatever is written down.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from daemon.errors import (
    ChallengeFull,
    ConfigError,
    KeyRefused,
    LockConflict,
    MapRouletteError,
    MapRouletteInvalid,
    MapRouletteMissing,
    MapRouletteRefused,
    MapRouletteUnavailable,
    NameTaken,
    ReplyInvalid,
    TaskLocked,
    UploadTooLarge,
)
from daemon.fetch import Fetched, Fetcher, FetchError
from daemon.publish.maproulette.members import whole

log = logging.getLogger(__name__)

#: The server takes bodies up to 15 000 kB.
LARGEST_BODY = 15_000 * 1024
#: An answer that is larger is refused. The largest asked for are pages of full tasks.
LARGEST_REPLY = 64 * 1024**2
#: Characters of a server's message that are worth writing down, and of a body that would be sent: a task's whole one.
SHOWN, REHEARSED = 300, 20_000
#: Name of the header by which the server's own log finds a request.
REQUEST_ID = "maproulette-request-id"

_TAKEN = re.compile(r"already exists|duplicate key|unique", re.IGNORECASE)
_LOCK = re.compile(r"\block", re.IGNORECASE)
_CAP = re.compile(r"cannot exceed \d+ tasks|list size must be under|maximum number of tasks", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A write that was not sent. `body` is the beginning of it, as text."""

    method: str
    path: str
    body: str


class Exchange:
    """Calls of the API. Safe to share between threads.

    Args:
        url: base of the API, e.g. https://maproulette.org/api/v2.
        key: the user's API key.
        fetcher: makes the requests, one at a time.
        upload_timeout: patience in seconds with the answer to an upload.
        dry_run: writes are not sent but written to the log, and handed to `rehearse`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        fetcher: Fetcher,
        *,
        upload_timeout: float,
        dry_run: bool = False,
        rehearse: Callable[[Rehearsal], None] | None = None,
    ):
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError("maproulette", ["the API key is not one: expected <number>|<letters>, without blanks"])
        self.url = url.rstrip("/")
        self.dry_run = dry_run
        self._key = key
        self._secrets = [part for part in (key, key.partition("|")[2]) if len(part) >= 8]
        self._fetcher = fetcher
        self._upload_timeout = upload_timeout
        self._rehearse = rehearse
        self.lane = threading.RLock()

    def read(self, path: str, query: Mapping[str, Any] | None = None, *, body: Any = None, method: str = "GET") -> Any:
        """What the server has at `path`, decoded; tried again after a failure that may pass.

        Raises:
            MapRouletteError: as its subclass.
        """
        return self._decoded(method, path, self._call(method, path, query, _json(body), "application/json", True))

    def write(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, *, body: Any = None, again: bool = False
    ) -> Any:
        """Let the server change something; its answer decoded, None where it says nothing or is not asked.

        Args:
            again: doing it twice does no harm, so that it may be tried again.

        Raises:
            MapRouletteError: as its subclass.
        """
        content = _json(body)
        if self._only_rehearsed(method, path, query, content):
            return None
        return self._decoded(method, path, self._call(method, path, query, content, "application/json", again))

    def upload(self, path: str, query: Mapping[str, Any], content: bytes) -> None:
        """PUT a file as the multipart part that uploads of tasks want; tried once.

        Raises:
            UploadTooLarge: it is more than the server takes.
            MapRouletteError: as its subclass.
        """
        boundary = f"mapgap-{uuid.uuid4().hex}"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="json"; filename="tasks.geojsonl"\r\n'
            "Content-Type: application/json\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        if len(body) > LARGEST_BODY:
            raise UploadTooLarge(f"PUT {path}: {len(body)} bytes, and MapRoulette takes {LARGEST_BODY} at once")
        if not self._only_rehearsed("PUT", path, query, content):
            self._call("PUT", path, query, body, f"multipart/form-data; boundary={boundary}", False)

    def _only_rehearsed(self, method: str, path: str, query: Mapping[str, Any] | None, content: bytes | None) -> bool:
        if self.dry_run:
            whole = path + _query(query)
            shown = self._without_secrets((content or b"").decode("utf-8", "replace"), REHEARSED)
            log.info("would send %s %s %s", method, whole, shown)
            if self._rehearse is not None:
                self._rehearse(Rehearsal(method, whole, shown))
        return self.dry_run

    def _call(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: bytes | None, kind: str | None, again: bool
    ) -> Fetched:
        what = f"{method} {path}"
        headers = {"apiKey": self._key, "Accept-Encoding": "gzip", "Accept": "application/json, */*;q=0.1"}
        if body is not None and kind is not None:
            headers["Content-Type"] = kind
        try:
            answer = self._fetcher.send(
                method,
                self.url + path + _query(query),
                max_bytes=LARGEST_REPLY,
                headers=headers,
                body=body,
                timeout=self._upload_timeout if kind is not None and kind.startswith("multipart") else None,
                again=(lambda answer: self._may_pass(what, answer)) if again else None,
                keep_rest=True,
            )
        except FetchError as error:
            reason = self._without_secrets(str(error))
            if error.transient:
                raise MapRouletteUnavailable(f"MapRoulette, {what}: {reason}") from None
            raise ReplyInvalid(f"MapRoulette, {what}: {reason}") from None
        number = "".join(c for c in answer.headers.get(REQUEST_ID, "") if c.isprintable())[:80]
        log.debug("%s: %d", what, answer.status, extra={"request": number})
        if not 200 <= answer.status < 300:
            raise self._failure(what, answer, number)
        return answer

    def _decoded(self, method: str, path: str, answer: Fetched) -> Any:
        if not answer.content:
            return None
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError):
            kind = answer.headers.get("Content-Type", "no type")[:60]
            raise ReplyInvalid(
                f"MapRoulette, {method} {path}: HTTP {answer.status} with {kind} that is not JSON; "
                f"is maproulette.url ({self.url}) the base of an API?"
            ) from None

    def _may_pass(self, what: str, answer: Fetched) -> bool:
        """Whether asking again at once may help; a lock, say, lasts longer than that."""
        return not 200 <= answer.status < 300 and isinstance(self._failure(what, answer), MapRouletteUnavailable)

    def _failure(self, what: str, answer: Fetched, number: str = "") -> MapRouletteError:
        """The error that an answer is."""
        status, (message, value) = answer.status, self._message(answer)
        text = f"MapRoulette, {what}: HTTP {status}" + (f": {message}" if message else "")
        text += f" (request {number})" if number else ""
        if status == 401:
            return KeyRefused(
                f"{text}; the API key is missing or not valid any more, and nothing is sent: "
                "put a new one in place and restart"
            )
        if status == 403:
            if _LOCK.search(message) or what.endswith("/start"):
                return TaskLocked(f"{text}; somebody has the task open")
            return MapRouletteRefused(f"{text}; the key's owner may not write to the project")
        if status == 404:
            return MapRouletteMissing(text)
        if status == 409:
            return LockConflict(text, whole(value.get("lockedTaskId")))
        if status == 413:
            return UploadTooLarge(text)
        if status == 400 and _CAP.search(message):
            return ChallengeFull(text)
        if status == 500 and _TAKEN.search(message):
            return NameTaken(text)
        if status in (408, 425, 429) or status >= 500:
            # a page of the proxy in front says nothing of what the server behind it did
            return MapRouletteUnavailable(text, answered=bool(value))
        if 300 <= status < 400 or 200 <= status < 300:
            return ReplyInvalid(f"{text}; redirects are not followed: set maproulette.url to where the API is")
        return MapRouletteInvalid(text)

    def _message(self, answer: Fetched) -> tuple[str, Mapping[str, Any]]:
        """What the server says about an error: its message in a line, and the whole object."""
        try:
            value = json.loads(answer.content)
        except (ValueError, RecursionError):
            return ("a page that is not JSON" if answer.content.strip() else ""), {}
        if not isinstance(value, dict):
            return "", {}
        message = value.get("message", value.get("Message", ""))
        return self._without_secrets(message if isinstance(message, str) else json.dumps(message)), value

    def _without_secrets(self, text: str, most: int = SHOWN) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())[:most]


def segment(text: str | int) -> str:
    """One part of a path."""
    return quote(str(text), safe="")


def _query(query: Mapping[str, Any] | None) -> str:
    if not query:
        return ""
    shown = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in query.items() if v is not None}
    return "?" + urlencode(shown) if shown else ""


def _json(value: Any) -> bytes | None:
    return None if value is None else json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
