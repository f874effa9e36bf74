"""Roads that are seen and not mapped: stretches of the network's centrelines that nothing on the map explains.

What looks like a road and is none is dealt with here as well:

* *drives*: a dead end shorter than `DRIVE_M` is a drive, or a stub, until somebody draws a road there;
* *car parks, yards*: what is wider than `WIDEST_M` is an area, and a small ring runs around an island of one; those
  that are mapped explain what is seen on them (`detectors.road_tags.LOOKALIKES`);
* *railways, rivers, dykes*: explained by what is mapped along them;
* *rows of roofs*: what lies on mapped buildings for a third of its length (`detectors.road.MOST_ROOFED`);
* *field edges, tracks in a forest, anything by itself*: what is not connected to a known road, or to the rim of what
  can be seen, must be longer (`ALONE_M`) and surer (`ALONE_SEEN`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString
from shapely.ops import substring

from detectors.conflation import along, marked_runs
from detectors.road_map import Explained
from detectors.vectorize.centrelines import Centreline, Network

#: Dead ends shorter than this are drives, metres.
DRIVE_M = 45.0
#: What is wider is no road but an area, metres.
WIDEST_M = 26.0
#: Rings shorter than this run around a yard's island, metres.
RING_M = 120.0
#: What is connected to nothing must have this length (metres) and mean probability.
ALONE_M, ALONE_SEEN = 80.0, 0.75
#: Two stretches that meet go on as one road where it turns by less, degrees.
ONWARD_DEG = 40.0
#: Explained stretches up to this length within an unexplained one belong to it (it crosses a known road), metres.
CROSSING_M = 25.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A road without a name on the map.

    Attributes:
        line: local metres.
        seen: mean probability along it.
        width: metres.
        open_ends: how many of its ends lead nowhere: to no known road, no other stretch, and not beyond the rim.
        known_ends: whether each end goes over into what the map explains, or ends in nothing, so that a known road
            there may be the one it starts from.
    """

    line: LineString
    seen: float
    width: float
    open_ends: int
    known_ends: tuple[bool, bool]


@dataclass(slots=True)
class _Piece:
    """An unexplained run of one centreline. `nodes`: the junction at each end; `_KNOWN` where the run goes over into
    what the map explains, `_OPEN` where the line ends in nothing."""

    points: np.ndarray
    nodes: tuple[int, int]
    seen: float
    width: float

    @property
    def length(self) -> float:
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum())


_KNOWN, _OPEN = -1, -2


def find_missing(
    network: Network, explained: Explained, is_at_rim: Callable[[np.ndarray], bool], least: float
) -> list[Stretch]:
    """The stretches that the map does not explain.

    Args:
        is_at_rim: whether a point [2] in local metres lies so near to the rim of what can be seen that a road may go on
            beyond it.
        least: shorter ones are not looked at, metres.
    """
    pieces = [piece for line in network.lines for piece in _cut_out(line, network, explained)]
    stretches = []
    for piece in _join_onward(pieces):
        line = LineString(piece.points)
        beyond = [is_at_rim(piece.points[at]) for at in (0, -1)]
        opened = sum(node == _OPEN and not out for node, out in zip(piece.nodes, beyond, strict=True))
        stretch = Stretch(line, piece.seen, piece.width, opened, tuple(node < 0 for node in piece.nodes))
        if line.length >= least and _is_road(stretch):
            stretches.append(stretch)
    return stretches


def _is_road(stretch: Stretch) -> bool:
    """Whether it is none of the look-alikes named above."""
    length = stretch.line.length
    if stretch.width > WIDEST_M:
        return False
    if length < RING_M and stretch.line.boundary.is_empty:
        return False
    if stretch.open_ends == 1:
        return length >= DRIVE_M
    if stretch.open_ends == 2:
        return length >= ALONE_M and stretch.seen >= ALONE_SEEN
    return True


def _cut_out(line: Centreline, network: Network, explained: Explained) -> list[_Piece]:
    distances, points, headings = along(line.line)
    unknown = ~explained(points, headings)
    scale = line.line.length / len(distances)
    pieces = []
    for first, last in marked_runs(unknown, CROSSING_M / scale):
        part = substring(line.line, first * scale, last * scale)
        if not isinstance(part, LineString) or part.length == 0:
            continue
        ends = (line.ends[0] if first == 0 else _KNOWN, line.ends[1] if last == len(unknown) else _KNOWN)
        nodes = tuple(_OPEN if node >= 0 and network.degree[node] == 1 else node for node in ends)
        pieces.append(_Piece(shapely.get_coordinates(part), nodes, line.probability, line.width))
    return pieces


def _join_onward(pieces: list[_Piece]) -> list[_Piece]:
    """Where pieces meet, the two that go straightest on are one road."""
    meeting: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, piece in enumerate(pieces):
        for at, node in ((0, piece.nodes[0]), (-1, piece.nodes[1])):
            if node >= 0:
                meeting[node].append((index, at))
    onward: dict[tuple[int, int], tuple[int, int]] = {}
    for there in meeting.values():
        turns = sorted(
            (_turn(pieces[i], a, pieces[j], b), (i, a), (j, b))
            for n, (i, a) in enumerate(there) for j, b in there[n + 1:] if i != j
        )
        for turn, one, other in turns:
            if turn <= ONWARD_DEG and one not in onward and other not in onward:
                onward[one], onward[other] = other, one
    joined, used = [], set()
    for index in [*(i for i in range(len(pieces)) if (i, 0) not in onward or (i, -1) not in onward),
                  *range(len(pieces))]:  # rings last
        if index not in used:
            joined.append(_chain(index, pieces, onward, used))
    return joined


def _chain(
    index: int, pieces: Sequence[_Piece], onward: dict[tuple[int, int], tuple[int, int]], used: set[int]
) -> _Piece:
    """The whole road of a piece, walked from its first to its last."""
    start = (index, 0) if (index, 0) not in onward else (index, -1)
    parts: list[np.ndarray] = []
    weighed: list[tuple[float, float, float]] = []
    first = pieces[start[0]].nodes[start[1]]
    at: tuple[int, int] | None = start
    last = first
    while at is not None and at[0] not in used:
        number, end = at
        used.add(number)
        piece = pieces[number]
        points = piece.points if end == 0 else piece.points[::-1]
        parts.append(points if not parts else points[1:])
        weighed.append((piece.length, piece.seen, piece.width))
        far = (number, -1 if end == 0 else 0)
        last = piece.nodes[far[1]]
        at = onward.get(far)
    lengths, seen, width = np.array(weighed).T
    return _Piece(np.vstack(parts), (first, last), float(np.average(seen, weights=lengths)),
                  float(np.average(width, weights=lengths)))


def _turn(one: _Piece, a: int, other: _Piece, b: int) -> float:
    """Degrees by which a road turns that comes in along one piece and leaves along another."""
    incoming, leaving = -_heading(one, a), _heading(other, b)
    cosine = float(incoming @ leaving / max(np.hypot(*incoming) * np.hypot(*leaving), 1e-9))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _heading(piece: _Piece, at: int) -> np.ndarray:
    """From an end into a piece, over some 12 metres."""
    line = LineString(piece.points if at == 0 else piece.points[::-1])
    inside = shapely.line_interpolate_point(line, min(12.0, line.length))
    return np.array([inside.x, inside.y]) - line.coords[0]
