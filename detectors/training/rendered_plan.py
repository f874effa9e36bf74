"""Where things stand in a made-up town: streets, land, parcels, buildings, trees, cars.

Pure geometry in *plan metres*: x east, y south, (0, 0) the upper left corner of the picture. Everything follows from
the random generator that is passed in; nothing here knows about pixels or colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box
from shapely.ops import split

#: The plan goes on this far beyond the picture, so that the picture's edge cuts through streets and roofs.
MARGIN_M = 40.0
#: Streets by rank: (width in metres, chance of being paved).
RANKS = ((7.0, 1.0), (4.8, 0.75), (3.4, 0.4), (2.4, 0.2))
#: Chances of a flat concrete, a sheet-metal and a tiled roof.
ROOFS = {
    "house": (0.66, 0.26, 0.08), "terrace": (0.70, 0.24, 0.06), "hall": (0.18, 0.79, 0.03), "shed": (0.15, 0.80, 0.05),
}
COLOURS = {
    "concrete": ((172, 168, 160), (150, 147, 140), (186, 180, 168), (134, 132, 128), (196, 193, 188), (165, 150, 138)),
    "sheet": (
        (158, 166, 172), (128, 136, 142), (172, 176, 178), (146, 150, 150), (52, 122, 184), (150, 104, 82),
        (124, 84, 66), (164, 126, 104), (176, 84, 78),
    ),
    "tile": ((168, 88, 70), (150, 78, 62), (178, 104, 84)),
}


@dataclass(frozen=True, slots=True)
class Road:
    """A street: centre line in plan metres, full width in metres."""

    line: LineString
    width: float
    paved: bool


@dataclass(frozen=True, slots=True)
class Building:
    """A building as it stands on the ground.

    Attributes:
        outline: simple polygon in plan metres, without holes; what a perfect map would show.
        height: eaves above ground, metres.
        roof: "concrete" (flat), "sheet" (corrugated metal) or "tile" (gable).
        colour: RGB 0..255 of the roof in full light.
        angle: direction of the ridge or the long wall, radians from east towards south.
        use: "house", "terrace", "hall" or "shed".
    """

    outline: Polygon
    height: float
    roof: str
    colour: tuple[float, float, float]
    angle: float
    use: str


@dataclass(frozen=True, slots=True)
class Land:
    """A piece of ground between streets; `use` is "dense", "garden", "field", "bare", "yard" or "wood"."""

    area: Polygon
    use: str
    angle: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole town in plan metres."""

    width: float
    height: float
    roads: list[Road] = field(default_factory=list)
    lands: list[Land] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, radius
    cars: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, angle


def lay_out(rng: np.random.Generator, width: float, height: float) -> Plan:
    """A town of `width` x `height` metres (and `MARGIN_M` around it)."""
    plan = Plan(width, height)
    ground = box(-MARGIN_M, -MARGIN_M, width + MARGIN_M, height + MARGIN_M)
    ground = affinity.rotate(ground.buffer(0.25 * max(width, height), join_style="mitre"), rng.uniform(0, 90))
    for block in _streets(rng, plan, ground):
        _settle(rng, plan, block)
    frame = box(-MARGIN_M, -MARGIN_M, width + MARGIN_M, height + MARGIN_M)
    plan.buildings[:] = [b for b in plan.buildings if b.outline.intersects(frame)]
    _plant(rng, plan)
    _park(rng, plan)
    return plan


def _streets(rng: np.random.Generator, plan: Plan, ground: Polygon) -> list[Polygon]:
    """Cut the ground by ever narrower streets until the blocks are small; returns the blocks."""
    waiting, blocks = [(ground, 0)], []
    frame = box(-MARGIN_M, -MARGIN_M, plan.width + MARGIN_M, plan.height + MARGIN_M)
    while waiting:
        piece, depth = waiting.pop()
        if not piece.intersects(frame):
            continue
        goal = rng.choice([900, 1700, 3000, 6000], p=[0.35, 0.35, 0.2, 0.1])
        if piece.area < goal or depth > 14:
            blocks.append(piece)
            continue
        line = _across(rng, piece, wobble=float(rng.choice([0.02, 0.06, 0.12])))
        rank = min(len(RANKS) - 1, depth // 2)
        road_width, paved_chance = RANKS[rank]
        road_width *= rng.uniform(0.85, 1.2)
        parts = [p for p in split(piece, line).geoms if p.area > 60]
        if len(parts) < 2:
            blocks.append(piece)
            continue
        plan.roads.append(Road(line.intersection(piece), road_width, bool(rng.random() < paved_chance)))
        street = line.buffer(road_width / 2)
        for part in parts:
            rest = _largest(part.difference(street))
            if rest is not None and rest.area > 80:
                waiting.append((rest, depth + 1))
    return blocks


def _across(rng: np.random.Generator, piece: Polygon, wobble: float) -> LineString:
    """A gently curved line through the middle of `piece`, across its long side."""
    centre, angle, length, breadth = bearing(piece)
    along = np.array([math.cos(angle), math.sin(angle)])
    cross = np.array([-along[1], along[0]])
    middle = np.array(centre) + along * length * rng.uniform(-0.16, 0.16)
    reach = breadth * 0.75 + 20
    turn = rng.normal(0, 0.13 if wobble else 0.05)
    t = np.linspace(-1, 1, 25)
    bend = wobble * breadth * np.sin(t * rng.uniform(1.0, 3.0) + rng.uniform(0, 6.3)) + turn * reach * t
    points = middle + np.outer(t * reach, cross) + np.outer(bend, along)
    return LineString(points)


def bearing(polygon: Polygon) -> tuple[tuple[float, float], float, float, float]:
    """Centre, direction of the long side (radians), length and breadth of the smallest rectangle around a polygon."""
    rectangle = shapely.minimum_rotated_rectangle(polygon)
    if not isinstance(rectangle, Polygon):
        x, y = polygon.centroid.coords[0]
        return (x, y), 0.0, 0.0, 0.0
    corners = np.asarray(rectangle.exterior.coords)
    first, second = corners[1] - corners[0], corners[2] - corners[1]
    a, b = math.hypot(*first), math.hypot(*second)
    direction = first if a >= b else second
    x, y = rectangle.centroid.coords[0]
    return (x, y), math.atan2(direction[1], direction[0]), max(a, b), min(a, b)


def _settle(rng: np.random.Generator, plan: Plan, block: Polygon) -> None:
    """Give a block a use and put up what belongs there."""
    _, angle, _, breadth = bearing(block)
    uses = ["dense", "garden", "field", "bare", "yard", "wood"]
    use = str(rng.choice(uses, p=[0.60, 0.18, 0.08, 0.04, 0.08, 0.02]))
    if breadth < 9:
        use = "bare" if rng.random() < 0.5 else "garden"
    plan.lands.append(Land(block, use, angle))
    if use in ("field", "bare", "wood") or breadth < 9:
        return
    inner = _largest(block.buffer(-rng.uniform(0.2, 1.2), join_style="mitre"))
    if inner is None:
        return
    goal = {"dense": 115.0, "garden": 300.0, "yard": 700.0}[use]
    empty = {"dense": 0.07, "garden": 0.28, "yard": 0.25}[use]
    for parcel in _parcels(rng, inner, goal):
        if rng.random() < empty:
            plan.lands.append(Land(parcel, str(rng.choice(["garden", "bare", "field"])), angle))
        elif use == "dense" and _is_row(parcel) and rng.random() < 0.5:
            plan.buildings.extend(_terrace(rng, parcel))
        else:
            plan.buildings.extend(_house(rng, parcel, use))


def _parcels(rng: np.random.Generator, piece: Polygon, goal: float) -> list[Polygon]:
    waiting, parcels = [piece], []
    while waiting:
        part = waiting.pop()
        _, _, length, breadth = bearing(part)
        if part.area < goal * rng.uniform(0.7, 1.9) or length < 9:
            if part.area > 25 and breadth > 4:
                parcels.append(part)
            continue
        line = _across(rng, part, wobble=0.0)
        pieces = [p for p in split(part, line).geoms if isinstance(p, Polygon)]
        if len(pieces) < 2:
            parcels.append(part)
            continue
        waiting.extend(pieces)
    return parcels


def _is_row(parcel: Polygon) -> bool:
    _, _, length, breadth = bearing(parcel)
    return length > 14 and 6 < breadth < 14


def _terrace(rng: np.random.Generator, parcel: Polygon) -> list[Building]:
    """Houses side by side, sharing walls, of unequal depth and height."""
    centre, angle, length, breadth = bearing(parcel)
    homes, x = [], -length / 2
    while x < length / 2 - 4:
        step = min(rng.uniform(4.5, 8.5), length / 2 - x)
        front = rng.choice([0.0, 0.0, rng.uniform(0, 1.5)])
        depth = breadth * rng.uniform(0.75, 1.0)
        unit = box(x, -breadth / 2 + front, x + step, -breadth / 2 + depth)
        home = affinity.translate(affinity.rotate(unit, angle, origin=(0, 0), use_radians=True), *centre)
        home = _largest(home.intersection(parcel)) if not parcel.covers(home) else home
        if home is not None and home.area > 22 and len(home.exterior.coords) <= 9:
            homes.append(_build(rng, home, "terrace", angle))
        x += step
    return homes


def _house(rng: np.random.Generator, parcel: Polygon, use: str) -> list[Building]:
    """One main building on a parcel, sometimes with an outbuilding."""
    (cx, cy), angle, length, breadth = bearing(parcel)
    fill = {"dense": rng.uniform(0.86, 1.0), "garden": rng.uniform(0.5, 0.72), "yard": rng.uniform(0.6, 0.85)}[use]
    if use == "garden":
        length = min(length, 18)
    shape = _shape(rng, length * fill, breadth * fill)
    turned = affinity.rotate(shape, angle + rng.normal(0, 0.02), origin=(0, 0), use_radians=True)
    slack = (1 - fill) * breadth * 0.3
    spot = (cx + rng.uniform(-slack, slack), cy + rng.uniform(-slack, slack))
    home = affinity.translate(turned, *spot)
    for _ in range(14):
        if parcel.covers(home):
            break
        home = affinity.scale(home, 0.93, 0.93, origin="centroid")
    if not parcel.covers(home) or home.area < 22:
        return []
    kind = "hall" if use == "yard" and home.area > 200 else "house"
    built = [_build(rng, home, kind, angle)]
    rest = _largest(parcel.buffer(-0.3).difference(home.buffer(0.8, join_style="mitre")))
    if rest is not None and rest.area > 22 and rng.random() < 0.5:
        size = rng.uniform(3.6, 6.5)
        shed = affinity.rotate(box(-size / 2, -size / 3, size / 2, size / 3), angle, origin=(0, 0), use_radians=True)
        point = rest.representative_point()
        shed = affinity.translate(shed, point.x, point.y)
        if rest.covers(shed) and shed.area > 9 and not shed.intersects(home):
            built.append(_build(rng, shed, "shed", angle))
    return built


def _shape(rng: np.random.Generator, length: float, breadth: float) -> Polygon:
    """A rectangle, L, U (around a courtyard) or T, axis-aligned, centred on the origin."""
    whole = box(-length / 2, -breadth / 2, length / 2, breadth / 2)
    kind = rng.choice(["box", "L", "U", "step"], p=[0.52, 0.26, 0.08, 0.14])
    if min(length, breadth) < 6 or kind == "box":
        return whole
    if kind == "L":
        bite = box(0, 0, length / 2 + 1, breadth / 2 + 1)
        bite = affinity.translate(bite, length * rng.uniform(-0.1, 0.25), breadth * rng.uniform(-0.1, 0.25))
    elif kind == "U" and breadth > 11 and length > 11:
        bite = box(-length * 0.2, -breadth * 0.1, length * 0.2, breadth)
    else:
        bite = box(length / 2 - rng.uniform(1.2, 2.5), breadth * rng.uniform(-0.2, 0.2), length, breadth)
    turns = (1, 1), (-1, 1), (1, -1), (-1, -1)
    sx, sy = turns[int(rng.integers(4))]
    return affinity.scale(_largest(whole.difference(bite)) or whole, sx, sy, origin=(0, 0))


def _build(rng: np.random.Generator, outline: Polygon, use: str, angle: float) -> Building:
    _, own, length, breadth = bearing(outline)
    convex = outline.area > 0.93 * length * breadth
    roof = str(rng.choice(["concrete", "sheet", "tile"], p=ROOFS[use]))
    if roof == "tile" and not convex:
        roof = "concrete"
    storeys = {"house": rng.integers(1, 5), "terrace": rng.integers(2, 5), "hall": 2, "shed": 1}[use]
    if roof != "concrete":
        storeys = min(storeys, 2)
    paint = np.array(COLOURS[roof][int(rng.integers(len(COLOURS[roof])))])
    colour = np.clip(paint * rng.uniform(0.86, 1.1) + rng.normal(0, 4, 3), 20, 235)
    shell = shapely.normalize(shapely.make_valid(outline))
    outline = _largest(shell) or outline
    height = float(storeys) * 3.0 + rng.uniform(0, 0.8) - (0.6 if use == "shed" else 0)
    return Building(outline, height, roof, tuple(float(c) for c in colour), float(own if length > 0 else angle), use)


def _plant(rng: np.random.Generator, plan: Plan) -> None:
    """Trees: many in woods, some in gardens, a few along streets; never growing through a roof's middle."""
    roofs = shapely.STRtree([b.outline.buffer(-0.6) for b in plan.buildings] or [Point(-1e9, -1e9)])
    tarmac = shapely.STRtree([r.line.buffer(r.width / 2) for r in plan.roads] or [Point(-1e9, -1e9)])
    density = {"wood": 1 / 14, "garden": 1 / 42, "dense": 1 / 150, "field": 1 / 420, "bare": 1 / 400, "yard": 1 / 260}
    for land in plan.lands:
        minx, miny, maxx, maxy = land.area.bounds
        count = rng.poisson(density[land.use] * (maxx - minx) * (maxy - miny))
        for x, y in zip(rng.uniform(minx, maxx, count), rng.uniform(miny, maxy, count), strict=True):
            radius = float(np.clip(rng.lognormal(0.45, 0.45), 0.7, 4.5))
            crown = Point(x, y).buffer(radius * 0.75, quad_segs=3)
            blocked = roofs.query(crown, "intersects").size or tarmac.query(Point(x, y), "intersects").size
            if not blocked and land.area.covers(Point(x, y)):
                plan.trees.append((float(x), float(y), radius))


def _park(rng: np.random.Generator, plan: Plan) -> None:
    """Cars at the side of streets wide enough for them."""
    for road in plan.roads:
        if road.width < 4 or road.line.is_empty:
            continue
        parts = [road.line] if isinstance(road.line, LineString) else list(road.line.geoms)
        for line in parts:
            for at in rng.uniform(0, line.length, rng.poisson(line.length / 45)):
                here, there = line.interpolate(at), line.interpolate(at + 1)
                angle = math.atan2(there.y - here.y, there.x - here.x)
                side = rng.choice([-1, 1]) * (road.width / 2 - 1.2)
                plan.cars.append((here.x - math.sin(angle) * side, here.y + math.cos(angle) * side, angle))


def _largest(shape: shapely.Geometry) -> Polygon | None:
    """The largest polygon in `shape` without its holes, None where there is none."""
    if isinstance(shape, Polygon):
        return None if shape.is_empty else Polygon(shape.exterior)
    polygons = [g for g in getattr(shape, "geoms", []) if isinstance(g, (Polygon, MultiPolygon))]
    found = [p for p in (_largest(g) for g in polygons) if p is not None]
    return max(found, key=lambda p: p.area) if found else None
