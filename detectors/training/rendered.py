"""Made-up towns seen from above, with the truth about every building: for the demo, for tests, for more training data.

A town follows from one seed: first a plan (`rendered_plan`), then ground, shadows, roofs, trees painted on an
oversampled canvas, then a camera that blurs, adds noise and compresses as real imagery does. Whoever shows such a
picture says that it is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely
from rasterio.features import rasterize
from shapely.geometry import LineString, Polygon, box

from detectors.training.rendered_canvas import OVERSAMPLING, Canvas, Sun, clouds
from detectors.training.rendered_ground import paint_cars, paint_ground, paint_shadows, paint_trees
from detectors.training.rendered_plan import lay_out
from detectors.training.rendered_roofs import paint_roofs


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing in a rendered town.

    Attributes:
        geometry: in pixels of the picture (column right, row down); may go on beyond its edge.
        attributes: buildings: roof ("concrete", "sheet", "tile"), use, height_m, area_m2; roads: width_m, paved;
            lands: use; trees: radius_m.
    """

    geometry: Polygon | LineString
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RenderedTown:
    """A picture and what is on it.

    Attributes:
        pixels: uint8 [H, W, 3] RGB.
        gsd_m: true metres along one side of a pixel.
        buildings, roads, lands, trees: what was drawn, at least in part inside the picture.
    """

    seed: int
    pixels: np.ndarray
    gsd_m: float
    buildings: tuple[Thing, ...]
    roads: tuple[Thing, ...]
    lands: tuple[Thing, ...]
    trees: tuple[Thing, ...]

    def mask(self) -> np.ndarray:
        """Where buildings are, uint8 [H, W] of 0 and 1: a pixel counts when its centre lies in an outline."""
        height, width = self.pixels.shape[:2]
        if not self.buildings:
            return np.zeros((height, width), np.uint8)
        return rasterize([(b.geometry, 1) for b in self.buildings], out_shape=(height, width), dtype=np.uint8)


def draw_town(seed: int, size_px: int | tuple[int, int], gsd_m: float) -> RenderedTown:
    """Draw the town that belongs to `seed`.

    Args:
        seed: the same seed, size and distance give the same town, pixel by pixel.
        size_px: side of a square picture, or (height, width).
        gsd_m: ground sample distance in metres; drawn to look right between 0.1 and 0.6.

    Raises:
        ValueError: a size below 16 px, or a distance outside 0.05 .. 2 m.
    """
    height, width = (size_px, size_px) if isinstance(size_px, int) else size_px
    if min(height, width) < 16:
        raise ValueError(f"a town of {width} x {height} pixels: expected at least 16 x 16")
    if not 0.05 <= gsd_m <= 2:
        raise ValueError(f"ground sample distance of {gsd_m} m: expected 0.05 .. 2")
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6)]
    layout, weather, ground, roofs, crowns, camera = streams
    plan = lay_out(layout, width * gsd_m, height * gsd_m)
    bearing = weather.uniform(0, 2 * np.pi)
    elevation = np.radians(weather.uniform(46, 66))
    sun = Sun((float(np.cos(bearing)), float(np.sin(bearing))), float(1 / np.tan(elevation)))
    canvas = Canvas(width, height, gsd_m)
    paint_ground(canvas, plan, ground)
    paint_shadows(canvas, plan, sun)
    paint_cars(canvas, plan, sun, ground)
    paint_roofs(canvas, plan, sun, roofs)
    paint_trees(canvas, plan, sun, crowns)
    pixels = _photograph(canvas, camera)

    frame = box(0, 0, width, height)

    def things(pairs: list[tuple[shapely.Geometry, dict[str, Any]]]) -> tuple[Thing, ...]:
        scaled = [(shapely.transform(g, lambda xy: xy / gsd_m), a) for g, a in pairs]
        return tuple(Thing(g, a) for g, a in scaled if not g.is_empty and g.intersects(frame))

    return RenderedTown(
        seed, pixels, gsd_m,
        things([
            (b.outline, {
                "roof": b.roof, "use": b.use, "height_m": round(b.height, 1), "area_m2": round(b.outline.area, 1),
            })
            for b in plan.buildings
        ]),
        things([(r.line, {"width_m": round(r.width, 1), "paved": r.paved}) for r in plan.roads]),
        things([(land.area, {"use": land.use}) for land in plan.lands]),
        things([(shapely.Point(x, y).buffer(r), {"radius_m": round(r, 2)}) for x, y, r in plan.trees]),
    )


def _photograph(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """What a camera and a tile server make of the scene: haze, blur, noise, JPEG; uint8 [H, W, 3]."""
    height, width = canvas.pixels.shape[0] // OVERSAMPLING, canvas.pixels.shape[1] // OVERSAMPLING
    picture = cv2.resize(np.clip(canvas.pixels, 0, 255), (width, height), interpolation=cv2.INTER_AREA)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.35, 0.6))
    tint = 1 + rng.normal(0, 0.02, 3).astype(np.float32)
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * rng.uniform(0.62, 0.85)
    picture = 255 * np.power(np.clip(picture * tint * rng.uniform(0.92, 1.05) / 255, 0, 1), rng.uniform(0.82, 1.0))
    haze = rng.uniform(0, 14)
    picture = picture * (1 - haze / 255) + haze
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * 1.4
    noise += clouds(rng, picture.shape[:2], 2.0, 2)[:, :, None] * 1.6
    sharp = np.clip(picture + noise, 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", sharp[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(86, 94))])
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1])
