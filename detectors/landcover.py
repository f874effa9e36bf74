"""Land cover at some ten metres a pixel: areas of water, forest, built-up ground and fields against OSM's polygons.

Claims are about areas, not about outlines: at this resolution nobody can say where exactly a shore or the edge of a
wood lies, so that a strip of `tolerance` along everything mapped is no question, and what is small or narrow is none
either.

    missing      so much water, forest or cropland in one piece, without a polygon of such a cover, or of one that looks
                 the same from space (`landcover_tags.COMPATIBLE`)
    gone         a polygon, or a large piece of one, over ground that shows something else
    settlement   built-up ground without any building or road: what humanitarian mappers look for first

**Season.** One picture shows one day: a flood, a dry reservoir, a field between two crops. Where the imagery holds
several dates, the network's answer says for each class how much it was seen on average, and on the date that showed
least and most of it (detectors/segmentation/dates.py). Missing is what every date shows; gone is what no date shows.
With one date only, tags that say `intermittent` or `seasonal` are still honoured.

**Pieces.** A forest goes on beyond the block. What is missing is claimed block by block. Of what is mapped each block
judges its own part, and the OSM object makes one discrepancy of the parts.

**Confidence** is the network's own mean over the piece, halved where the piece is as small as may be, in full from
eight times that size on. It is set by hand: the labelled ground at hand is one square kilometre, from which no
regression can be fitted. By the default bar of publishing (0.5) the smallest pieces stay in the house.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import cv2
import numpy as np
import shapely
from rasterio.features import shapes as outlines_of
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from detectors.base import Claim, Frame, OsmFeature, Scene, Shape
from detectors.datasets.landcover import cover_of
from detectors.landcover_tags import (
    COMPATIBLE,
    LOOKS_LIKE,
    SELECTION,
    SUBJECTS,
    is_selected,
    is_settled,
    may_be_judged,
    relevant_tags,
)
from detectors.segmentation.dates import LEAST, MOST
from detectors.settings import LandcoverSettings
from detectors.vectorize.matching import Cover
from detectors.vectorize.raster import Grid

HECTARE_M2 = 10_000.0
#: Of a piece that is claimed missing, so much at least must be uncovered; of one that holds no longer, less is.
UNCOVERED, STILL_UNCOVERED = 0.8, 0.5
#: Metres around built-up ground within which a building or road shows that somebody mapped there.
NEAR_M = 50.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the network says of one subject: mean, least and most over the dates, float32 [H, W] each."""

    mean: np.ndarray
    least: np.ndarray
    most: np.ndarray


class LandcoverDetector:
    """Compares the cover a network sees with OSM's polygons (`detectors.base.Detector`)."""

    name = "landcover"
    key_prefix = "lnd"
    shapes: frozenset[Shape] = frozenset({"area", "line"})
    selection = SELECTION

    def __init__(self, settings: LandcoverSettings | None = None):
        self.settings = settings or LandcoverSettings()

    def selects(self, tags: Mapping[str, str]) -> bool:
        return is_selected(tags)

    def relevant(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        return relevant_tags(tags)

    def compare(self, scene: Scene) -> list[Claim]:
        block = _Block.of(scene, self.settings.tolerance)
        claims = []
        for subject in SUBJECTS:
            seen = _seen(scene, SUBJECTS[subject])
            if seen is None:
                continue
            if subject == "built_up":
                claims += self._settlements(seen, block)
            else:
                alike = _seen(scene, LOOKS_LIKE[subject]) or seen
                claims += [*self._missing(subject, seen, block), *self._gone(subject, alike, block)]
        return [c for c in claims if c.confidence >= self.settings.confidence and block.owns(c.geometry)]

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        cover = str(claim.evidence.get("cover", ""))
        match claim.kind:
            case "missing":
                covering = [f.geometry for f in features if cover_of(f.tags) in COMPATIBLE.get(cover, ())]
                return Cover(covering).uncovered_share(claim.geometry) > STILL_UNCOVERED
            case "gone":
                about = [f.geometry for f in features if f.ref == claim.osm and cover_of(f.tags) == cover]
                return Cover(about).uncovered_share(claim.geometry) < STILL_UNCOVERED
            case "settlement":
                return not any(is_settled(f.tags) and f.geometry.intersects(claim.geometry) for f in features)
        raise ValueError(f"landcover detector knows no claim of kind {claim.kind!r}")

    def _missing(self, subject: str, seen: _Seen, block: _Block) -> Iterator[Claim]:
        """What every date shows, and no polygon explains."""
        covering = [g for f, g in block.areas if cover_of(f.tags) in COMPATIBLE[subject]]
        open_ground = (seen.least >= self.settings.missing) & block.owned & ~block.near(covering)
        for piece in pieces(open_ground, block.grid, self._least(subject), self.settings.min_width):
            if Cover(covering).uncovered_share(piece) < UNCOVERED:
                continue
            mean = block.mean(seen.mean, piece)
            yield block.claim("missing", subject, piece, mean, None, self._confidence(mean, piece, subject))

    def _gone(self, subject: str, seen: _Seen, block: _Block) -> Iterator[Claim]:
        """What no date shows, nor anything that it may look like; a strip along its edge is no question."""
        width = max(self.settings.min_width, self.settings.tolerance)
        for feature, area in block.standing:
            if cover_of(feature.tags) != subject or not may_be_judged(feature.tags):
                continue
            if not self._imagery_is_younger(feature.timestamp.date(), block.scene.chip.acquired):
                continue
            here = block.around(area)
            if here is None:
                continue
            empty = (seen.most[here.pixels] < self.settings.gone) & block.owned[here.pixels] & here.grid.cover([area])
            for piece in pieces(empty, here.grid, self._least(subject), width):
                mean = block.mean(seen.most, piece)
                yield block.claim("gone", subject, piece, mean, feature, self._confidence(1 - mean, piece, subject))

    def _settlements(self, seen: _Seen, block: _Block) -> Iterator[Claim]:
        """Built-up on every date, and not a single building or road there."""
        settled = shapely.STRtree([g for f, g in block.all if is_settled(f.tags)])
        built = (seen.least >= self.settings.missing) & block.owned
        for piece in pieces(built, block.grid, self.settings.min_settlement * HECTARE_M2, self.settings.min_width):
            if len(settled.query(piece, "dwithin", NEAR_M)):
                continue
            mean = block.mean(seen.mean, piece)
            yield block.claim("settlement", "built_up", piece, mean, None, self._confidence(mean, piece, "built_up"))

    def _least(self, subject: str) -> float:
        """Square metres."""
        hectares = self.settings.min_water if subject == "water" else self.settings.min_area
        return hectares * HECTARE_M2

    def _confidence(self, seen: float, piece: BaseGeometry, subject: str) -> float:
        """The network's own, halved where the area is hardly larger than the least that is claimed.

        From eight times as much on it counts in full: what covers many pixels is no matter of one field's edge.
        """
        least = self.settings.min_settlement * HECTARE_M2 if subject == "built_up" else self._least(subject)
        larger = min(math.log2(max(piece.area / least, 1.0)) / 3, 1.0)
        return seen * (0.5 + 0.5 * larger)

    def _imagery_is_younger(self, edited: date, acquired: date | None) -> bool:
        return self.settings.trust_undated_imagery if acquired is None else edited <= acquired


@dataclass(frozen=True, slots=True)
class _Block:
    """What all kinds of claims need to know of the block, in local metres.

    Attributes:
        all: what is mapped, and what was until after the imagery was taken, with its geometry.
        areas: the polygons of them; standing: those that are on the map.
        owned: bool [H, W], pixels with imagery that are the block's own.
        tolerance: metres.
    """

    scene: Scene
    frame: Frame
    grid: Grid
    areas: Sequence[tuple[OsmFeature, BaseGeometry]]
    standing: Sequence[tuple[OsmFeature, BaseGeometry]]
    all: Sequence[tuple[OsmFeature, BaseGeometry]]
    owned: np.ndarray
    tolerance: float

    @classmethod
    def of(cls, scene: Scene, tolerance: float) -> _Block:
        frame = scene.chip.frame
        grid = Grid.of(frame)
        mapped = [(f, shapely.make_valid(frame.to_local(f.geometry))) for f in scene.features]
        for feature in scene.removed:  # where the map knew better not long ago, it is a cover still
            if scene.chip.acquired is None or feature.timestamp.date() > scene.chip.acquired:
                mapped.append((feature, shapely.make_valid(frame.to_local(feature.geometry))))
        owned = grid.cover([frame.to_local(box(*scene.owned))]) & scene.chip.valid
        standing = [(f, g) for f, g in mapped[: len(scene.features)] if shapely.get_dimensions(g) == 2]
        areas = [(f, g) for f, g in mapped if shapely.get_dimensions(g) == 2]
        return cls(scene, frame, grid, areas, standing, mapped, owned, tolerance)

    def owns(self, geometry: BaseGeometry) -> bool:
        west, south, east, north = self.scene.owned
        point = geometry.representative_point()
        return west <= point.x < east and south < point.y <= north

    def near(self, areas: Sequence[BaseGeometry]) -> np.ndarray:
        """Pixels within the tolerance of areas, bool [H, W]."""
        return self.grid.cover([area.buffer(self.tolerance, quad_segs=4) for area in areas])

    def around(self, area: BaseGeometry) -> _Part | None:
        """The part of the block's pixels that an area lies in: most are small. None where it lies beyond."""
        west, south, east, north = area.bounds
        rows, columns = self.grid.to_pixels(np.array([(west, north), (east, south)]))
        (top, left), (bottom, right) = (np.clip(at, 0, self.grid.shape) for at in zip(rows, columns, strict=True))
        bottom, right = min(bottom + 1, self.grid.shape[0]), min(right + 1, self.grid.shape[1])
        if bottom <= top or right <= left:
            return None
        grid = self.grid.window(int(left), int(top), (int(bottom - top), int(right - left)))
        return _Part(np.s_[top:bottom, left:right], grid)

    def mean(self, values: np.ndarray, piece: BaseGeometry) -> float:
        """Of values [H, W] within a piece of the block."""
        here = self.around(piece)
        assert here is not None, "a piece of the block lies in it"
        return float(values[here.pixels][here.grid.cover([piece])].mean())

    def claim(
        self, kind: str, cover: str, piece: BaseGeometry, seen: float, feature: OsmFeature | None, confidence: float
    ) -> Claim:
        chip = self.scene.chip
        return Claim(
            LandcoverDetector.name, kind, self.frame.to_lonlat(piece), feature.ref if feature else None,
            round(min(max(confidence, 0.01), 0.99), 4),
            evidence={
                "cover": cover, "area_ha": round(piece.area / HECTARE_M2, 2), "seen": round(seen, 3),
                "dates": "several" if any(n.startswith(LEAST) for n in self.scene.probabilities.classes) else 1,
                "imagery": chip.source, "acquired": chip.acquired.isoformat() if chip.acquired else None,
                "model": self.scene.probabilities.model,
                **({"osm_version": feature.version} if feature else {}),
            },
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of a block's pixels: their rows and columns, and the grid that they make."""

    pixels: tuple[slice, slice]
    grid: Grid


def pieces(mask: np.ndarray, grid: Grid, least: float, width: float) -> Iterator[BaseGeometry]:
    """Connected pieces of a mask that are large (square metres) and wide (metres) enough, as polygons."""
    side = max(1, round(width / grid.gsd))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] * grid.gsd**2 >= least) + 1
    kept = np.isin(labels, large)
    if not kept.any():
        return
    for outline, _ in outlines_of(labels.astype(np.int32), kept, connectivity=4, transform=grid.transform):
        piece = shape(outline).simplify(grid.gsd, preserve_topology=True)
        if not piece.is_empty and piece.area >= least:
            yield piece


def _seen(scene: Scene, classes: Sequence[str]) -> _Seen | None:
    """How likely any of the network's classes is; None where it knows none of them. Ground without imagery shows
    nothing, and hides nothing."""
    answer, valid = scene.probabilities, scene.chip.valid
    names = [name for name in classes if name in answer.classes]
    if not names:
        return None
    mean = sum(answer.of(name) for name in names)
    several = all(f"{LEAST}{name}" in answer.classes for name in names)
    least = sum(answer.of(f"{LEAST}{name}") for name in names) if several else mean
    most = sum(answer.of(f"{MOST}{name}") for name in names) if several else mean
    return _Seen(np.where(valid, mean, 0), np.where(valid, least, 0), np.where(valid, most, 1))
