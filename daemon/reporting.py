"""The command `mapgap report`: the map as a whole, measured cell by cell; see daemon/reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.console import Console
from rich.table import Table

from daemon.cli import CONFIG, load_config, main, progress_bar
from daemon.errors import ConfigError

if TYPE_CHECKING:
    from daemon.config import Config
    from daemon.current_map import CurrentMap
    from daemon.db import Database
    from daemon.reports.completeness import CompletenessReport
    from daemon.reports.density import DensityReport
    from daemon.reports.ledger import Run

OUT = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Directory for GeoJSON, CSV and PNG."
)
ZOOM = click.option(
    "--zoom", type=click.IntRange(5, 18), default=13, show_default=True,
    help="Cells are the tiles of this zoom; 13: about 5 km at the equator.",
)


#: Columns of a table that no terminal limits.
WIDTH = 140


@main.group()
def report() -> None:
    """How well the area is mapped as a whole: against other data, and against imagery. Each run is kept."""


@report.command()
@click.option(
    "--raster", type=click.Path(path_type=Path, dir_okay=False),
    help="The witness: night lights, population, built-up ground; any raster that knows where it lies.",
)
@click.option("--band", type=click.IntRange(1), default=1, show_default=True, help="Its band.")
@click.option(
    "--polygons", type=click.Path(path_type=Path, dir_okay=False),
    help="Measure these areas (GeoJSON in degrees, e.g. communes) instead of tiles.",
)
@click.option("--property", "value", help="The witness is this property of the polygons, e.g. their population.")
@click.option(
    "--counts/--densities", default=False, show_default=True,
    help="Whether the witness counts (people in a pixel or polygon), or says how dense something is (radiance).",
)
@ZOOM
@click.option("--open", "opens", is_flag=True, help="Open discrepancies where it is lit but empty, close others.")
@click.option("--backfill", type=click.IntRange(1), help="Let so many cells that lack most be looked at next.")
@OUT
@CONFIG
def density(
    raster: Path | None, band: int, polygons: Path | None, value: str | None, counts: bool, zoom: int, opens: bool,
    backfill: int | None, out: Path | None, config_path: Path,
) -> None:
    """Compare how much is mapped in each cell with another data set: light where nothing is mapped is a place to look.

    What is measured, detectors.density.quantity says: length of roads, or area of buildings. The store must have been
    bootstrapped with detectors.density.enabled = true. Each run is kept, so that the map is seen to fill.
    """
    from daemon.exporting import context_of
    from daemon.reports import density as room
    from daemon.reports import ledger
    from daemon.reports.cells import groups_of_polygons, groups_of_tiles, read_polygons
    from detectors.zonal import Witness

    if (raster is None) == (value is None) or (value is not None and polygons is None):
        raise ConfigError("mapgap report density", ["give --raster FILE, or --polygons FILE --property NAME"])
    config = load_config(config_path)
    with ExitStack() as resources:
        db, current_map = resources.enter_context(_open(config))
        detector = next((d for d in current_map.detectors if d.name == "density"), None)
        if detector is None:
            raise ConfigError("detectors.density", ["enabled: false; set it to true and bootstrap again"])
        cells, values = read_polygons(polygons, value) if polygons else ([], {})
        groups = groups_of_polygons(cells) if polygons else groups_of_tiles(_area(current_map), zoom)
        if raster is not None:
            witness = resources.enter_context(Witness(raster, band))
            source = room.Source.raster(witness, "sum" if counts else "mean")
        else:
            source = room.Source.values(str(value), values, counts)
        now = datetime.now(UTC)
        with progress_bar("measuring") as advance, db.transaction() as cursor:
            made = room.make_density(
                cursor, current_map.store, detector, groups, source, now=now, progress=advance
            )
        if opens:
            with db.transaction() as cursor:
                position = current_map.store.position(cursor)
                outcome = room.open_empty(cursor, detector, made, now=now, sequence=position and position.sequence)
            click.echo(f"lit but empty: {len(outcome.opened)} opened, {len(outcome.seen)} seen again, "
                       f"{len(outcome.reopened)} reopened, {len(outcome.withdrawn)} withdrawn")
        if backfill:
            with db.transaction() as cursor:
                queued = room.queue_worst(cursor, made, backfill, config.tiling, now)
            click.echo(f"{queued} tiles of the cells that lack most are queued")
        if out:
            _write_density(out, made, config.area.name, context_of(config).attributions)
        if made.silent:
            click.echo(f"{made.source} says nothing about {made.silent} of {len(made.cells)} cells"
                       + (": does it cover the area?" if made.silent == len(made.cells) else ""))
        _show_worst(made)
        with db.transaction() as cursor:
            runs = ledger.history(cursor, "density", made.subject)
    _show_history(runs, ("pearson", "spearman", "mapped", "missing"))


@report.command()
@click.option("--detector", type=click.Choice(["building", "road"]), default="building", show_default=True,
              help="Whose claims are believed.")
@click.option("--by", "extent", type=click.Choice(["count", "area", "length"]), help="Default: area, for roads length.")
@click.option("--min-confidence", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="Claims below are left out.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of what is drawn for the intervals.")
@ZOOM
@OUT
@CONFIG
def completeness(
    detector: str, extent: Literal["count", "area", "length"] | None, min_confidence: float, seed: int, zoom: int,
    out: Path | None, config_path: Path,
) -> None:
    """The mapped share of what imagery shows in each cell, with an interval that bears in mind what the detector gets
    wrong and overlooks: by its model's card, and by people's verdicts so far. Cells that were not looked at are left
    open; `mapgap backfill` looks at them.
    """
    import numpy as np

    from daemon.exporting import context_of
    from daemon.reports import completeness as room
    from daemon.reports import ledger
    from daemon.reports.cells import groups_of_tiles
    from daemon.reports.estimate import Reliability
    from detectors.segmentation.bundle import Bundle

    config = load_config(config_path)
    how = extent or ("length" if detector == "road" else "area")
    if (how == "length") != (detector == "road") and how != "count":
        raise ConfigError("--by", [f"{how}: {detector}s are measured by {'length' if detector == 'road' else 'area'}, "
                                   "or counted"])
    table = config.detectors.running.get(detector)
    if table is None:
        raise ConfigError(f"detectors.{detector}", ["enabled: false; nothing was claimed that could be measured"])
    if zoom > config.tiling.zoom:
        raise ConfigError("--zoom", [f"cells of zoom {zoom} are smaller than the tiles of zoom {config.tiling.zoom}"])
    with _open(config) as (db, current_map):
        metrics = Bundle.load(table.model).card.metrics
        groups = groups_of_tiles(_area(current_map), zoom)
        with progress_bar("measuring") as advance, db.transaction() as cursor:
            reliability = Reliability.of(metrics, ledger.verdicts(cursor, detector))
            made = room.make_completeness(
                cursor, current_map.store, detector, how, groups, zoom, config.tiling.zoom, reliability,
                min_confidence=min_confidence, seed=seed, now=datetime.now(UTC), progress=advance,
            )
            runs = ledger.history(cursor, "completeness", made.subject)
        if out:
            _write_completeness(out, made, config.area.name, context_of(config).attributions)
    if made.cells and np.isnan(made.share).all():
        click.echo("of no cell was half looked at: `mapgap backfill` looks; where the area or its imagery is small, "
                   "take smaller cells (--zoom)")
    _show_history(runs, ("share", "low", "high", "mapped"))


def _write_completeness(out: Path, made: CompletenessReport, area: str, attribution: list[str]) -> None:
    from daemon.reports.files import write_files
    from daemon.reports.maps import draw_map

    columns = {
        "share": made.share, "low": made.low, "high": made.high, "qod": made.quality,
        "mapped": [one.mapped for one in made.counted],
        "missing_claims": [one.missing[0] for one in made.counted],
        "gone_claims": [one.gone[0] for one in made.counted],
        "looked": [one.looked for one in made.counted],
    }
    title = f"{area}: mapped share, {made.subject}"
    pictures = {"completeness": draw_map(made.cells, made.share, title, "(1: all)", (0.0, 1.0))} if made.cells else {}
    for path in write_files(out, "completeness", made.cells, columns, pictures, attribution):
        click.echo(f"wrote {path}")


@contextmanager
def _open(config: Config) -> Iterator[tuple[Database, CurrentMap]]:
    from daemon.current_map import open_current_map
    from daemon.db import open_database
    from daemon.eyes import Interest
    from daemon.osm.selection import require_selection

    with open_database(config) as db, open_current_map(config) as current_map:
        with db.transaction() as cursor:
            require_selection(cursor, Interest(current_map.detectors).selection)
        yield db, current_map


def _area(current_map: CurrentMap) -> Any:
    area = current_map.store.area
    if area is None:
        raise ConfigError("area", ["no bbox and no polygon; a report needs to know what to measure"])
    return area.geometry


def _write_density(out: Path, made: DensityReport, area: str, attribution: list[str]) -> None:
    from daemon.reports.files import write_files
    from daemon.reports.maps import draw_fit, draw_map

    compared, unit = made.compared, f"{made.unit} a square kilometre"
    pictures = {}
    if made.cells:
        related = [("Pearson", compared.pearson), ("Spearman", compared.spearman)]
        pictures["density-fit"] = draw_fit(
            made.witness, made.mapped, compared.fit, related, f"{area}: {made.subject}",
            (made.source, f"mapped, {unit}"),
        )
        pictures["density-missing"] = draw_map(
            made.cells, compared.missing / made.areas, f"{area}: expected by {made.source}, minus mapped", unit,
            around_zero=True,
        )
    columns = {
        "witness": made.witness, "mapped_per_km2": made.mapped, "expected_per_km2": compared.expected,
        "missing": compared.missing,
    }
    for path in write_files(out, "density", made.cells, columns, pictures, attribution):
        click.echo(f"wrote {path}")


def _show_worst(made: DensityReport, most: int = 10) -> None:
    order, missing = made.compared.order, made.compared.missing
    title = f"cells that lack most ({len(order)} of {len(made.cells)} fall short)"
    table = Table("cell", f"lacks, {made.unit}", "lat, lon", title=title)
    for i in order[:most]:
        point = made.cells[i].geometry.representative_point()
        table.add_row(made.cells[i].name, f"{missing[i]:.1f}", f"{point.y:.4f}, {point.x:.4f}")
    _print(table)


def _show_history(runs: list[Run], figures: tuple[str, ...]) -> None:
    table = Table("made", "sequence", "data of", "cells", *figures, title="runs")
    for run in runs:
        shown = [_shown(run.summary.get(name)) for name in figures]
        data_of = f"{run.data_of:%Y-%m-%d %H:%M}" if run.data_of else ""
        table.add_row(f"{run.made:%Y-%m-%d %H:%M}", str(run.sequence or ""), data_of, str(run.cells), *shown)
    _print(table)


def _print(table: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        if value["value"] is None:
            return "not known"
        span = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
        return f"{value['value']:.4f}{span}"
    return "not known" if value is None else f"{value:.4g}"
