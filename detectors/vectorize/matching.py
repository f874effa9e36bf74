"""Which outline is which: one to one, best overlap first."""

from __future__ import annotations

from collections.abc import Sequence

import shapely
from shapely.geometry.base import BaseGeometry


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
            common = outline.intersection(true[j]).area
            union = outline.area + true[j].area - common
            if union and common / union >= least:
                pairs.append((common / union, i, int(j)))
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if i not in matched and j not in taken:
            matched[i] = j
            taken.add(j)
    return matched
