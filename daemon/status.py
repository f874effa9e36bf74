"""How the daemon does: `mapgap status`.

    fresh           0   the store is at most replication.fresh_within behind the world
    behind          1   it is further behind
    broken          2   nothing to tell: no database, not bootstrapped, or a stage fails in a way that needs somebody
    too_far_behind  2   the server has removed the change files that come next, so that nothing goes on without a newer
                        extract or larger files; or it is more than replication.too_far_behind ahead, in which case
                        following goes on, and a newer extract would be quicker

Whether a daemon runs is said, but decides nothing: `mapgap once` from cron keeps a store as fresh. Reading needs no
running daemon: an embedded server that is down is started for the moment, one that is up is used and left alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daemon.config import Config
from daemon.db import Database, EmbeddedServer, connect_database, query
from daemon.errors import MapgapError, TooFarBehind
from daemon.facts import read_facts
from daemon.lag import read_lag
from daemon.publish.maproulette.standing import lines_of, read_standing

EXIT_CODES = {"fresh": 0, "behind": 1, "broken": 2, "too_far_behind": 2}
SECONDS_PER_DAY = 86_400.0
#: Seconds to wait for a server that does not answer yet.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Status:
    """What `mapgap status` tells. Times are ISO 8601 in UTC.

    Attributes:
        verdict: fresh, behind, broken or too_far_behind.
        reason: why it is not fresh, and what to do; "" if it is.
        source, sequence, timestamp, lag_seconds, behind_seconds, files_behind, last_success, server_asked: see `Lag`.
        server: the newest sequence and timestamp of the replication server, as the daemon last saw it.
        waits: what the next change file waits for, in words; "" where it may be applied, or is not there yet.
        running: whether a daemon works on the database right now (it holds the lock).
        heartbeat: when the last daemon last wrote down that it lives, with its pid, host and start.
        tiles: queued, leased and dead tiles.
        dead: why tiles were put aside: reason, how many, one of them.
        discrepancies: {detector: {kind: {state: how many}}}.
        last_error: the newest of the errors of stages that do not work now.
        errors: all of them, by stage.
        maproulette: challenges, tasks and what is still to be told (`Standing.as_dict`); None where it is off.
        models: {detector: model} as configured.
    """

    verdict: str
    reason: str
    sequence: int | None = None
    timestamp: str | None = None
    lag_seconds: float | None = None
    source: str | None = None
    behind_seconds: float | None = None
    files_behind: int | None = None
    last_success: str | None = None
    server: dict[str, Any] | None = None
    server_asked: str | None = None
    waits: str = ""
    running: bool = False
    heartbeat: dict[str, Any] | None = None
    tiles: dict[str, int] = field(default_factory=lambda: {"queued": 0, "leased": 0, "dead": 0})
    dead: list[dict[str, Any]] = field(default_factory=list)
    discrepancies: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    last_error: dict[str, Any] | None = None
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    maproulette: dict[str, Any] | None = None
    models: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def read_status(db: Database, config: Config, now: datetime | None = None) -> Status:
    """The state of a database; a failure to read it is a verdict, not an exception."""
    now = now or datetime.now(UTC)
    models = {name: getattr(table, "model", "none") for name, table in config.detectors.running.items()}
    try:
        with db.transaction() as cursor:
            status = _read(cursor, config, now)
    except psycopg2.errors.UndefinedTable:
        reason = "this database was never used by mapgap; run `mapgap bootstrap FILE.osm.pbf`"
        return Status("broken", reason, models=models)
    except (MapgapError, psycopg2.Error) as error:
        return Status("broken", " ".join(str(error).split()), models=models)
    verdict, reason = _judge(status, config)
    return replace(status, verdict=verdict, reason=reason, models=models)


def find_status(config: Config) -> Status:
    """As `read_status`, of the configured database; makes none where there is none."""
    if not config.database.dsn and not EmbeddedServer.exists(config.data_dir):
        return Status("broken", f"{config.data_dir} holds no database yet; run `mapgap bootstrap FILE.osm.pbf`")
    try:
        with connect_database(config, patience=PATIENCE) as db:
            return read_status(db, config)
    except MapgapError as error:
        return Status("broken", str(error))


def show_status(config: Config, as_json: bool = False, console: Console | None = None) -> int:
    """Print it, as a table or as JSON; returns the exit code."""
    status = find_status(config)
    console = console or Console(soft_wrap=True, highlight=False)
    if as_json:
        console.print(json.dumps(asdict(status), indent=2, ensure_ascii=False), markup=False)
    else:
        console.print(_table(status))
    return status.exit_code


def _read(cursor: Cursor, config: Config, now: datetime) -> Status:
    facts = read_facts(cursor)
    lag = read_lag(cursor, facts, config.replication, now)
    cursor.execute(query("daemon_lock_holder"))
    running = cursor.fetchone() is not None
    cursor.execute(query("status_tiles"))
    tiles = {"queued": 0, "leased": 0, "dead": 0, **dict(cursor.fetchall())}
    cursor.execute(query("status_dead"))
    dead = [{"reason": reason, "tiles": count, "example": example} for reason, count, example in cursor]
    discrepancies: dict[str, dict[str, dict[str, int]]] = {}
    cursor.execute(query("status_discrepancies"))
    for detector, kind, state, count in cursor:
        discrepancies.setdefault(detector, {}).setdefault(kind, {})[state] = count
    maproulette = read_standing(cursor) if config.maproulette.enabled else None
    server = facts["server"].value if "server" in facts else None
    errors = facts["errors"].value if "errors" in facts else {}
    heartbeat = None
    if "daemon" in facts:
        heartbeat = {"at": _iso(facts["daemon"].updated), **facts["daemon"].value}
    return Status(
        verdict="fresh" if lag else "broken",
        reason="",
        sequence=lag and lag.sequence,
        timestamp=_iso(lag and lag.timestamp),
        lag_seconds=lag and lag.lag_seconds,
        source=lag and lag.source,
        behind_seconds=lag and lag.behind_seconds,
        files_behind=lag and lag.files_behind,
        last_success=_iso(lag and lag.last_success),
        server=server,
        server_asked=_iso(lag and lag.server_asked),
        waits=facts["waits"].value if "waits" in facts and lag and lag.files_behind else "",
        running=running,
        heartbeat=heartbeat,
        tiles=tiles,
        dead=dead,
        discrepancies=discrepancies,
        last_error=max(errors.values(), key=lambda error: error["time"], default=None),
        errors=errors,
        maproulette=maproulette.as_dict() if maproulette else None,
    )


def _judge(status: Status, config: Config) -> tuple[str, str]:
    if status.verdict == "broken":
        return "broken", "the store is empty; run `mapgap bootstrap FILE.osm.pbf`"
    for error in status.errors.values():
        if error["kind"] == TooFarBehind.__name__:
            return "too_far_behind", error["message"]
        if not error["transient"]:
            return "broken", f"{error['stage']} fails: {error['message']}"
    days = (status.behind_seconds or 0.0) / SECONDS_PER_DAY
    if days > config.replication.too_far_behind:
        return "too_far_behind", (
            f"{days:.1f} days behind the server, more than replication.too_far_behind; following goes on from there, "
            "but bootstrapping from a newer extract (`mapgap bootstrap --force`) would be quicker"
        )
    limit = config.replication.fresh_within
    if status.lag_seconds is None:
        return "behind", "the time of the data is not known yet; the first change file will tell it"
    if status.lag_seconds > limit:
        idle = "" if status.running else "; no daemon is running (`mapgap run`)"
        waits = f"; {status.waits}" if status.waits else ""
        if status.files_behind == 0 and status.running:
            waits = "; the server has nothing newer, see replication.fresh_within for hourly and daily ones"
        return "behind", f"{status.lag_seconds:.0f} s behind, {limit:.0f} s count as fresh{waits}{idle}"
    return "fresh", ""


def _table(status: Status) -> Table:
    colour = {0: "green", 1: "yellow", 2: "red"}[status.exit_code]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("verdict", f"[{colour}]{status.verdict}[/]")
    rows: list[tuple[str, str]] = [("", status.reason)] if status.reason else []
    at = f"sequence {status.sequence if status.sequence is not None else 'not known yet'} of {status.source or 'none'}"
    rows.append(("store", f"{at}, data of {status.timestamp or 'unknown time'}"))
    if status.lag_seconds is not None:
        files = f", {status.files_behind} files" if status.files_behind is not None else ""
        rows.append(("lag", f"{status.lag_seconds:.0f} s{files}; last success {status.last_success or 'never'}"))
    if status.server:
        rows.append(("server", ", ".join(f"{name} {value}" for name, value in status.server.items())))
    if status.waits:
        rows.append(("", status.waits))
    beat = status.heartbeat
    seen = f"process {beat['pid']} on {beat['host']}, last seen {beat['at']}" if beat else "never ran here"
    rows.append(("daemon", f"{'running' if status.running else 'not running'}; {seen}"))
    rows.append(("tiles", ", ".join(f"{count} {state}" for state, count in status.tiles.items())))
    rows += [("", f"{one['tiles']} put aside, e.g. {one['example']}: {one['reason']}") for one in status.dead]
    for detector, kinds in status.discrepancies.items():
        for kind, states in kinds.items():
            counted = ", ".join(f"{count} {state}" for state, count in states.items())
            rows.append((f"{detector} {kind}", counted))
    for stage, error in status.errors.items():
        often = f", {error['failures']} times in a row" if error["failures"] > 1 else ""
        rows.append((f"{stage} fails", f"{error['time']} {error['kind']}{often}: {error['message']}"))
    if status.maproulette is not None:
        rows += lines_of(status.maproulette)
    rows += [(f"model of {detector}", model) for detector, model in status.models.items()]
    for name, value in rows:
        table.add_row(name, escape(value))
    return table


def _iso(time: datetime | None) -> str | None:
    return time and time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
