"""What lies between the roofs of a made-up town: soil, fields, streets, shadows, cars, trees."""

from __future__ import annotations

import math

import cv2
import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import box

from detectors.training.rendered_canvas import Canvas, Sun, clouds
from detectors.training.rendered_plan import Land, Plan, Road

EARTH = ((158, 140, 116), (170, 152, 126), (142, 126, 106))
GRASS = ((92, 108, 66), (108, 118, 76), (128, 126, 86))
CROPS = ((84, 112, 54), (112, 132, 66), (140, 142, 84), (134, 108, 82), (156, 132, 98), (70, 96, 50))
LEAVES = ((70, 88, 48), (84, 102, 56), (58, 78, 44), (98, 108, 62))
CARS = ((225, 225, 222), (60, 60, 64), (150, 40, 36), (120, 126, 132), (200, 196, 186), (52, 76, 120))
RUBBISH = ((210, 205, 196), (70, 66, 62), (60, 110, 160), (150, 90, 70), (196, 180, 150), (120, 116, 108))


def paint_ground(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Soil and plants everywhere, then each land by its use, then the streets."""
    window = canvas.whole()
    earth, grass = (np.array(c[int(rng.integers(3))], np.float32) for c in (EARTH, GRASS))
    green = _smooth(clouds(rng, window.shape, 14 * canvas.scale, 4), -0.2, 0.8)[:, :, None]
    window.pixels[...] = earth * (1 - green) + grass * green
    for land in plan.lands:
        _paint_land(canvas, land, rng)
    window.pixels[...] *= (1 + 0.05 * clouds(rng, window.shape, 1.1 * canvas.scale, 3))[:, :, None]
    _strew(canvas, plan, rng)
    for road in sorted(plan.roads, key=lambda r: r.width):
        _paint_road(canvas, road, rng)


def _paint_land(canvas: Canvas, land: Land, rng: np.random.Generator) -> None:
    window = canvas.window(land.area.bounds)
    if window is None:
        return
    cover = cv2.GaussianBlur(window.cover(land.area), (0, 0), 0.25 * canvas.scale)
    earth = np.array(EARTH[int(rng.integers(3))], np.float32) * rng.uniform(0.9, 1.08)
    grass = np.array(GRASS[int(rng.integers(3))], np.float32) * rng.uniform(0.85, 1.05)
    if land.use == "field":
        window.blend(_beds(window, land, rng), cover)
        return
    spots = clouds(rng, window.shape, 5 * canvas.scale, 4)
    share = {"dense": 0.9, "garden": -0.35, "bare": 1.5, "yard": 1.1, "wood": -1.0}[land.use]
    green = _smooth(spots, share - 0.4, share + 0.5)[:, :, None]
    if land.use in ("dense", "yard"):
        earth = earth * 0.55 + np.array((146, 142, 134), np.float32) * 0.45
    picture = earth * (1 - green) + grass * green
    tufts = _smooth(clouds(rng, window.shape, 1.3 * canvas.scale, 2), 0.9, 1.6)[:, :, None] * (0.25 + 0.75 * green)
    picture = picture * (1 - 0.45 * tufts * np.array((1.0, 0.75, 1.0), np.float32))
    window.blend(picture, cover)


def _beds(window, land: Land, rng: np.random.Generator) -> np.ndarray:
    """A field: beds of different crops with furrows, and paths between them."""
    x, y = land.area.centroid.coords[0]
    _, across = window.axes(x, y, land.angle + rng.choice([0, math.pi / 2]) + rng.normal(0, 0.03))
    bed = float(rng.uniform(4, 14))
    number = np.floor(across / bed).astype(int)
    colours = np.array(CROPS, np.float32)[rng.integers(len(CROPS), size=64)]
    colours *= rng.uniform(0.85, 1.1, (64, 1)).astype(np.float32)
    picture = colours[number % 64]
    furrow = float(rng.uniform(0.55, 1.1))
    rows = np.cos(2 * math.pi * across / furrow + 0.5 * clouds(rng, window.shape, 20.0, 2))
    patchy = clouds(rng, window.shape, 3 * window.canvas.scale, 3)
    picture = picture * (1 + 0.10 * rows * rng.uniform(0.4, 1.0) + 0.07 * patchy)[:, :, None]
    path = np.abs(across / bed - np.round(across / bed)) * bed < 0.28
    picture[path] = picture[path] * 0.4 + np.array(EARTH[0], np.float32) * 0.55
    return picture.astype(np.float32)


def _paint_road(canvas: Canvas, road: Road, rng: np.random.Generator) -> None:
    if road.line.is_empty:
        return
    window = canvas.window(road.line.bounds, grow_m=road.width)
    if window is None:
        return
    dust = np.array(EARTH[int(rng.integers(3))], np.float32)
    if not road.paved and rng.random() < 0.35:
        dust = np.array((156, 112, 84), np.float32)
    ragged = 0.35 * clouds(rng, window.shape, 3 * canvas.scale, 3)
    grain = (1 + 0.035 * clouds(rng, window.shape, 0.5 * canvas.scale, 2))[:, :, None]
    wide = cv2.GaussianBlur(window.cover(road.line.buffer(road.width / 2)), (0, 0), 0.3 * canvas.scale)
    window.blend(dust * grain, _smooth(wide + 0.5 * ragged * (1 - np.abs(2 * wide - 1)), 0.25, 0.75))
    if road.paved:
        tar = np.array((124, 121, 118), np.float32) * rng.uniform(0.8, 1.12)
        patches = (1 + 0.06 * _smooth(clouds(rng, window.shape, 6 * canvas.scale, 2), 0.6, 0.9))[:, :, None]
        core = cv2.GaussianBlur(window.cover(road.line.buffer(road.width * 0.38)), (0, 0), 0.35 * canvas.scale)
        window.blend(tar * grain * patches, _smooth(core + ragged * (1 - np.abs(2 * core - 1)), 0.2, 0.8) * 0.92)
    else:
        ruts = window.cover(road.line.buffer(0.95).difference(road.line.buffer(0.55)))
        window.blend(dust * 1.08, cv2.GaussianBlur(ruts, (0, 0), 0.2 * canvas.scale) * 0.5)


def _strew(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Building material, rubbish, washing: small things of any colour on the ground of yards."""
    for land in plan.lands:
        if land.use not in ("dense", "yard", "bare", "garden"):
            continue
        minx, miny, maxx, maxy = land.area.bounds
        for _ in range(rng.poisson(land.area.area / (45 if land.use in ("dense", "yard") else 120))):
            x, y = rng.uniform(minx, maxx), rng.uniform(miny, maxy)
            length, breadth = rng.uniform(0.3, 1.8), rng.uniform(0.2, 0.9)
            flat = box(x - length / 2, y - breadth / 2, x + length / 2, y + breadth / 2)
            thing = affinity.rotate(flat, rng.uniform(0, 180))
            window = canvas.window(thing.bounds)
            if window is None or not land.area.intersects(thing):
                continue
            window.darken(window.cover(thing, shift=(0.2, 0.2)) * 0.5)
            colour = np.array(RUBBISH[int(rng.integers(len(RUBBISH)))]) * rng.uniform(0.8, 1.1)
            window.blend(colour, window.cover(thing) * 0.85)


def paint_shadows(canvas: Canvas, plan: Plan, sun: Sun) -> None:
    """The shadows that buildings and trees throw on the ground (roofs are painted over them)."""
    shade = np.zeros(canvas.pixels.shape[:2], np.float32)
    for building in plan.buildings:
        shift = sun.shadow(building.height)
        minx, miny, maxx, maxy = building.outline.bounds
        east, south = max(maxx, maxx + shift[0]), max(maxy, maxy + shift[1])
        window = canvas.window((min(minx, minx + shift[0]), min(miny, miny + shift[1]), east, south))
        if window is not None:
            part = shade[window.top : window.bottom, window.left : window.right]
            np.maximum(part, window.sweep(building.outline, shift), out=part)
    for x, y, radius in plan.trees:
        dx, dy = sun.shadow(radius * 1.5)
        window = canvas.window((x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius))
        if window is not None:
            part = shade[window.top : window.bottom, window.left : window.right]
            np.maximum(part, 0.8 * window.disc(x + dx, y + dy, radius * 0.95), out=part)
    canvas.whole().darken(cv2.GaussianBlur(shade, (0, 0), 0.12 * canvas.scale))


def paint_cars(canvas: Canvas, plan: Plan, sun: Sun, rng: np.random.Generator) -> None:
    """Cars and small lorries along the streets."""
    for x, y, angle in plan.cars:
        length, breadth = rng.uniform(3.4, 4.8), rng.uniform(1.55, 1.9)
        flat = box(-length / 2, -breadth / 2, length / 2, breadth / 2)
        body = affinity.translate(affinity.rotate(flat, angle, origin=(0, 0), use_radians=True), x, y)
        window = canvas.window(body.bounds, grow_m=2.5)
        colour = np.array(CARS[int(rng.integers(len(CARS)))], np.float32)
        if window is None:
            continue
        window.darken(window.sweep(body, sun.shadow(1.3)) * 0.9)
        along, across = window.axes(x, y, angle)
        inside = window.cover(body.buffer(-0.2).buffer(0.2))
        window.blend(colour, inside)
        glass = ((np.abs(along - 0.75) < 0.32) | (np.abs(along + 1.15) < 0.25)) & (np.abs(across) < breadth * 0.4)
        window.blend((44, 50, 58), glass * inside * 0.85)


def paint_trees(canvas: Canvas, plan: Plan, sun: Sun, rng: np.random.Generator) -> None:
    """Crowns: clumps of leaves, each lit from the sun's side, over whatever stands below."""
    leaves = shapely.STRtree([b.outline for b in plan.buildings] or [box(-2e9, -2e9, -1e9, -1e9)])
    for x, y, radius in plan.trees:
        window = canvas.window((x - radius, y - radius, x + radius, y + radius), grow_m=0.6)
        base = np.array(LEAVES[int(rng.integers(len(LEAVES)))]) * rng.uniform(0.8, 1.15)
        clumps = max(4, int(radius * radius * 3.2))
        angles, reach = rng.uniform(0, 2 * math.pi, clumps), radius * np.sqrt(rng.uniform(0, 0.72, clumps))
        sizes, lights = rng.uniform(0.28, 0.5, clumps) * min(radius, 1.9), rng.uniform(0.72, 1.2, clumps)
        if window is None or leaves.query(box(x - 0.1, y - 0.1, x + 0.1, y + 0.1), "intersects").size:
            continue
        window.blend(base * 0.55, window.disc(x, y, radius * 0.82))
        for a, r, size, light in zip(angles, reach, sizes, lights, strict=True):
            px, py = x + r * math.cos(a), y + r * math.sin(a)
            facing = -(math.cos(a) * sun.toward[0] + math.sin(a) * sun.toward[1]) * r / radius
            window.blend(base * light * (0.92 + 0.3 * facing), window.disc(px, py, size) * 0.85)
            lit = window.disc(px - sun.toward[0] * size * 0.35, py - sun.toward[1] * size * 0.35, size * 0.5)
            window.blend(base * light * (1.22 + 0.3 * facing), lit * 0.6)


def _smooth(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth step between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
