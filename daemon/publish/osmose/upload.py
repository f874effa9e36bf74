"""A frontend of Osmose, as an analyser talks to it.

    POST {base}/control/send-update                       multipart: analyser, country, code, content
    GET  {base}/control/status/{country}/{analyser}       what it last took

The answers are those of osmose-frontend, read off its sources: 200 "OK"; 400 (before: 409) with "Already up to date"
for a timestamp it had before, which is as good; 403 "AUTH FAIL"; 422 for a missing field; 500 with a traceback for
whatever it cannot merge, of which it then has merged nothing. An older one says its failures with 200, so that only
"OK" counts. No redirect is followed, because the code goes along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from urllib3 import encode_multipart_formdata

from daemon.errors import DocumentRefused, FrontendRefused, FrontendUnavailable
from daemon.fetch import Fetched, Fetcher, FetchError, shown
from daemon.fetch.courtesy import retry_after
from daemon.fetch.fetcher import TRANSIENT_STATUSES

#: More of an answer than this is not read.
MAX_ANSWER = 256 * 1024
#: Characters of an answer that a message shows.
SHOWN = 300
#: What the frontend says of a timestamp that it had before.
KNOWN = "already up to date"
#: What every upload is answered after somebody's document without a class, until the frontend forgets it.
BLOCKED = re.compile(r'relation "\w+" already exists')


@dataclass(frozen=True, slots=True)
class Status:
    """What a frontend last took of a source."""

    timestamp: datetime
    analyser_version: str


class Frontend:
    """One frontend.

    Args:
        base: its URL.
        analyser: the name it knows the sources by.
        code: their password; None: only `status` is asked.
        fetcher: how it is reached; closed by whoever made it.
    """

    def __init__(self, base: str, analyser: str, code: str | None, fetcher: Fetcher):
        self.base = base.rstrip("/")
        self.analyser = analyser
        self._code = code
        self._fetcher = fetcher

    def send(self, country: str, content: bytes) -> Literal["merged", "known"]:
        """Upload a packed document; "known" where the frontend had one of this source and time before.

        Raises:
            FrontendUnavailable: no whole answer, or one that says to come again; it may have been merged all the same.
            FrontendRefused: it does not know the source or the code, or is no frontend.
            DocumentRefused: nothing was merged.
        """
        url = f"{self.base}/control/send-update"
        body, content_type = encode_multipart_formdata({
            "analyser": self.analyser, "country": country, "code": self._code or "",
            "content": (f"{self.analyser}-{country}.xml.gz", content, "application/gzip"),
        })
        answer = self._ask(lambda: self._fetcher.send(
            "POST", url, max_bytes=MAX_ANSWER, headers={"Content-Type": content_type}, body=body
        ))
        return self._judge(answer, country)

    def status(self, country: str) -> Status | None:
        """What the frontend last took of a source; None where it never took anything, or does not know it.

        Raises:
            FrontendUnavailable: no answer.
            FrontendRefused: what answers is no frontend.
        """
        url = f"{self.base}/control/status/{country}/{self.analyser}"
        answer = self._ask(lambda: self._fetcher.send("GET", url, max_bytes=MAX_ANSWER))
        self._see_that_it_is_there(answer)
        said = _json(answer.content)
        if answer.status == 404 and isinstance(said, dict) and "detail" in said:
            return None
        try:
            when = datetime.fromisoformat(said["timestamp"])
            return Status(when if when.tzinfo else when.replace(tzinfo=UTC), str(said["analyser_version"]))
        except (TypeError, KeyError, ValueError):
            raise FrontendRefused(
                f"{answer.url}: HTTP {answer.status}, and not what an Osmose frontend answers: "
                f"{self._said(answer.content)}; see osmose.url"
            ) from None

    def _ask(self, ask: Callable[[], Fetched]) -> Fetched:
        try:
            return ask()
        except FetchError as error:
            if error.transient:
                raise FrontendUnavailable(str(error), error.retry_after) from None
            raise FrontendRefused(f"{error}; see osmose.url") from None

    def _see_that_it_is_there(self, answer: Fetched) -> None:
        """Raises: FrontendUnavailable, FrontendRefused: the answer is not the frontend's own."""
        where, status = answer.url, answer.status
        if status in TRANSIENT_STATUSES or 501 <= status < 600:
            wait = retry_after(answer.headers.get("Retry-After"))
            raise FrontendUnavailable(f"{where}: HTTP {status} {self._said(answer.content)}".rstrip(), wait)
        if 300 <= status < 400:
            target = shown(answer.headers.get("Location", ""))
            raise FrontendRefused(
                f"{where}: redirects to {target}, and the code is not sent after a redirect; name the frontend itself "
                "in osmose.url"
            )

    def _judge(self, answer: Fetched, country: str) -> Literal["merged", "known"]:
        where, status, said = answer.url, answer.status, self._said(answer.content)
        source = f"analyser {self.analyser!r}, country {country!r}"
        self._see_that_it_is_there(answer)
        if status == 200 and answer.content.strip().strip(b'"') == b"OK":
            return "merged"
        if status in (200, 400, 409) and KNOWN in said.lower():
            return "known"
        if status in (401, 403):
            raise FrontendRefused(
                f"{where}: HTTP {status} {said}: it has no source of {source} with this code; have the frontend's "
                "operator register it (tables sources and sources_password), or see osmose.code_env and code_file"
            )
        if status == 422:
            raise DocumentRefused(f"{where}: HTTP 422 for {source}: it misses a field of the form: {said}")
        if status in (404, 405):
            raise FrontendRefused(f"{where}: HTTP {status}: no Osmose frontend takes uploads there; see osmose.url")
        if BLOCKED.search(said):
            raise FrontendUnavailable(
                f"{where}: it is blocked by a document without classes that somebody sent; its operator has to restart "
                f"it, or it frees itself after some minutes: {said}"
            )
        if status == 500 and _json(answer.content) is None:  # its own failures name themselves
            raise FrontendUnavailable(f"{where}: HTTP 500 {said}".rstrip())
        raise DocumentRefused(f"{where}: HTTP {status}, {source} was not merged: {said}")

    def _said(self, content: bytes) -> str:
        """The end of what the frontend answered, where a traceback says what happened; without the code."""
        told = _json(content)
        if isinstance(told, dict) and "detail" in told:
            told = told["detail"]
        elif told is None:
            told = content.decode("utf-8", "replace")
        text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
        if self._code:
            text = text.replace(self._code, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= SHOWN else f"...{text[-SHOWN:]}"


def _json(content: bytes) -> Any:
    """What JSON says, None for what is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
