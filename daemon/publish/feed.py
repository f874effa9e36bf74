"""What every feed says about itself, and the geometry and words that all formats share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from daemon.discrepancies.model import Discrepancy, plain
from detectors.catalogue import Kind
from detectors.registry import registry

#: Whom OSM's licence asks to name.
OSM_ATTRIBUTION = "© OpenStreetMap contributors, ODbL 1.0"
#: Decimals of a degree: about a centimetre, and what OSM itself keeps.
DECIMALS = 7


@dataclass(frozen=True, slots=True)
class ImageryCredit:
    """Whose imagery the discrepancies were seen on."""

    name: str
    attribution: str
    licence: str


@dataclass(frozen=True, slots=True)
class ExportContext:
    """Where a feed comes from.

    Attributes:
        area: short name of the area.
        generated: when the feed is made, with a time zone; only formats that must have it show it.
        imagery: whom to name.
        kinds: (detector, kind) -> what people are told of it.
        source, resource: web pages of whoever makes the feed, and of what it is made from; "" where there are none.
    """

    area: str
    generated: datetime
    imagery: tuple[ImageryCredit, ...] = ()
    kinds: Mapping[tuple[str, str], Kind] = field(default_factory=lambda: registry().kinds())
    source: str = ""
    resource: str = ""

    @property
    def attributions(self) -> list[str]:
        """Everybody to be named, OSM first, each once."""
        return list(dict.fromkeys([OSM_ATTRIBUTION, *(f"{i.attribution} ({i.licence})" for i in self.imagery)]))


def geometry_json(geometry: BaseGeometry) -> dict[str, Any]:
    """Lon/lat geometry as RFC 7946 wants it: 7 decimals, outer rings anticlockwise, no third dimension."""
    flat = shapely.force_2d(geometry)
    rounded = shapely.transform(flat, lambda points: np.round(points, DECIMALS))
    if not rounded.is_valid:  # corners that fell together
        kept = shapely.set_precision(shapely.make_valid(flat), 10.0**-DECIMALS)
        rounded = rounded if kept.is_empty else kept
    kind = rounded.geom_type
    if kind == "GeometryCollection":
        return {"type": kind, "geometries": [geometry_json(part) for part in rounded.geoms]}
    if kind in ("Polygon", "MultiPolygon"):
        rounded = shapely.orient_polygons(rounded)
    return {"type": "LineString" if kind == "LinearRing" else kind, "coordinates": _lists(rounded)}


def encode(value: Any, *, ascii_only: bool = False) -> bytes:
    """One line of JSON; what JSON has no word for (NaN, infinities) becomes null."""
    text = json.dumps(plain(value), ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))
    return text.encode()


def area_m2(discrepancy: Discrepancy) -> float:
    """Area of the geometry in square metres, good to a percent for what fits into a block; 0 for points and lines."""
    lat = math.radians(discrepancy.point[1])
    return abs(discrepancy.geometry.area) * 111_320.0 * 110_574.0 * math.cos(lat)


def fact(evidence: Mapping[str, Any], name: str) -> str | None:
    """A scalar of the evidence as a short line of text, None where there is none."""
    value = evidence.get(name)
    if value is None or isinstance(value, list | dict | bool) or value == "":
        return None
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else None
    return " ".join(str(value).split())[:200] or None


def _lists(geometry: BaseGeometry) -> list[Any]:
    kind = geometry.geom_type
    if kind == "Polygon":
        return [_points(ring) for ring in (geometry.exterior, *geometry.interiors)]
    if kind.startswith("Multi"):
        return [_lists(part) for part in geometry.geoms]
    points = _points(geometry)
    return points[0] if kind == "Point" else points


def _points(geometry: BaseGeometry) -> list[list[float]]:
    return [[round(x, DECIMALS), round(y, DECIMALS)] for x, y in shapely.get_coordinates(geometry).tolist()]
