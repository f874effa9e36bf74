"""The commands `mapgap osmose`: send to a frontend by hand, and see how it stands; see daemon/publish/osmose/."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from daemon.cli import CONFIG, load_config, main
from daemon.errors import ConfigError, PublishError
from daemon.signals import stop_on_signals

if TYPE_CHECKING:
    from daemon.config import Config
    from daemon.publish.osmose.channel import OsmoseChannel
    from daemon.publish.osmose.report import Told
    from daemon.publish.osmose.sources import Count

#: Columns of a table that goes to a file or a pipe.
WIDTH = 130


@main.group()
def osmose() -> None:
    """A frontend of Osmose that is sent to (docs/osmose.md)."""


@osmose.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be sent; change nothing, here and there.")
@click.option("--force", is_flag=True, help="Send every source as a snapshot, also what has no news or rests.")
@CONFIG
def upload(dry_run: bool, force: bool, config_path: Path) -> None:
    """Send what is published and what has changed since; also while osmose.enabled is false.

    Nothing is published by this: `mapgap run` and `mapgap once` do that.
    """
    config = _configured(load_config(config_path))
    rehearsal = dry_run or config.osmose.dry_run
    told: list[Told] = []
    error: PublishError | None = None
    with _channel(config, with_code=not rehearsal) as channel:
        while True:
            done = channel.round(dry_run=rehearsal, force=force)
            told += done.told
            error = error or done.error
            if done.busy:
                raise PublishError(f"another mapgap sends to {channel.plan.url} at this moment; try again later")
            if not done.more or rehearsal:
                break
            force = False
    from daemon.publish.osmose.report import in_words

    for one in told:
        click.echo(in_words(one))
    if not told:
        click.echo("nothing new")
    if error is not None:
        sys.exit(error.exit_code)


@osmose.command()
@click.option("--offline", is_flag=True, help="Do not ask the frontend.")
@CONFIG
def status(offline: bool, config_path: Path) -> None:
    """Each source: how many issues it has here and there, when it was last taken, why it failed."""
    from daemon.db import open_database
    from daemon.publish import outbox
    from daemon.publish.osmose.sources import CHANNEL, read_all

    config = _configured(load_config(config_path))
    with open_database(config) as db, db.transaction() as cursor:
        counts = read_all(cursor)
        backlog = outbox.backlogs(cursor).get(CHANNEL)
    there = {} if offline else _ask(config, counts)
    table = Table(title=f"{config.osmose.url}: analyser {config.osmose.analyser}")
    for i, column in enumerate(("country", "issues", "taken", "last taken", "frontend says", "state")):
        table.add_column(column, justify="right" if i in (1, 2) else "left", overflow="fold")
    for count in counts:
        source = count.source
        table.add_row(
            source.country, str(count.issues), str(count.taken),
            f"{source.taken:%Y-%m-%d %H:%M:%S}" if source.taken else "never", there.get(source.country, ""),
            _state(config, count),
        )
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    click.echo(f"{backlog.waiting if backlog else 0} changes wait to be told")


@osmose.command()
@click.argument("country")
@CONFIG
def divide(country: str, config_path: Path) -> None:
    """Make four smaller sources of one, for good; the next upload moves its issues.

    Have the frontend's operator register the new sources first, unless it takes unknown ones. In the frontend the
    issues become others: what was called false there is shown again, unless the verdict came here, too.
    """
    from daemon.db import open_database
    from daemon.publish.osmose.sources import Plan, settle
    from daemon.publish.osmose.sources import divide as divide_source

    config = _configured(load_config(config_path))
    plan = Plan.of(config)
    with open_database(config) as db, db.transaction() as cursor:
        settle(cursor, plan, datetime.now(UTC))
        parts = divide_source(cursor, plan, country)
    if not parts:
        raise PublishError(
            f"{country}: there is no such source, it is divided already, or it is as small as one can be; "
            "`mapgap osmose status` names those there are"
        )
    click.echo(f"{country} is divided into {', '.join(parts)}; register them with the frontend, code and all")


def _configured(config: Config) -> Config:
    if not config.osmose.url:
        raise ConfigError("osmose.url", ["no frontend of Osmose is named; see [osmose] in the example config.toml"])
    return config


@contextmanager
def _channel(config: Config, *, with_code: bool) -> Iterator[OsmoseChannel]:
    from daemon.db import open_database
    from daemon.publish.osmose.channel import OsmoseChannel, open_frontend

    if with_code and not (config.osmose.code_env or config.osmose.code_file):
        raise ConfigError("osmose", ["no code is named; see osmose.code_env and osmose.code_file, or use --dry-run"])
    stop = threading.Event()
    with (
        stop_on_signals(stop), open_database(config) as db, open_frontend(config, stop, with_code=with_code) as frontend
    ):
        yield OsmoseChannel(config, db, frontend, stop)


def _ask(config: Config, counts: Sequence[Count]) -> dict[str, str]:
    """What the frontend says of each source, until it does not answer."""
    from daemon.publish.osmose.channel import open_frontend

    said: dict[str, str] = {}
    with open_frontend(config, threading.Event(), with_code=False) as frontend:
        for count in counts:
            country = count.source.country
            try:
                state = frontend.status(country)
            except PublishError as error:
                said[country] = str(error)
                break
            said[country] = f"{state.timestamp:%Y-%m-%d %H:%M:%S}" if state else "nothing"
    return said


def _state(config: Config, count: Count) -> str:
    source = count.source
    said = []
    if source.error:
        said.append(f"rests until {source.not_before:%H:%M:%S} UTC after {source.attempts} failures: {source.error}")
    elif source.in_doubt:
        said.append("the last document may not have been taken")
    if source.divided:
        said.append("divided")
    elif count.issues > config.osmose.region_most:
        said.append(f"too large; `mapgap osmose divide {source.country}`")
    return "; ".join(said) or "well"
