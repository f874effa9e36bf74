"""How MapRoulette does, as far as the database knows: for `mapgap status` and `mapgap maproulette status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.facts import read_facts
from daemon.publish.maproulette.records import read_server
from daemon.publish.maproulette.waiting import CHANNEL
from daemon.publish.outbox import backlogs


@dataclass(frozen=True, slots=True)
class ChallengeStanding:
    """One challenge.

    Attributes:
        remote: its id on the server, None before it is there.
        step: intended, made, ready or open (people see it).
        total: tasks that the server has in it.
        open, closed, intended: tasks that wait for a mapper, that do not, and that are about to be made.
        paused, pause_reason: since when it gets no new tasks, and why; None: it does.
    """

    name: str
    remote: int | None
    step: str
    total: int
    paused: datetime | None
    pause_reason: str | None
    open: int
    intended: int
    closed: int


@dataclass(frozen=True, slots=True)
class Standing:
    """All of it.

    Attributes:
        url, project: None before the first round.
        waiting: what is shown to people and has no task yet.
        backlog: what is still to be told, and of that what failed.
        error: one reason of the failures.
        fails: why the last round of a running daemon came to nothing, None where it did not.
    """

    url: str | None
    project: str | None
    challenges: tuple[ChallengeStanding, ...]
    waiting: int
    backlog: int
    failing: int
    error: str | None
    fails: str | None

    @property
    def open(self) -> int:
        """Tasks that wait for a mapper."""
        return sum(challenge.open for challenge in self.challenges)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can say it."""
        told = asdict(self)
        told["open"] = self.open
        for challenge in told["challenges"]:
            challenge["paused"] = challenge["paused"] and challenge["paused"].isoformat(timespec="seconds")
        return told


def read_standing(cursor: Cursor) -> Standing | None:
    """What is known; None in a database that was not brought to this program's schema yet."""
    cursor.execute(query("maproulette_is_known"))
    if cursor.fetchone() != (True,):
        return None
    server = read_server(cursor)
    cursor.execute(query("maproulette_standing"))
    challenges = tuple(ChallengeStanding(*row) for row in cursor.fetchall())
    cursor.execute(query("maproulette_waiting"))
    (waiting,) = cursor.fetchone() or (0,)
    backlog = backlogs(cursor).get(CHANNEL)
    facts = read_facts(cursor)
    failure = facts["errors"].value.get(CHANNEL) if "errors" in facts else None
    return Standing(
        server.url if server else None, server.project if server else None, challenges, waiting,
        backlog.waiting if backlog else 0, backlog.failing if backlog else 0, backlog.error if backlog else None,
        failure["message"] if failure else None,
    )


def lines_of(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line that says it to people, from `Standing.as_dict`."""
    if told["url"] is None:
        yield "MapRoulette", "nothing was told yet"
        return
    yield "MapRoulette", (
        f"{told['open']} open tasks in {len(told['challenges'])} challenges of {told['project']} at {told['url']}; "
        f"{told['waiting']} waiting for their turn, {told['backlog']} to be told"
    )
    for one in told["challenges"]:
        shown = "" if one["step"] == "open" else f" ({one['step']})"
        more = f", {one['intended']} about to be made" if one["intended"] else ""
        yield "", f"{one['name']}{shown}: {one['open']} open, {one['closed']} closed{more}"
        if one["paused"]:
            yield "", f"  paused since {one['paused']}: {one['pause_reason']}"
    if told["failing"]:
        yield "", f"{told['failing']} could not be told: {told['error']}"
