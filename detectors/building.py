"""Buildings: what is on the ground and not on the map, on the map and not on the ground, or in the wrong place.

The order of judging:

1. What OSM has is sorted by what may be said of it: *judged* buildings, and *cover* (lifecycle tags, things with a roof
   that are no buildings, objects younger than the imagery), which explains what is seen but is never accused.
2. The block's common shift between map and imagery is estimated and taken out (`alignment`).
3. Every judged building is placed: it fits where it is, it fits a few metres off (*misplaced*), or nowhere (*gone*).
4. Roof that no mapped object explains, at its corrected place, is cut into single buildings along the walls that the network
   sees: *missing*. A terrace drawn as one or as ten explains the same roof, and so is no discrepancy.

Claims are made in the map's frame: the common shift is taken out of their geometry again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import cv2
import numpy as np
import shapely
from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry

from detectors.alignment import Seen, Surface, common_shift, polygon_of, surface
from detectors.base import Claim, Frame, OsmFeature, Scene
from detectors.vectorize.footprints import Footprint, outline_regions
from detectors.vectorize.raster import Grid

#: Values of building=* that say there is none, not yet or no longer.
NOT_STANDING = frozenset(
    {"no", "none", "construction", "proposed", "planned", "demolished", "razed", "destroyed", "collapsed", "removed"}
)
#: Values of building=* that come and go, or that are hard to tell from above.
TRANSIENT = frozenset({"tent", "houseboat", "static_caravan", "ruins", "ship", "container", "bunker", "entrance", "steps"})
#: Prefixes of lifecycle tags (OSM wiki, "Lifecycle prefix").
LIFECYCLE = (
    "proposed", "planned", "construction", "disused", "abandoned", "ruins", "demolished", "razed", "removed", "destroyed", "was",
)
#: Things that look like a roof from above and are mapped as something else.
ROOF_LIKE = {
    "man_made": {"storage_tank", "silo", "water_tower", "gasometer", "reservoir_covered", "bunker_silo", "works", "tower"},
    "amenity": {"shelter"},
    "aeroway": {"hangar", "terminal"},
    "power": {"substation", "transformer"},
    "leisure": {"stadium", "grandstand", "bleachers"},
    "building:part": None,
    "indoor": None,
}


@dataclass(frozen=True, slots=True)
class BuildingSettings:
    """The knobs of [detectors.building] and [detectors] that judging needs; units as there."""

    min_area: float = 16.0
    missing: float = 0.5
    gone: float = 0.25
    min_shift: float = 2.0
    max_shift: float = 8.0
    confidence: float = 0.0
    trust_undated_imagery: bool = False


@dataclass(frozen=True, slots=True)
class Mapped:
    """One OSM object of the block, in local metres, with what is allowed to be said of it."""

    feature: OsmFeature
    polygon: Polygon
    judged: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A judged building and how it fits the ground.

    Attributes:
        shift: metres (east, north) from where the map has it, with the common shift taken out, to where it fits best.
        here: mean footprint probability where the map has it.
        there: the same at `shift`.
        nearby: highest mean footprint probability at a shift of `NEARBY_M` at most.
        gain: how much better the score is at `shift`.
    """

    mapped: Mapped
    shift: tuple[float, float]
    here: float
    there: float
    nearby: float
    gain: float

    @property
    def distance(self) -> float:
        return math.hypot(*self.shift)


class BuildingDetector:
    """Compares the buildings a network sees with those of OSM (`detectors.base.Detector`)."""

    name = "building"
    key_prefix = "bld"

    def __init__(self, settings: BuildingSettings | None = None):
        self.settings = settings or BuildingSettings()

    def selects(self, tags: Mapping[str, str]) -> bool:
        return "building" in tags or _is_cover(tags)

    def compare(self, scene: Scene) -> list[Claim]:
        frame = scene.chip.frame
        grid = Grid.of(frame)
        seen = _seen(scene)
        mapped = self._sort(scene, frame)
        shift = self._common_shift(mapped, seen, grid)
        moved = [Mapped(m.feature, shapely.affinity.translate(m.polygon, *shift), m.judged) for m in mapped]
        placed = self._place(moved, seen, grid)
        block = _Block(scene, frame, grid, seen, shift)
        claims = [*self._gone(placed, block), *self._misplaced(placed, block), *self._missing(moved, placed, block)]
        return [
            c
            for c in claims
            if c.confidence >= self.settings.confidence and block.owns(c.geometry) and self.holds(c, scene.features)
        ]

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        match claim.kind:
            case "missing":
                return _uncovered_share(claim.geometry, [f.geometry for f in features]) > 0.5
            case "gone":
                return any(f.ref == claim.osm and _may_be_judged(f.tags) for f in features)
            case "misplaced":
                return any(
                    f.ref == claim.osm and _may_be_judged(f.tags) and not self._arrived(claim, f) for f in features
                )
        raise ValueError(f"building detector knows no claim of kind {claim.kind!r}")

    def _arrived(self, claim: Claim, feature: OsmFeature) -> bool:
        """Whether the object now lies where the claim says it should."""
        frame = _frame_around(claim.geometry)
        target, now = frame.to_local(claim.geometry).centroid, frame.to_local(feature.geometry).centroid
        return math.hypot(now.x - target.x, now.y - target.y) < self.settings.min_shift

    def _sort(self, scene: Scene, frame: Frame) -> list[Mapped]:
        mapped = []
        for feature in scene.features:
            polygon = polygon_of(frame.to_local(feature.geometry))
            if polygon is None or polygon.area == 0:
                continue
            judged = _may_be_judged(feature.tags) and self._imagery_is_younger(feature.timestamp.date(), scene.chip.acquired)
            mapped.append(Mapped(feature, polygon, judged))
        for feature in scene.removed:
            polygon = polygon_of(frame.to_local(feature.geometry))
            if polygon is not None and not self._imagery_is_younger(feature.timestamp.date(), scene.chip.acquired):
                mapped.append(Mapped(feature, polygon, False))
        return mapped

    def _imagery_is_younger(self, edited: date, acquired: date | None) -> bool:
        if acquired is None:
            return self.settings.trust_undated_imagery
        return edited <= acquired

    def _common_shift(self, mapped: Sequence[Mapped], seen: Seen, grid: Grid) -> tuple[float, float]:
        """Estimated from all standing buildings, also the younger ones: where a mapper drew them is no accusation."""
        surfaces = [
            s
            for m in mapped
            if _may_be_judged(m.feature.tags) and (s := surface(m.polygon, seen, grid, self.settings.max_shift)) is not None
        ]
        size = {s.total.shape for s in surfaces}
        return (common_shift(surfaces, self.settings.max_shift) if len(size) == 1 else None) or (0.0, 0.0)

    def _place(self, moved: Sequence[Mapped], seen: Seen, grid: Grid) -> list[Placed]:
        """Fit each judged building, knowing the ground that the others explain well where they are."""
        owner = grid.burn([m.polygon for m in moved])
        count = np.bincount(owner.ravel(), minlength=len(moved) + 1)
        total = np.bincount(owner.ravel(), weights=seen.footprint.ravel(), minlength=len(moved) + 1)
        fits = total >= 0.5 * np.maximum(count, 1)
        fits[0] = False
        explained = fits[owner]
        placed = []
        for number, m in enumerate(moved, start=1):
            if not m.judged:
                continue
            scores = surface(m.polygon, seen, grid, self.settings.max_shift, taken=explained & (owner != number))
            if scores is not None:
                placed.append(_placed(m, scores, self.settings.max_shift))
        return placed

    def _gone(self, placed: Sequence[Placed], block: _Block) -> list[Claim]:
        claims = []
        for p in placed:
            if self._is_misplaced(p) or p.here >= self.settings.gone or p.nearby >= 2 * self.settings.gone or p.mapped.polygon.area < self.settings.min_area:
                continue
            if block.valid_share(p.mapped.polygon) < 0.98:
                continue
            confidence = float(np.clip(1 - p.here - 0.5 * p.nearby, 0.05, 0.99))
            claims.append(
                block.claim("gone", p.mapped.polygon, p.mapped.feature, confidence, mapped_probability=round(p.here, 3))
            )
        return claims

    def _misplaced(self, placed: Sequence[Placed], block: _Block) -> list[Claim]:
        claims = []
        for p in placed:
            if not self._is_misplaced(p):
                continue
            polygon = shapely.affinity.translate(p.mapped.polygon, *p.shift)
            if block.valid_share(polygon) < 0.98:
                continue
            confidence = float(np.clip(0.3 + 1.2 * p.gain, 0.05, 0.99) * np.clip(p.there + 0.2, 0, 1))
            claims.append(
                block.claim(
                    "misplaced", polygon, p.mapped.feature, confidence, shift=p.shift,
                    mapped_probability=round(p.here, 3), shifted_probability=round(p.there, 3), gain=round(p.gain, 3),
                )
            )
        return claims

    def _is_misplaced(self, p: Placed) -> bool:
        return p.distance >= self.settings.min_shift and p.gain >= MISPLACED_GAIN and p.there >= 0.5

    def _missing(self, moved: Sequence[Mapped], placed: Sequence[Placed], block: _Block) -> list[Claim]:
        corrected = {id(p.mapped): p for p in placed if self._is_misplaced(p)}
        cover = [m.polygon for m in moved]
        cover += [shapely.affinity.translate(p.mapped.polygon, *p.shift) for p in corrected.values()]
        claims = []
        for footprint in self._unexplained(cover, block):
            polygon = footprint.polygon
            if polygon.area < self.settings.min_area or footprint.confidence < self.settings.missing:
                continue
            if block.valid_share(polygon) < 0.98 or _width(polygon) < MIN_WIDTH_M:
                continue
            uncovered = _uncovered_share(polygon, cover)
            if uncovered < 0.6:
                continue
            confidence = float(np.clip(footprint.confidence * uncovered * min(1.0, 0.6 + polygon.area / 100), 0.05, 0.99))
            claims.append(block.claim("missing", polygon, None, confidence, seen_probability=round(footprint.confidence, 3)))
        return claims

    def _unexplained(self, cover: Sequence[BaseGeometry], block: _Block) -> list[Footprint]:
        """Roof outside of `cover`, cut into single buildings along seen walls."""
        gsd = block.grid.gsd
        footprint, wall = block.seen.footprint, block.seen.wall
        roof = footprint >= ROOF_LEVEL
        covered = block.grid.cover([c.buffer(COVER_BUFFER_M, join_style="mitre") for c in cover])
        free = (roof & ~covered).astype(np.uint8)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(1.2 / gsd), _odd(1.2 / gsd)))
        free = cv2.morphologyEx(free, cv2.MORPH_OPEN, kernel)
        cores = ((block.seen.interior - wall) >= CORE_LEVEL) & (free > 0)
        count, markers, stats, _ = cv2.connectedComponentsWithStats(cores.astype(np.uint8), connectivity=4)
        small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < MIN_CORE_M2 / gsd**2)
        markers[np.isin(markers, small[small > 0])] = 0
        # Free roof without a core of its own still is something: its component is one marker.
        regions = _flood(markers, free > 0, footprint)
        return outline_regions(regions, footprint, block.grid)


#: A building that covers no roof, with roof so near that nobody else's building explains, is not claimed gone, metres.
NEARBY_M = 4.0
#: A building is misplaced when its score rises by at least so much at the better place.
MISPLACED_GAIN = 0.15
#: Footprint probability from which a pixel is roof.
ROOF_LEVEL = 0.5
#: How much surer of inside than of wall the network must be in the core of a building.
CORE_LEVEL = 0.3
#: Cores smaller than this are no building of their own, square metres.
MIN_CORE_M2 = 4.0
#: Roof this near to a mapped outline is explained by it: outlines are drawn to about a metre.
COVER_BUFFER_M = 0.9
#: What is narrower is the rim of something else, metres.
MIN_WIDTH_M = 2.4


@dataclass(frozen=True, slots=True)
class _Block:
    """What the three kinds of claims need to know of the block."""

    scene: Scene
    frame: Frame
    grid: Grid
    seen: Seen
    shift: tuple[float, float]

    def owns(self, geometry: BaseGeometry) -> bool:
        west, south, east, north = self.scene.owned
        point = geometry.representative_point()
        return west <= point.x < east and south < point.y <= north

    def valid_share(self, polygon: Polygon) -> float:
        """Share of the polygon's pixels (local metres) that have imagery; 0 where it leaves the chip."""
        west, south, east, north = polygon.bounds
        c0, r0 = (math.floor(v) for v in ~self.grid.transform @ (west, north))
        c1, r1 = (math.ceil(v) for v in ~self.grid.transform @ (east, south))
        height, width = self.grid.shape
        if c0 < 0 or r0 < 0 or c1 > width or r1 > height:
            return 0.0
        mask = self.grid.window(c0, r0, (r1 - r0, c1 - c0)).cover([polygon])
        valid = self.scene.chip.valid[r0:r1, c0:c1]
        return float(valid[mask].mean()) if mask.any() else 0.0

    def claim(
        self, kind: str, polygon: Polygon, feature: OsmFeature | None, confidence: float,
        shift: tuple[float, float] | None = None, **evidence: object,
    ) -> Claim:
        """A claim from a polygon in local metres of the imagery, put back into the map's frame."""
        on_map = shapely.affinity.translate(polygon, -self.shift[0], -self.shift[1])
        chip = self.scene.chip
        return Claim(
            detector=BuildingDetector.name,
            kind=kind,
            geometry=self.frame.to_lonlat(on_map),
            osm=feature.ref if feature else None,
            confidence=round(confidence, 4),
            shift_m=(round(shift[0], 2), round(shift[1], 2)) if shift else None,
            evidence={
                "area_m2": round(polygon.area, 1),
                **evidence,
                "block_shift_m": [round(v, 2) for v in self.shift],
                "imagery": chip.source,
                "acquired": chip.acquired.isoformat() if chip.acquired else None,
                "model": self.scene.probabilities.model,
                **({"osm_version": feature.version} if feature else {}),
            },
        )


def _seen(scene: Scene) -> Seen:
    interior, wall = scene.probabilities.of("building"), scene.probabilities.of("border")
    valid = scene.chip.valid
    interior, wall = np.where(valid, interior, 0), np.where(valid, wall, 0)
    return Seen(footprint=np.minimum(interior + wall, 1), interior=interior, wall=wall)


def _placed(m: Mapped, scores: Surface, max_shift: float) -> Placed:
    here = (0.0, 0.0)
    shift, best = scores.best(here, max_shift)
    return Placed(
        mapped=m,
        shift=shift,
        here=scores.at(here, scores.inside),
        there=scores.at(shift, scores.inside),
        nearby=scores.highest_inside(NEARBY_M),
        gain=best - scores.at(here),
    )


def _flood(markers: np.ndarray, free: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Grow the markers over free roof, each pixel to the core that reaches it first (watershed on probability)."""
    count, parts = cv2.connectedComponents(free.astype(np.uint8), connectivity=4)
    with_core = np.zeros(count, bool)
    with_core[np.unique(parts[markers > 0])] = True
    first = int(markers.max()) + 1
    coreless = np.flatnonzero(~with_core)
    coreless = coreless[coreless > 0]
    numbering = np.zeros(count, np.int32)
    numbering[coreless] = first + np.arange(len(coreless))
    labels = np.where(numbering[parts] > 0, numbering[parts], markers).astype(np.int32)
    if (markers > 0).any():
        relief = (255 * (1 - np.clip(footprint, 0, 1))).astype(np.uint8)
        background = first + len(coreless)
        flooded = cv2.watershed(cv2.merge([relief] * 3), np.where(free, labels, background).astype(np.int32))
        labels = np.where(free & (flooded > 0) & (flooded != background), flooded, 0)
        # The watershed leaves a line where two fronts meet, also along the background: give it to a neighbour.
        for _ in range(2):
            grown = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
            labels = np.where(free & (labels == 0), grown, labels)
    return labels


def _may_be_judged(tags: Mapping[str, str]) -> bool:
    """Whether the tags say that a building stands there, to be seen from above."""
    value = tags.get("building", "no")
    return (
        value not in NOT_STANDING
        and value not in TRANSIENT
        and tags.get("location") not in {"underground", "underwater", "indoor"}
        and not tags.get("layer", "0").startswith("-")
        and not _has_lifecycle(tags)
    )


def _has_lifecycle(tags: Mapping[str, str]) -> bool:
    return any(f"{prefix}:building" in tags for prefix in LIFECYCLE) or any(
        tags.get(prefix, "no") not in {"no", "false"} for prefix in ("demolished", "razed", "removed", "destroyed")
    )


def _is_cover(tags: Mapping[str, str]) -> bool:
    return _has_lifecycle(tags) or any(
        key in tags and (values is None or tags[key] in values) for key, values in ROOF_LIKE.items()
    )


def _uncovered_share(geometry: BaseGeometry, others: Sequence[BaseGeometry]) -> float:
    """Share of the geometry's area that none of the others covers."""
    touching = [o for o in others if o.intersects(geometry)]
    if not touching:
        return 1.0
    cover = shapely.union_all([shapely.make_valid(o) for o in touching])
    return 1.0 - geometry.intersection(cover).area / geometry.area


def _frame_around(geometry: BaseGeometry) -> Frame:
    """Local metres around one geometry, for measuring where there is no chip."""
    from detectors.base import EARTH_RADIUS_M

    point: Point = geometry.centroid
    x = math.radians(point.x) * EARTH_RADIUS_M
    y = math.asinh(math.tan(math.radians(point.y))) * EARTH_RADIUS_M
    return Frame((x - 1, y - 1, x + 1, y + 1), (1, 1))


def _width(polygon: Polygon) -> float:
    """About how wide a polygon is: twice its area over its length, metres."""
    perimeter = polygon.length
    return 4 * polygon.area / perimeter if perimeter else 0.0


def _odd(value: float) -> int:
    return max(1, 2 * round(value / 2) + 1)
