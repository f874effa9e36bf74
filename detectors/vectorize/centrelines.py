"""Probabilities of a line-like class -> its centrelines, as a planar network in local metres.

1. *Regions*: pixels likely enough (`WEAK`), where some of them are sure (`STRONG`): thresholds with hysteresis, so that
   a faint stretch counts as part of a clear road and noise counts as nothing. Small holes are filled.
2. *Skeleton*: thinned to one pixel and traced; short hairs are cut off.
3. *Gaps*: what ends openly is led on through shadow or crowns of trees along the cheapest way over the probabilities
   (Dijkstra 1959), if another line is met before too much improbable ground was crossed.
4. *Junctions*: crossings that thinning pulled apart are drawn together; spurs that go nowhere are pruned.
5. *Lines*: from junction to junction, smoothed and simplified, never off the region they were drawn from.

The width of a line is twice the distance from it to the edge of its region, the median along it.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from shapely.geometry import LineString

from detectors.vectorize.network_graph import trace_skeleton
from detectors.vectorize.raster import Grid
from detectors.vectorize.thinning import AROUND, thin

#: Probability from which a pixel may be part of a line, and from which it surely is.
WEAK, STRONG = 0.35, 0.65
#: A region needs so much that is sure, and holes smaller than this are filled, square metres.
LEAST_SURE_M2, HOLE_M2 = 30.0, 60.0
#: Open ends are led on by so much at most, metres, across ground that is worth so many metres of probability 0.
GAP_M, LOST_M = 40.0, 14.0
#: A gap is bridged ahead of an open end: within this angle of where its line points, degrees.
AHEAD_DEG = 60.0
#: Crossings nearer to each other than this are one, metres.
JUNCTION_M = 9.0
#: Dead ends shorter than this are pruned, metres.
SPUR_M = 15.0
#: Lines are smoothed over so many metres, moved by this much at most, and simplified by this much, metres.
SMOOTH_M, MOST_MOVED_M, SIMPLIFY_M = 5.0, 2.0, 0.5


@dataclass(frozen=True, slots=True)
class Centreline:
    """A line from junction to junction.

    Attributes:
        line: local metres.
        ends: numbers of the junctions or dead ends it connects; lines with an end in common have its number in common.
        probability: mean along the line.
        width: metres.
    """

    line: LineString
    ends: tuple[int, int]
    probability: float
    width: float


@dataclass(frozen=True, slots=True)
class Network:
    """The centrelines of a chip. `degree`: how many lines end at each numbered end."""

    lines: tuple[Centreline, ...]
    degree: dict[int, int]


@dataclass(slots=True)
class _Edge:
    """A chain of points [N, 2] in metres from the upper left corner, y down, between two nodes."""

    points: np.ndarray
    ends: tuple[int, int]

    @property
    def length(self) -> float:
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum())


def trace_centrelines(probability: np.ndarray, grid: Grid) -> Network:
    """The network of a plane of probabilities.

    Args:
        probability: float32 [H, W] in 0..1, 0 where there is no imagery.
        grid: where it lies.
    """
    gsd = grid.gsd
    region = sure_regions(probability, gsd)
    graph = trace_skeleton(thin(region), gsd, simplify_px=0.0)
    edges = [
        _Edge(shapely.get_coordinates(line), ends) for line, ends in zip(graph.lines, graph.ends, strict=True)
    ]
    edges = _bridge(edges, probability, gsd)
    edges = _contract(edges)
    edges = _join_chains(_prune(_join_chains(edges)))
    half = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * gsd
    lines = []
    for edge in edges:
        points = _smooth(edge.points)
        line = LineString(points).simplify(SIMPLIFY_M)
        if line.length < gsd:
            continue
        along = sample_line(line, gsd)
        seen, reach = (_at(plane, along, gsd) for plane in (probability, half))
        within = reach[reach > 0]
        width = 2 * float(np.median(within)) - gsd if len(within) else 0.0
        lines.append(Centreline(_to_local(line, grid), edge.ends, float(seen.mean()), max(width, 0.0)))
    return Network(tuple(lines), dict(_degrees([line.ends for line in lines])))


def sure_regions(probability: np.ndarray, gsd: float) -> np.ndarray:
    """bool [H, W]: what is likely and hangs together with what is sure; small holes filled."""
    weak = (probability >= WEAK).astype(np.uint8)
    count, parts = cv2.connectedComponents(weak, connectivity=8)
    sure = np.bincount(parts[probability >= STRONG], minlength=count)
    kept = sure * gsd**2 >= LEAST_SURE_M2
    kept[0] = False
    region = kept[parts]
    count, holes, stats, _ = cv2.connectedComponentsWithStats((~region).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] * gsd**2 < HOLE_M2
    small[0] = False  # the region itself
    return region | small[holes]


def sample_line(line: LineString, step: float) -> np.ndarray:
    """Points [N, 2] along a line, at most `step` metres apart, both ends among them."""
    count = max(1, math.ceil(line.length / step))
    return shapely.get_coordinates(shapely.line_interpolate_point(line, np.linspace(0, line.length, count + 1)))


def _at(plane: np.ndarray, points: np.ndarray, gsd: float) -> np.ndarray:
    """Values of the pixels that hold points in metres from the upper left corner."""
    rows = np.clip((points[:, 1] / gsd).astype(int), 0, plane.shape[0] - 1)
    columns = np.clip((points[:, 0] / gsd).astype(int), 0, plane.shape[1] - 1)
    return plane[rows, columns]


def _to_local(line: LineString, grid: Grid) -> LineString:
    """From metres right of and below the grid's upper left corner to local metres."""
    west, north = grid.transform @ (0, 0)
    points = shapely.get_coordinates(line)
    return LineString(np.column_stack([west + points[:, 0], north - points[:, 1]]))


def _degrees(ends: Sequence[tuple[int, int]]) -> dict[int, int]:
    degree: dict[int, int] = defaultdict(int)
    for pair in ends:
        for node in pair:
            degree[node] += 1
    return degree


def _bridge(edges: list[_Edge], probability: np.ndarray, gsd: float) -> list[_Edge]:
    """Lead open ends on to the line they would meet; cuts that line where they meet it."""
    height, width = probability.shape
    owner = np.full((height, width), -1, np.int32)
    for index, edge in enumerate(edges):
        columns, rows = (edge.points / gsd).astype(int).T
        owner[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)] = index
    degree = _degrees([edge.ends for edge in edges])
    tips = [
        (index, at) for index, edge in enumerate(edges) for at in (0, -1)
        if degree[edge.ends[at]] == 1 and len(edge.points) > 2
    ]
    cost = (gsd * (1.02 - probability)).astype(np.float64)
    cuts: dict[int, list[tuple[int, int]]] = defaultdict(list)  # edge -> (point of it, node put there)
    bridges: list[_Edge] = []
    node = 1 + max((max(edge.ends) for edge in edges), default=-1)
    met: set[tuple[int, int]] = set()
    for index, at in tips:
        edge = edges[index]
        if (index, at) in met:
            continue
        way = _cheapest_way(edge.points if at else edge.points[::-1], index, owner, cost, gsd)
        if way is None:
            continue
        target, points = way
        other = edges[target]
        nearest = int(np.argmin(np.hypot(*(other.points - points[-1]).T)))
        reach = JUNCTION_M / 2 / gsd
        if nearest <= reach or nearest >= len(other.points) - 1 - reach:
            end = 0 if nearest <= reach else -1
            points[-1], landing = other.points[end], other.ends[end]
            met.add((target, end))
        else:
            points[-1], landing = other.points[nearest], node
            cuts[target].append((nearest, node))
            node += 1
        bridges.append(_Edge(points, (edge.ends[at], landing)))
    pieces: list[_Edge] = []
    for index, edge in enumerate(edges):
        start, first = 0, edge.ends[0]
        for place, number in sorted(cuts[index]):
            if place > start:
                pieces.append(_Edge(edge.points[start:place + 1], (first, number)))
            else:  # two bridges land on one pixel
                pieces.append(_Edge(edge.points[[place, place]], (first, number)))
            start, first = place, number
        pieces.append(_Edge(edge.points[start:], (first, edge.ends[1])))
    return pieces + bridges


def _cheapest_way(
    towards: np.ndarray, index: int, owner: np.ndarray, cost: np.ndarray, gsd: float
) -> tuple[int, np.ndarray] | None:
    """From the last of the points `towards` on to another line: (its number, points in metres), None if it costs more
    than `LOST_M` or leads farther than `GAP_M`."""
    back = towards[max(0, len(towards) - 1 - math.ceil(12 / gsd))]
    heading = towards[-1] - back
    if not heading.any():
        return None
    heading = heading / np.hypot(*heading)
    tip = (int(towards[-1][1] / gsd), int(towards[-1][0] / gsd))
    height, width = owner.shape
    tip = (min(tip[0], height - 1), min(tip[1], width - 1))
    if min(tip) < 3 or tip[0] >= height - 3 or tip[1] >= width - 3:
        return None  # it leaves the chip
    reach, ahead = GAP_M / gsd, math.cos(math.radians(AHEAD_DEG))
    came: dict[tuple[int, int], tuple[int, int] | None] = {}
    queue: list[tuple[float, tuple[int, int], tuple[int, int] | None]] = [(0.0, tip, None)]
    while queue:
        spent, pixel, before = heapq.heappop(queue)
        if pixel in came:
            continue
        came[pixel] = before
        row, column = pixel
        right, down = column - tip[1], row - tip[0]
        far = math.hypot(right, down)
        found = owner[row, column]
        if found >= 0 and far > 3 and (found != index or far > 2 * JUNCTION_M / gsd):
            if found == index:
                continue  # a loop back onto itself is none
            chain = [pixel]
            while (previous := came[chain[-1]]) is not None:
                chain.append(previous)
            return int(found), np.array([((c + 0.5) * gsd, (r + 0.5) * gsd) for r, c in reversed(chain)])
        for r, c in AROUND:
            after = (row + r, column + c)
            if after in came or not (0 <= after[0] < height and 0 <= after[1] < width):
                continue
            dx, dy = after[1] - tip[1], after[0] - tip[0]
            distance = math.hypot(dx, dy)
            if distance > reach or (distance > 3 and dx * heading[0] + dy * heading[1] < ahead * distance):
                continue
            price = spent + cost[after] * math.hypot(r, c)
            if price <= LOST_M:
                heapq.heappush(queue, (price, after, pixel))
    return None


def _contract(edges: list[_Edge]) -> list[_Edge]:
    """Draw together crossings that a short line connects: one place for all of them."""
    degree = _degrees([edge.ends for edge in edges])
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while parent.get(number, number) != number:
            number = parent[number]
        return number

    for edge in edges:
        if edge.length < JUNCTION_M and min(degree[n] for n in edge.ends) > 2:
            a, b = (root(n) for n in edge.ends)
            parent[max(a, b)] = min(a, b)
    merged = {root(number) for number in parent}
    places: dict[int, list[np.ndarray]] = defaultdict(list)
    for edge in edges:
        for at in (0, -1):
            places[root(edge.ends[at])].append(edge.points[at])
    kept = []
    for edge in edges:
        first, last = (root(number) for number in edge.ends)
        if first == last and edge.length < 2 * JUNCTION_M:
            continue
        points = edge.points.copy()
        for at, node in ((0, first), (-1, last)):
            if node in merged:
                points[at] = np.mean(places[node], axis=0)
        kept.append(_Edge(points, (first, last)))
    return kept


def _prune(edges: list[_Edge]) -> list[_Edge]:
    """Without the spurs: dead ends at a junction that are shorter than `SPUR_M`."""
    degree = _degrees([edge.ends for edge in edges])
    return [
        edge for edge in edges
        if not (edge.length < SPUR_M and min(degree[n] for n in edge.ends) == 1
                and max(degree[n] for n in edge.ends) > 2)
    ]


def _join_chains(edges: list[_Edge]) -> list[_Edge]:
    """One line where two meet and no other does."""
    at_node: dict[int, list[int]] = defaultdict(list)
    for index, edge in enumerate(edges):
        for node in edge.ends:
            at_node[node].append(index)
    alive = dict(enumerate(edges))
    for node in sorted(at_node):
        there = at_node[node]
        if len(there) != 2 or there[0] == there[1]:
            continue
        first, second = there
        a, b = alive[first], alive[second]
        forward = a.points if a.ends[1] == node else a.points[::-1]
        start = a.ends[0] if a.ends[1] == node else a.ends[1]
        onward = b.points if b.ends[0] == node else b.points[::-1]
        last = b.ends[1] if b.ends[0] == node else b.ends[0]
        alive[first] = _Edge(np.vstack([forward, onward[1:]]), (start, last))
        del alive[second]
        at_node[last] = [first if index == second else index for index in at_node[last]]
    return list(alive.values())


def _smooth(points: np.ndarray) -> np.ndarray:
    """Points of a chain of pixels, smoothed; the ends stay, and nothing moves by more than `MOST_MOVED_M`."""
    line = LineString(points)
    if line.length < 2 * SMOOTH_M:
        return points[[0, -1]] if line.length < SMOOTH_M and len(points) > 2 and not line.is_ring else points
    even = sample_line(line, 1.0)
    reach = math.ceil(2 * SMOOTH_M)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTH_M) ** 2)
    weights /= weights.sum()
    before, after = (2 * end - other for end, other in (
        (even[0], even[1:reach + 1][::-1]), (even[-1], even[-reach - 1:-1][::-1])))
    padded = np.vstack([np.resize(before, (reach, 2)) if len(before) < reach else before, even,
                        np.resize(after, (reach, 2)) if len(after) < reach else after])
    smooth = np.column_stack([np.convolve(padded[:, axis], weights, "valid") for axis in (0, 1)])
    moved = smooth - even
    far = np.hypot(*moved.T)
    smooth = even + moved * np.minimum(1, MOST_MOVED_M / np.maximum(far, 1e-9))[:, None]
    smooth[0], smooth[-1] = even[0], even[-1]
    return smooth
