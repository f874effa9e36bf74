"""Commands for trying things out: replay and demo; and the systemd service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from daemon.cli import CONFIG, load_config, main, progress_bar
from daemon.config import Log
from daemon.log import set_up_log

if TYPE_CHECKING:
    from daemon.replay import Minute, Report

#: Columns of a table that goes to a file or a pipe.
WIDTH = 130
DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class TileRange(click.ParamType):
    """X0-X1,Y0-Y1: columns and rows of tiles, both ends included."""

    name = "X0-X1,Y0-Y1"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[tuple[int, int]]:
        try:
            columns, rows = ([int(v) for v in part.split("-")] for part in value.split(","))
            return frozenset((x, y) for x in range(columns[0], columns[1] + 1) for y in range(rows[0], rows[1] + 1))
        except (ValueError, IndexError):
            self.fail(
                f"{value!r}: expected columns and rows of tiles, e.g. 386690-386691,220241-220245", param, ctx
            )


@main.command()
@click.argument("directory", type=DIRECTORY)
@click.option("--truth", "truth_path", type=FILE, help="A truth file: score what is found after every change file.")
@click.option("--tiles", type=TileRange(), help="Score only these tiles, of zoom 19 for buildings and 17 for roads.")
@click.option(
    "--unseen",
    type=DIRECTORY,
    metavar="DATA",
    help="Score only ground that the model was not trained on; DATA: where the training data lies that its card names.",
)
@click.option("--detector", default="building", show_default=True, help="Which one looks: building, road or another.")
@click.option("--zoom", type=click.IntRange(1, 24), help="Of the tiles; default: the one that fits the model best.")
@click.option(
    "--folds",
    type=DIRECTORY,
    help="Bundles of spatial folds (fold0, fold1, ...): score each on ground it has not seen, and add up.",
)
@click.option(
    "--model", help="A shipped bundle's name, or a bundle's directory; default: the one made for the detector."
)
@click.option(
    "--export",
    "export_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what is open at the end as GeoJSON.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a picture and an HTML page of the end to this directory.",
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep the database here; default: thrown away."
)
@click.option("--no-backfill", is_flag=True, help="Do not look at everything before the first change file.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on standard output.")
@click.option("--verbose", is_flag=True, help="Log what the stages do.")
def replay(
    directory: Path,
    truth_path: Path | None,
    tiles: frozenset[tuple[int, int]] | None,
    unseen: Path | None,
    detector: str,
    zoom: int | None,
    folds: Path | None,
    model: str | None,
    export_path: Path | None,
    page: Path | None,
    data_dir: Path | None,
    no_backfill: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Live through DIRECTORY (base.osm.pbf, replication/, imagery/) as fast as the machine can.

    Bootstraps, looks at everything once, then applies one change file after another. With --truth it prints precision,
    recall and F1 for each kind, after every change file and at the end. Nothing is published.
    """
    from daemon.replay import replay as live
    from daemon.replay import replay_folds, replay_pipeline, unseen_tiles
    from daemon.scoring import BuildingTruth, Truth
    from detectors.registry import registry

    set_up_log(Log(level="info" if verbose else "warning"))
    if detector not in registry().plugins:
        raise click.BadParameter(f"{detector!r}: there are {', '.join(registry().plugins)}", param_hint="--detector")
    model = model or registry().plugins[detector].model
    truth = Truth.load(truth_path) if truth_path else None
    if unseen:
        if truth is None:
            raise click.UsageError("--unseen scores a part of what --truth knows: name it")
        tiles = unseen_tiles(truth, model, unseen)
    if folds:
        bundles = sorted(path.parent for path in folds.glob("fold[0-9]*/card.json"))
        if not isinstance(truth, BuildingTruth) or not bundles:
            raise click.UsageError(
                "--folds needs the --truth of buildings, and bundles fold0, fold1, ... in its directory; for roads "
                "there is --unseen"
            )
        with progress_bar("replaying") as advance:
            report = replay_folds(
                directory, bundles, truth, lambda minute, newest: advance(minute.sequence or 0, newest)
            )
        _say(report, as_json)
        return
    with replay_pipeline(directory, model, data_dir, detector, zoom) as pipeline:
        with progress_bar("replaying") as advance:
            report = live(
                pipeline,
                directory,
                truth=truth,
                tiles=tiles,
                backfill=not no_backfill,
                on_minute=lambda minute, newest: advance(minute.sequence or 0, newest),
            )
        if export_path:
            from daemon.exporting import context_of, write_export
            from daemon.publish import Filter

            write_export(pipeline.db, "geojson", export_path, Filter(), context_of(pipeline.config))
        if page:
            from daemon.demo.page import write_replay_page

            write_replay_page(pipeline, page, report)
    _say(report, as_json)


def _say(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=1, default=str))
    else:
        show_report(report)


def show_report(report: Report) -> None:
    """A line a minute, and the end by place and kind."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    scored = any(m.scores for m in report.minutes)
    table = Table(
        title=f"replay of {report.directory}",
        caption=f"model {report.model}, tiles of zoom {report.zoom}, {report.seconds:.1f} s",
    )
    for name in ("sequence", "dirty tiles", "fixed", "missing", "gone", "misplaced", "apply s", "look s"):
        table.add_column(name, justify="right")
    if scored:
        for name in ("touched missed", "F1 missing", "F1 gone", "F1 misplaced"):
            table.add_column(name, justify="right")
    for minute in report.minutes:
        row = [
            "back-fill" if minute.sequence is None else str(minute.sequence),
            str(minute.tiles),
            str(minute.fixed),
            *(str(minute.open.get(kind, 0)) for kind in ("missing", "gone", "misplaced")),
            f"{minute.apply_s:.3f}",
            f"{minute.look_s:.2f}",
        ]
        if scored:
            row += ["" if minute.missed_tiles is None else str(minute.missed_tiles), *_f1_of(minute)]
        table.add_row(*row)
    console.print(table)
    if scored and report.minutes[-1].scores:
        unit = "; metres for missing" if report.paths else ""
        end = Table(title=f"at the end, found against known{unit}")
        for name in ("place", "kind", "precision", "recall", "F1", "true", "false", "overlooked", "not scored"):
            end.add_column(name, justify="left" if name in ("place", "kind") else "right")
        for place, kinds in report.minutes[-1].scores.items():
            for kind, c in kinds.items():
                end.add_row(
                    place,
                    kind,
                    _share(c.precision),
                    _share(c.recall),
                    _share(c.f1),
                    str(c.tp),
                    str(c.fp),
                    str(c.fn),
                    str(c.unscored),
                )
        console.print(end)
    if report.paths:
        ways = Table(title="ways one can drive, against the true roads (near to APLS)")
        for name in ("place", "on the map", "on the map with all claims followed"):
            ways.add_column(name, justify="left" if name == "place" else "right")
        for place, scores in report.paths.items():
            ways.add_row(place, _share(scores["map"]), _share(scores["corrected"]))
        console.print(ways)


def _f1_of(minute: Minute) -> list[str]:
    from daemon.scoring import Counts

    if not minute.scores:
        return ["", "", ""]
    return [
        _share(sum((kinds[kind] for kinds in minute.scores.values()), Counts()).f1)
        for kind in ("missing", "gone", "misplaced")
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-out"),
    show_default=True,
    help="Directory for the picture and the page.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the rendered town.")
@click.option(
    "--data",
    type=DIRECTORY,
    envvar="MAPGAP_DATA",
    help="Sample data: use its real replay instead of the rendered town.",
)
def demo(out: Path, seed: int, data: Path | None) -> None:
    """The whole way on a sample: finds planted errors, prints a table, writes a picture and an HTML page.

    Without sample data the town is made up and its imagery is rendered.
    """
    from daemon.demo.show import run_demo

    set_up_log(Log(level="warning"))
    show_report(run_demo(out, seed, data))


@main.group()
def service() -> None:
    """The systemd service."""


@service.command()
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), default=Path("/"), help="Install below this directory."
)
@CONFIG
def install(root: Path, config_path: Path) -> None:
    """Write the unit, and say how to start it."""
    from daemon.service import install as install_unit

    load_config(config_path)
    click.echo(install_unit(config_path, root=root))


@service.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    help="Installed below this directory.",
)
def uninstall(root: Path) -> None:
    """Remove the unit; data and configuration stay."""
    from daemon.service import uninstall as uninstall_unit

    click.echo(uninstall_unit(root=root))
