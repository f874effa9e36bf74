"""What is known of challenges and tasks on the server: rows of the tables `maproulette_*`.

A row without the server's id is an intention: it is committed before the server is asked to make something, so that
after a kill, or an answer that never came, it is known that the server may have made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.publish.maproulette.replies import OPEN, Status
from daemon.publish.maproulette.settings import Group

#: Statuses by which we close.
OUR_CLOSES = frozenset({Status.ALREADY_FIXED, Status.DISABLED})


class Step(StrEnum):
    INTENDED = "intended"  # about to be made; whether it was is in doubt
    MADE = "made"          # on the server, disabled
    READY = "ready"        # marked so there; being filled
    OPEN = "open"          # people see it


class Server(NamedTuple):
    """What all else that is known belongs to."""

    url: str
    project: str
    project_id: int | None
    opened: int | None
    """The task that we have open there, or had when we were killed."""
    compared: datetime | None
    """When everything was last compared with the server."""


@dataclass(frozen=True, slots=True)
class ChallengeRow:
    """A challenge as far as it is known.

    Attributes:
        id: our own number of it; `remote` is the server's, None while it is an intention.
        digest: of the settings it has there, None where nobody knows.
        total: tasks that it has there, of every status.
        data_origin: the time of the map's data, as told there.
        checked: when it was last seen not to be archived.
        paused: since when it gets no new tasks, and why.
        intended: tasks that are about to be made in it.
        known: tasks in it that are known to be there.
    """

    id: int
    group: Group
    part: int
    name: str
    remote: int | None
    step: Step
    digest: str | None
    total: int
    data_origin: datetime | None
    checked: datetime | None
    paused: datetime | None
    pause_reason: str | None
    intended: int
    known: int

    @property
    def size(self) -> int:
        """Tasks that it has, and is about to have."""
        return self.total + self.intended


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as far as it is known.

    Attributes:
        challenge: our own number of its challenge.
        remote: the server's id, None while it is an intention.
        intended: when it was chosen to be made; `tried`: when the server was last asked to.
        digest: of the content it has there, None where nobody knows.
        status: as last seen or set there, at `since`; None while it is an intention.
        ours: nobody else gave it that status.
        elements: versions of the OSM elements that its content was made from.
        asked_anew: when it was last found that people are to be asked again.
    """

    key: str
    challenge: int
    remote: int | None
    intended: datetime
    digest: str | None = None
    status: Status | None = None
    since: datetime | None = None
    ours: bool = False
    elements: Mapping[str, int] = field(default_factory=dict)
    asked_anew: datetime | None = None
    tried: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits for a mapper there, as far as is known."""
        return self.status in OPEN


def read_server(cursor: Cursor) -> Server | None:
    """None where nothing is known of any server."""
    cursor.execute(query("maproulette_server"))
    row = cursor.fetchone()
    return Server(*row) if row else None


def set_server(cursor: Cursor, url: str, project: str) -> None:
    """From now on this server and project are meant; what was known of others is forgotten."""
    cursor.execute(query("forget_maproulette"))
    cursor.execute(query("forget_heard"))
    cursor.execute(query("set_maproulette_server"), {"url": url, "project": project})


def set_project(cursor: Cursor, project_id: int) -> None:
    """The project's id there."""
    cursor.execute(query("set_maproulette_project"), {"project_id": project_id})


def set_opened(cursor: Cursor, task: int | None) -> None:
    """The task that we have open there, by the server's id; None: none."""
    cursor.execute(query("set_maproulette_opened"), {"opened": task})


def set_compared(cursor: Cursor, now: datetime) -> None:
    """Everything was compared with the server."""
    cursor.execute(query("compared_maproulette"), {"now": now})


def read_challenges(cursor: Cursor) -> list[ChallengeRow]:
    """All of them, a part before the one that follows it."""
    cursor.execute(query("maproulette_challenges"))
    return [
        ChallengeRow(id_, Group(detector, kind, way), part, name, remote, Step(step), *rest)
        for id_, detector, kind, way, part, name, remote, step, *rest in cursor.fetchall()
    ]


def intend_challenge(cursor: Cursor, group: Group, part: int, name: str) -> None:
    """A challenge is about to be made; one that is known stays as it is."""
    cursor.execute(query("intend_challenge"), {
        "detector": group.detector, "kind": group.kind, "cooperative": group.way, "part": part, "name": name,
    })


def set_challenge(cursor: Cursor, row: ChallengeRow) -> None:
    """Keep what is known of a challenge now."""
    cursor.execute(query("set_challenge"), {
        "id": row.id, "name": row.name, "remote": row.remote, "step": row.step, "digest": row.digest,
        "total": row.total, "data_origin": row.data_origin, "checked": row.checked,
    })


def pause_challenge(cursor: Cursor, challenge: int, reason: str, now: datetime) -> None:
    """It gets no new tasks from now on."""
    cursor.execute(query("pause_challenge"), {"id": challenge, "now": now, "reason": reason})


def add_to_challenge(cursor: Cursor, challenge: int, more: int) -> None:
    """So many tasks were made in it."""
    cursor.execute(query("add_to_challenge"), {"id": challenge, "more": more})


def forget_challenge(cursor: Cursor, challenge: int) -> None:
    """The server has it no more, nor its tasks."""
    cursor.execute(query("forget_challenge"), {"id": challenge})


def read_tasks(cursor: Cursor, keys: Iterable[str]) -> dict[str, TaskRow]:
    """What is known of the tasks of discrepancies, by key."""
    cursor.execute(query("maproulette_tasks"), {"keys": sorted(keys)})
    return {row.key: row for row in map(_task, cursor.fetchall())}


def read_tasks_in(cursor: Cursor, challenge: int) -> dict[str, TaskRow]:
    """What is known of the tasks of a challenge, by key; not when people are to be asked anew."""
    cursor.execute(query("maproulette_tasks_in"), {"challenge": challenge})
    return {row.key: row for row in map(_task, cursor.fetchall())}


def intend_tasks(cursor: Cursor, challenge: int, keys: Sequence[str], now: datetime) -> None:
    """Tasks are about to be made; what is known already stays as it is."""
    cursor.execute(query("intend_tasks"), {"challenge": challenge, "keys": list(keys), "now": now})


def try_tasks(cursor: Cursor, keys: Iterable[str], now: datetime) -> None:
    """The server is about to be asked to make these."""
    cursor.execute(query("try_tasks"), {"keys": sorted(keys), "now": now})


def move_intended(cursor: Cursor, source: int, target: int) -> None:
    """What was about to be made in one challenge will be made in another."""
    cursor.execute(query("move_intended_tasks"), {"from": source, "to": target})


def set_tasks(cursor: Cursor, rows: Sequence[TaskRow], now: datetime) -> None:
    """Keep what is known of tasks now; a name that is no discrepancy's key is left out."""
    if not rows:
        return
    cursor.execute(query("set_tasks"), {
        "now": now, "keys": [r.key for r in rows], "challenges": [r.challenge for r in rows],
        "remotes": [r.remote for r in rows], "digests": [r.digest for r in rows],
        "statuses": [r.status for r in rows], "sinces": [r.since for r in rows], "ours": [r.ours for r in rows],
        "elements": [json.dumps(dict(r.elements)) if r.elements else None for r in rows],
    })


def note_status(cursor: Cursor, key: str, status: Status, since: datetime) -> None:
    """Somebody else gave a task this status."""
    cursor.execute(query("note_task_status"), {"key": key, "status": status, "since": since})


def forget_tasks(cursor: Cursor, keys: Iterable[str]) -> None:
    """The server has these tasks no more."""
    cursor.execute(query("forget_tasks"), {"keys": sorted(keys)})


def outdated(cursor: Cursor) -> list[str]:
    """Keys of open tasks whose content was made from elements of the map that have another version now."""
    cursor.execute(query("outdated_elements"))
    return [key for (key,) in cursor.fetchall()]


def seen_as(
    row: TaskRow, status: Status, now: datetime, mapped_on: datetime | None, completed_by: object | None
) -> TaskRow:
    """A task after its status was read; what is the same as before is still whose it was.

    Args:
        mapped_on, completed_by: when a mapper gave it its status, and who he was. Our own writes leave both as they
            were: empty, or those of whom passed it on before.
    """
    if row.status == status:
        return row
    untouched = completed_by is None or (mapped_on is not None and mapped_on == row.since)
    return replace(row, status=status, since=mapped_on or now, ours=status in OUR_CLOSES and untouched)


def _task(row: Sequence) -> TaskRow:
    key, challenge, remote, intended, tried, digest, status, since, ours, elements, asked_anew = row
    known = None if status is None else Status(status)
    return TaskRow(key, challenge, remote, intended, digest, known, since, ours, elements or {}, asked_anew, tried)
