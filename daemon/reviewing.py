"""The commands `mapgap review ...`: verdicts of people, for who has no MapRoulette, and for who trains models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from daemon.cli import CONFIG, load_config, main, progress_bar

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

    from daemon.config import Config
    from daemon.current_map import CurrentMap
    from daemon.reviews.reading import Chosen

VERDICTS = ["fixed", "false_positive", "already_fixed", "too_hard", "skipped"]
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@main.group()
def review() -> None:
    """Verdicts of people: give one, look at them, take them in from a file, write them to one."""


@review.command()
@click.argument("key")
@click.argument("verdict", type=click.Choice(VERDICTS))
@click.option("--reason", default="", help="Why, in words.")
@click.option("--who", default="", help="Whose verdict it is.")
@CONFIG
def add(key: str, verdict: str, reason: str, who: str, config_path: Path) -> None:
    """Record VERDICT on the discrepancy KEY.

    A false positive is silenced for good. What is fixed closes as soon as the map shows it; until then, for
    reviews.believe_fixed days, nobody else is asked.
    """
    from daemon.reviews import take_verdict

    config = load_config(config_path)
    now = datetime.now(UTC)
    with _ledger(config) as (cursor, current_map):
        told = take_verdict(
            cursor, current_map, config.reviews, key, verdict, who or None, reason or None, "command line", now, now=now
        )
    click.echo(f"{told.key}: {told.state}" + (f" as {told.closed_as}" if told.closed_as else ""))


def _filters(command: Any) -> Any:
    """The options that choose among verdicts."""
    for option in reversed([
        click.option("--key", "keys", multiple=True, help="Only on this discrepancy; repeatable."),
        click.option("--verdict", "verdicts", multiple=True, type=click.Choice(VERDICTS), help="Repeatable."),
        click.option("--kind", "kinds", multiple=True, help="Only on claims of this kind; repeatable."),
        click.option("--detector", "detectors", multiple=True, help="Only on claims of this detector; repeatable."),
        click.option("--who", help="Only those of this person."),
        click.option("--came-by", help='Only those that came this way: "maproulette", "osmose", "command line", ...'),
        click.option("--since", type=MOMENT, help="Only those given since then (UTC)."),
    ]):
        command = option(command)
    return command


@review.command("list")
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable: an object a line.")
@CONFIG
def list_reviews(limit: int, as_json: bool, config_path: Path, **filters: Any) -> None:
    """Show verdicts, the latest last."""
    from collections import deque

    from daemon.db import open_database
    from daemon.publish.feed import encode
    from daemon.reviews.reading import read_reviews

    chosen = _chosen(**filters)
    with open_database(load_config(config_path)) as db, db.transaction() as cursor:
        shown = deque(read_reviews(cursor, chosen), maxlen=limit)
    if as_json:
        for kept in shown:
            click.echo(encode(kept.facts()).decode())
        return
    table = Table("given", box=None, pad_edge=False)
    for name in ("key", "kind", "verdict", "who", "came by", "reason"):
        table.add_column(name, no_wrap=name == "key")
    for kept in shown:
        verdict = kept.verdict.value if kept.overturned is None else f"{kept.verdict.value} (taken back)"
        cells = (f"{kept.at:%Y-%m-%d %H:%M}", kept.key, kept.kind, verdict, kept.who, kept.came_by, kept.reason)
        table.add_row(*(_plain(cell) for cell in cells))
    Console(soft_wrap=True, highlight=False, markup=False).print(table if shown else "no verdicts")


@review.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@CONFIG
def import_reviews(file: Path, config_path: Path) -> None:
    """Take in the verdicts of FILE: CSV with a heading, or JSON lines.

    Columns: key and verdict; as well as who, reason, at (2026-11-22T05:08:49Z) and came_by. Every line is checked, and
    all that is wrong is told; then nothing is taken. Taken in twice, a file changes nothing the second time.
    """
    from daemon.reviews.files import take_file

    config = load_config(config_path)
    with _ledger(config) as (cursor, current_map):
        taken = take_file(cursor, current_map, config.reviews, file, datetime.now(UTC))
    left_out = f", {taken.overturned} left out that were taken back" if taken.overturned else ""
    click.echo(f"{taken.recorded} verdicts taken in, {taken.known} known before{left_out}")


@review.command("export")
@_filters
@click.option("--format", "fmt", type=click.Choice(["csv", "jsonl", "geojson"]), default="jsonl", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@CONFIG
def export_reviews(fmt: str, out: Path | None, config_path: Path, **filters: Any) -> None:
    """Write verdicts with what was judged: geometry, evidence, model, confidence; training data for the next model."""
    from daemon.db import open_database
    from daemon.exporting import context_of, write_whole
    from daemon.reviews.files import WRITERS
    from daemon.reviews.reading import read_reviews

    config, chosen = load_config(config_path), _chosen(**filters)
    attribution = "; ".join(context_of(config).attributions)
    with open_database(config) as db, db.transaction() as cursor:
        count = write_whole(out, lambda file: WRITERS[fmt](read_reviews(cursor, chosen), file, attribution))
    click.echo(f"{count} verdicts", err=True)


@review.command("replay-ranking")
@click.option("--seeds", type=click.IntRange(min=2, max=1000), default=20, show_default=True, help="Worlds of a sort.")
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True, help="Days in each world.")
@click.option("--daily", type=click.IntRange(min=1), default=20, show_default=True, help="Claims shown on each day.")
@click.option("--claims", type=click.IntRange(min=1), default=2400, show_default=True, help="Claims in each world.")
@click.option("--miscalibration", "spreads", type=click.FloatRange(min=0, max=5), multiple=True,
              help="How far confidences are off in a kind and in a town (log odds); repeatable; default: 0, 0.5 and 1.")
@click.option("--logged", is_flag=True, help="Not simulated: estimate from the choices and verdicts of this database.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@CONFIG
def replay_ranking(seeds: int, days: int, daily: int, claims: int, spreads: tuple[float, ...], logged: bool,
                   as_json: bool, config_path: Path) -> None:
    """What learning from verdicts brings: the accepted share of what is shown, beside the order of confidence.

    Simulated mappers judge the claims of made-up towns, in which confidences are right, or off by so much; the oracle
    knows each claim's chance. With --logged, what other orders would have brought is estimated from what was shown here
    and what became of it (inverse propensity scoring, self-normalised). Intervals are of 95 %.
    """
    if logged:
        _tell_logged(config_path, as_json)
        return
    from daemon.reviews.ranking.simulation import RULES, Setting, compare

    table = Table("miscalibration", *RULES, "gain over confidence", box=None, pad_edge=False)
    found = []
    with progress_bar("worlds") as advance:
        chosen = spreads or (0.0, 0.5, 1.0)
        for done, spread in enumerate(chosen):
            setting = Setting(spread, claims=claims, days=days, daily=daily)
            before, total = done * seeds, len(chosen) * seeds
            compared = compare(setting, range(seeds), lambda n, before=before, total=total: advance(before + n, total))
            found.append({
                "miscalibration": spread, "gain": compared.gain._asdict(),
                "accepted": {name: mean._asdict() for name, mean in compared.shares.items()},
            })
            table.add_row(f"{spread:g}", *(str(mean) for mean in compared.shares.values()), f"{compared.gain:+}")
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        Console(soft_wrap=True, highlight=False).print(table)
        click.echo(f"accepted share of {daily} claims shown on each of {days} days; {seeds} worlds")


def _tell_logged(config_path: Path, as_json: bool) -> None:
    from daemon.db import open_database
    from daemon.reviews.ranking.offpolicy import RULES, estimate, read_choices

    with open_database(load_config(config_path)) as db, db.transaction() as cursor:
        choices = read_choices(cursor)
    estimates = {name: estimate(choices, rule) for name, rule in RULES.items()}
    judged = sum(one.verdict is not None for one in choices)
    if as_json:
        click.echo(json.dumps({
            "choices": len(choices), "judged": judged, "rules": {name: e._asdict() for name, e in estimates.items()},
        }, indent=1))
        return
    table = Table("order", "accepted share", "choices that say so", box=None, pad_edge=False)
    for name, one in estimates.items():
        share = "nothing is known" if one.share is None else f"{one.share:.3f} ± {one.margin:.3f}"
        table.add_row(name, share, f"{one.effective:.1f}")
    Console(soft_wrap=True, highlight=False).print(table)
    click.echo(f"{len(choices)} choices in the log, {judged} of them with a verdict")


@contextmanager
def _ledger(config: Config) -> Iterator[tuple[Cursor, CurrentMap]]:
    """One transaction on the ledger, and the map to be asked."""
    from daemon.current_map import open_current_map
    from daemon.db import open_database

    with open_database(config) as db, open_current_map(config) as current_map, db.transaction() as cursor:
        yield cursor, current_map


def _chosen(since: datetime | None = None, **filters: Any) -> Chosen:
    from daemon.reviews.reading import Chosen

    return Chosen(**filters, since=since and since.replace(tzinfo=UTC))


def _plain(text: str | None) -> str:
    """What people write may hold anything; on a terminal it is one line of it, without control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join((text or "").split()))[:80]
