"""Buildings that stand where the map has them, and look otherwise: drawn far too small or far too large.

Only what stands alone is judged: one roof with one core, that one mapped outline lies on, and no other. In a terrace
nobody can tell from above which part of a roof an outline was meant for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from shapely.geometry import Polygon

from detectors.alignment import Seen
from detectors.roofs import find_cores, open_roof
from detectors.vectorize.footprints import Footprint, outline_regions
from detectors.vectorize.raster import Grid

#: An outline that covers its roof better than this (intersection over union) is good enough ...
POOR_IOU = 0.45
#: ... and one that covers it worse than this was not meant for it.
STRANGE_IOU = 0.1
#: Of the smaller of the two, outline and roof, at least this share must lie on the other.
WITHIN = 0.8
#: A roof touches an outline when it holds more than this share of the outline's pixels.
TOUCH = 0.05


@dataclass(frozen=True, slots=True)
class PoorOutline:
    """A mapped building and the roof it should have been drawn around.

    Attributes:
        index: of the outline among those given.
        footprint: the roof, local metres.
        iou: intersection over union of both.
    """

    index: int
    footprint: Footprint
    iou: float


def poor_outlines(outlines: Sequence[Polygon], seen: Seen, grid: Grid) -> list[PoorOutline]:
    """The outlines (local metres, at their corrected places) that lie alone on a roof of quite another size."""
    roof_mask = open_roof(seen, grid)
    count, roofs = cv2.connectedComponents(roof_mask.astype(np.uint8), connectivity=4)
    cores = find_cores(seen, roof_mask, grid)
    roof_of = np.zeros(int(cores.max()) + 1, np.int32)  # by core; a core lies on one roof
    roof_of[cores.ravel()] = roofs.ravel()
    buildings = np.bincount(roof_of[1:], minlength=count)
    owner = grid.burn(outlines)
    roof_px = np.bincount(roofs.ravel(), minlength=count)
    outline_px = np.bincount(owner.ravel(), minlength=len(outlines) + 1)
    both = (owner > 0) & (roofs > 0)
    pairs, common = np.unique(owner[both].astype(np.int64) * count + roofs[both], return_counts=True)
    number, roof = np.divmod(pairs, count)
    touches = common > TOUCH * outline_px[number]
    number, roof, common = number[touches], roof[touches], common[touches]
    alone = (np.bincount(number, minlength=len(outlines) + 1)[number] == 1) & (
        np.bincount(roof, minlength=count)[roof] == 1
    )
    alone &= buildings[roof] == 1
    iou = common / (outline_px[number] + roof_px[roof] - common)
    within = common / np.minimum(outline_px[number], roof_px[roof])
    poor = np.flatnonzero(alone & (iou < POOR_IOU) & (iou > STRANGE_IOU) & (within >= WITHIN))
    if not len(poor):
        return []
    labels = np.zeros(count, np.int32)
    labels[roof[poor]] = roof[poor]
    drawn = {f.label: f for f in outline_regions(labels[roofs], seen.footprint, grid)}
    return [PoorOutline(int(number[i]) - 1, drawn[int(roof[i])], float(iou[i])) for i in poor]
