"""A skeleton as a graph: places where lines end or meet, and the lines between them, in metres."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Point

from detectors.vectorize.thinning import AROUND

#: Lines are simplified by this much before they are measured, pixels: stairs of pixels are longer than what they draw.
SIMPLIFY_PX = 1.5
#: Dead ends shorter than this are hairs of the skeleton, metres.
HAIR_M = 10.0


@dataclass(frozen=True, slots=True)
class LineGraph:
    """Lines that share end points.

    Attributes:
        lines: in metres.
        ends: (first, last) node number of each line.
    """

    lines: tuple[LineString, ...]
    ends: tuple[tuple[int, int], ...]

    @property
    def length(self) -> float:
        """Metres in all."""
        return float(sum(line.length for line in self.lines))


def trace_skeleton(skeleton: np.ndarray, gsd: float, simplify_px: float = SIMPLIFY_PX) -> LineGraph:
    """The graph of a skeleton (bool [H, W]); x right and y down, in metres from the upper left corner.

    Args:
        simplify_px: 0 leaves a point a pixel.
    """
    pixels = {(int(r), int(c)) for r, c in np.argwhere(skeleton)}
    beside = {pixel: _neighbours(pixel, pixels) for pixel in pixels}
    nodes = {pixel for pixel, others in beside.items() if len(others) != 2}
    chains: list[list[tuple[int, int]]] = []
    walked: set[tuple[tuple[int, int], tuple[int, int]]] = set()

    def walk(start: tuple[int, int], step: tuple[int, int]) -> None:
        chain = [start, step]
        walked.add((start, step))
        while chain[-1] not in nodes:
            previous, here = chain[-2], chain[-1]
            chain.append(next(p for p in beside[here] if p != previous))
            walked.add((here, chain[-1]))
        walked.add((chain[-1], chain[-2]))
        chains.append(chain)

    for node in sorted(nodes):
        for step in beside[node]:
            if (node, step) not in walked:
                walk(node, step)
    for pixel in sorted(pixels - nodes):  # rings without any crossing
        if not any((pixel, step) in walked or (step, pixel) in walked for step in beside[pixel]):
            nodes.add(pixel)
            walk(pixel, beside[pixel][0])
    number = {pixel: i for i, pixel in enumerate(sorted(nodes))}
    lines = [
        LineString([((c + 0.5) * gsd, (r + 0.5) * gsd) for r, c in chain]) for chain in chains
    ]
    if simplify_px:
        lines = [line.simplify(simplify_px * gsd) for line in lines]
    ends = [(number[chain[0]], number[chain[-1]]) for chain in chains]
    return _shave(lines, ends)


def place_along(graph: LineGraph, spacing: float) -> list[Point]:
    """Points on a graph: where lines end, and along lines at most `spacing` metres apart."""
    points = {}
    for line in graph.lines:
        pieces = max(1, int(np.ceil(line.length / spacing)))
        for i in range(pieces + 1):
            point = line.interpolate(i / pieces, normalized=True)
            points[round(point.x, 6), round(point.y, 6)] = point
    return [points[key] for key in sorted(points)]


@dataclass(frozen=True, slots=True)
class Routes:
    """A graph in which ways are sought.

    Attributes:
        steps: node -> (node, metres) of each line that starts or ends there.
        stops: node of each point asked for, None where the graph does not come near it.
    """

    steps: dict[int, list[tuple[int, float]]]
    stops: list[int | None]

    def distances(self, start: int, targets: Iterable[int]) -> dict[int, float]:
        """Length of the shortest way to each target that can be reached, metres (Dijkstra 1959)."""
        open_targets, settled, queue = set(targets), {}, [(0.0, start)]
        while queue and open_targets:
            distance, node = heapq.heappop(queue)
            if node in settled:
                continue
            settled[node] = distance
            open_targets.discard(node)
            for other, length in self.steps.get(node, ()):
                if other not in settled:
                    heapq.heappush(queue, (distance + length, other))
        return settled


def route(graph: LineGraph, points: Sequence[Point], reach: float) -> Routes:
    """Put points on the nearest line of a graph, where one is within `reach` metres, and cut the lines there."""
    steps: dict[int, list[tuple[int, float]]] = defaultdict(list)
    stops: list[int | None] = [None] * len(points)
    cuts: dict[int, list[tuple[float, int]]] = defaultdict(list)
    if graph.lines and points:
        tree = shapely.STRtree(list(graph.lines))
        asked, nearest = tree.query_nearest(list(points), max_distance=reach, all_matches=False)
        for i, line in zip(asked, nearest, strict=True):
            cuts[int(line)].append((graph.lines[line].project(points[i]), int(i)))
    count = 1 + max((max(pair) for pair in graph.ends), default=-1)
    for k, (line, (first, last)) in enumerate(zip(graph.lines, graph.ends, strict=True)):
        node, at = first, 0.0
        for distance, i in sorted(cuts[k]):
            if distance <= 1e-6:
                stops[i] = first
            elif distance >= line.length - 1e-6:
                stops[i] = last
            elif distance - at <= 1e-6:
                stops[i] = node
            else:
                _join(steps, node, count, distance - at)
                node, at, stops[i], count = count, distance, count, count + 1
        _join(steps, node, last, line.length - at)
    return Routes(dict(steps), stops)


def _join(steps: dict[int, list[tuple[int, float]]], a: int, b: int, length: float) -> None:
    steps[a].append((b, length))
    steps[b].append((a, length))


def _neighbours(pixel: tuple[int, int], pixels: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Skeleton pixels around one; a diagonal one only where no straight one leads there as well."""
    row, column = pixel
    straight = [(row + r, column + c) for r, c in AROUND if not (r and c) and (row + r, column + c) in pixels]
    diagonal = [
        (row + r, column + c) for r, c in AROUND if r and c and (row + r, column + c) in pixels
        and (row + r, column) not in pixels and (row, column + c) not in pixels
    ]
    return straight + diagonal


def _shave(lines: list[LineString], ends: list[tuple[int, int]]) -> LineGraph:
    """Without the hairs: dead ends at a junction that are shorter than HAIR_M."""
    degree: dict[int, int] = defaultdict(int)
    for pair in ends:
        for node in pair:
            degree[node] += 1
    kept = [
        (line, pair) for line, pair in zip(lines, ends, strict=True)
        if not (line.length < HAIR_M and min(degree[n] for n in pair) == 1 and max(degree[n] for n in pair) > 2)
    ]
    return LineGraph(tuple(line for line, _ in kept), tuple(pair for _, pair in kept))
