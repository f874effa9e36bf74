"""Request, Reply, and the failures that become replies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fake_maproulette.state import UserRow


@dataclass
class Request:
    """One request. `target` is path and query as they came, `params` what fills the places in the endpoint's path."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    params: Mapping[str, str] = field(default_factory=dict)
    user: UserRow | None = None

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    @property
    def key(self) -> str | None:
        return self.header("apiKey") or None

    @property
    def number(self) -> int:
        """The id in the path."""
        return int(self.params.get("id") or self.params["challengeId"])

    def json(self) -> Any:
        """The body.

        Raises:
            Failure: 415 or 400.
        """
        if self.header("Content-Type").partition(";")[0].strip() not in ("application/json", "text/json"):
            raise Failure(415, None)
        try:
            return json.loads(self.body)
        except ValueError:
            raise html_failure(400, "Invalid Json") from None

    def part(self, name: str) -> bytes | None:
        """A file of a multipart body; None where there is none of this name, or it has no filename."""
        kind = self.header("Content-Type")
        if not kind.startswith("multipart/form-data"):
            return None
        boundary = re.search(r'boundary="?([^";]+)', kind)
        if boundary is None:
            return None
        mark = b"--" + boundary[1].encode()
        for piece in self.body.split(mark)[1:-1]:
            raw, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            headers = BytesParser(policy=HTTP).parsebytes(raw + b"\r\n\r\n")
            disposition = headers["Content-Disposition"]
            if disposition is not None and disposition.params.get("name") == name:
                return content.removesuffix(b"\r\n") if disposition.params.get("filename") else None
        return None

    def flag(self, name: str, default: bool) -> bool:
        return self.query.get(name, str(default)).lower() == "true"

    def numbers(self, name: str) -> list[int]:
        return [int(one) for one in self.query.get(name, "").split(",") if one.strip()]

    def count(self, name: str, default: int) -> int:
        return int(self.query.get(name) or default)


@dataclass
class Reply:
    """One reply. `value` is the body as JSON; otherwise `content` is it as it is."""

    status: int = 200
    value: Any = None
    content: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.value is not None:
            self.content = json.dumps(self.value).encode()


class Failure(Exception):
    """Ends a request with an error reply."""

    def __init__(self, status: int, word: str | None, message: Any = "", **more: Any):
        super().__init__(message)
        body = None if word is None else {"status": word, "message": message, **more}
        self.reply = Reply(status, body)


def invalid(message: Any) -> Failure:
    return Failure(400, "KO", message)


def unauthorized() -> Failure:
    return Failure(401, "NotAuthorized", "Not logged in")


def forbidden(message: str) -> Failure:
    return Failure(403, "Forbidden", message)


def not_found(message: str) -> Failure:
    return Failure(404, "NotFound", message)


def broken(message: str) -> Failure:
    return Failure(500, "KO", message)


def empty_not_found() -> Failure:
    """What reading by id or name answers."""
    return Failure(404, None)


def html_failure(status: int, title: str) -> Failure:
    """A page of the framework or of the proxy in front of it."""
    failure = Failure(status, None)
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    failure.reply = Reply(status, content=page.encode(), kind="text/html")
    return failure
