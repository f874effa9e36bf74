"""What is scored: the answer of a model for a place, or what somebody else says without a model.

Objects of models of buildings are the footprints that the building detector draws where the map is empty: the same cut
along walls, the same squaring, the same least area and width. Objects of other models, and of labels that are a raster,
are connected regions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import shapely
from rasterio.features import shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from detectors.alignment import Seen
from detectors.building import MIN_WIDTH_M
from detectors.datasets import Place
from detectors.datasets.targets import draw_mask
from detectors.errors import BundleInvalid
from detectors.evaluation.legend import Legend
from detectors.roofs import cut_roofs
from detectors.segmentation.bundle import Bundle
from detectors.segmentation.engines import Engine
from detectors.segmentation.stitching import segment
from detectors.settings import BuildingSettings
from detectors.vectorize.footprints import outline_regions, width_of
from detectors.vectorize.raster import Grid


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says about a place.

    Attributes:
        labels: uint8 [H, W]: index of the scored class of each pixel.
        planes: float32 [K, H, W]: probability of each scored class; None where nobody gave any.
        outlines: polygons of single objects in local metres, None where the classes are not of single objects.
        confidence: float64, one a polygon.
    """

    labels: np.ndarray
    planes: np.ndarray | None = None
    outlines: list[BaseGeometry] | None = None
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(0))


def ask_model(bundle: Bundle, engine: Engine, place: Place, legend: Legend, **options: object) -> Answer:
    """The answer of a model.

    Args:
        options: given to `segment`.

    Raises:
        BundleMismatch: bands, type or resolution of the place do not fit the bundle.
        BundleInvalid: what it gives are no numbers.
    """
    probabilities = segment(place.chip(), bundle, engine, **options)
    if not np.isfinite(probabilities.values).all():
        raise BundleInvalid(f"model {bundle.identity} gives probabilities for {place.name} that are no numbers; "
                            "train it anew, or run it in f32")
    planes = legend.planes_of(bundle, probabilities.values)
    labels = legend.labels_of(planes)
    if legend.objects is None:
        return Answer(labels, planes)
    grid = Grid.of(place.chip().frame)
    if bundle.card.border_px and bundle.card.interior and "border" in bundle.card.classes:
        wall = np.where(place.valid, probabilities.of("border"), 0)
        interior = np.where(place.valid, probabilities.of(bundle.card.interior), 0)
        drawn = cut_roofs(Seen(np.minimum(interior + wall, 1), interior, wall), [], grid)
    else:
        said = planes[legend.objects]
        _, regions = cv2.connectedComponents((labels == legend.objects).astype(np.uint8), connectivity=4)
        drawn = outline_regions(regions, said, grid)
    least = BuildingSettings().min_area
    kept = [f for f in drawn if f.polygon.area >= least and width_of(f.polygon) >= MIN_WIDTH_M]
    return Answer(labels, planes, [f.polygon for f in kept], np.array([f.confidence for f in kept]))


def say_always(place: Place, legend: Legend, index: int) -> Answer:
    """The answer of one who takes everything for the same class, and is sure of it; draws no object."""
    labels = np.full(place.valid.shape, index, dtype=np.uint8)
    planes = np.zeros((len(legend.classes), *labels.shape), dtype=np.float32)
    planes[index] = 1
    return Answer(labels, planes, None if legend.objects is None else [])


def say_outlines(place: Place, legend: Legend, outlines: np.ndarray, index: int) -> Answer:
    """The answer of a map.

    Args:
        outlines: polygons in pixel coordinates of the place.
        index: the scored class that they are of; everything else is background.

    Raises:
        ValueError: there is no background.
    """
    if legend.background is None:
        raise ValueError(f"outlines of {legend.classes[index]} do not say what lies between them")
    drawn = draw_mask(outlines, place.valid.shape)
    labels = np.where(drawn, index, legend.background).astype(np.uint8)
    if legend.objects != index:
        return Answer(labels, None, None if legend.objects is None else [])
    polygons = to_local(place, outlines)
    return Answer(labels, None, polygons, np.ones(len(polygons)))


def real_objects(place: Place, truth: np.ndarray, index: int) -> list[BaseGeometry]:
    """The labelled objects of a class: outlines where the place has them, else regions of the truth; local metres."""
    if place.mask is None:
        return to_local(place, place.outlines)
    transform = Grid.of(place.chip().frame).transform
    marked = (truth == index).astype(np.uint8)
    return [shape(geometry) for geometry, _ in shapes(marked, mask=marked > 0, connectivity=4, transform=transform)]


def to_local(place: Place, outlines: np.ndarray) -> list[BaseGeometry]:
    """Polygons in pixel coordinates -> valid ones in local metres."""
    frame = place.chip().frame
    return list(shapely.make_valid(shapely.transform(np.asarray(outlines, dtype=object), frame.pixels_to_local)))


def lie_on(outlines: list[BaseGeometry], mask: np.ndarray, place: Place) -> np.ndarray:
    """bool, one a polygon in local metres: at least half of its area lies on `mask`, bool [H, W]."""
    if not outlines:
        return np.zeros(0, dtype=bool)
    objects = np.array(outlines, dtype=object)
    transform = Grid.of(place.chip().frame).transform
    found = shapes(mask.astype(np.uint8), mask=mask, transform=transform)
    regions = np.array([shape(geometry) for geometry, _ in found], dtype=object)
    covered = np.zeros(len(objects))
    if len(regions):
        i, j = shapely.STRtree(regions).query(objects, predicate="intersects")
        np.add.at(covered, i, shapely.area(shapely.intersection(objects[i], regions[j])))
    return covered >= 0.5 * shapely.area(objects)
