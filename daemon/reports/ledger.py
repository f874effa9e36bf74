"""Runs of reports in the database: one row a run, one a cell, and the history of a subject."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Any

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.model import plain
from daemon.osm import Position
from daemon.reports.cells import ReportCell
from detectors.correlation import Correlation


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as the history tells it.

    Attributes:
        made: when; data_of: the time of the OSM data it saw, with its sequence.
        summary: the figures of the whole.
    """

    made: datetime
    sequence: int | None
    data_of: datetime | None
    cells: int
    summary: Mapping[str, Any]


def write_run(
    cursor: Cursor, report: str, subject: str, cells: Sequence[ReportCell], columns: Mapping[str, np.ndarray],
    summary: Mapping[str, Any], position: Position | None, now: datetime,
) -> int:
    """Write a run down; returns its number.

    Args:
        columns: float [N] each: mapped, witness, low, high; those that are left out are unknown.
    """
    cursor.execute(query("add_report_run"), {
        "report": report, "subject": subject, "made": now, "sequence": position and position.sequence,
        "data_of": position and position.timestamp, "cells": len(cells),
        "summary": json.dumps(plain(summary), allow_nan=False),
    })
    (run,) = cursor.fetchone()
    unknown = np.full(len(cells), np.nan)
    values = {name: columns.get(name, unknown) for name in ("mapped", "witness", "low", "high")}
    cursor.execute(query("add_report_cells"), {
        "run": run, "name": [cell.name for cell in cells], "area_km2": [cell.area_km2 for cell in cells],
        **{name: [float(v) if np.isfinite(v) else None for v in column] for name, column in values.items()},
    })
    return run


def history(cursor: Cursor, report: str, subject: str) -> list[Run]:
    """All runs of a subject, the oldest first."""
    cursor.execute(query("report_history"), {"report": report, "subject": subject})
    return [Run(*row) for row in cursor.fetchall()]


def correlations(cursor: Cursor, run: int, level: float = 0.95) -> tuple[Correlation, Correlation]:
    """Pearson's and Spearman's coefficient of a run's cells, computed by the database."""
    cursor.execute(query("report_correlation"), {"run": run, "q": NormalDist().inv_cdf((1 + level) / 2)})
    rows, *values = cursor.fetchone()
    return Correlation(*values[:3], rows), Correlation(*values[3:], rows)


def verdicts(cursor: Cursor, detector: str) -> dict[str, tuple[int, int]]:
    """Kind -> how many of a detector's discrepancies people called right, and wrong."""
    cursor.execute(query("completeness_verdicts"), {"detector": detector})
    return {kind: (right, wrong) for kind, right, wrong in cursor.fetchall()}
