"""Swimming pools: a detector of another distribution, small enough to be read in one go.

It has no network. Chlorinated water is bluer than it is red, more than anything else in a town; on imagery of the
colours red, green, blue that is enough to find pools that nobody has mapped, and mapped ones that were filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from detectors.base import Claim, Frame, OsmFeature, Scene, Shape
from detectors.registry import Plugin
from detectors.settings import setting


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """The detector of swimming pools."""

    min_area: float = setting(8.0, "smaller pools are neither claimed missing nor gone", "square metres", gt=0)
    blueness: int = setting(60, "by how much blue must exceed red in a pixel of water", "0..255", ge=1, le=255)


class PoolDetector:
    """Compares blue water with leisure=swimming_pool (`detectors.base.Detector`)."""

    name = "pool"
    key_prefix = "pool"
    shapes: frozenset[Shape] = frozenset({"area"})
    selection = "leisure=swimming_pool"

    def __init__(self, settings: PoolSettings):
        self.settings = settings

    def selects(self, tags: Mapping[str, str]) -> bool:
        return tags.get("leisure") == "swimming_pool"

    def relevant(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        return {key: value for key, value in tags.items() if key in ("leisure", "location", "indoor")}

    def compare(self, scene: Scene) -> list[Claim]:
        frame = scene.chip.frame
        water = self._water(scene)
        mapped = [(feature, frame.to_local(feature.geometry)) for feature in scene.features]
        claims = []
        for outline in _outlines(water, frame):
            if outline.area >= self.settings.min_area and not any(outline.intersects(there) for _, there in mapped):
                claims.append(self._claim("missing", outline, None, scene))
        for feature, there in mapped:
            if there.area >= self.settings.min_area and self._may_be_judged(feature, scene):
                inside = _inside(there, frame) & scene.chip.valid
                if inside.any() and not water[inside].any():
                    claims.append(self._claim("gone", there, feature, scene))
        west, south, east, north = scene.owned
        points = [claim.geometry.representative_point() for claim in claims]
        return [
            claim for claim, point in zip(claims, points, strict=True)
            if west <= point.x < east and south < point.y <= north
        ]

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        if claim.kind == "missing":
            return not any(feature.geometry.intersects(claim.geometry) for feature in features)
        return any(feature.ref == claim.osm for feature in features)

    def _water(self, scene: Scene) -> np.ndarray:
        """bool [H, W]"""
        colours = scene.chip.pixels.astype(np.int16)
        return (colours[..., 2] - colours[..., 0] >= self.settings.blueness) & scene.chip.valid

    def _may_be_judged(self, feature: OsmFeature, scene: Scene) -> bool:
        """Under a roof nothing is seen, and what is younger than the imagery knows better."""
        acquired = scene.chip.acquired
        hidden = feature.tags.get("indoor") == "yes" or feature.tags.get("location") == "indoor"
        return not hidden and acquired is not None and feature.timestamp.date() <= acquired

    def _claim(self, kind: str, outline: BaseGeometry, feature: OsmFeature | None, scene: Scene) -> Claim:
        return Claim(
            self.name, kind, scene.chip.frame.to_lonlat(outline), feature.ref if feature else None, confidence=0.8,
            evidence={
                "area_m2": round(outline.area, 1), "imagery": scene.chip.source,
                "acquired": scene.chip.acquired.isoformat() if scene.chip.acquired else None,
                "model": scene.probabilities.model,
            },
        )


def _transform(frame: Frame) -> Affine:
    """Pixels to local metres."""
    (left, top), = frame.pixels_to_local(np.zeros((1, 2)))
    return Affine(frame.gsd, 0, left, 0, -frame.gsd, top)


def _outlines(water: np.ndarray, frame: Frame) -> list[BaseGeometry]:
    shapes = rasterio.features.shapes(water.astype(np.uint8), water, transform=_transform(frame))
    return [shapely.geometry.shape(shape).simplify(frame.gsd) for shape, _ in shapes]


def _inside(outline: BaseGeometry, frame: Frame) -> np.ndarray:
    """bool [H, W]"""
    return rasterio.features.geometry_mask([outline], frame.shape, _transform(frame), invert=True)


PLUGIN = Plugin(
    name="pool",
    settings=PoolSettings,
    detector="mapgap_pools:PoolDetector",
    catalogue=Path(__file__).with_name("pool.toml"),
    model=None,
)
