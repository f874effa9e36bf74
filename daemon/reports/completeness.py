"""How much of what imagery shows is on the map, cell by cell, with how sure that is.

The median of what `estimate` draws is the estimate, the 2.5th and 97.5th percentile the interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.model import LIVE, Discrepancy
from daemon.osm import OsmStore
from daemon.publish.export import Filter, read_discrepancies
from daemon.reports.cells import ReportCell
from daemon.reports.estimate import LEAST_LOOKED, Counted, Reliability, estimate, whole_share
from daemon.reports.ledger import write_run
from daemon.reports.mapped import measure
from daemon.tiling.grid import tile_at
from detectors.base import OsmFeature, frame_around
from detectors.density import QUANTITIES, amount_in
from detectors.evaluation.quality import quality_of

Extent = Literal["count", "area", "length"]
#: Detector -> what of the map it speaks of.
SUBJECTS = {"building": "building_area", "road": "road_length"}


@dataclass(frozen=True, slots=True)
class CompletenessReport:
    """One run.

    Attributes:
        cells: N areas; counted: what is known of each.
        share, low, high: float64 [N], the mapped share and its interval, 0..1; NaN where too little was looked at.
        quality: float64 [N], QoD (`detectors.evaluation.quality`); NaN as above, and for lengths.
        total: (share, low, high) of all judged cells together; None where there is none.
    """

    run: int
    subject: str
    unit: str
    cells: Sequence[ReportCell]
    counted: Sequence[Counted]
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    quality: np.ndarray
    total: tuple[float, float, float] | None


def make_completeness(
    cursor: Cursor, store: OsmStore, detector: str, extent: Extent, groups: Iterable[list[ReportCell]], zoom: int,
    tiling_zoom: int, reliability: Reliability, *, min_confidence: float, seed: int, now: datetime,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> CompletenessReport:
    """Measure all cells and write the run down, in the caller's transaction.

    Args:
        groups: tiles of `zoom`, neighbours together.
        tiling_zoom: of the tiles that were looked at; at least `zoom`.
        min_confidence: of the claims that count.
    """
    looked = _looked(cursor, zoom, tiling_zoom)
    claims = _claims(cursor, detector, zoom, min_confidence)
    quantity = QUANTITIES[SUBJECTS[detector]]
    cells: list[ReportCell] = []
    counted: list[Counted] = []

    def amount(cell: ReportCell, features: list[OsmFeature]) -> float:
        if extent == "count":
            return float(_number(cell, features, quantity.counts))
        return amount_in(cell.geometry, features, quantity)

    for group in groups:
        amounts = measure(cursor, store, group, amount)
        numbers = measure(cursor, store, group, lambda c, f: float(_number(c, f, quantity.counts)))
        for cell, mapped, number in zip(group, amounts, numbers, strict=True):
            here = claims.get(cell.name, {})
            sizes = {kind: _size(here.get(kind, []), extent, quantity.scale) for kind in ("missing", "gone")}
            counted.append(Counted(
                float(mapped), int(number), sizes["missing"], sizes["gone"], looked.get(cell.name, 0.0)
            ))
        cells += group
        progress(len(cells), None)
    rng = np.random.default_rng(seed)
    drawn = estimate(counted, reliability, rng)
    share, low, high = (
        np.percentile(drawn, [50, 2.5, 97.5], axis=1) if len(counted) else np.zeros((3, 0))
    )
    total = whole_share(counted, drawn)
    unit = "objects" if extent == "count" else quantity.unit
    quality = np.array([
        _quality(cell, one) if extent == "area" else math.nan for cell, one in zip(cells, counted, strict=True)
    ])
    subject = f"{detector} by {extent}"
    run = write_run(
        cursor, "completeness", subject, cells, {"mapped": share, "low": low, "high": high},
        {
            "share": total and total[0], "low": total and total[1], "high": total and total[2], "unit": unit,
            "mapped": sum(one.mapped for one in counted), "judged_cells": int(np.isfinite(share).sum()),
        },
        store.position(cursor), now,
    )
    return CompletenessReport(run, subject, unit, cells, counted, share, low, high, quality, total)


def _looked(cursor: Cursor, zoom: int, tiling_zoom: int) -> dict[str, float]:
    levels = tiling_zoom - zoom
    cursor.execute(query("completeness_tiles"), {"z": tiling_zoom, "levels": levels})
    return {f"{zoom}/{x}/{y}": judged / 4**levels for x, y, judged, _ in cursor.fetchall()}


def _claims(
    cursor: Cursor, detector: str, zoom: int, min_confidence: float
) -> dict[str, dict[str, list[Discrepancy]]]:
    found: dict[str, dict[str, list[Discrepancy]]] = defaultdict(lambda: defaultdict(list))
    chosen = Filter(states=LIVE, detectors=(detector,), kinds=("missing", "gone"), min_confidence=min_confidence)
    for one in read_discrepancies(cursor, chosen):
        found[str(tile_at(*one.point, zoom))][one.kind].append(one)
    return found


def _size(claims: Sequence[Discrepancy], extent: Extent, scale: float) -> tuple[int, float]:
    if extent == "count":
        return len(claims), float(len(claims))
    shapes = [frame_around(one.geometry).to_local(one.geometry) for one in claims]
    return len(claims), sum(s.area if extent == "area" else s.length for s in shapes) / scale


def _number(cell: ReportCell, features: Sequence[OsmFeature], counts: Callable[[Mapping[str, str]], bool]) -> int:
    """Objects whose representative point is in the cell."""
    west, south, east, north = cell.geometry.bounds
    points = [f.geometry.representative_point() for f in features if counts(f.tags)]
    return sum(west <= p.x < east and south < p.y <= north for p in points)


def _quality(cell: ReportCell, one: Counted) -> float:
    """QoD of a cell, from hectares: the answer is what stands and what is missing, the map is what is mapped."""
    if one.looked < LEAST_LOOKED:
        return math.nan
    standing = max(one.mapped - one.gone[1], 0.0)
    return quality_of(standing, standing + one.missing[1], one.mapped, cell.area_km2 * 100)


