"""Which claim is which discrepancy: the same thing seen again, by any model, shifted a little or drawn anew.

Two of one kind are the same when they are about the same OSM object, overlap (intersection over union >= 0.3), hold
each other's centre, or have their centres nearer than a quarter of the smaller one's width. Lines have no area: two are
the same when one runs along the other for half of its length; what is put together of many blocks is in `stretches`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.discrepancies.model import LIVE, ClosedAs, Discrepancy
from daemon.tiling.grid import lonlat_to_mercator
from detectors.base import Claim, Frame

#: Intersection over union from which two outlines are the same thing.
SAME_IOU = 0.3
#: Distance of centres, as a part of the smaller one's width, below which they are; never more than SAME_MOST_M metres.
SAME_DISTANCE = 0.25
SAME_MOST_M = 10.0
#: A false positive silences what overlaps it so much, or contains or is contained by so much.
SILENCED_IOU = 0.2
SILENCED_PART = 0.5
#: What is denied with a kind of claim: who says that something is not out of place says that it stands.
DENIES: Mapping[str, tuple[str, ...]] = {"misplaced": ("gone",)}
#: Points and lines get this much body, in metres, to be compared.
BODY_M, LINE_BODY_M = 2.0, 4.0
#: shapely's number of the type, which its set operations do not take.
GEOMETRY_COLLECTION = 7


@dataclass(frozen=True, slots=True)
class Matching:
    """Indexes of claims and of the discrepancies they are.

    Attributes:
        live: claim -> the open or published discrepancy it is; one to one.
        silenced: claim -> the false positive that silences it; one may silence many.
        closed: claim -> the otherwise closed discrepancy it is; one to one.
        new: claims that nothing is known of.
    """

    live: dict[int, int]
    silenced: dict[int, int]
    closed: dict[int, int]
    new: list[int]


@dataclass(frozen=True, slots=True)
class _Pair:
    claim: int
    known: int
    same_osm: bool
    iou: float
    distance: float
    is_same: bool
    is_silenced: bool

    def rank(self, known: Sequence[Discrepancy]) -> tuple[bool, float, float, str, int]:
        return not self.same_osm, -self.iou, self.distance, known[self.known].key, self.claim


def match(claims: Sequence[Claim], known: Sequence[Discrepancy]) -> Matching:
    """Pair the claims of one neighbourhood with the discrepancies known there, the best pairs first.

    Live discrepancies and false positives compete for a claim; what is left is looked for among the otherwise closed.
    """
    pairs = sorted(_pairs(claims, known), key=lambda pair: pair.rank(known))
    live: dict[int, int] = {}
    silenced: dict[int, int] = {}
    closed: dict[int, int] = {}
    taken: set[int] = set()
    for pair in pairs:
        row = known[pair.known]
        if pair.claim in live or pair.claim in silenced:
            continue
        if row.closed_as is ClosedAs.FALSE_POSITIVE:
            if pair.is_silenced:
                silenced[pair.claim] = pair.known
        elif row.state in LIVE and pair.is_same and pair.known not in taken:
            live[pair.claim] = pair.known
            taken.add(pair.known)
    for pair in pairs:
        row = known[pair.known]
        if pair.claim in live or pair.claim in silenced or pair.claim in closed or pair.known in taken:
            continue
        if row.state not in LIVE and row.closed_as is not ClosedAs.FALSE_POSITIVE and pair.is_same:
            closed[pair.claim] = pair.known
            taken.add(pair.known)
    new = [i for i in range(len(claims)) if i not in live and i not in silenced and i not in closed]
    return Matching(live, silenced, closed, new)


def is_line(geometry: BaseGeometry) -> bool:
    return geometry.geom_type in ("LineString", "MultiLineString")


def silences(row: Discrepancy, claim: Claim) -> bool:
    """Whether a false positive silences a claim."""
    ours, theirs = _bodies([claim.geometry, row.geometry])
    pair = _compare(0, 0, claim, row, ours, theirs)
    return pair is not None and pair.is_silenced


def overlap(first: BaseGeometry, second: BaseGeometry) -> tuple[float, float]:
    """(intersection over union, distance of centres in metres) of two lon/lat geometries near each other."""
    a, b = _bodies([first, second])
    shared = shapely.intersection(a, b).area
    return shared / (a.area + b.area - shared), shapely.distance(a.centroid, b.centroid)


def width_m(geometry: BaseGeometry) -> float:
    """Side in metres of a square as large as the lon/lat geometry."""
    return float(np.sqrt(_bodies([geometry])[0].area))


def _pairs(claims: Sequence[Claim], known: Sequence[Discrepancy]) -> list[_Pair]:
    if not claims or not known:
        return []
    bodies = _bodies([c.geometry for c in claims] + [k.geometry for k in known])
    ours, theirs = bodies[: len(claims)], bodies[len(claims) :]
    near = {(int(i), int(j)) for i, j in shapely.STRtree(theirs).query(ours, "dwithin", SAME_MOST_M).T}
    by_osm: dict[str, list[int]] = {}
    for j, row in enumerate(known):
        if row.osm:
            by_osm.setdefault(row.osm, []).append(j)
    near |= {(i, j) for i, claim in enumerate(claims) if claim.osm for j in by_osm.get(claim.osm, [])}
    pairs = [_compare(i, j, claims[i], known[j], ours[i], theirs[j]) for i, j in near]
    return [pair for pair in pairs if pair is not None]


def _compare(i: int, j: int, claim: Claim, row: Discrepancy, ours: BaseGeometry, theirs: BaseGeometry) -> _Pair | None:
    if claim.detector != row.detector:
        return None
    is_denied = row.closed_as is ClosedAs.FALSE_POSITIVE and claim.kind in DENIES.get(row.kind, ())
    if claim.kind != row.kind and not is_denied:
        return None
    same_osm = claim.osm is not None and claim.osm == row.osm
    shared = shapely.intersection(ours, theirs).area
    smaller = min(ours.area, theirs.area)
    iou = shared / (ours.area + theirs.area - shared)
    our_centre, their_centre = ours.centroid, theirs.centroid
    distance = shapely.distance(our_centre, their_centre)
    is_here = (
        iou >= SAME_IOU
        or distance <= min(SAME_DISTANCE * np.sqrt(smaller), SAME_MOST_M)
        or (shapely.contains(ours, their_centre) and shapely.contains(theirs, our_centre))
    )
    if is_line(claim.geometry) and is_line(row.geometry):
        is_here = shared >= SILENCED_PART * smaller
    is_silenced = is_here or iou >= SILENCED_IOU or shared >= SILENCED_PART * smaller or (same_osm and shared > 0)
    return _Pair(i, j, same_osm, iou, float(distance), same_osm or bool(is_here), bool(is_silenced))


def _bodies(geometries: Sequence[BaseGeometry]) -> np.ndarray:
    """Lon/lat geometries -> valid areas in local metres around the first one's centre."""
    west, south, east, north = geometries[0].bounds
    x, y = lonlat_to_mercator((west + east) / 2, (south + north) / 2)
    frame = Frame((x, y, x, y), (1, 1))
    drawn = np.array([frame.to_local(geometry) for geometry in geometries], dtype=object)
    mended = shapely.make_valid(drawn, method="structure", keep_collapsed=False)
    bodies = np.where(shapely.is_valid(drawn), drawn, mended)
    bodies = np.where(shapely.is_empty(bodies), shapely.envelope(drawn), bodies)
    is_thin = (shapely.area(bodies) < BODY_M * BODY_M) | (shapely.get_type_id(bodies) == GEOMETRY_COLLECTION)
    bodies[is_thin] = shapely.buffer(bodies[is_thin], BODY_M)
    lines = np.array([is_line(geometry) for geometry in geometries])
    bodies[lines] = shapely.buffer(drawn[lines], LINE_BODY_M)
    return bodies
