"""Ask the current map, without imagery, whether what was claimed still holds.

After each change file those discrepancies are asked that touch changed places, so that what a mapper fixed closes in
the same transaction; before anything is shown to people, it is asked once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
import shapely
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.life import close, lock_ledger
from daemon.discrepancies.model import ClosedAs, Discrepancy
from detectors.base import Claim, OsmFeature

Bbox = tuple[float, float, float, float]
Holds = Callable[[Claim, Sequence[OsmFeature]], bool]
FeaturesIn = Callable[[Cursor, Bbox], list[OsmFeature]]
Feature = Callable[[Cursor, str], OsmFeature | None]

#: Metres around a discrepancy within which the map is asked; also around what changed.
AROUND_M = 30.0
#: Side of the neighbourhoods that are asked in one query, in degrees (about a kilometre).
NEIGHBOURHOOD = 0.01


def recheck(
    cursor: Cursor, *, bboxes: Sequence[Bbox], holds: Holds, features_in: FeaturesIn, now: datetime,
    sequence: int | None, feature: Feature | None = None, refs: Sequence[str] = (), detector: str | None = None,
) -> list[str]:
    """Close as fixed the open and published discrepancies around changed places that no longer hold.

    Call it after the change was applied and the tiles were marked, in the same transaction.

    Args:
        bboxes: lon/lat (west, south, east, north) of what changed, old and new geometries.
        holds: the detector's own answer; gets the map's features around the claim.
        features_in: the map's features that touch a lon/lat box.
        feature: one feature by its "way/123"; asked when the object of a claim is not around it any more.
        refs: "way/123" of changed objects, also of those that left the map.
        detector: ask the discrepancies of this detector only, those that `holds` can judge.

    Returns:
        Keys that were closed.
    """
    if not _touched(cursor, bboxes, refs, detector):
        return []
    lock_ledger(cursor)
    touched = _touched(cursor, bboxes, refs, detector)
    fixed = no_longer_hold(cursor, touched, holds=holds, features_in=features_in, feature=feature)
    return close(cursor, sorted(fixed), ClosedAs.FIXED, now=now, sequence=sequence, detail={"by": "map"})


def no_longer_hold(
    cursor: Cursor, discrepancies: Sequence[Discrepancy], *, holds: Holds, features_in: FeaturesIn,
    feature: Feature | None = None,
) -> set[str]:
    """Keys of the discrepancies that the current map no longer shows. Changes nothing; one query a neighbourhood."""
    wrong: set[str] = set()
    for members in _neighbourhoods(discrepancies).values():
        boxes = [_widen(d.geometry.bounds) for d in members]
        features = features_in(cursor, (
            min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes),
        ))
        tree = shapely.STRtree([f.geometry for f in features])
        named = {f.ref: f for f in features}
        for discrepancy, box in zip(members, boxes, strict=True):
            around = [features[i] for i in np.sort(tree.query(shapely.box(*box), "intersects"))]
            osm = discrepancy.osm
            if osm and all(f.ref != osm for f in around):
                about = named.get(osm) or (feature(cursor, osm) if feature else None)
                around += [about] if about else []
            if not holds(discrepancy.claim, around):
                wrong.add(discrepancy.key)
    return wrong


def _touched(cursor: Cursor, bboxes: Sequence[Bbox], refs: Sequence[str], detector: str | None) -> list[Discrepancy]:
    if not bboxes and not refs:
        return []
    boxes = [_widen(bbox) for bbox in bboxes]
    cursor.execute(query("discrepancies_touched"), {
        "west": [b[0] for b in boxes], "south": [b[1] for b in boxes], "east": [b[2] for b in boxes],
        "north": [b[3] for b in boxes], "osm": list(refs), "detector": detector,
    })
    return [Discrepancy.of(row) for row in cursor.fetchall()]


def _neighbourhoods(discrepancies: Sequence[Discrepancy]) -> dict[tuple[int, int], list[Discrepancy]]:
    cells: dict[tuple[int, int], list[Discrepancy]] = {}
    for discrepancy in discrepancies:
        lon, lat = discrepancy.point
        cells.setdefault((math.floor(lon / NEIGHBOURHOOD), math.floor(lat / NEIGHBOURHOOD)), []).append(discrepancy)
    return cells


def _widen(bbox: Bbox) -> Bbox:
    west, south, east, north = (float(v) for v in bbox)
    up = AROUND_M / 111_320
    side = up / max(math.cos(math.radians(max(abs(south), abs(north)))), 1e-2)
    return west - side, south - up, east + side, north + up
