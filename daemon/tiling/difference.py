"""What of two states of a geometry lies in only one of them, for many geometries at once.

The boundary of the symmetric difference of two areas is made of the pieces of their boundaries that are not shared, and
its inside is where an odd number of both their rings lies around (even-odd rule, over the pieces of both together). Of
lines, what lies in only one of them. Lines are sets: to go over the same ground twice is to go there once.

Shared are pieces between the same two places, in either direction; and what overlaps of pieces that run along the same
meridian or parallel, so that a node set into such a wall changes nothing. Other pieces that overlap on the map in
longitude and latitude do not on the ground, where lines are straight in web mercator.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daemon.tiling.segments import Places, Segments


class _Stretches(NamedTuple):
    """Pieces along a meridian or parallel: `line` numbers what they lie on, `low` and `high` are where."""

    line: np.ndarray
    low: np.ndarray
    high: np.ndarray


def difference(segments: Segments, new: np.ndarray, places: Places) -> Segments:
    """The segments that lie in only one of two states of their owner.

    Args:
        segments: of both states.
        new: bool, which state each belongs to.
        places: their ends.

    Returns:
        Pieces of the segments, in runs.
    """
    rows = np.flatnonzero(_with_length(segments, places))
    straight = (segments.x0 == segments.x1) | (segments.y0 == segments.y1)
    straight &= places.start != places.end
    as_sets = (straight & ~segments.ring)[rows]  # overlaps in one state must be seen before any piece is struck out
    kept = _unpaired(rows[~as_sets], segments, new, places)
    rest = np.sort(kept[~straight[kept]])
    along = np.concatenate([kept[straight[kept]], rows[as_sets]])
    return Segments.join(_in_runs(segments, rest), _uncovered(segments.pick(along), new[along]))


def _with_length(segments: Segments, places: Places) -> np.ndarray:
    """Bool: all but repeated points of a curve that has other points too."""
    long = places.start != places.end
    if long.all():
        return long
    curves = np.zeros(int(segments.run.max()) + 1, bool)
    curves[segments.run[long]] = True
    return long | ~curves[segments.run]


def _unpaired(rows: np.ndarray, segments: Segments, new: np.ndarray, places: Places) -> np.ndarray:
    """Those rows, one for each two places, that remain: of rings what is there an odd number of times, of lines what
    is there in one state only."""
    if not len(rows):
        return rows
    a, b = places.start[rows], places.end[rows]
    pair = np.minimum(a, b) * (int(max(a.max(), b.max())) + 1) + np.maximum(a, b)
    owner = segments.owner[rows] * 2 + segments.ring[rows]
    order = np.lexsort((pair, owner))
    rows, pair, owner = rows[order], pair[order], owner[order]
    first = _first_of(pair, owner)
    count = np.diff(np.concatenate([first, [len(rows)]]))
    fresh = np.add.reduceat(new[rows].astype(np.int64), first)
    lone = np.where(segments.ring[rows[first]], count % 2 == 1, (fresh == 0) | (fresh == count))
    return rows[first[lone]]


def _uncovered(segments: Segments, new: np.ndarray) -> Segments:
    """As `_unpaired`, stretch by stretch, for segments along a meridian or a parallel."""
    upright = segments.x0 == segments.x1
    line = np.where(upright, segments.x0, segments.y0)
    a, b = np.where(upright, segments.y0, segments.x0), np.where(upright, segments.y1, segments.x1)
    order = np.lexsort((line, upright, segments.owner * 2 + segments.ring))
    sorted_ = segments.pick(order)
    first = _first_of(line[order], upright[order], sorted_.owner, sorted_.ring)
    group = np.zeros(len(order), np.int64)
    group[first] = 1
    group = np.cumsum(group) - 1
    count = np.bincount(group, minlength=len(first))
    single = count[group] == 1
    crowd = order[~single]
    found = _odd_stretches(
        _Stretches(group[~single], np.minimum(a, b)[crowd], np.maximum(a, b)[crowd]), new[crowd], segments.ring[crowd]
    )
    of = order[first[found.line]]  # any segment of the line tells where it lies
    x0, x1 = (np.where(upright[of], segments.x0[of], end) for end in (found.low, found.high))
    y0, y1 = (np.where(upright[of], end, segments.y0[of]) for end in (found.low, found.high))
    pieces = Segments(segments.owner[of], np.arange(len(of)), segments.ring[of], x0, y0, x1, y1)
    alone = segments.pick(order[single])
    return Segments.join(alone._replace(run=np.arange(len(alone.run))), pieces)


def _odd_stretches(stretches: _Stretches, new: np.ndarray, ring: np.ndarray) -> _Stretches:
    """Sweep along each line: where rings lie an odd number of times, or lines of one state only."""
    line = np.concatenate([stretches.line, stretches.line])
    at = np.concatenate([stretches.low, stretches.high])
    sign = np.repeat([1, -1], len(new))
    ring, new = np.concatenate([ring, ring]), np.concatenate([new, new])
    order = np.lexsort((at, line))
    line, at, ring = line[order], at[order], ring[order]
    before = np.cumsum(np.where(new, 0, sign)[order])
    after = np.cumsum(np.where(new, sign, 0)[order])
    there = np.where(ring, (before + after) % 2 == 1, (before > 0) != (after > 0))[:-1]
    there &= (line[1:] == line[:-1]) & (at[1:] > at[:-1])
    return _Stretches(line[:-1][there], at[:-1][there], at[1:][there])


def _in_runs(segments: Segments, rows: np.ndarray) -> Segments:
    """Rows, ascending; those that followed one another in their curve are one run."""
    kept = segments.pick(rows)
    starts = np.ones(len(rows), bool)
    starts[1:] = (np.diff(rows) != 1) | (np.diff(kept.run) != 0)
    return kept._replace(run=np.cumsum(starts) - 1)


def _first_of(*columns: np.ndarray) -> np.ndarray:
    """Where in sorted columns another value begins."""
    fresh = np.zeros(len(columns[0]), bool)
    fresh[:1] = True
    for column in columns:
        fresh[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(fresh)
