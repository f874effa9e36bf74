"""How much of something the store has in each cell: one question a neighbourhood, never the whole country at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import shapely
from psycopg2.extensions import cursor as Cursor

from daemon.osm import OsmStore
from daemon.reports.cells import ReportCell
from detectors.base import OsmFeature

#: Gets a cell and the features whose bounding box meets it.
Amount = Callable[[ReportCell, list[OsmFeature]], float]


def measure(cursor: Cursor, store: OsmStore, cells: Sequence[ReportCell], amount: Amount) -> np.ndarray:
    """`amount` of each of some neighbouring cells, float64 [N]."""
    bounds = shapely.bounds(np.array([cell.geometry for cell in cells], dtype=object))
    west, south = bounds[:, :2].min(axis=0)
    east, north = bounds[:, 2:].max(axis=0)
    features = store.features_in(cursor, (float(west), float(south), float(east), float(north)))
    tree = shapely.STRtree([feature.geometry for feature in features])
    return np.array([
        amount(cell, [features[i] for i in np.sort(tree.query(cell.geometry))]) for cell in cells
    ], dtype=np.float64)
