"""The values that detectors work on, and the protocol a detector fulfils.

Pixels never travel without where, when and whose they are (`Chip`); a network's answer never travels without its
classes (`Probabilities`); what the map says is an `OsmFeature`; what a detector says is a `Claim`.

Coordinate systems, everywhere in this package:

* *lon/lat*: EPSG:4326 degrees, x = longitude. Features come in and claims go out like this.
* *mercator*: EPSG:3857 metres. Chips are cut on the web-mercator tile grid; `Chip.bounds` is mercator.
* *local*: true metres east and north of the chip's centre (`Frame`). Areas, shifts and tolerances are local metres.
* *pixel*: column right, row down, (0, 0) the upper left corner of the upper left pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, Protocol

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

Shape = Literal["point", "line", "area"]

#: Radius of the web-mercator sphere in metres (EPSG:3857).
EARTH_RADIUS_M = 6378137.0
#: What a geometry is made of: the largest of its dimensions, 0, 1 or 2, is the index here.
SHAPES: tuple[Shape, ...] = ("point", "line", "area")


@dataclass(frozen=True, slots=True)
class Frame:
    """The affine bridge between lon/lat, local metres and pixels of one chip.

    Web mercator is conformal, so over a few hundred metres true metres are mercator metres times cos(latitude).

    Attributes:
        bounds: (minx, miny, maxx, maxy) in mercator metres.
        shape: (height, width) in pixels.
    """

    bounds: tuple[float, float, float, float]
    shape: tuple[int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Mercator x, y of the local origin."""
        minx, miny, maxx, maxy = self.bounds
        return (minx + maxx) / 2, (miny + maxy) / 2

    @property
    def scale(self) -> float:
        """True metres for one mercator metre at the centre, cos(latitude)."""
        return 1 / math.cosh(self.centre[1] / EARTH_RADIUS_M)

    @property
    def gsd(self) -> float:
        """Ground sample distance: true metres for one pixel."""
        return (self.bounds[2] - self.bounds[0]) / self.shape[1] * self.scale

    def to_local(self, geometry: BaseGeometry) -> BaseGeometry:
        """Lon/lat geometry -> local metres."""
        cx, cy = self.centre

        def project(lonlat: np.ndarray) -> np.ndarray:
            x = np.radians(lonlat[:, 0]) * EARTH_RADIUS_M
            y = np.arcsinh(np.tan(np.radians(lonlat[:, 1]))) * EARTH_RADIUS_M
            return np.column_stack([(x - cx) * self.scale, (y - cy) * self.scale])

        return shapely.transform(geometry, project)

    def to_lonlat(self, geometry: BaseGeometry) -> BaseGeometry:
        """Local metres -> lon/lat geometry."""
        cx, cy = self.centre

        def unproject(local: np.ndarray) -> np.ndarray:
            lon = np.degrees((local[:, 0] / self.scale + cx) / EARTH_RADIUS_M)
            lat = np.degrees(np.arctan(np.sinh((local[:, 1] / self.scale + cy) / EARTH_RADIUS_M)))
            return np.column_stack([lon, lat])

        return shapely.transform(geometry, unproject)

    def pixels_to_local(self, points: np.ndarray) -> np.ndarray:
        """Pixel points [N, 2] (column, row) -> local metres [N, 2] (east, north)."""
        height, width = self.shape
        return np.column_stack([(points[:, 0] - width / 2) * self.gsd, (height / 2 - points[:, 1]) * self.gsd])

    def local_to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Local metres [N, 2] (east, north) -> pixel points [N, 2] (column, row)."""
        height, width = self.shape
        return np.column_stack([points[:, 0] / self.gsd + width / 2, height / 2 - points[:, 1] / self.gsd])


def frame_around(geometry: BaseGeometry) -> Frame:
    """Local metres around a lon/lat geometry, for measuring where there is no chip."""
    point = geometry.centroid
    x = math.radians(point.x) * EARTH_RADIUS_M
    y = math.asinh(math.tan(math.radians(point.y))) * EARTH_RADIUS_M
    return Frame((x - 1, y - 1, x + 1, y + 1), (1, 1))


@dataclass(frozen=True, slots=True)
class Chip:
    """Imagery of one block with its margin.

    Attributes:
        pixels: uint8 or uint16 [H, W, C]; what lies under invalid pixels has no meaning.
        valid: bool [H, W]; False where there is no imagery. Never judged.
        bounds: (minx, miny, maxx, maxy) in mercator metres.
        acquired: the day the imagery was taken, None where the source does not know.
        source: name of the imagery source as configured.
        crs: always "EPSG:3857".
    """

    pixels: np.ndarray
    valid: np.ndarray
    bounds: tuple[float, float, float, float]
    acquired: date | None
    source: str
    crs: str = "EPSG:3857"

    @property
    def frame(self) -> Frame:
        return Frame(self.bounds, self.valid.shape)


@dataclass(frozen=True, slots=True)
class Probabilities:
    """A network's answer for a chip.

    Attributes:
        values: float16 or float32 [K, H, W] in 0..1, on the chip's pixel grid.
        classes: K names in the order of the first axis, as the model card gives them.
        model: identity of the bundle ("name@sha256-prefix"); goes into the evidence.
    """

    values: np.ndarray
    classes: tuple[str, ...]
    model: str

    def of(self, name: str) -> np.ndarray:
        """The plane [H, W] of one class as float32.

        Raises:
            KeyError: the model has no such class.
        """
        try:
            return self.values[self.classes.index(name)].astype(np.float32)
        except ValueError:
            raise KeyError(f"model {self.model} has no class {name!r}, only {', '.join(self.classes)}") from None


@dataclass(frozen=True, slots=True)
class OsmFeature:
    """One OSM object with its geometry, as the store knows it now.

    Attributes:
        type: "node", "way" or "relation".
        geometry: shapely geometry in lon/lat. Closed ways and multipolygons are (Multi)Polygons, others lines.
        timestamp: when this state came about: the newest edit of the object or of what its geometry is made of (UTC).
    """

    type: str
    id: int
    version: int
    timestamp: datetime
    tags: Mapping[str, str]
    geometry: BaseGeometry

    @property
    def ref(self) -> str:
        """ "way/123", the form used in claims, exports and MapRoulette."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a detector says about one place: map and ground disagree.

    Attributes:
        detector: name of the detector.
        kind: "missing" (on the ground, not on the map), "gone" (on the map, not on the ground) or "misplaced".
        geometry: lon/lat geometry: the footprint seen, or for "gone" the mapped one, for "misplaced" where it should
            be.
        osm: "way/123" of the object the claim is about, None for "missing".
        confidence: 0..1, an estimate of the probability that a mapper would agree.
        shift_m: for "misplaced": (east, north) metres from the mapped to the right place.
        evidence: JSON-able facts behind the claim (areas in m2, probabilities, imagery, model, block offset).
    """

    detector: str
    kind: str
    geometry: BaseGeometry
    osm: str | None
    confidence: float
    shift_m: tuple[float, float] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a detector may look at when it judges one block.

    Attributes:
        chip: the imagery.
        probabilities: the network's answer on the chip's grid.
        features: what the map has now within the chip, selected by the detector.
        removed: objects deleted from the map not long ago: where they are younger than the imagery, the map knows
            better.
        owned: lon/lat (west, south, east, north) of the block without its margin. A claim belongs to the block that
            holds its representative point; claims outside are the neighbour's to make.
    """

    chip: Chip
    probabilities: Probabilities
    features: Sequence[OsmFeature]
    removed: Sequence[OsmFeature]
    owned: tuple[float, float, float, float]


class Detector(Protocol):
    """What a detector gives to the daemon. Detectors are stateless and pure."""

    #: Short name, used in config, exports and feeds ("building").
    name: str
    #: First part of its discrepancies' keys ("bld").
    key_prefix: str
    #: Shapes of geometry that it looks at; objects of another shape are nothing to it.
    shapes: frozenset[Shape]
    #: Names what `selects` selects: another text as soon as any tags are selected that were not, or no longer. A store
    #: holds what was selected when it was bootstrapped, so another selection needs a new bootstrap.
    selection: str

    def selects(self, tags: Mapping[str, str]) -> bool:
        """Whether an OSM object with these tags matters to the detector; the store keeps features of such objects."""
        ...

    def relevant(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """The part of an object's tags that matters to a look.

        Two states of an object that agree in this part, and in geometry, look the same to the detector: going from one
        to the other is no reason to look again. Holds at least every tag that `selects`, `compare` and `holds` heed.
        """
        ...

    def compare(self, scene: Scene) -> list[Claim]:
        """All claims whose representative point lies in `scene.owned`."""
        ...

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        """Whether the claim is still true on the current map, asked without imagery.

        Args:
            claim: as made before; only kind, geometry, osm, shift_m and evidence matter.
            features: what the map has now around the claim (at least everything that touches its geometry, and the
                object `claim.osm` names if it still exists).

        Returns:
            False when the map no longer shows what the claim says, so that it counts as fixed.
        """
        ...
