"""The roofs of a made-up town: flat concrete with its clutter, corrugated sheet, tiled gables."""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import Polygon, box

from detectors.training.rendered_canvas import Canvas, Sun, Window, clouds
from detectors.training.rendered_plan import Building, Plan, bearing

RUST = np.array((138, 88, 62), np.float32)
SHEETS = ((52, 122, 184), (150, 104, 82), (160, 168, 174), (130, 138, 144), (176, 84, 78), (150, 112, 94))
CLUTTER = ((70, 90, 50), (190, 184, 174), (120, 70, 60), (60, 58, 56), (66, 110, 160), (96, 112, 66))
TANKS = ((38, 38, 42), (30, 118, 100), (46, 96, 150), (206, 206, 204), (34, 34, 36), (40, 140, 120))


def paint_roofs(canvas: Canvas, plan: Plan, sun: Sun, rng: np.random.Generator) -> None:
    """All roofs, the lowest first; each gets the shadows of its taller neighbours."""
    outlines = shapely.STRtree([b.outline for b in plan.buildings]) if plan.buildings else None
    for building in sorted(plan.buildings, key=lambda b: b.height):
        window = canvas.window(building.outline.bounds, grow_m=2.0)
        if window is None:
            continue
        if building.roof == "concrete":
            _concrete(window, building, sun, rng)
        elif building.roof == "sheet":
            picture = _sheet(window, building.outline, building.angle, building.colour, sun, rng)
            window.blend(picture, window.cover(building.outline))
        else:
            _tiles(window, building, sun, rng)
        inside = window.cover(building.outline)
        reach = sun.reach * 15
        for i in outlines.query(building.outline.buffer(reach)):
            taller = plan.buildings[int(i)]
            if taller.height > building.height + 0.5:
                cast = window.sweep(taller.outline, sun.shadow(taller.height - building.height))
                window.darken(cast * inside * 0.95)


def _concrete(window: Window, building: Building, sun: Sun, rng: np.random.Generator) -> None:
    """A flat roof: weathered, with a parapet, a stair-head, tanks, a canopy, and things left lying."""
    outline, scale = building.outline, window.canvas.scale
    cover = window.cover(outline)
    window.blend(_weathered(window, np.asarray(building.colour, np.float32), rng), cover)
    if building.use != "shed" and outline.area > 70 and rng.random() < 0.4:
        _raise_part(window, building, sun, rng)
    inner = outline.buffer(-rng.uniform(0.22, 0.36), join_style="mitre")
    if rng.random() < 0.8 and not inner.is_empty:
        wall = np.clip(cover - window.cover(inner), 0, 1)
        floor = window.cover(inner)
        fall = sun.shadow(rng.uniform(0.5, 1.1))
        window.darken(_ring_shadow(window, outline, inner, fall) * floor * 0.8)
        window.blend(np.asarray(building.colour, np.float32) * rng.uniform(1.05, 1.22), wall * 0.85)
    area = outline.area
    if building.use in ("house", "terrace") and area > 38:
        if rng.random() < 0.75:
            _box_on_roof(window, outline, building, sun, rng, rng.uniform(2.0, 3.6), 2.3)
        if rng.random() < 0.38:
            _canopy(window, building, sun, rng)
        for _ in range(int(rng.integers(0, 4))):
            _tank(window, outline, sun, rng)
        if rng.random() < 0.12:
            _solar(window, building, rng)
    for _ in range(rng.poisson(area / 16)):
        spot = _spot(outline.buffer(-0.5), rng)
        if spot is None:
            continue
        length, breadth = rng.uniform(0.25, 1.5), rng.uniform(0.2, 0.7)
        thing = _turned(length, breadth, building.angle + rng.normal(0, 0.4), spot)
        colour = CLUTTER[int(rng.integers(len(CLUTTER)))]
        window.darken(window.cover(thing, shift=sun.shadow(0.35)) * cover * 0.6)
        window.blend(np.array(colour) * rng.uniform(0.8, 1.15), window.cover(thing) * cover * 0.8)
    if rng.random() < 0.25:
        for corner in np.asarray(outline.exterior.coords)[:-1]:
            window.blend((92, 84, 78), window.disc(corner[0], corner[1], 0.22) * cover * 0.9)
    edge = np.clip(cover - window.cover(outline.buffer(-0.5 / scale)), 0, 1)
    window.blend((70, 66, 62), edge * 0.15)


def _weathered(window: Window, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Concrete with rain stains and dark growth, float32 [h, w, 3]."""
    scale = window.canvas.scale
    broad, fine = clouds(rng, window.shape, 4.0 * scale, 4), clouds(rng, window.shape, 0.7 * scale, 2)
    stains = np.clip((clouds(rng, window.shape, 2.2 * scale, 3) - rng.uniform(0.2, 1.2)) * 0.8, 0, 1)[:, :, None]
    picture = colour * (1 + 0.055 * broad + 0.035 * fine)[:, :, None]
    return picture * (1 - 0.34 * rng.uniform(0.3, 1.0) * stains)


def _ring_shadow(window: Window, outline: Polygon, inner: Polygon, fall: tuple[float, float]) -> np.ndarray:
    """The shadow of a wall that stands on the rim of a flat roof."""
    steps = max(2, math.ceil(math.hypot(*fall) * window.canvas.scale / 1.5))
    shade = np.zeros(window.shape, np.float32)
    for i in range(1, steps + 1):
        part = (fall[0] * i / steps, fall[1] * i / steps)
        shade = np.maximum(shade, np.clip(window.cover(outline, shift=part) - window.cover(inner, shift=part), 0, 1))
    return shade


def _raise_part(window: Window, building: Building, sun: Sun, rng: np.random.Generator) -> None:
    """Part of the house is a storey higher than the rest."""
    (cx, cy), angle, length, _ = bearing(building.outline)
    cut = rng.uniform(-0.2, 0.25) * length
    side = rng.choice([-1, 1])
    half = box(cut, -100, 200, 100) if side > 0 else box(-200, -100, -cut, 100)
    half = affinity.translate(affinity.rotate(half, angle, origin=(0, 0), use_radians=True), cx, cy)
    part = building.outline.intersection(half)
    if not isinstance(part, Polygon) or part.area < 15:
        return
    cover = window.cover(building.outline)
    window.darken(window.sweep(part, sun.shadow(2.8)) * cover * 0.95)
    colour = np.asarray(building.colour, np.float32) * rng.uniform(0.88, 1.15) + rng.normal(0, 5, 3)
    window.blend(_weathered(window, colour, rng), window.cover(part))
    inner = part.buffer(-0.25, join_style="mitre")
    window.blend(colour * 1.12, np.clip(window.cover(part) - window.cover(inner), 0, 1) * 0.8)


def _box_on_roof(
    window: Window, outline: Polygon, building: Building, sun: Sun, rng: np.random.Generator, size: float, height: float
) -> None:
    """The stair-head: a small room on the roof, near an edge."""
    spot = _spot(outline.buffer(-size * 0.62), rng)
    if spot is None:
        return
    room = _turned(size * rng.uniform(0.9, 1.5), size, building.angle, spot)
    window.darken(window.sweep(room, sun.shadow(height)) * window.cover(outline) * 0.95)
    if rng.random() < 0.3:
        sheet = SHEETS[int(rng.integers(len(SHEETS)))]
        window.blend(_sheet(window, room, building.angle, sheet, sun, rng, gable=False), window.cover(room))
    else:
        colour = np.asarray(building.colour, np.float32) * rng.uniform(0.95, 1.2)
        window.blend(_weathered(window, colour, rng), window.cover(room))


def _canopy(window: Window, building: Building, sun: Sun, rng: np.random.Generator) -> None:
    """A sheet-metal roof over part of the terrace."""
    (cx, cy), angle, length, breadth = bearing(building.outline)
    share = rng.uniform(0.25, 0.5)
    at = rng.choice([-1, 1]) * (1 - share) / 2 * length * rng.uniform(0.7, 1.0)
    spot = (cx + math.cos(angle) * at, cy + math.sin(angle) * at)
    roof = _turned(length * share, breadth * rng.uniform(0.5, 0.95), angle, spot).intersection(building.outline)
    if not isinstance(roof, Polygon) or roof.area < 6:
        return
    window.darken(window.sweep(roof, sun.shadow(2.2)) * window.cover(building.outline) * 0.95)
    colour = SHEETS[int(rng.integers(len(SHEETS)))]
    window.blend(_sheet(window, roof, angle, colour, sun, rng, gable=False), window.cover(roof))


def _tank(window: Window, outline: Polygon, sun: Sun, rng: np.random.Generator) -> None:
    spot = _spot(outline.buffer(-0.9), rng)
    if spot is None:
        return
    (x, y), radius = spot, rng.uniform(0.45, 0.75)
    dx, dy = sun.shadow(1.5)
    colour = np.array(TANKS[int(rng.integers(len(TANKS)))], np.float32)
    for part in (0.35, 0.7, 1.0):
        window.darken(window.disc(x + dx * part, y + dy * part, radius) * window.cover(outline) * 0.5)
    window.blend(colour, window.disc(x, y, radius))
    glint = window.disc(x - sun.toward[0] * radius * 0.35, y - sun.toward[1] * radius * 0.35, radius * 0.4)
    window.blend(colour * 0.6 + 90, glint * 0.8)


def _solar(window: Window, building: Building, rng: np.random.Generator) -> None:
    spot = _spot(building.outline.buffer(-1.6), rng)
    if spot is None:
        return
    panel = _turned(rng.uniform(1.8, 4.0), rng.uniform(1.2, 2.0), building.angle, spot)
    along, across = window.axes(*spot, building.angle)
    lines = (np.abs(along % 1.0 - 0.5) > 0.44) | (np.abs(across % 1.0 - 0.5) > 0.44)
    window.blend(np.where(lines[:, :, None], (120.0, 130.0, 145.0), (30.0, 40.0, 66.0)), window.cover(panel) * 0.95)


def _sheet(
    window: Window, outline: Polygon, angle: float, colour: tuple[float, ...], sun: Sun, rng: np.random.Generator,
    gable: bool | None = None,
) -> np.ndarray:
    """Corrugated metal: ribs down the slope, sheets of unequal age, rust; float32 [h, w, 3]."""
    (cx, cy), _, _, breadth = bearing(outline)
    along, across = window.axes(cx, cy, angle)
    gable = (breadth > 6 and rng.random() < 0.65) if gable is None else gable
    pitch = rng.uniform(0.12, 0.3)
    down = (-math.sin(angle), math.cos(angle))
    light = np.where(across >= 0, sun.on_slope(*down, pitch), sun.on_slope(-down[0], -down[1], pitch)) if gable else (
        np.full(window.shape, sun.on_slope(*down, pitch * rng.choice([-0.6, 0.6])), np.float32))
    ribs = 1 + rng.uniform(0.03, 0.075) * np.cos(2 * math.pi * along / rng.uniform(0.55, 0.85))
    width, length = rng.uniform(0.8, 1.3), rng.uniform(2.2, 3.8)
    column, row = np.floor(along / width).astype(int), np.floor(across / length).astype(int)
    ages = rng.normal(0, rng.uniform(0.02, 0.085), 997).astype(np.float32)
    age = 1 + ages[(column * 31 + row * 17) % 997]
    picture = np.asarray(colour, np.float32) * (light * ribs * age)[:, :, None]
    rusty = clouds(rng, window.shape, 2.6 * window.canvas.scale, 4) + 6 * (age - 1)
    rust = np.clip((rusty - rng.uniform(0.3, 2.4)) * 1.2, 0, 0.85)[:, :, None]
    picture = picture * (1 - rust) + RUST * light[:, :, None] * rust
    seams = (np.abs(across / length - np.round(across / length)) * length < 0.07)[:, :, None]
    grain = (1 + 0.03 * clouds(rng, window.shape, 0.5 * window.canvas.scale, 2))[:, :, None]
    picture = picture * (1 - 0.13 * seams) * grain
    if gable:
        ridge = np.exp(-((across / 0.16) ** 2))[:, :, None]
        picture = picture * (1 - 0.35 * ridge) + 205 * 0.35 * ridge
    return picture.astype(np.float32)


def _tiles(window: Window, building: Building, sun: Sun, rng: np.random.Generator) -> None:
    """A tiled gable: two faces in different light, courses of tiles, a pale ridge."""
    (cx, cy), angle, _, _ = bearing(building.outline)
    along, across = window.axes(cx, cy, angle)
    pitch = rng.uniform(0.4, 0.6)
    down = (-math.sin(angle), math.cos(angle))
    light = np.where(across >= 0, sun.on_slope(*down, pitch), sun.on_slope(-down[0], -down[1], pitch))
    courses = 1 + 0.05 * np.cos(2 * math.pi * across / 0.36) + 0.03 * np.cos(2 * math.pi * along / 0.42)
    stains = 1 + 0.08 * clouds(rng, window.shape, 1.8 * window.canvas.scale, 4)
    picture = np.asarray(building.colour, np.float32) * (np.clip(light, 0.45, 1.35) * courses * stains)[:, :, None]
    ridge = (np.exp(-((across / 0.2) ** 2)) * 0.4)[:, :, None]
    picture = picture * (1 - ridge) + np.array((190, 140, 120), np.float32) * ridge
    window.blend(picture.astype(np.float32), window.cover(building.outline))


def _spot(within: Polygon, rng: np.random.Generator) -> tuple[float, float] | None:
    """A random point inside, None where there is no inside."""
    if within.is_empty or within.area < 0.05:
        return None
    minx, miny, maxx, maxy = within.bounds
    for _ in range(8):
        x, y = float(rng.uniform(minx, maxx)), float(rng.uniform(miny, maxy))
        if shapely.contains_xy(within, x, y):
            return x, y
    return None


def _turned(length: float, breadth: float, angle: float, spot: tuple[float, float]) -> Polygon:
    """A rectangle in plan metres."""
    flat = box(-length / 2, -breadth / 2, length / 2, breadth / 2)
    return affinity.translate(affinity.rotate(flat, angle, origin=(0, 0), use_radians=True), *spot)
