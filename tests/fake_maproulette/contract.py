"""The contract: which endpoint a request is for, and what is wrong with it or with the reply to it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from jsonschema import Draft202012Validator, FormatChecker

from fake_maproulette.requests import Reply, Request

#: The largest body the server takes, in bytes.
LARGEST_BODY = 15_000 * 1024


@dataclass(frozen=True)
class Endpoint:
    """One of the contract. `replies` has the schema of the body by status; None: the body is empty."""

    id: str
    method: str
    path: str
    auth: str
    replies: dict[str, Any]
    query: tuple[str, ...] = ()
    body: Any = None
    type: str = "application/json"
    behaviours: tuple[str, ...] = ()
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = re.split(r"\{(\w+)\}", self.path)
        text = "".join(f"(?P<{part}>[^/]+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        object.__setattr__(self, "pattern", re.compile(text))


class Contract:
    """`contract.json`, read once."""

    def __init__(self) -> None:
        document = json.loads(Path(__file__).with_name("contract.json").read_text())
        self.behaviours: dict[str, str] = document["behaviours"]
        self.schemas: dict[str, Any] = document["schemas"]
        endpoints = [
            Endpoint(**{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()})
            for one in document["endpoints"]
        ]
        # a path that is written out goes before one with more places to fill in
        self.endpoints = sorted(endpoints, key=lambda one: one.path.count("{"))
        self._formats = FormatChecker(formats=())
        self._formats.checks("date-time", raises=ValueError)(_is_time)

    def endpoint(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint for a request, and what fills the places in its path, as it stands there."""
        for one in self.endpoints:
            also = one.id == "tasks_box" and method == "GET"
            if (one.method == method or also) and (match := one.pattern.fullmatch(path)):
                return one, match.groupdict()
        return None

    def problems(self, schema: Any, value: Any) -> list[str]:
        """What of `value` is not as `schema` says; a name stands for one of the contract's schemas."""
        quick, thorough = self._validators(json.dumps(schema, sort_keys=True))
        if quick.is_valid(value):  # 200 times as quick, but says little of what is wrong
            return []
        return [
            f"{'/'.join(map(str, error.absolute_path)) or '(all)'}: {error.message[:200]}"
            for error in thorough.iter_errors(value)
        ] or ["not by its schema"]

    def request_problems(self, endpoint: Endpoint, request: Request) -> list[str]:
        """What is wrong with a request, by schema and by what no schema can say."""
        problems = [f"unknown parameter {name}" for name in request.query if name not in endpoint.query]
        if endpoint.auth == "required" and request.key is None:
            problems.append("no API key")
        if request.key is not None and request.key in request.target:
            problems.append("the API key stands in the URL")
        if len(request.body) > LARGEST_BODY:
            problems.append(f"{len(request.body)} bytes")
        if endpoint.id == "add_file_tasks":
            problems += self._upload_problems(request)
        elif endpoint.body is not None and endpoint.id != "tasks_box":
            problems += self._body_problems(endpoint, request)
        return [f"{request.method} {request.target}: {problem}" for problem in problems]

    def reply_problems(self, endpoint: Endpoint, reply: Reply) -> list[str]:
        """What is wrong with a reply."""
        status = str(reply.status)
        where = f"reply {status} of {endpoint.id}"
        if status not in endpoint.replies:
            page = reply.status == 400 and reply.kind == "text/html"
            fine = reply.status >= 500 or page or (reply.status in (413, 415) and not reply.content)
            return [] if fine else [f"{where}: the contract knows {', '.join(endpoint.replies)}"]
        schema = endpoint.replies[status]
        if reply.kind == "text/html" or (reply.status >= 500 and reply.value is None):
            return []
        if schema is None or reply.value is None:
            return [] if not reply.content or schema is not None else [f"{where}: should be empty"]
        if schema == {"type": "string"}:
            return []
        return [f"{where}: {problem}" for problem in self.problems(schema, reply.value)]

    def _body_problems(self, endpoint: Endpoint, request: Request) -> list[str]:
        if request.header("Content-Type").partition(";")[0].strip() != endpoint.type:
            return [f"Content-Type should be {endpoint.type}"]
        try:
            value = json.loads(request.body)
        except ValueError:
            return ["the body is not JSON"]
        schema = endpoint.body
        if endpoint.method == "PUT" and schema.get("$ref") in ("#/schemas/ChallengeCreate", "#/schemas/ProjectCreate"):
            whole = self.schemas[schema["$ref"].rpartition("/")[2]]
            schema = {name: part for name, part in whole.items() if name != "required"}  # a part of it is enough
        problems = self.problems(schema, value)
        if isinstance(value, dict):
            for name in ("highPriorityRule", "mediumPriorityRule", "lowPriorityRule"):
                problems += self._encoded_problems(value, name, {"$ref": "#/schemas/PriorityRuleGroup"})
            for name in ("highPriorityBounds", "mediumPriorityBounds", "lowPriorityBounds"):
                problems += self._encoded_problems(value, name, {"type": "array"})
        return problems

    def _encoded_problems(self, value: dict[str, Any], name: str, schema: Any) -> list[str]:
        text = value.get(name)
        if not isinstance(text, str) or text in ("", "{}"):
            return []
        try:
            return [f"{name}: {problem}" for problem in self.problems(schema, json.loads(text))]
        except ValueError:
            return [f"{name}: not JSON in a string"]

    def _upload_problems(self, request: Request) -> list[str]:
        part = request.part("json")
        if part is None:
            return ["no part named json with a filename"]
        problems = [] if part.isascii() else ["the upload is not ASCII"]
        for number, line in enumerate(part.rstrip(b"\n").split(b"\n"), 1):
            try:
                found = self.problems({"$ref": "#/schemas/TaskGeometries"}, json.loads(line.removeprefix(b"\x1e")))
            except ValueError:
                found = ["not JSON"]
            problems += [f"line {number}: {problem}" for problem in found]
        return problems

    @cache  # noqa: B019  there is one contract
    def _validators(self, schema: str) -> tuple[jsonschema_rs.Validator, Draft202012Validator]:
        whole = {"schemas": self.schemas, **json.loads(schema)}
        return (
            jsonschema_rs.validator_for(whole, validate_formats=True),
            Draft202012Validator(whole, format_checker=self._formats),
        )


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@cache
def contract() -> Contract:
    return Contract()
