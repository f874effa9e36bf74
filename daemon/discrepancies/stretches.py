"""A line through many blocks is one discrepancy: what each block claims of it, put together.

A block claims what of a line lies in it. Before claims are matched one to one (`match`), those that are lines are laid
beside the lines that are known:

* a claim and a known line belong together when they are about one OSM object, run along each other, or go on in each
  other at the block's border: an end of one lies at the other, and both run on in one direction;
* what belongs together becomes one line, under the key of what people know longest. Where a claim closes the gap
  between two known lines, the younger one is part of the older from then on, and closed as withdrawn;
* of a known line, the part that lies in the block is the block's to say: what it does not claim any more is cut off,
  while what neighbours claim stays. Where nothing worth mentioning is left, it is for `reconcile` to withdraw it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString, Point, box
from shapely.geometry.base import BaseGeometry

from daemon.discrepancies.match import is_line, silences
from daemon.discrepancies.model import LIVE, ClosedAs, Discrepancy, State
from detectors.base import Claim, Frame, frame_around

Bbox = tuple[float, float, float, float]

#: Lines run along each other where one lies within so many metres of the other, for so much of the shorter one.
ALONG_M, ALONG_SHARE = 4.0, 0.5
#: A line goes on in another whose end is so near, metres ...
END_M = 8.0
#: ... at the border of the block, within so many metres of it ...
BORDER_M = 20.0
#: ... where both run in one direction, degrees.
ONWARD_DEG = 40.0
#: Less than this of a line is nothing worth mentioning, metres.
LEAST_M = 20.0
#: What a neighbour's line strays into the block by is the neighbour's, metres.
STRAY_M = 16.0
#: Parts of a line are asked so many metres apart whether there was imagery.
PIECE_M = 10.0


@dataclass(frozen=True, slots=True)
class Stretches:
    """What is left to match, and what is settled.

    Attributes:
        claims: all that match nothing yet: areas, points, and lines that nothing is known of.
        known: what they may match: without the lines that are settled.
        pairs: known lines that were seen again, each with a claim that is the whole line from now on.
        absorbed: lines that are part of another one from now on -> the key of that one.
        shortened: lines of which the block has nothing any more, each with a claim that is what neighbours have.
    """

    claims: list[Claim]
    known: list[Discrepancy]
    pairs: list[tuple[Claim, Discrepancy]]
    absorbed: Mapping[str, str]
    shortened: list[tuple[Claim, Discrepancy]]


def changed_length(old: BaseGeometry, new: BaseGeometry) -> float:
    """Metres of two lon/lat lines that do not run along the other."""
    frame = frame_around(old)
    a, b = frame.to_local(old), frame.to_local(new)
    return a.difference(b.buffer(ALONG_M)).length + b.difference(a.buffer(ALONG_M)).length


def put_together(
    claims: Sequence[Claim], known: Sequence[Discrepancy], owned: Bbox, judged: Callable[[float, float], bool]
) -> Stretches:
    """Settle the lines among the claims of one detector about one block.

    Args:
        known: what is known around the block, in any state.
        owned: lon/lat (west, south, east, north) of the block.
        judged: whether there was valid imagery at (lon, lat).
    """
    rows = [row for row in known if row.state in LIVE and is_line(row.geometry)]
    silent = [row for row in known if row.closed_as is ClosedAs.FALSE_POSITIVE and is_line(row.geometry)]
    lines = [claim for claim in claims if is_line(claim.geometry) and not any(silences(row, claim) for row in silent)]
    if not rows and len(lines) < 2:
        return Stretches(list(claims), list(known), [], {}, [])
    block = _Block.of(owned, judged)
    drawn = [_Line.of(one.kind, one.osm, one.geometry, block.frame) for one in [*lines, *rows]]
    members = _components(drawn, len(lines), block)
    settled = {id(claim) for claim in lines}
    rest = [claim for claim in claims if id(claim) not in settled]
    pairs: list[tuple[Claim, Discrepancy]] = []
    absorbed: dict[str, str] = {}
    shortened: list[tuple[Claim, Discrepancy]] = []
    taken: set[str] = set()
    for numbers in members:
        ours = [lines[n] for n in numbers if n < len(lines)]
        theirs = [rows[n - len(lines)] for n in numbers if n >= len(lines)]
        kept = [block.left_to_others(drawn[n].local) for n in numbers if n >= len(lines)]
        if not ours:
            for row, part in zip(theirs, kept, strict=True):
                lost = block.frame.to_local(row.geometry).length - part.length
                if lost > STRAY_M and part.length >= LEAST_M:
                    shortened.append((_welded(row.claim, [], [(row, part)], block), row))
                    taken.add(row.key)
        elif not theirs:
            rest += [_welded(max(ours, key=lambda c: c.geometry.length), ours, [], block)] if len(ours) > 1 else ours
        else:
            first = min(theirs, key=lambda row: (row.state is not State.PUBLISHED, row.opened, row.key))
            longest = max(ours, key=lambda claim: claim.geometry.length)
            pairs.append((_welded(longest, ours, list(zip(theirs, kept, strict=True)), block), first))
            absorbed |= {row.key: first.key for row in theirs if row is not first}
            taken |= {row.key for row in theirs}
    return Stretches(rest, [row for row in known if row.key not in taken], pairs, absorbed, shortened)


@dataclass(frozen=True, slots=True)
class _Line:
    """A claim or a known line in local metres."""

    kind: str
    osm: str | None
    local: BaseGeometry
    body: BaseGeometry

    @classmethod
    def of(cls, kind: str, osm: str | None, geometry: BaseGeometry, frame: Frame) -> _Line:
        local = frame.to_local(geometry)
        return cls(kind, osm, local, local.buffer(ALONG_M))

    def runs_along(self, other: _Line) -> bool:
        shorter, longer = sorted((self, other), key=lambda line: line.local.length)
        return shorter.local.intersection(longer.body).length >= ALONG_SHARE * shorter.local.length

    def ends(self) -> list[tuple[Point, np.ndarray]]:
        """The ends with the direction from each into the line."""
        found = []
        for part in shapely.get_parts(self.local):
            for line in (part, part.reverse()):
                inside = line.interpolate(min(15.0, line.length))
                found.append((Point(line.coords[0]), np.subtract(inside.coords[0], line.coords[0])))
        return found


@dataclass(frozen=True, slots=True)
class _Block:
    """The block in local metres around its centre."""

    frame: Frame
    square: BaseGeometry
    judged: Callable[[float, float], bool]

    @classmethod
    def of(cls, owned: Bbox, judged: Callable[[float, float], bool]) -> _Block:
        frame = frame_around(box(*owned))
        return cls(frame, box(*frame.to_local(box(*owned)).bounds), judged)

    def go_on(self, claim: _Line, row: _Line) -> bool:
        """Whether a claim goes on, across the border, in a line that is known on the other side."""
        if row.local.difference(self.square).length < 1.0:
            return False
        for one, other in ((claim, row), (row, claim)):
            for end, into in one.ends():
                if self.square.exterior.distance(end) > BORDER_M or other.local.distance(end) > END_M:
                    continue
                if _turn(into, _heading_at(other.local, end)) <= ONWARD_DEG:
                    return True
        return False

    def left_to_others(self, local: BaseGeometry) -> BaseGeometry:
        """The part of a line that lies outside of the block, or in it where there was no imagery."""
        outside, inside = local.difference(self.square), local.intersection(self.square)
        unjudged = []
        for part in shapely.get_parts(inside):
            if part.length == 0:
                continue
            for piece in shapely.get_parts(part.segmentize(PIECE_M)):
                points = shapely.get_coordinates(piece)
                for pair in pairwise(points):
                    middle = self.frame.to_lonlat(Point(np.mean(pair, axis=0)))
                    if not self.judged(middle.x, middle.y):
                        unjudged.append(LineString(pair))
        return _merged([outside, *unjudged])


def _components(drawn: Sequence[_Line], claims: int, block: _Block) -> list[list[int]]:
    """Numbers of lines that belong together, each in one list; the first `claims` of `drawn` are claims."""
    parent = list(range(len(drawn)))

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    tree = shapely.STRtree([line.local for line in drawn])
    near = {(int(i), int(j)) for i, j in tree.query([line.local for line in drawn], "dwithin", END_M).T if i < j}
    by_osm: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, line in enumerate(drawn):
        if line.osm:
            by_osm[line.kind, line.osm].append(number)
    near |= {(there[0], other) for there in by_osm.values() for other in there[1:]}
    for i, j in sorted(near):
        one, other = drawn[i], drawn[j]
        if one.kind != other.kind or one.osm != other.osm or i >= claims:
            continue  # two that were known before are as they were, unless a claim brings them together
        if one.osm or one.runs_along(other) or (j >= claims and block.go_on(one, other)):
            parent[max(root(i), root(j))] = min(root(i), root(j))
    members: dict[int, list[int]] = defaultdict(list)
    for number in range(len(drawn)):
        members[root(number)].append(number)
    return list(members.values())


def _welded(
    like: Claim, claims: Sequence[Claim], kept: Sequence[tuple[Discrepancy, BaseGeometry]], block: _Block
) -> Claim:
    """One claim for all: their lines as one; confidence and shift weighted by length, evidence as `like` has it."""
    fresh = [block.frame.to_local(claim.geometry) for claim in claims]
    bodies = shapely.union_all([line.buffer(ALONG_M, cap_style="flat") for line in fresh])
    old = [part.difference(bodies) for _, part in kept]
    line = _merged([*fresh, *_snapped(old, fresh)])
    weights = [one.length for one in fresh] + [part.length for part in old]
    said = [*claims, *(row for row, _ in kept)]
    total = sum(weights) or 1.0
    confidence = sum(w * one.confidence for w, one in zip(weights, said, strict=True)) / total
    shift = None
    if like.shift_m is not None:
        shift = tuple(
            sum(w * (one.shift_m or like.shift_m)[axis] for w, one in zip(weights, said, strict=True)) / total
            for axis in (0, 1)
        )
    geometry = _restored(block.frame.to_lonlat(line), [one.geometry for one in said])
    evidence = dict(like.evidence)
    if "joins" in evidence:
        evidence["joins"] = sorted({ref for one in said for ref in one.evidence.get("joins", ())})
    evidence["length_m"] = round(line.length, 1)
    return replace(like, geometry=geometry, confidence=confidence, shift_m=shift, evidence=evidence)


def _snapped(parts: Sequence[BaseGeometry], onto: Sequence[BaseGeometry]) -> list[LineString]:
    """Lines whose ends are put on the nearest end of other lines, where one is near."""
    tips = [Point(line.coords[at]) for one in onto for line in shapely.get_parts(one) for at in (0, -1)]
    tree = shapely.STRtree(tips)
    snapped = []
    for part in (line for one in parts for line in shapely.get_parts(one) if line.length > 1e-6):
        points = shapely.get_coordinates(part).copy()
        for at in (0, -1):
            near = tree.query(Point(points[at]), "dwithin", END_M + ALONG_M) if tips else []
            if len(near):
                tip = min((tips[n] for n in near), key=lambda tip: tip.distance(Point(points[at])))
                points[at] = tip.coords[0]
        snapped.append(LineString(points))
    return snapped


def _merged(lines: Sequence[BaseGeometry]) -> BaseGeometry:
    """Lines that share ends, as few lines as possible."""
    parts = [part for line in lines for part in shapely.get_parts(line)
             if part.geom_type == "LineString" and part.length > 1e-6]
    if not parts:
        return LineString()
    return shapely.line_merge(MultiLineString(parts)) if len(parts) > 1 else parts[0]


def _restored(geometry: BaseGeometry, originals: Sequence[BaseGeometry]) -> BaseGeometry:
    """A line whose points are exactly those of the originals where they came from there: a road that ends on a node of
    another has to end there to the last digit."""
    known = shapely.get_coordinates(list(originals))
    tree = shapely.STRtree(shapely.points(known))

    def exactly(points: np.ndarray) -> np.ndarray:
        points = points.copy()
        at, original = tree.query_nearest(shapely.points(points), max_distance=1e-9, all_matches=False)
        points[at] = known[original]
        return points

    return shapely.transform(geometry, exactly)


def _heading_at(line: BaseGeometry, point: Point) -> np.ndarray:
    """Direction of a line where it is nearest to a point; of either sense."""
    part = min(shapely.get_parts(line), key=lambda one: one.distance(point))
    at = part.project(point)
    before, after = part.interpolate(max(at - 15.0, 0.0)), part.interpolate(min(at + 15.0, part.length))
    return np.subtract(after.coords[0], before.coords[0])


def _turn(one: np.ndarray, other: np.ndarray) -> float:
    """Degrees between two directions of either sense, 0..90."""
    lengths = float(np.hypot(*one) * np.hypot(*other))
    return math.degrees(math.acos(min(1.0, abs(float(one @ other)) / lengths))) if lengths else 90.0
