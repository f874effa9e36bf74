"""Where a missing road ends: on a node of a known way, or on its line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from detectors.base import Frame
from detectors.conflation import Lines
from detectors.road_placing import MappedRoad

#: A missing road is led on to a known one that is so near, metres beyond the known one's edge.
JOIN_M = 16.0
#: A node of a known way within so many metres is joined itself.
NODE_M = 3.0


@dataclass(frozen=True, slots=True)
class Join:
    """Where an end of a missing road meets a known way.

    Attributes:
        place: local metres, map's frame: the end of the line.
        lonlat: the same place, exactly on the way's own lon/lat line.
        ref: the way.
    """

    place: tuple[float, float]
    lonlat: tuple[float, float]
    ref: str

    def put_on(self, geometry: LineString, piece: LineString) -> tuple[LineString, str | None]:
        """The lon/lat line with its end on the way, if this piece has that end; else as it was."""
        points = shapely.get_coordinates(geometry)
        for at in (0, -1):
            if math.dist(piece.coords[at], self.place) < 1e-6:
                points[at] = self.lonlat
                return LineString(points), self.ref
        return geometry, None


class Ends:
    """The mapped ways, to let a missing road end on them."""

    def __init__(self, roads: Sequence[MappedRoad], frame: Frame):
        self._roads, self._frame = roads, frame
        widths = [road.width / 2 for road in roads]
        self._lines = Lines([road.line for road in roads], widths, widths)

    def join(self, line: LineString, open_nodes: Sequence[bool]) -> tuple[LineString, list[Join]]:
        """A line (local metres, map's frame), led on at those ends that meet a known way, and where they do.

        Args:
            open_nodes: for both ends, whether the line may be led on there.
        """
        points = shapely.get_coordinates(line)
        joins = []
        for at, may in ((0, open_nodes[0]), (-1, open_nodes[1])):
            found = self._lines.nearest(points[at], JOIN_M) if may else None
            if found is None:
                continue
            owner, segment, share = found
            road = self._roads[owner]
            start, end = self._lines.on(segment, 0.0), self._lines.on(segment, 1.0)
            place = self._lines.on(segment, share)
            for node in (start, end):
                if math.dist(node, place) <= NODE_M:
                    place = node
            lonlat = _on_way(road.feature.geometry, self._frame, place)
            if math.dist(place, points[at]) > 1e-6:
                beside = [place] if math.dist(place, points[at]) > 1.0 or len(points) == 2 else None
                if beside is None:
                    points = points.copy()
                    points[at] = place
                else:
                    points = np.vstack([place, points]) if at == 0 else np.vstack([points, place])
            joins.append(Join((float(place[0]), float(place[1])), lonlat, road.feature.ref))
        return LineString(points), joins


def _on_way(way: BaseGeometry, frame: Frame, place: np.ndarray) -> tuple[float, float]:
    """The point of a lon/lat way that is nearest to a place in local metres: between two of its nodes, on the straight
    line between their own coordinates, or exactly one of them."""
    nodes = shapely.get_coordinates(way)
    local = shapely.get_coordinates(frame.to_local(way))
    starts, ways = local[:-1], np.diff(local, axis=0)
    lengths = np.maximum((ways**2).sum(axis=1), 1e-12)
    shares = np.clip(((place - starts) * ways).sum(axis=1) / lengths, 0, 1)
    gaps = np.hypot(*(starts + ways * shares[:, None] - place).T)
    best = int(np.argmin(gaps))
    share = float(shares[best])
    if share * math.sqrt(lengths[best]) < 1e-3:
        lonlat = nodes[best]
    elif (1 - share) * math.sqrt(lengths[best]) < 1e-3:
        lonlat = nodes[best + 1]
    else:
        lonlat = nodes[best] * (1 - share) + nodes[best + 1] * share
    return float(lonlat[0]), float(lonlat[1])
