"""The commands `mapgap maproulette ...`: what was told to MapRoulette, one round of it, and whether the key is good."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path

import click

from daemon.cli import CONFIG, load_config, main
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.signals import stop_on_signals


@main.group()
def maproulette() -> None:
    """Discrepancies as MapRoulette's tasks; set up in [maproulette] of the configuration, see docs/maproulette.md.

    The daemon does all of it by itself. These commands look, and do one round by hand.
    """


@maproulette.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@CONFIG
def status(as_json: bool, config_path: Path) -> None:
    """Challenges, open tasks, what is still to be told, what is paused and why. Asks the database, not the server."""
    from daemon.db import open_database
    from daemon.publish.maproulette.standing import lines_of, read_standing

    with open_database(load_config(config_path)) as db, db.transaction() as cursor:
        standing = read_standing(cursor)
    assert standing is not None, "an opened database has this program's schema"
    if as_json:
        click.echo(json.dumps(standing.as_dict(), indent=2, ensure_ascii=False))
        return
    for heading, text in lines_of(standing.as_dict()):
        click.echo(f"{heading:12}{text}")
    if standing.fails:
        click.echo(f"{'stopped':12}{standing.fails}")


@maproulette.command()
@CONFIG
def sync(config_path: Path) -> None:
    """One round now: hear the mappers, tell what changed. With maproulette.dry_run, say what would be told.

    Not while a daemon runs: it does so by itself, every maproulette.interval.
    """
    from daemon.current_map import open_current_map
    from daemon.db import hold_daemon_lock, open_database
    from daemon.publish.maproulette.channel import MapRouletteChannel

    config = _enabled(load_config(config_path))
    stop = threading.Event()
    with (
        stop_on_signals(stop), open_database(config) as db, hold_daemon_lock(db), open_current_map(config) as the_map,
        ExitStack() as resources,
    ):
        channel = MapRouletteChannel.open(config, db, the_map, stop, resources)
        rounds = 1
        while channel.cycle() and not stop.is_set():
            rounds += 1
    click.echo(f"done in {rounds} round{'s' if rounds > 1 else ''}; `mapgap maproulette status` tells how it stands")


@maproulette.command()
@CONFIG
def check(config_path: Path) -> None:
    """Ask the server whose the key is, and what is there of ours. Changes nothing."""
    from daemon.publish.maproulette.client import Client

    config = _enabled(load_config(config_path))
    knobs = config.maproulette
    with ExitStack() as resources:
        client = Client.open(knobs, config.client.contact, threading.Event(), resources)
        user = client.whoami()
        click.echo(f"{client.url} knows the key as {user.name or 'a user without a name'} (id {user.id})")
        project = client.project_named(knobs.project)
        if project is None or project.deleted:
            click.echo(f"there is no project {knobs.project!r}; the first round makes it")
            return
        challenges = client.challenges_of(project.id)
    click.echo(f"project {project.name!r} is {project.id}, with {len(challenges)} challenges")
    for challenge in challenges:
        state = "archived" if challenge.archived else "paused" if challenge.paused else "shown"
        click.echo(f"  {challenge.id}  {challenge.name} ({state if challenge.enabled else 'hidden'})")


@maproulette.command()
@click.argument("names", nargs=-1, metavar="[CHALLENGE]...")
@CONFIG
def resume(names: tuple[str, ...], config_path: Path) -> None:
    """Let paused challenges go on: those named, or all. Their verdicts count anew from here."""
    from datetime import UTC, datetime

    from daemon.db import open_database
    from daemon.publish.maproulette.client import Client
    from daemon.publish.maproulette.gate import resume as let_go_on

    config = _enabled(load_config(config_path))
    with open_database(config) as db, ExitStack() as resources:
        client = Client.open(config.maproulette, config.client.contact, threading.Event(), resources)
        resumed = let_go_on(client, db, datetime.now(UTC), names)
    click.echo("\n".join(f"{name} goes on" for name in resumed) or "nothing is paused")


def _enabled(config: Config) -> Config:
    """Refuse what cannot be meant.

    Raises:
        ConfigError: MapRoulette is off.
    """
    if not config.maproulette.enabled:
        raise ConfigError("maproulette.enabled", ["is false; set it to true, and dry_run too for a try without harm"])
    return config
