"""What the map has of roads and their look-alikes around one block, in local metres: who is judged, who explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from detectors.base import Frame, OsmFeature
from detectors.conflation import Lines
from detectors.road_placing import MappedRoad
from detectors.road_tags import (
    is_cover,
    is_roof,
    is_way,
    is_wooded,
    may_be_judged,
    road_width,
)

#: A road may be seen so far beside its mapped edge and still be the same, metres: errors of drawing and of imagery.
BESIDE_M = 7.0
#: What lies so far beside a mapped edge is the road itself, whatever its direction, metres.
SHOULDER_M = 2.0
#: Half the width of a railway or a river where no tag says, metres.
OTHER_HALF_M = 4.0
#: Look-alike areas explain what is seen so far around them, metres.
AREA_RIM_M = 3.0


@dataclass(frozen=True, slots=True)
class RoadMap:
    """The map of one chip.

    Attributes:
        roads: stretches of ways that people use, in the chip.
        others: lines that explain what is seen: railways, rivers, planned and deleted roads; with half their widths.
        areas: polygons that explain what is seen: car parks, water.
        woods: polygons under trees.
        roofs: polygons of buildings.
    """

    roads: Sequence[MappedRoad]
    others: Sequence[tuple[BaseGeometry, float]]
    areas: Sequence[BaseGeometry]
    woods: Sequence[BaseGeometry]
    roofs: Sequence[BaseGeometry]

    def moved(self, shift: tuple[float, float]) -> RoadMap:
        """All of it, (east, north) metres away."""
        return RoadMap(
            [MappedRoad(r.feature, translate(r.line, *shift), r.width, r.judged) for r in self.roads],
            [(translate(line, *shift), half) for line, half in self.others],
            [translate(area, *shift) for area in self.areas],
            [translate(area, *shift) for area in self.woods],
            [translate(area, *shift) for area in self.roofs],
        )

    def roofed_share(self, line: BaseGeometry) -> float:
        """Share of a line's length that lies on buildings."""
        tree = shapely.STRtree(self.roofs)
        under = [self.roofs[i] for i in tree.query(line, "intersects")]
        return line.intersection(shapely.union_all(under)).length / line.length if under and line.length else 0.0


class Explained:
    """What of a line the map explains: by a line that runs alike, or by an area."""

    def __init__(self, known: RoadMap, more: Sequence[tuple[LineString, float]] = ()):
        """
        Args:
            more: further lines with their widths.
        """
        lines = [(road.line, road.width / 2) for road in known.roads] + list(known.others)
        lines += [(line, width / 2) for line, width in more]
        halves = [half for _, half in lines]
        self._lines = Lines(
            [line for line, _ in lines], [half + BESIDE_M for half in halves], [half + SHOULDER_M for half in halves]
        )
        self._areas = shapely.STRtree([area.buffer(AREA_RIM_M) for area in known.areas])

    def __call__(self, points: np.ndarray, headings: np.ndarray) -> np.ndarray:
        """bool [N] for points [N, 2] of a line and its headings there (radians)."""
        explained = self._lines.explains(points, headings)
        explained[self._areas.query(shapely.points(points), "within")[0]] = True
        return explained


def read_map(
    features: Sequence[OsmFeature], removed: Sequence[OsmFeature], frame: Frame,
    is_older: Callable[[date], bool], within: Polygon | None = None,
) -> RoadMap:
    """Sort what the map has.

    Args:
        is_older: whether an edit of that day is older than the imagery, so that the imagery may contradict it.
        within: local metres; roads are cut off there. None: they are left whole.
    """
    roads: list[MappedRoad] = []
    others: list[tuple[BaseGeometry, float]] = []
    areas: list[BaseGeometry] = []
    woods: list[BaseGeometry] = []
    roofs: list[BaseGeometry] = []
    stale = [feature for feature in removed if not is_older(feature.timestamp.date())]
    for feature, is_there in [*((f, True) for f in features), *((f, False) for f in stale)]:
        for part in shapely.get_parts(frame.to_local(feature.geometry)):
            if isinstance(part, Polygon):
                area = shapely.make_valid(part)
                if is_wooded(feature.tags):
                    woods.append(area)
                if is_cover(feature.tags):
                    areas.append(area)
                if is_there and is_roof(feature.tags):
                    roofs.append(area)
            elif isinstance(part, LineString) and part.length > 0:
                if not is_cover(feature.tags):
                    continue
                width = road_width(feature.tags)
                if not is_there or not is_way(feature.tags):
                    others.append((part, width / 2 if "highway" in feature.tags else OTHER_HALF_M))
                    continue
                judged = may_be_judged(feature.tags) and is_older(feature.timestamp.date())
                roads += [MappedRoad(feature, line, width, judged) for line in _cut(part, within)]
    return RoadMap(roads, others, areas, woods, roofs)


def _cut(line: LineString, within: Polygon | None) -> list[LineString]:
    """The pieces of a line inside of a box; a line that crosses itself stays one piece where nothing is cut off."""
    if within is None or within.contains(line):
        return [line]
    clipped = shapely.clip_by_rect(line, *within.bounds)
    return [part for part in shapely.get_parts(clipped) if isinstance(part, LineString) and part.length > 0]
