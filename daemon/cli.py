"""The command `mapgap`: running and operating it. Models are made in `making`, replays and the demo are in `workbench`.

What a command needs is imported when it runs, so that `--help` and shell completion answer at once.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from daemon import __version__
from daemon.config import DEFAULT_CONFIG, Config, load
from daemon.errors import MapgapError, StorageFull
from daemon.log import set_up_log
from daemon.signals import stop_on_signals
from detectors.errors import ModelError

if TYPE_CHECKING:
    from daemon.pipeline import Pipeline

log = logging.getLogger("mapgap")

CONFIG = click.option(
    "--config",
    "-c",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="MAPGAP_CONFIG",
    help="The configuration file (or MAPGAP_CONFIG).",
)


def load_config(path: Path) -> Config:
    """Read the configuration and let the log say what it says there.

    Raises:
        ConfigError: with every problem at once.
    """
    config = load(path)
    set_up_log(config.log)
    return config


@contextmanager
def open_pipeline(config_path: Path) -> Iterator[Pipeline]:
    """The stages over the configured database, with the one-daemon lock held; SIGTERM and SIGINT stop them in order."""
    from daemon.db import hold_daemon_lock, open_database
    from daemon.pipeline import Pipeline

    config = load_config(config_path)
    stop = threading.Event()
    with (
        stop_on_signals(stop),
        open_database(config) as db,
        hold_daemon_lock(db),
        Pipeline(config, db, stop) as pipeline,
    ):
        yield pipeline


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr with time left; the function takes (done, total). Silent where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class Bbox(click.ParamType):
    """W,S,E,N in degrees."""

    name = "W,S,E,N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            west, south, east, north = (float(v) for v in value.split(","))
        except ValueError:
            west = south = east = north = 0.0
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            wanted = "four numbers west,south,east,north in degrees, e.g. 9.47,47.04,9.64,47.28"
            self.fail(f"{value!r}: expected {wanted}", param, ctx)
        return west, south, east, north


class KindName(click.ParamType):
    """A kind of claim that any installed detector makes."""

    name = "KIND"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from detectors.registry import registry

        known = sorted({kind for _, kind in registry().kinds()})
        if value not in known:
            self.fail(f"{value!r}: expected one of {', '.join(known)}", param, ctx)
        return value


class Commands(click.Group):
    """A group whose named failures end as one line on stderr and an exit code, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MapgapError, ModelError) as error:
            click.echo(f"mapgap: {error}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # click knows what to do about a reader that went away
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "; make room there" if full else ""
            click.echo(f"mapgap: {error.filename or 'a file'}: {error.strerror or error}{hint}", err=True)
            ctx.exit(StorageFull.exit_code if full else MapgapError.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mapgap")
def main() -> None:
    """Follows OpenStreetMap, looks at imagery of the ground under each change, and keeps track of where map and
    ground disagree.

    \b
    First steps:  mapgap init --bbox W,S,E,N       write config.toml
                  mapgap check                     is everything it names usable?
                  mapgap bootstrap AREA.osm.pbf    load OSM data
                  mapgap backfill                  look at the whole area once
                  mapgap run                       follow OSM from then on

    \b
    Exit codes: 0 well, 1 failure, 2 wrong configuration or usage, 3 database, 4 replication, 5 OSM data,
    6 imagery, 7 model, 8 disk full, 9 discrepancy, 10 feed, 12 MapRoulette, 13 server. `status`: 0 fresh,
    1 behind, 2 broken or too far behind.
    """


@main.command()
@click.option("--bbox", type=Bbox(), required=True, help="The area to look after, in degrees.")
@click.option("--name", default="area", show_default=True, help="A short name for it: a-z, 0-9 and _.")
@click.option("--contact", default="", help="E-mail or web page of whoever runs this; imagery servers want to know.")
@click.option(
    "--imagery-url", help="Tiles {z}/{x}/{y}, WMS, WMTS, GeoTIFF, VRT, MBTiles, STAC, postgresql://, or an imagery "
    "index; default: OpenAerialMap's mosaic."
)
@click.option("--imagery-layer", default="", help="Layer of a WMS or WMTS, table of PostGIS.")
@click.option("--imagery-entry", default="", help="Id of the entry of an imagery index.")
@click.option("--licence", help="Licence of that imagery.")
@click.option("--attribution", help="Whom to name for it.")
@click.option("--osm-permission", help="Why it may be used to improve OSM.")
@click.option("--acquired", type=click.DateTime(["%Y-%m-%d"]), help="Day the imagery was taken.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=DEFAULT_CONFIG, show_default=True, help="File to write."
)
@click.option("--force", is_flag=True, help="Write over an existing file.")
def init(
    bbox: tuple[float, float, float, float],
    name: str,
    contact: str,
    imagery_url: str | None,
    imagery_layer: str,
    imagery_entry: str,
    licence: str | None,
    attribution: str | None,
    osm_permission: str | None,
    acquired: Any,
    out: Path,
    force: bool,
) -> None:
    """Write a complete, commented config.toml for a bounding box."""
    from daemon.config import Imagery
    from daemon.imagery.kinds import kind_of
    from daemon.init import OPEN_AERIAL_MAP, first_config, write_config

    imagery = OPEN_AERIAL_MAP
    if imagery_url:
        if "://" not in imagery_url and out.resolve().parent != Path.cwd():
            imagery_url = str(Path(imagery_url).expanduser().absolute())  # as seen from here, not from the file
        imagery = Imagery(
            name="imagery",
            kind=kind_of(imagery_url),
            url=imagery_url,
            layer=imagery_layer,
            entry=imagery_entry,
            licence=licence or "",
            attribution=attribution or "",
            osm_permission=osm_permission or "",
        )
    if acquired:
        imagery = imagery.model_copy(update={"acquired": acquired.date()})
    write_config(first_config(bbox, name=name, contact=contact, imagery=imagery), out, force)
    click.echo(f"{out} written; look through it, then run `mapgap check --config {out}`")


@main.command()
@click.argument("extract", type=click.Path(path_type=Path), required=False)
@CONFIG
def check(extract: Path | None, config_path: Path) -> None:
    """Test everything the configuration names: database, replication, imagery, model, permissions.

    With EXTRACT.osm.pbf it also says which replication server that names, and where following would begin.
    """
    from daemon.check import check as findings

    first_error: Exception | None = None
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings(load_config(config_path), extract):
        mark = "[green]ok  [/]" if finding.error is None else "[red]FAIL[/]"
        console.print(f"{mark} {finding.what:<18}", end="")
        console.print(finding.message, markup=False)
        first_error = first_error or finding.error
    if first_error is not None:
        sys.exit(getattr(first_error, "exit_code", 1))


@main.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Replace what the store holds; discrepancies are kept.")
@CONFIG
def bootstrap(file: Path | None, force: bool, config_path: Path) -> None:
    """Load the area from FILE.osm.pbf, or without FILE from osm2pgsql's database (osm.dsn): all of it, or nothing."""
    from daemon.osm.selection import note_selection

    with open_pipeline(config_path) as pipeline, progress_bar("loading") as advance:
        report = pipeline.store.bootstrap(
            pipeline.db, file, advance, force=force, replication_url=pipeline.config.replication.url
        )
        with pipeline.db.transaction() as cursor:
            note_selection(cursor, pipeline.interest.selection)
    position = "not known" if report.sequence is None else report.sequence
    click.echo(
        f"{report.nodes} nodes, {report.ways} ways, {report.relations} relations, {report.features} features in "
        f"{report.seconds:.1f} s; data of {report.timestamp}, sequence {position}"
    )
    if file is not None:
        from daemon.osm import Origin

        click.echo(Origin.read(file).describe_start(pipeline.config.replication.url))


@main.command()
@CONFIG
def run(config_path: Path) -> None:
    """Follow OSM until told to stop: the daemon. SIGTERM finishes or gives back the block in hand.

    With web.enabled it serves, too; see `mapgap serve`.
    """
    from daemon.pipeline import Pipeline
    from daemon.scheduler import run as run_daemon

    config = load_config(config_path)
    companions = []
    if config.web.enabled:
        from daemon.web.server import WebCompanion

        companions.append(WebCompanion(config))
    sys.exit(run_daemon(config, lambda db, stop: Pipeline(config, db, stop), companions))


@main.command()
@CONFIG
def once(config_path: Path) -> None:
    """One full cycle: apply what is new, look at what is due, write the files; then leave."""
    with open_pipeline(config_path) as pipeline:
        for name, stage in pipeline.stages.items():
            if pipeline.stop.is_set():
                return
            portions = 1
            while stage() and not pipeline.stop.is_set():
                portions += 1
            log.info("%s: done after %d portions", name, portions)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@CONFIG
def status(as_json: bool, config_path: Path) -> None:
    """Sequence, lag, queue, open discrepancies, last error. Exit code 0 fresh, 1 behind, 2 broken or too far behind."""
    from daemon.status import show_status

    sys.exit(show_status(load_config(config_path), as_json))


@main.command()
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["geojson", "maproulette", "osmose"]),
    default="geojson",
    show_default=True,
    help="What to write.",
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--bbox", type=Bbox(), help="Only what touches this box, in degrees.")
@click.option("--kind", "kinds", multiple=True, type=KindName(), help="E.g. missing, gone, misplaced; repeatable.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(["open", "published", "closed"]),
    help="Repeatable; default: open and published.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Leave out what is less sure.",
)
@CONFIG
def export(
    fmt: str,
    out: Path | None,
    bbox: tuple[float, float, float, float] | None,
    kinds: tuple[str, ...],
    states: tuple[str, ...],
    min_confidence: float,
    config_path: Path,
) -> None:
    """Write discrepancies as GeoJSON, MapRoulette's line-delimited GeoJSON, or Osmose analyser XML."""
    from daemon.db import open_database
    from daemon.exporting import context_of, write_export
    from daemon.publish import Filter

    config = load_config(config_path)
    chosen = Filter(bbox=bbox, kinds=kinds or None, states=states or Filter().states, min_confidence=min_confidence)
    with open_database(config) as db:
        count = write_export(db, fmt, out, chosen, context_of(config))
    click.echo(f"{count} discrepancies", err=True)
