"""A picture of what mapgap saw: imagery, mask, OSM and discrepancies over each other, as PNG.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people with any colour vision tell apart;
kinds of discrepancy also differ in how their line is drawn, so that a grey copy can be read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from detectors.base import Chip, OsmFeature, Probabilities

Colour = tuple[int, int, int]
#: RGB of everything that is drawn over imagery.
OSM_COLOUR = (240, 228, 66)
MASK_COLOUR = (0, 158, 115)
#: How opaque the mask is where the network is sure, 0..255: the roof below stays readable.
MASK_ALPHA = 95
KIND_COLOURS = {"missing": (86, 180, 233), "gone": (213, 94, 0), "misplaced": (204, 121, 167)}
OTHER_COLOUR = (255, 255, 255)
#: Ground without imagery.
NO_IMAGERY = (48, 48, 48)
#: What the legend says.
MEANINGS = {
    "missing": "missing: on the ground, not on the map",
    "gone": "gone: on the map, not on the ground",
    "misplaced": "misplaced: mapped elsewhere or badly outlined",
}
#: Fractional bits of coordinates given to OpenCV.
SUBPIXEL_BITS = 4
#: Lines are cut off this far outside a picture: OpenCV's coordinates are small integers.
FAR_PX = 100_000.0
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42


class Shown(Protocol):
    """What a discrepancy must have to be drawn."""

    key: str
    kind: str
    geometry: BaseGeometry  #: lon/lat
    confidence: float
    state: str


@dataclass(frozen=True, slots=True)
class View:
    """What is known of one block when it is drawn: geometries in lon/lat, probabilities on the chip's grid."""

    chip: Chip
    probabilities: Probabilities | None
    features: Sequence[OsmFeature]
    discrepancies: Sequence[Shown]
    class_name: str = "building"

    def layers(self) -> Picture:
        return draw_layers(self.chip, self.probabilities, self.features, self.discrepancies, self.class_name)


@dataclass(frozen=True, slots=True)
class Picture:
    """One block as layers of the same size; all but the imagery are transparent where they say nothing.

    Attributes:
        imagery: uint8 [H, W, 3] RGB.
        mask, osm, discrepancies: uint8 [H, W, 4] RGBA, alpha not premultiplied.
        bounds: (minx, miny, maxx, maxy) in mercator metres.
    """

    imagery: np.ndarray
    mask: np.ndarray
    osm: np.ndarray
    discrepancies: np.ndarray
    bounds: tuple[float, float, float, float]

    def flat(self) -> np.ndarray:
        """All layers over each other, uint8 [H, W, 3]."""
        return lay_over(self.imagery, self.mask, self.osm, self.discrepancies)


def draw_layers(
    chip: Chip,
    probabilities: Probabilities | None,
    features: Iterable[OsmFeature],
    discrepancies: Iterable[Shown],
    class_name: str = "building",
) -> Picture:
    """The layers of one chip, without legend.

    Args:
        probabilities: on the chip's grid; the plane of `class_name` tints the picture. None: no mask was made.
        features: lon/lat; polygons and lines are outlined.
        discrepancies: lon/lat; see `KIND_COLOURS`.
    """
    height, width = chip.valid.shape
    imagery = _as_rgb(chip.pixels)
    imagery[~chip.valid] = NO_IMAGERY
    mask = np.zeros((height, width, 4), np.uint8)
    if probabilities is not None:
        likely = np.where(chip.valid, probabilities.of(class_name), 0)
        mask[:, :, :3] = MASK_COLOUR
        mask[:, :, 3] = np.clip((likely - 0.2) / 0.8, 0, 1) * MASK_ALPHA
    osm = _Pen(chip)
    for feature in features:
        osm.outline(feature.geometry, OSM_COLOUR, 1)
    marks = _Pen(chip)
    for shown in sorted(discrepancies, key=lambda d: (d.kind, d.key)):
        colour = KIND_COLOURS.get(shown.kind, OTHER_COLOUR)
        marks.outline(shown.geometry, colour, 3 if shown.kind == "missing" else 2, dashed=shown.kind == "misplaced")
        if shown.kind == "gone":
            marks.cross(shown.geometry, colour)
    return Picture(imagery, mask, osm.rgba, marks.rgba, chip.bounds)


def draw_block(
    chip: Chip,
    probabilities: Probabilities | None,
    features: Iterable[OsmFeature],
    discrepancies: Iterable[Shown],
    class_name: str = "building",
) -> np.ndarray:
    """Imagery, mask, OSM and discrepancies over each other with a legend below, uint8 [H + legend, W, 3] RGB."""
    picture = draw_layers(chip, probabilities, features, discrepancies, class_name).flat()
    return np.vstack([picture, draw_legend(picture.shape[1])])


def join(pictures: Sequence[Picture]) -> Picture:
    """One picture of many blocks on the same pixel grid; where margins overlap, whatever any block drew stays visible.

    Raises:
        ValueError: nothing to join, or the blocks differ in resolution.
    """
    if not pictures:
        raise ValueError("no block to draw: nothing was looked at yet")
    steps = [(p.bounds[2] - p.bounds[0]) / p.imagery.shape[1] for p in pictures]
    if max(steps) > 1.001 * min(steps):
        raise ValueError(f"blocks of {min(steps):.4f} m and {max(steps):.4f} m a pixel do not make one picture")
    step = steps[0]
    west, south = min(p.bounds[0] for p in pictures), min(p.bounds[1] for p in pictures)
    east, north = max(p.bounds[2] for p in pictures), max(p.bounds[3] for p in pictures)
    height, width = round((north - south) / step), round((east - west) / step)
    whole = Picture(
        np.full((height, width, 3), NO_IMAGERY, np.uint8), *(np.zeros((height, width, 4), np.uint8) for _ in range(3)),
        bounds=(west, south, east, north),
    )
    for picture in pictures:
        top, left = round((north - picture.bounds[3]) / step), round((picture.bounds[0] - west) / step)
        bottom, right = top + picture.imagery.shape[0], left + picture.imagery.shape[1]
        known = np.any(picture.imagery != NO_IMAGERY, axis=2)[: height - top, : width - left]
        whole.imagery[top:bottom, left:right][known] = picture.imagery[: height - top, : width - left][known]
        for name in ("mask", "osm", "discrepancies"):
            to = getattr(whole, name)[top:bottom, left:right]
            part = getattr(picture, name)[: height - top, : width - left]
            stronger = part[:, :, 3] > to[:, :, 3]
            to[stronger] = part[stronger]
    return _trim(whole, step)


def _trim(picture: Picture, step: float, rim: int = 12) -> Picture:
    """Without the empty ground around all imagery, but for `rim` pixels; `step` is mercator metres a pixel."""
    known = np.any(picture.imagery != NO_IMAGERY, axis=2)
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if not rows.size:
        return picture
    height, width = known.shape
    top, bottom = max(0, int(rows[0]) - rim), min(height, int(rows[-1]) + 1 + rim)
    left, right = max(0, int(columns[0]) - rim), min(width, int(columns[-1]) + 1 + rim)
    minx, _, _, maxy = picture.bounds
    planes = (picture.imagery, picture.mask, picture.osm, picture.discrepancies)
    bounds = (minx + left * step, maxy - bottom * step, minx + right * step, maxy - top * step)
    return Picture(*(p[top:bottom, left:right] for p in planes), bounds=bounds)


def lay_over(imagery: np.ndarray, *layers: np.ndarray) -> np.ndarray:
    """RGBA layers over RGB imagery, the last on top; uint8 [H, W, 3]."""
    picture = imagery.astype(np.float32)
    for layer in layers:
        alpha = layer[:, :, 3:].astype(np.float32) / 255
        picture += (layer[:, :, :3] - picture) * alpha
    return np.round(picture).astype(np.uint8)


def draw_legend(width: int) -> np.ndarray:
    """What the colours mean, uint8 [h, width, 3]; as many lines as the width needs."""
    entries = [(KIND_COLOURS[k], text) for k, text in MEANINGS.items()]
    entries += [(OSM_COLOUR, "OpenStreetMap"), (MASK_COLOUR, "mask: what the network sees")]
    lines: list[list[tuple[int, Colour, str]]] = [[]]
    x = 8
    for colour, text in entries:
        needed = cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0] + 40
        if x + needed > width and lines[-1]:
            lines.append([])
            x = 8
        lines[-1].append((x, colour, text))
        x += needed
    strip = np.full((len(lines) * 20 + 8, width, 3), 24, np.uint8)
    for row, line in enumerate(lines):
        base = row * 20 + 18
        for x, colour, text in line:
            cv2.rectangle(strip, (x, base - 9), (x + 16, base), colour, -1)
            cv2.putText(strip, text, (x + 22, base), FONT, FONT_SCALE, (235, 235, 235), 1, cv2.LINE_AA)
    return strip


class _Pen:
    """Draws lon/lat geometry on a transparent layer over a chip; each line has a dark rim, to show on any ground."""

    def __init__(self, chip: Chip):
        self.frame = chip.frame
        self.rgba = np.zeros((*chip.valid.shape, 4), np.uint8)

    def outline(self, geometry: BaseGeometry, colour: Colour, thickness: int, dashed: bool = False) -> None:
        for line in self._lines(geometry):
            pieces = list(_dashes(line)) if dashed else [line]
            self._stroke(pieces, (0, 0, 0), thickness + 2, 150)
            self._stroke(pieces, colour, thickness, 255)

    def cross(self, geometry: BaseGeometry, colour: Colour) -> None:
        """Strike out: the diagonals of the smallest rectangle around a geometry; a line is crossed here and there."""
        if geometry.geom_type in ("LineString", "MultiLineString"):
            for line in self._lines(geometry):
                self._stroke(list(_ticks(line)), colour, 2, 255)
            return
        corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(self.frame.to_local(geometry)))
        if len(corners) >= 5:
            points = self.frame.local_to_pixels(corners)
            self._stroke([points[[0, 2]], points[[1, 3]]], colour, 1, 255)

    def _lines(self, geometry: BaseGeometry) -> Iterator[np.ndarray]:
        for part in shapely.get_parts(self.frame.to_local(geometry)):
            rings = [part.exterior, *part.interiors] if part.geom_type == "Polygon" else [part]
            for ring in rings:
                points = self.frame.local_to_pixels(shapely.get_coordinates(ring))
                yield points if len(points) > 1 else np.vstack([points - 2, points + 2])

    def _stroke(self, lines: list[np.ndarray], colour: Colour, thickness: int, alpha: int) -> None:
        height, width = self.rgba.shape[:2]
        points = np.vstack(lines)
        rim = thickness + 2
        left, top = np.clip(np.floor(points.min(axis=0)).astype(int) - rim, 0, (width, height))
        right, bottom = np.clip(np.ceil(points.max(axis=0)).astype(int) + rim, 0, (width, height))
        if right <= left or bottom <= top:
            return
        view = self.rgba[top:bottom, left:right]
        cover = np.zeros(view.shape[:2], np.uint8)
        moved = [np.clip(p, -FAR_PX, FAR_PX) - (left, top) for p in lines]
        scaled = [np.round(p * (1 << SUBPIXEL_BITS)).astype(np.int32) for p in moved]
        cv2.polylines(cover, scaled, False, 255, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        drawn = cover > 0
        share = cover[drawn, None].astype(np.float32) / 255
        view[drawn, :3] = view[drawn, :3] * (1 - share) + np.asarray(colour) * share
        view[drawn, 3] = np.maximum(view[drawn, 3], cover[drawn].astype(np.uint16) * alpha // 255)


def _dashes(line: np.ndarray, length: float = 6.0) -> Iterator[np.ndarray]:
    """Every other piece of `length` pixels along a line [N, 2]."""
    for start, end in pairwise(line):
        reach = float(np.hypot(*(end - start)))
        for at in np.arange(0, reach, 2 * length):
            yield np.vstack([start + (end - start) * at / reach, start + (end - start) * min(1, (at + length) / reach)])


def _ticks(line: np.ndarray, apart: float = 24.0, arm: float = 5.0) -> Iterator[np.ndarray]:
    """Small crosses along a line [N, 2], about `apart` pixels from one to the next, one at least."""
    reach = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    count = max(1, round(reach[-1] / apart))
    for at in (np.arange(count) + 0.5) * reach[-1] / count:
        middle = np.array([np.interp(at, reach, line[:, axis]) for axis in (0, 1)])
        for way in np.array([[arm, arm], [arm, -arm]]):
            yield np.vstack([middle - way, middle + way])


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """The first three bands, or one band three times, of other depth than 8 bits stretched to it; a copy."""
    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels, (2, 98))
        pixels = np.clip((pixels - low) * (255 / max(1.0, high - low)), 0, 255).astype(np.uint8)
    return pixels[:, :, :3].copy() if pixels.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2)
