"""The surface on which a made-up town is painted: an oversampled picture with plan metres for coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from shapely.geometry import Polygon

#: Fractional bits of the coordinates that OpenCV's drawing functions take.
SUBPIXEL_BITS = 4
#: The canvas has this many pixels along one side of a pixel of the finished picture.
OVERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class Sun:
    """Light from one direction.

    Attributes:
        toward: unit vector (x east, y south) in which shadows fall.
        reach: length of a shadow for one metre of height.
    """

    toward: tuple[float, float]
    reach: float

    def shadow(self, height: float) -> tuple[float, float]:
        """How far (metres east, south) the shadow of a point `height` metres up falls."""
        return self.toward[0] * self.reach * height, self.toward[1] * self.reach * height

    def on_slope(self, down_x: float, down_y: float, pitch: float) -> float:
        """Light on a roof face that falls towards (down_x, down_y) at `pitch` radians; 1 is a flat roof (Lambert)."""
        facing = -(down_x * self.toward[0] + down_y * self.toward[1])
        return math.cos(pitch) + facing * math.sin(pitch) * self.reach


class Canvas:
    """float32 RGB picture 0..255, `OVERSAMPLING` times as fine as the picture that comes out of it."""

    def __init__(self, width_px: int, height_px: int, gsd_m: float):
        self.scale = OVERSAMPLING / gsd_m
        self.pixels = np.zeros((height_px * OVERSAMPLING, width_px * OVERSAMPLING, 3), np.float32)

    def window(self, bounds: tuple[float, float, float, float], grow_m: float = 1.0) -> Window | None:
        """The part of the canvas under `bounds` (plan metres), None where that is outside."""
        height, width = self.pixels.shape[:2]
        left = max(0, math.floor((bounds[0] - grow_m) * self.scale))
        top = max(0, math.floor((bounds[1] - grow_m) * self.scale))
        right = min(width, math.ceil((bounds[2] + grow_m) * self.scale))
        bottom = min(height, math.ceil((bounds[3] + grow_m) * self.scale))
        return Window(self, left, top, right, bottom) if right > left and bottom > top else None

    def whole(self) -> Window:
        height, width = self.pixels.shape[:2]
        return Window(self, 0, 0, width, height)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a canvas that is painted in one go."""

    canvas: Canvas
    left: int
    top: int
    right: int
    bottom: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def pixels(self) -> np.ndarray:
        """A view, float32 [h, w, 3]."""
        return self.canvas.pixels[self.top : self.bottom, self.left : self.right]

    def cover(self, *polygons: Polygon, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """How much of each pixel the polygons cover, float32 [h, w] 0..1; moved by `shift` metres first."""
        mask = np.zeros(self.shape, np.uint8)
        for polygon in polygons:
            if polygon is None or polygon.is_empty:
                continue
            for part in shapely.get_parts(polygon):
                rings = [self._ring(part.exterior, shift), *(self._ring(r, shift) for r in part.interiors)]
                cv2.fillPoly(mask, rings, 255, cv2.LINE_AA, SUBPIXEL_BITS)
        return mask.astype(np.float32) / 255

    def sweep(self, polygon: Polygon, shift: tuple[float, float]) -> np.ndarray:
        """What a polygon covers while it is moved by `shift` metres, float32 [h, w]: the shadow of a flat roof."""
        mask = np.zeros(self.shape, np.uint8)
        ring = self._ring(polygon.exterior, (0.0, 0.0))
        end = self._ring(polygon.exterior, shift)
        for i in range(len(ring) - 1):
            cv2.fillPoly(mask, [np.stack([ring[i], ring[i + 1], end[i + 1], end[i]])], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.fillPoly(mask, [ring], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.fillPoly(mask, [end], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        return mask.astype(np.float32) / 255

    def disc(self, x: float, y: float, radius: float) -> np.ndarray:
        """A filled circle in plan metres, float32 [h, w] 0..1."""
        mask = np.zeros(self.shape, np.uint8)
        centre = (round((x * self.canvas.scale - self.left) * 16), round((y * self.canvas.scale - self.top) * 16))
        cv2.circle(mask, centre, max(1, round(radius * self.canvas.scale * 16)), 255, -1, cv2.LINE_AA, SUBPIXEL_BITS)
        return mask.astype(np.float32) / 255

    def axes(self, x: float, y: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Metres along and across `angle` from the point (x, y), for every pixel: two float32 [h, w]."""
        columns = (np.arange(self.left, self.right, dtype=np.float32) + 0.5) / self.canvas.scale - x
        rows = (np.arange(self.top, self.bottom, dtype=np.float32) + 0.5) / self.canvas.scale - y
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        along = columns[None, :] * cos + rows[:, None] * sin
        across = rows[:, None] * cos - columns[None, :] * sin
        return along, across

    def blend(self, colour: np.ndarray | tuple[float, ...], cover: np.ndarray) -> None:
        """Lay a colour (or a picture of the window's size) over what is there."""
        view = self.pixels
        weight = cover[:, :, None]
        view *= 1 - weight
        view += np.asarray(colour, np.float32) * weight

    def darken(self, cover: np.ndarray, to: tuple[float, float, float] = (0.42, 0.46, 0.54)) -> None:
        """Put `cover` in shadow, down to `to` of the light in each band: most is left of the sky's blue."""
        self.pixels[...] *= 1 - cover[:, :, None] * (1 - np.asarray(to, np.float32))

    def _ring(self, ring: shapely.LinearRing, shift: tuple[float, float]) -> np.ndarray:
        points = (np.asarray(ring.coords)[:, :2] + shift) * self.canvas.scale
        points -= (self.left + 0.5, self.top + 0.5)
        return np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def clouds(rng: np.random.Generator, shape: tuple[int, int], grain: float, octaves: int = 3) -> np.ndarray:
    """Smooth noise, float32 [h, w], about normal, deviation 1; `grain` is the size of its largest spots in px."""
    total = np.zeros(shape, np.float32)
    weight = 0.0
    for octave in range(octaves):
        size = max(1.0, grain / 2**octave)
        small = (max(2, math.ceil(shape[0] / size) + 2), max(2, math.ceil(shape[1] / size) + 2))
        field = rng.standard_normal(small, dtype=np.float32)
        broad = (math.ceil(small[1] * size), math.ceil(small[0] * size))
        full = cv2.resize(field, broad, interpolation=cv2.INTER_CUBIC)
        amount = 0.6**octave
        total += amount * full[: shape[0], : shape[1]]
        weight += (amount * 0.65) ** 2
    return total / np.float32(math.sqrt(weight))
