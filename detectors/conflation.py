"""Lines against lines: which stretches of one network another one explains. All in one coordinate system, metres.

Two lines are the same road where one runs within a buffer of the other *and* in its direction: areas of overlap say
little of things without area, and whoever crosses a road at a right angle is not that road.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry
from shapely.ops import substring

#: Lines are compared at points so far apart, metres.
STEP_M = 2.0
#: Two lines run alike where their directions differ by less, degrees.
ALIKE_DEG = 35.0
#: A stretch that is explained for no longer than this between two that are not is none of its own (a crossing), and
#: vice versa, metres.
INTERRUPTION_M = 12.0


class Lines:
    """Lines with widths, to be asked which of other lines they explain."""

    def __init__(self, lines: Sequence[BaseGeometry], reaches: Sequence[float], halves: Sequence[float]):
        """
        Args:
            lines: LineStrings or MultiLineStrings.
            reaches: how far from each line its road may be seen and be the same, metres.
            halves: half the width of each; what lies within is the road itself, whatever its direction.
        """
        starts, ends, owners = _segments(lines)
        self.owners = owners
        self._starts, self._ends = starts, ends
        self._headings = np.arctan2(ends[:, 1] - starts[:, 1], ends[:, 0] - starts[:, 0])
        self._reaches = np.asarray(reaches, float)[owners] if len(owners) else np.zeros(0)
        self._halves = np.asarray(halves, float)[owners] if len(owners) else np.zeros(0)
        self._tree = shapely.STRtree(shapely.linestrings(np.stack([starts, ends], axis=1)) if len(owners) else [])
        self._most = float(self._reaches.max(initial=0.0))

    def explains(self, points: np.ndarray, headings: np.ndarray, least: float = 0.0) -> np.ndarray:
        """bool [N]: whether a line is where a point is, and runs as it does.

        Args:
            points: [N, 2].
            headings: radians [N].
            least: counts as half the width of every line at least.
        """
        explained = np.zeros(len(points), bool)
        if not len(points) or not len(self.owners):
            return explained
        at, segment = self._tree.query(shapely.points(points), "dwithin", max(self._most, least))
        distance = _distances(points[at], self._starts[segment], self._ends[segment])
        turned = np.abs((headings[at] - self._headings[segment] + math.pi / 2) % math.pi - math.pi / 2)
        alike = (distance <= self._reaches[segment]) & (turned <= math.radians(ALIKE_DEG))
        here = distance <= np.maximum(self._halves[segment], least)
        explained[at[alike | here]] = True
        return explained

    def nearest(self, point: np.ndarray, within: float) -> tuple[int, int, float] | None:
        """The line nearest to a point: (its index, number of its segment, share of that segment), None if there is
        none within so many metres."""
        if not len(self.owners):
            return None
        found = self._tree.query(shapely.Point(point), "dwithin", within)
        if not len(found):
            return None
        many = np.repeat(np.asarray(point, float)[None], len(found), axis=0)
        best = int(found[np.argmin(_distances(many, self._starts[found], self._ends[found]))])
        return int(self.owners[best]), best, float(_shares(many[:1], self._starts[[best]], self._ends[[best]])[0])

    def on(self, segment: int, share: float) -> np.ndarray:
        """The point [2] at a share of a segment."""
        return self._starts[segment] * (1 - share) + self._ends[segment] * share


def along(line: LineString, step: float = STEP_M) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of a line at even distances of at most `step`: (distances [N], points [N, 2], headings [N] in radians)."""
    count = max(1, math.ceil(line.length / step))
    distances = (np.arange(count) + 0.5) * line.length / count
    points = shapely.get_coordinates(shapely.line_interpolate_point(line, distances))
    ahead = shapely.get_coordinates(shapely.line_interpolate_point(line, np.minimum(distances + step, line.length)))
    behind = shapely.get_coordinates(shapely.line_interpolate_point(line, np.maximum(distances - step, 0)))
    way = ahead - behind
    return distances, points, np.arctan2(way[:, 1], way[:, 0])


def stretches(line: LineString, marked: np.ndarray, join: float = INTERRUPTION_M) -> list[LineString]:
    """The parts of a line whose points (as `along` gives them) are marked; interruptions up to `join` metres long
    count as marked, too, where they lie between marked ones."""
    runs = marked_runs(marked, join * len(marked) / line.length if line.length else 0)
    scale = line.length / max(len(marked), 1)
    return [substring(line, first * scale, last * scale) for first, last in runs]


def marked_runs(marked: np.ndarray, join: float = 0.0) -> list[tuple[int, int]]:
    """[first, last) of each run of True, joined over gaps of at most `join`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    runs: list[tuple[int, int]] = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if runs and first - runs[-1][1] <= join:
            runs[-1] = (runs[-1][0], int(last))
        else:
            runs.append((int(first), int(last)))
    return runs


def unexplained_share(line: BaseGeometry, lines: Lines, least: float = 0.0) -> float:
    """Share of the length of a line that `lines` do not explain; 1 for what has no length."""
    total, open_length = 0.0, 0.0
    for part in shapely.get_parts(line):
        if part.length == 0:
            continue
        _, points, headings = along(part)
        total += part.length
        open_length += part.length * float(np.mean(~lines.explains(points, headings, least)))
    return open_length / total if total else 1.0


def _segments(lines: Sequence[BaseGeometry]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts [N, 2], ends [N, 2] and index of the line of every segment that has a length."""
    parts, owner = shapely.get_parts(np.array(lines, dtype=object), return_index=True)
    points, part = shapely.get_coordinates(parts, return_index=True)
    if len(points) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int)
    together = (part[1:] == part[:-1]) & (points[1:] != points[:-1]).any(axis=1)
    return points[:-1][together], points[1:][together], owner[part[:-1][together]]


def _shares(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Where on its segment each point's foot lies, 0..1."""
    way = ends - starts
    return np.clip(((points - starts) * way).sum(axis=1) / (way**2).sum(axis=1), 0, 1)


def _distances(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    foot = starts + (ends - starts) * _shares(points, starts, ends)[:, None]
    return np.hypot(*(points - foot).T)
