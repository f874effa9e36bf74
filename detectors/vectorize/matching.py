"""Outlines against outlines: which is which, and what is left open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry


def overlap(one: BaseGeometry, other: BaseGeometry) -> float:
    """Intersection over union of two areas in one coordinate system."""
    one, other = shapely.make_valid(one), shapely.make_valid(other)
    shared = one.intersection(other).area
    union = one.area + other.area - shared
    return shared / union if union else 0.0


def match_outlines(found: Sequence[BaseGeometry], true: Sequence[BaseGeometry], least: float) -> dict[int, int]:
    """Pair outlines of the same coordinate system.

    Args:
        least: intersection over union from which two may be the same thing.

    Returns:
        Index into `found` -> index into `true`; each occurs once at most.
    """
    tree = shapely.STRtree(list(true))
    pairs = []
    for i, outline in enumerate(found):
        for j in tree.query(outline, predicate="intersects"):
            iou = overlap(outline, true[j])
            if iou >= least:
                pairs.append((iou, i, int(j)))
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if i not in matched and j not in taken:
            matched[i] = j
            taken.add(j)
    return matched


class Cover:
    """Outlines, to be asked how much of something they leave open. All in one coordinate system."""

    def __init__(self, outlines: Sequence[BaseGeometry]):
        self._outlines = shapely.make_valid(np.array(outlines, dtype=object))
        self._tree = shapely.STRtree(self._outlines)

    def uncovered_share(self, geometry: BaseGeometry) -> float:
        """Share of the geometry's area that no outline covers."""
        geometry = shapely.make_valid(geometry)
        touching = self._outlines[self._tree.query(geometry, predicate="intersects")]
        covered = shapely.union_all(shapely.intersection(touching, geometry)).area if len(touching) else 0.0
        return 1.0 - covered / geometry.area
