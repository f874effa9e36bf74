"""What is made of the map: which objects label the ground, and what they are drawn as.

    building    outlines of single buildings
    road        surfaces around centre lines, as wide as their tags say (detectors/datasets/roads.py)
    landcover   polygons by tag (detectors/datasets/landcover.py); ground that nobody mapped is unknown
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from detectors.base import Frame, OsmFeature
from detectors.building import BuildingDetector
from detectors.datasets.landcover import CLASSES, cover_of, draw_cover
from detectors.datasets.roads import is_road, widen
from detectors.datasets.targets import draw_mask
from detectors.road_tags import road_width

Selects = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Labelling:
    """One way of making labels.

    Attributes:
        name: as the command line has it.
        selects: whether an object with these tags is a label.
        detector: whose store has all such objects, "" where no detector asks for them.
        classes: of the mask.
        draw: features and frame -> uint8 mask [H, W]; None where the outlines themselves are the labels.
    """

    name: str
    selects: Selects
    detector: str
    classes: tuple[str, ...]
    draw: Callable[[Sequence[OsmFeature], Frame], np.ndarray] | None


def draw_roads(features: Sequence[OsmFeature], frame: Frame) -> np.ndarray:
    """1 where there is a road, uint8 [H, W]."""
    lines = [
        (line, road_width(feature.tags))
        for feature in features for line in _lines_of(to_pixels(feature.geometry, frame))
    ]
    return draw_mask(widen(lines, frame.gsd), frame.shape).astype(np.uint8)


def draw_landcover(features: Sequence[OsmFeature], frame: Frame) -> np.ndarray:
    """Indices of the classes of land cover, uint8 [H, W]."""
    polygons = [
        (part, cover_of(feature.tags)) for feature in features
        for part in shapely.get_parts(to_pixels(feature.geometry, frame)) if part.geom_type == "Polygon"
    ]
    return draw_cover(polygons, frame.shape)


def to_pixels(geometry: BaseGeometry, frame: Frame) -> BaseGeometry:
    """Lon/lat -> pixel coordinates of a frame."""
    return shapely.transform(frame.to_local(geometry), frame.local_to_pixels)


def _lines_of(geometry: BaseGeometry) -> list[BaseGeometry]:
    """Lines as they are, of polygons (a roundabout that somebody tagged as an area) their outer edge."""
    return [
        part.exterior if part.geom_type == "Polygon" else part for part in shapely.get_parts(geometry)
        if part.geom_type in ("LineString", "LinearRing", "Polygon")
    ]


_BUILDINGS = BuildingDetector()
LABELLINGS: Mapping[str, Labelling] = {
    labelling.name: labelling for labelling in (
        Labelling("building", _BUILDINGS.selects, "building", ("background", "building"), None),
        Labelling("road", is_road, "", ("background", "road"), draw_roads),
        Labelling("landcover", lambda tags: cover_of(tags) is not None, "", CLASSES, draw_landcover),
    )
}
