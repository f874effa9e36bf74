"""The map against another data set: how far they go together, what falls short, and what is lit but empty."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import shapely
from psycopg2.extensions import cursor as Cursor
from shapely.geometry import box

from daemon.config import Tiling
from daemon.discrepancies.reconcile import Outcome, reconcile
from daemon.osm import OsmStore
from daemon.reports.cells import ReportCell
from daemon.reports.ledger import write_run
from daemon.reports.mapped import measure
from daemon.tiling.cells import cells_of_area
from daemon.tiling.queue import mark_dirty
from detectors.density import Comparison, DensityDetector, amount_in, compare
from detectors.zonal import Measure, Witness


@dataclass(frozen=True, slots=True)
class DensityReport:
    """One run.

    Attributes:
        run: its number in the database.
        subject: "road_length by viirs.tif": the same subject makes one history.
        source: name of the other data set.
        cells: N areas.
        witness: float64 [N], what that says, for each square kilometre where it counts; NaN where it says nothing.
        mapped: float64 [N], for each square kilometre.
        compared: what follows from both.
    """

    run: int
    subject: str
    source: str
    unit: str
    cells: Sequence[ReportCell]
    witness: np.ndarray
    mapped: np.ndarray
    compared: Comparison

    @property
    def silent(self) -> int:
        """How many cells the other data set says nothing about."""
        return int(np.isnan(self.witness).sum())

    @property
    def areas(self) -> np.ndarray:
        """Square kilometres, float64 [N]."""
        return np.array([cell.area_km2 for cell in self.cells])


@dataclass(frozen=True, slots=True)
class Source:
    """Another data set.

    Attributes:
        name: for people, and for the history.
        ask: what it says of some neighbouring cells, float64 [N]: a density, or what is counted; NaN for nothing.
        counts: whether it counts (people), so that it is divided by the cells' sizes to compare cells of all sizes.
    """

    name: str
    ask: Callable[[Sequence[ReportCell]], np.ndarray]
    counts: bool = False

    @classmethod
    def raster(cls, witness: Witness, how: Measure) -> Source:
        """The mean of a raster's pixels in each cell, or their sum."""
        return cls(witness.path.name, lambda cells: witness.ask([c.geometry for c in cells], how), how == "sum")

    @classmethod
    def values(cls, name: str, values: Mapping[str, float], counts: bool) -> Source:
        """Numbers that the cells themselves came with, by their names."""
        return cls(name, lambda cells: np.array([values.get(c.name, np.nan) for c in cells], dtype=np.float64), counts)


def make_density(
    cursor: Cursor, store: OsmStore, detector: DensityDetector, groups: Iterable[list[ReportCell]], source: Source, *,
    now: datetime, progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> DensityReport:
    """Measure all cells and write the run down, in the caller's transaction.

    Args:
        groups: the cells, neighbours together.
        progress: gets the number of cells done.

    Raises:
        DatasetInvalid: the raster cannot be used.
        MapgapError: the store cannot be read.
    """
    cells: list[ReportCell] = []
    mapped: list[np.ndarray] = []
    seen: list[np.ndarray] = []
    for group in groups:
        size = np.array([cell.area_km2 for cell in group])
        mapped.append(measure(cursor, store, group, lambda c, f: amount_in(c.geometry, f, detector.quantity)) / size)
        said = source.ask(group)
        seen.append(said / size if source.counts else said)
        cells += group
        progress(len(cells), None)
    amounts = np.concatenate(mapped) if mapped else np.zeros(0)
    lights = np.concatenate(seen) if seen else np.zeros(0)
    areas = np.array([cell.area_km2 for cell in cells])
    compared = compare(lights, amounts, areas)
    subject = f"{detector.settings.quantity} by {source.name}"
    run = write_run(
        cursor, "density", subject, cells, {"mapped": amounts, "witness": lights},
        summary_of(amounts, areas, compared, detector.quantity.unit), store.position(cursor), now,
    )
    return DensityReport(run, subject, source.name, detector.quantity.unit, cells, lights, amounts, compared)


def summary_of(mapped: np.ndarray, areas: np.ndarray, compared: Comparison, unit: str) -> dict[str, Any]:
    """The figures of the whole, for the history."""
    return {
        "pearson": asdict(compared.pearson), "spearman": asdict(compared.spearman), "unit": unit,
        "mapped": float((mapped * areas).sum()), "missing": float(compared.missing[compared.order].sum()),
    }


def open_empty(
    cursor: Cursor, detector: DensityDetector, report: DensityReport, *, now: datetime, sequence: int | None
) -> Outcome:
    """Bring the ledger in line: cells that are lit but empty are open, those that no longer are close.

    A cell that the other data set says nothing of is left as it is.
    """
    geometries = [cell.geometry for cell in report.cells]
    known = [g for g, value in zip(geometries, report.witness, strict=True) if np.isfinite(value)]
    tree = shapely.STRtree(known)
    west, south, east, north = shapely.total_bounds(np.array(geometries, dtype=object))
    claims = detector.claims(geometries, report.witness, report.mapped, report.areas, report.source)
    return reconcile(
        cursor, detector=detector.name, key_prefix=detector.key_prefix, claims=claims,
        owned=(float(west), float(south), float(np.nextafter(east, np.inf)), float(north)),
        judged=lambda lon, lat: len(tree.query(shapely.Point(lon, lat), "intersects")) > 0, now=now, sequence=sequence,
    )


def queue_worst(cursor: Cursor, report: DensityReport, count: int, tiling: Tiling, now: datetime) -> int:
    """Let the cells that lack most be looked at next, as a back-fill does; returns how many tiles were queued."""
    queued = 0
    for i in report.compared.order[:count]:
        for group in cells_of_area(report.cells[i].geometry.intersection(box(-180, -85.05, 180, 85.05)), tiling.zoom):
            queued += mark_dirty(
                cursor, group.tiles(), tiling.zoom, reason="backfill", sequence=None, now=now, config=tiling
            )
    return queued
