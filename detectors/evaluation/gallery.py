"""Tiles to look at: the best, those in the middle, and the worst, each as imagery, truth, answer and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detectors.datasets import UNKNOWN, Place
from detectors.evaluation.ground import TRAINED_ON
from detectors.evaluation.legend import Legend
from detectors.evaluation.nearness import edge_of
from detectors.evaluation.tally import TileScore

#: Colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), RGB; people with any colour vision tell them apart.
PALETTE = ((86, 180, 233), (240, 228, 66), (0, 158, 115), (230, 159, 0), (0, 114, 178), (213, 94, 0), (204, 121, 167))
EMPTY = (70, 70, 70)
RIGHT, INVENTED, MISSED, UNSCORED = (0, 158, 115), (213, 94, 0), (240, 228, 66), (48, 48, 48)
#: More tiles than this are not kept: a page of nine does not need them.
MOST_TILES = 2000
#: A tile must show at least so much of something to be called good or bad, share of its pixels.
LEAST_SHARE = 0.01
#: Each panel is drawn at least so large, pixels.
PANEL_PX = 256
PANELS = ("imagery", "truth", "answer", "errors")
#: Bands of natural colour, counted from 0, by how many bands an image has; Sentinel-2 has 12 or 13.
NATURAL = {12: (3, 2, 1), 13: (3, 2, 1), 10: (2, 1, 0), 7: (2, 1, 0)}


@dataclass(frozen=True, slots=True)
class Shot:
    """One tile.

    Attributes:
        place: name; row, column: its upper left pixel.
        agreement, quality, weight: see `TileScore`.
        picture: JPEG of its imagery.
        numbers: PNG of truth and answer beside each other, UNKNOWN where not counted.
    """

    group: str
    place: str
    row: int
    column: int
    agreement: float
    quality: float
    weight: int
    picture: bytes
    numbers: bytes


class Gallery:
    """Collects tiles of places, and chooses."""

    def __init__(self, legend: Legend):
        self.legend = legend
        self.shots: list[Shot] = []

    def add(self, group: str, place: Place, tile: TileScore, truth: np.ndarray, labels: np.ndarray,
            counted: np.ndarray) -> None:
        """Keep a tile, unless there are too many already."""
        window = np.s_[tile.rows, tile.columns]
        area = counted[window].size
        if len(self.shots) >= MOST_TILES or tile.weight < LEAST_SHARE * area:
            return
        picture = as_rgb(place.pixels[window])
        picture[~place.valid[window]] = UNSCORED
        both = [np.where(counted[window], plane[window], UNKNOWN).astype(np.uint8) for plane in (truth, labels)]
        self.shots.append(Shot(
            group, place.name, tile.rows.start, tile.columns.start, tile.agreement, tile.quality, tile.weight,
            _code(picture[..., ::-1], ".jpg", 92), _code(np.hstack(both), ".png"),
        ))

    def choose(self, number: int = 3) -> dict[str, list[Shot]]:
        """The worst, middle and best tiles, at most `number` each, no tile twice; unseen ground where there is any."""
        unseen = [shot for shot in self.shots if shot.group != TRAINED_ON] or self.shots
        ranked = sorted(unseen, key=lambda s: (s.agreement, s.place, s.row, s.column))
        number = min(number, max(1, len(ranked) // 3)) if ranked else 0
        middle = max(number, (len(ranked) - number) // 2)
        chosen = {"worst": ranked[:number], "median": ranked[middle : middle + number], "best": ranked[::-1][:number]}
        if len(ranked) < 3:
            chosen = {"worst": ranked[:1], "median": [], "best": ranked[1:]}
        return chosen

    def draw(self, shot: Shot) -> bytes:
        """JPEG of the four panels beside each other."""
        rgb = cv2.imdecode(np.frombuffer(shot.picture, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        truth, answer = np.hsplit(cv2.imdecode(np.frombuffer(shot.numbers, np.uint8), cv2.IMREAD_GRAYSCALE), 2)
        panels = [rgb, self._classes(rgb, truth), self._classes(rgb, answer), self._errors(rgb, truth, answer)]
        factor = max(1, round(PANEL_PX / max(rgb.shape[:2])))
        panels = [np.repeat(np.repeat(panel, factor, axis=0), factor, axis=1) for panel in panels]
        gap = np.full((panels[0].shape[0], 4, 3), 255, np.uint8)
        strip = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
        return _code(np.ascontiguousarray(strip[..., ::-1]), ".jpg", 85)

    def colours(self) -> dict[str, tuple[int, int, int]]:
        """What each class is drawn in."""
        return {name: self._colour(k) for k, name in enumerate(self.legend.classes)}

    def _colour(self, k: int) -> tuple[int, int, int]:
        nothing = self.legend.background
        if k == nothing:
            return EMPTY
        return PALETTE[(k - (nothing is not None and k > nothing)) % len(PALETTE)]

    def _classes(self, rgb: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        drawn = rgb.astype(np.float32)
        for k in range(len(self.legend.classes)):
            if k != self.legend.background:
                _tint(drawn, numbers == k, self._colour(k), 0.45)
                edge = edge_of(numbers == k, np.ones(numbers.shape, dtype=bool))
                _tint(drawn, edge, self._colour(k), 1.0)
        _tint(drawn, numbers == UNKNOWN, UNSCORED, 0.75)
        return drawn.round().astype(np.uint8)

    def _errors(self, rgb: np.ndarray, truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
        grey = rgb.astype(np.float32).mean(axis=2, keepdims=True)  # so that roofs are not taken for errors
        drawn = np.repeat(grey * 0.6, 3, axis=2)
        known, nothing = truth != UNKNOWN, self.legend.background
        wrong, missed = known & (truth != answer), np.zeros(truth.shape, dtype=bool)
        there = known & (truth == answer)
        if nothing is not None:
            missed, there = wrong & (answer == nothing), there & (truth != nothing)
        _tint(drawn, there, RIGHT, 0.5)
        _tint(drawn, missed, MISSED, 0.8)
        _tint(drawn, wrong & ~missed, INVENTED, 0.8)
        _tint(drawn, ~known, UNSCORED, 0.75)
        return drawn.round().astype(np.uint8)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of any imagery: natural colour where bands are known; of 16 bits the middle 96 % stretched."""
    bands = pixels.shape[2]
    chosen: Sequence[int] = NATURAL.get(bands, (0, 1, 2) if bands >= 3 else (0, 0, 0))
    picture = pixels[..., list(chosen)].astype(np.float32)
    if pixels.dtype != np.uint8:
        low, high = np.percentile(picture, (2, 98), axis=(0, 1))
        picture = (picture - low) / np.maximum(high - low, 1) * 255
    return np.clip(picture, 0, 255).round().astype(np.uint8)


def _tint(picture: np.ndarray, where: np.ndarray, colour: tuple[int, int, int], share: float) -> None:
    picture[where] += (np.array(colour, np.float32) - picture[where]) * share


def _code(picture: np.ndarray, suffix: str, quality: int = 0) -> bytes:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    done, coded = cv2.imencode(suffix, np.ascontiguousarray(picture), flags)
    if not done:
        raise ValueError(f"a picture of {picture.shape} pixels cannot be coded as {suffix}")
    return coded.tobytes()
