"""The command `mapgap backfill`: look at the whole area once, or at what new imagery covers; see daemon/backfill.py."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from daemon.cli import CONFIG, load_config, main
from daemon.errors import DatabaseLocked
from daemon.signals import stop_on_signals

if TYPE_CHECKING:
    from daemon.backfill import Backfill
    from daemon.config import Config
    from daemon.db import Database
    from daemon.pipeline import Pipeline
    from daemon.tiling.sweep import Sweep


@main.command()
@click.option("--imagery", "source", metavar="NAME", help="Only what this source covers and was not judged with it.")
@click.option("--restart", is_flag=True, help="Begin anew, where one is under way or rests.")
@click.option("--queue-only", is_flag=True, help="Begin and leave; `mapgap run` and `mapgap once` carry it on.")
@click.option("--status", "tell", is_flag=True, help="Only tell how far it is.")
@click.option("--stop", "rest", is_flag=True, help="Let it rest; the next `mapgap backfill` goes on.")
@CONFIG
def backfill(source: str | None, restart: bool, queue_only: bool, tell: bool, rest: bool, config_path: Path) -> None:
    """Look at the whole area once: where nothing is mapped first, then where the map is oldest.

    Killed or stopped, it goes on where it was. Changed tiles go first. While a daemon runs, it does the work.
    """
    from daemon.db import hold_daemon_lock, open_database
    from daemon.pipeline import Pipeline

    if (tell or rest) and sum((bool(source), restart, queue_only, tell, rest)) > 1:
        raise click.UsageError("--status and --stop go with no other option")
    config = load_config(config_path)
    stop = threading.Event()
    with stop_on_signals(stop), open_database(config) as db:
        if tell:
            _tell(db)
            return
        if rest:
            _rest(db)
            return
        try:
            with hold_daemon_lock(db), Pipeline(config, db, stop) as pipeline:
                pipeline.position()
                sweep = _begin(pipeline.backfill, source, restart)
                queued = pipeline.backfill.advance(_now())
                more = f", {sweep.tiles} to be looked at in all" if sweep.tiles > queued else ""
                click.echo(f"{queued} tiles queued{more}")
                if not queue_only:
                    _work(pipeline, sweep)
        except DatabaseLocked:
            _leave_to_daemon(config, db, source, restart)


def _begin(backfill: Backfill, source: str | None, restart: bool) -> Sweep:
    if source is not None:
        return backfill.start_imagery(source, _now())
    return backfill.start(_now(), restart=restart)


def _work(pipeline: Pipeline, sweep: Sweep) -> None:
    """Look until nothing is left, or all that is left rests."""
    from daemon.tiling.sweep import progress_of, read_sweeps

    left = 0
    with _bar(sweep.name) as show:
        while not pipeline.stop.is_set():
            queued = pipeline.backfill.advance(_now())
            with pipeline.db.transaction() as cursor:
                state = next(one for one in read_sweeps(cursor) if one.source == sweep.source)
                progress = progress_of(cursor, state)
            left = progress.total - progress.done
            show(progress.done, progress.total, progress.seconds_left)
            if not pipeline.look() and not queued:
                break
    pipeline.publish()
    if left:
        click.echo(f"{left} tiles are left; `mapgap backfill`, `mapgap once` or `mapgap run` goes on", err=True)


def _leave_to_daemon(config: Config, db: Database, source: str | None, restart: bool) -> None:
    from daemon.backfill import Backfill
    from daemon.imagery import Imagery
    from daemon.osm import AreaOfInterest

    with Imagery.open(config) as imagery:
        sweep = _begin(Backfill(config, db, imagery, AreaOfInterest.of(config.area)), source, restart)
    click.echo(
        f"{sweep.tiles - sweep.tiles_done} tiles to be looked at; another mapgap works on this database and, if it is "
        f"a daemon, carries the {sweep.name} on; `mapgap backfill --status` says how far it is"
    )


def _tell(db: Database) -> None:
    from daemon.tiling.sweep import progress_of, read_sweeps

    with db.transaction() as cursor:
        sweeps = [(sweep, progress_of(cursor, sweep)) for sweep in read_sweeps(cursor)]
    if not sweeps:
        click.echo("no back-fill was ever begun")
    for sweep, progress in sweeps:
        share = 100 * progress.done / progress.total if progress.total else 100.0
        said = [
            f"{sweep.name}: {sweep.state}",
            f"{progress.done} of {progress.total} tiles ({share:.1f} %)",
            f"{sweep.cells_done} of {sweep.cells} cells, {sweep.cells_blank} of them without imagery",
            f"begun {sweep.started.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        ]
        if sweep.ended:
            said.append(f"ended {sweep.ended.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
        elif sweep.state == "running":
            said += [f"{progress.queued} tiles in the queue", f"{in_words(progress.seconds_left)} left"]
        click.echo("; ".join(said))


def _rest(db: Database) -> None:
    from daemon.backfill import stop_sweeps

    stopped = stop_sweeps(db)
    click.echo(f"stopped: {', '.join(sweep.name for sweep in stopped)}" if stopped else "nothing is under way")


def in_words(seconds: float | None) -> str:
    """A rough time for people."""
    if seconds is None:
        return "an unknown time"
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.0f} {unit}"
    return f"about {seconds:.0f} seconds"


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int, float | None], None]]:
    """A bar on stderr with what is left; the function takes (done, total, seconds left). Silent without a terminal."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.completed} tiles"),
        TimeElapsedColumn(), TextColumn("{task.fields[left]} left"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None, left=in_words(None))
        yield lambda done, total, left: progress.update(task, completed=done, total=total, left=in_words(left))


def _now() -> datetime:
    return datetime.now(UTC)
