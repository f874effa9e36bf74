"""Buildings: what is on the ground and not on the map, on the map and not on the ground, or in the wrong place.

The order of judging:

1. What OSM has is sorted by what may be said of it: *judged* buildings, and *cover* (lifecycle tags, things with a roof
   that are no buildings, objects younger than the imagery), which explains what is seen but is never accused.
2. The block's common shift between map and imagery is estimated and taken out (`alignment`).
3. Every judged building is placed: it fits where it is, it fits a few metres off (*misplaced*), or nowhere (*gone*).
4. Roof that no mapped object explains, at its corrected place, is cut into single buildings along the walls that the
   network
   sees: *missing*. A terrace drawn as one or as ten explains the same roof, and so is no discrepancy.

Claims are made in the map's frame: the common shift is taken out of their geometry again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import rasterio
import shapely
from shapely.affinity import translate
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from detectors.alignment import Seen, common_shift, polygon_of, surface
from detectors.base import Claim, Frame, OsmFeature, Scene, Shape, frame_around
from detectors.building_tags import SELECTION, is_selected, may_be_judged, relevant_tags
from detectors.confidence import CONFIDENCE, log_area
from detectors.outlines import POOR_IOU, PoorOutline, poor_outlines
from detectors.placing import Mapped, Placed, place_buildings
from detectors.roofs import cut_roofs
from detectors.settings import BuildingSettings
from detectors.vectorize.footprints import width_of
from detectors.vectorize.matching import Cover, overlap
from detectors.vectorize.raster import Grid


class BuildingDetector:
    """Compares the buildings a network sees with those of OSM (`detectors.base.Detector`)."""

    name = "building"
    key_prefix = "bld"
    shapes: frozenset[Shape] = frozenset({"area"})
    selection = SELECTION

    def __init__(self, settings: BuildingSettings | None = None):
        self.settings = settings or BuildingSettings()

    def selects(self, tags: Mapping[str, str]) -> bool:
        return is_selected(tags)

    def relevant(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        return relevant_tags(tags)

    def compare(self, scene: Scene) -> list[Claim]:
        with rasterio.Env():  # entered once, not anew for each of thousands of outlines
            return self._compare(scene)

    def _compare(self, scene: Scene) -> list[Claim]:
        frame = scene.chip.frame
        grid = Grid.of(frame)
        seen = _seen(scene)
        mapped = self._sort(scene, frame)
        shift = self._common_shift(mapped, seen, grid)
        moved = [Mapped(m.feature, translate(m.polygon, *shift), m.judged) for m in mapped]
        placed = place_buildings(moved, seen, grid, self.settings.max_shift)
        block = _Block(scene, frame, grid, seen, shift)
        poor = [
            outline for outline in poor_outlines([m.polygon for m in moved], seen, grid) if moved[outline.index].judged
        ]
        of_other_size = {id(moved[outline.index]) for outline in poor}
        placed = [p for p in placed if id(p.mapped) not in of_other_size]
        claims = [
            *_surest([*self._gone(placed, block), *self._misplaced(placed, block)]),
            *self._badly_outlined(moved, poor, block),
            *self._missing(moved, placed, poor, block),
        ]
        sure = [c for c in claims if c.confidence >= self.settings.confidence and block.owns(c.geometry)]
        tree = shapely.STRtree([f.geometry for f in scene.features])
        named = {f.ref: f for f in scene.features}
        return [
            c
            for c in sure
            if self.holds(c, [named[c.osm]] if c.osm else [scene.features[i] for i in tree.query(c.geometry)])
        ]

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        match claim.kind:
            case "missing":
                return Cover([f.geometry for f in features]).uncovered_share(claim.geometry) > 0.5
            case "gone":
                return any(f.ref == claim.osm and may_be_judged(f.tags) for f in features)
            case "misplaced":
                return any(
                    f.ref == claim.osm and may_be_judged(f.tags) and not self._arrived(claim, f) for f in features
                )
        raise ValueError(f"building detector knows no claim of kind {claim.kind!r}")

    def _arrived(self, claim: Claim, feature: OsmFeature) -> bool:
        """Whether the object now lies where the claim says it should, or looks so if that was the claim."""
        if "iou" in claim.evidence:
            return overlap(claim.geometry, feature.geometry) >= POOR_IOU
        frame = frame_around(claim.geometry)
        target, now = frame.to_local(claim.geometry).centroid, frame.to_local(feature.geometry).centroid
        return math.hypot(now.x - target.x, now.y - target.y) < self.settings.min_shift

    def _sort(self, scene: Scene, frame: Frame) -> list[Mapped]:
        mapped = []
        for feature in scene.features:
            polygon = polygon_of(frame.to_local(feature.geometry))
            if polygon is None or polygon.area == 0:
                continue
            judged = may_be_judged(feature.tags) and self._imagery_is_younger(
                feature.timestamp.date(), scene.chip.acquired
            )
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
            if may_be_judged(m.feature.tags)
            and (s := surface(m.polygon, seen, grid, self.settings.max_shift)) is not None
        ]
        size = {s.total.shape for s in surfaces}
        return (common_shift(surfaces, self.settings.max_shift) if len(size) == 1 else None) or (0.0, 0.0)

    def _gone(self, placed: Sequence[Placed], block: _Block) -> list[Claim]:
        claims = []
        for p in placed:
            polygon = p.mapped.polygon
            if p.here >= self.settings.gone or p.nearby >= 2 * self.settings.gone:
                continue
            if polygon.area >= self.settings.min_area and block.sees(polygon):
                claims.append(block.claim("gone", polygon, p.mapped.feature, {"here": p.here, "nearby": p.nearby}))
        return claims

    def _misplaced(self, placed: Sequence[Placed], block: _Block) -> list[Claim]:
        """Where two fit the same ground better, it is for the one that gains more; of the other nothing is said."""
        claims: list[Claim] = []
        taken: list[Polygon] = []
        for p in sorted(placed, key=lambda p: -p.gain):
            polygon = translate(p.mapped.polygon, *p.shift)
            if not self._is_misplaced(p) or any(overlap(polygon, other) > MAX_OVERLAP for other in taken):
                continue
            taken.append(polygon)
            if polygon.area >= self.settings.min_area and block.sees(polygon):
                measures = {"here": p.here, "there": p.there, "gain": p.gain, "distance": p.distance}
                claims.append(block.claim("misplaced", polygon, p.mapped.feature, measures, p.shift))
        return claims

    def _badly_outlined(self, moved: Sequence[Mapped], poor: Sequence[PoorOutline], block: _Block) -> list[Claim]:
        """Right in place, wrong in size."""
        claims = []
        for outline in poor:
            m, roof = moved[outline.index], outline.footprint
            least = min(m.polygon.area, roof.polygon.area)
            if least >= self.settings.min_area and block.sees(roof.polygon):
                shift = np.subtract(roof.polygon.centroid.coords[0], m.polygon.centroid.coords[0])
                measures = {"seen": roof.confidence, "iou": outline.iou}
                claims.append(block.claim("misplaced", roof.polygon, m.feature, measures, tuple(shift), "outline"))
        return claims

    def _is_misplaced(self, p: Placed) -> bool:
        return p.distance >= self.settings.min_shift and p.gain >= MISPLACED_GAIN and p.there >= 0.5

    def _missing(
        self, moved: Sequence[Mapped], placed: Sequence[Placed], poor: Sequence[PoorOutline], block: _Block
    ) -> list[Claim]:
        cover = [*(m.polygon for m in moved), *(outline.footprint.polygon for outline in poor)]
        cover += [translate(p.mapped.polygon, *p.shift) for p in placed if self._is_misplaced(p)]
        outlines = Cover(cover)
        claims = []
        for footprint in cut_roofs(block.seen, cover, block.grid):
            polygon, seen = footprint.polygon, footprint.confidence
            if polygon.area < self.settings.min_area or seen < self.settings.missing or width_of(polygon) < MIN_WIDTH_M:
                continue
            if outlines.uncovered_share(polygon) < MIN_UNCOVERED or not block.sees(polygon):
                continue
            scores = surface(polygon, block.seen, block.grid, 0.0)
            fit = float(scores.total[0, 0] - scores.inside[0, 0]) if scores else 0.0
            claims.append(block.claim("missing", polygon, None, {"seen": seen, "fit": fit}))
        return claims


#: A building is misplaced when its score rises by at least so much at the better place.
MISPLACED_GAIN = 0.15
#: Two buildings that overlap by more (intersection over union) cannot both stand where they fit best.
MAX_OVERLAP = 0.1
#: Imagery must reach this far beyond whatever is claimed, metres.
SIGHT_M = 1.5
#: A footprint that the map covers more than this leaves no question, share of its area.
MIN_UNCOVERED = 0.6
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

    def sees(self, polygon: Polygon) -> bool:
        """Whether imagery covers the polygon (local metres) and `SIGHT_M` around it: half a roof tells nothing."""
        around = polygon.buffer(SIGHT_M, join_style="mitre")
        west, south, east, north = around.bounds
        c0, r0 = (math.floor(v) for v in ~self.grid.transform @ (west, north))
        c1, r1 = (math.ceil(v) for v in ~self.grid.transform @ (east, south))
        height, width = self.grid.shape
        if c0 < 0 or r0 < 0 or c1 > width or r1 > height:
            return False
        mask = self.grid.window(c0, r0, (r1 - r0, c1 - c0)).cover([around])
        return bool(self.scene.chip.valid[r0:r1, c0:c1][mask].all())

    def claim(
        self,
        kind: str,
        polygon: Polygon,
        feature: OsmFeature | None,
        measures: Mapping[str, float],
        shift: tuple[float, float] | None = None,
        regression: str | None = None,
    ) -> Claim:
        """A claim from a polygon in local metres of the imagery, put back into the map's frame.

        Args:
            measures: what the confidence rests upon besides the area; goes into the evidence.
            regression: of `detectors.confidence`, where it is not the kind's own.
        """
        on_map = translate(polygon, -self.shift[0], -self.shift[1])
        chip = self.scene.chip
        confidence = CONFIDENCE[regression or kind]({**measures, "log_area": log_area(polygon.area)})
        return Claim(
            detector=BuildingDetector.name,
            kind=kind,
            geometry=self.frame.to_lonlat(on_map),
            osm=feature.ref if feature else None,
            confidence=round(confidence, 4),
            shift_m=(round(shift[0], 2), round(shift[1], 2)) if shift else None,
            evidence={
                "area_m2": round(polygon.area, 1),
                **{name: round(value, 3) for name, value in measures.items()},
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


def _surest(claims: Sequence[Claim]) -> list[Claim]:
    """Of what may be said of one object, gone or misplaced, the more likely."""
    best: dict[str | None, Claim] = {}
    for claim in claims:
        if claim.osm not in best or claim.confidence > best[claim.osm].confidence:
            best[claim.osm] = claim
    return list(best.values())
