"""The area of interest: which part of the world the store keeps, and which objects of it count as features.

A polygon file is an osmosis polygon filter file (https://wiki.openstreetmap.org/wiki/Osmosis/Polygon_Filter_File_Format)
or GeoJSON (RFC 7946) with Polygons and MultiPolygons. Coordinates are lon/lat degrees (EPSG:4326).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from daemon.config import Area
from daemon.errors import ConfigError
from detectors.base import EARTH_RADIUS_M

#: A larger polygon file is refused, bytes. The finest country borders have a few megabytes.
MAX_FILE = 64 * 1024**2
#: Straight pieces that stand for a quarter of a circle at the corners of the margin.
QUADRANT_SEGMENTS = 8
#: Metres along one degree of a great circle.
DEGREE_M = math.radians(EARTH_RADIUS_M)


class AreaOfInterest:
    """A polygon with a margin around it. The whole world is `None` instead of one of these.

    Args:
        geometry: Polygon or MultiPolygon in lon/lat degrees.
        margin: metres; raw objects up to so far outside are kept too.
    """

    def __init__(self, geometry: BaseGeometry, margin: float):
        self.geometry = geometry
        self.margin = margin
        self.is_box = geometry.equals(geometry.envelope)
        self.bounds: tuple[float, float, float, float] = geometry.bounds
        self._wide = self._widened()
        self._wide_bounds = self._wide.bounds
        shapely.prepare(self.geometry)
        shapely.prepare(self._wide)

    @classmethod
    def of(cls, area: Area) -> AreaOfInterest | None:
        """The area that the configuration names, None where it names none.

        Raises:
            ConfigError: the polygon file cannot be used.
        """
        if area.polygon is not None:
            return cls.from_file(area.polygon, area.margin)
        return cls.from_bbox(area.bbox, area.margin) if area.bbox is not None else None

    @classmethod
    def from_bbox(cls, bbox: tuple[float, float, float, float], margin: float) -> AreaOfInterest:
        """From (west, south, east, north) in degrees."""
        return cls(box(*bbox), margin)

    @classmethod
    def from_file(cls, path: Path, margin: float) -> AreaOfInterest:
        """From a .poly or GeoJSON file; what it is, its first character tells.

        Raises:
            ConfigError: it cannot be read, or is not a sound polygon file; with line or place of the fault.
        """
        try:
            if path.stat().st_size > MAX_FILE:
                raise ConfigError(str(path), [f"larger than {MAX_FILE} bytes; simplify the polygon"])
            text = path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(path), [f"the polygon file cannot be read: {error}"]) from None
        try:
            polygons = _read_geojson(text) if text.lstrip()[:1] in ("{", "[") else _read_poly(text)
            return cls(polygons, margin)
        except ValueError as error:
            raise ConfigError(str(path), [f"not a usable polygon file: {error}"]) from None

    def keeps(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """Which points are in the area or its margin, bool [N]; lon, lat in degrees [N]. The border belongs to it."""
        west, south, east, north = self._wide_bounds
        kept = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
        if not self.is_box and kept.any():
            kept[kept] = shapely.intersects_xy(self._wide, lon[kept], lat[kept])
        return kept

    def covers(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """Which points are in the area itself, bool [N]; lon, lat in degrees [N]. The border belongs to it."""
        west, south, east, north = self.bounds
        covered = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
        if not self.is_box and covered.any():
            covered[covered] = shapely.intersects_xy(self.geometry, lon[covered], lat[covered])
        return covered

    def touches(self, geometries: np.ndarray) -> np.ndarray:
        """Which lon/lat geometries (object [N], None allowed) have a point in the area itself, bool [N]."""
        west, south, east, north = self.bounds
        found = shapely.bounds(geometries)
        with np.errstate(invalid="ignore"):
            near = (found[:, 0] <= east) & (found[:, 2] >= west) & (found[:, 1] <= north) & (found[:, 3] >= south)
            sure = (found[:, 0] >= west) & (found[:, 2] <= east) & (found[:, 1] >= south) & (found[:, 3] <= north)
        doubtful = near & ~sure if self.is_box else near
        near[doubtful] = shapely.intersects(self.geometry, geometries[doubtful])
        return near

    def owns(self, geometry: BaseGeometry) -> bool:
        """Whether a lon/lat geometry belongs to the area: its representative point does. Beyond the area, the map is
        not known."""
        return bool(shapely.intersects(self.geometry, geometry.representative_point()))

    def describe(self) -> dict[str, Any]:
        """What identifies the area, as JSON: a store made for one area is of no use for another."""
        described: dict[str, Any] = {"bbox": [float(v) for v in self.bounds], "margin": float(self.margin)}
        if not self.is_box:
            wkb = shapely.to_wkb(shapely.normalize(self.geometry), byte_order=1)
            described["polygon_sha256"] = hashlib.sha256(wkb).hexdigest()
        return described

    def _widened(self) -> BaseGeometry:
        """The area with its margin: at least `margin` metres, and more in east and west where the area reaches far."""
        west, south, east, north = self.bounds
        latitude = min(89.0, max(abs(south), abs(north)) + self.margin / DEGREE_M)
        squeeze = math.cos(math.radians(latitude))
        reach = self.margin / DEGREE_M
        if self.is_box:
            return box(west - reach / squeeze, south - reach, east + reach / squeeze, north + reach)
        if reach == 0:
            return self.geometry
        squeezed = shapely.transform(self.geometry, lambda lonlat: lonlat * (squeeze, 1.0))
        # The pieces of a drawn circle lie inside it: reach a little further, so that no piece comes too near.
        reach /= math.cos(math.pi / (4 * QUADRANT_SEGMENTS))
        wide = squeezed.buffer(reach, quad_segs=QUADRANT_SEGMENTS)
        return shapely.transform(wide, lambda lonlat: lonlat / (squeeze, 1.0))


def describe_area(area: AreaOfInterest | None) -> dict[str, Any]:
    """As `AreaOfInterest.describe`, for the whole world too."""
    return {"world": True} if area is None else area.describe()


def _read_poly(text: str) -> BaseGeometry:
    """The polygon of an osmosis polygon filter file; ValueError with the line where it is broken."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise ValueError("the file is empty")
    outer: list[Polygon] = []
    holes: list[Polygon] = []
    ring: list[tuple[float, float]] | None = None
    name, complete = "", False
    for number, line in lines[1:]:
        if complete:
            raise ValueError(f"line {number}: text after the last END")
        if ring is None:
            if line == "END":
                complete = True
            else:
                name, ring = line, []
        elif line == "END":
            polygon = _ring_polygon(ring, f"ring {name!r} that ends in line {number}")
            (holes if name.startswith("!") else outer).append(polygon)
            ring = None
        else:
            words = line.split()
            try:
                lon, lat = (float(word) for word in words)
            except ValueError:
                raise ValueError(f"line {number}: expected longitude and latitude, found {line[:60]!r}") from None
            ring.append(_checked(lon, lat, f"line {number}"))
    if not complete:
        raise ValueError("it ends without END; it seems to be cut off")
    if not outer:
        raise ValueError("it has no ring that is not a hole")
    return _area_of(shapely.difference(shapely.union_all(outer), shapely.union_all(holes)))


def _read_geojson(text: str) -> BaseGeometry:
    """The union of all polygons of a GeoJSON object; ValueError with the place where it is broken."""
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    polygons = [p for place, geometry in _geometries(document, "") for p in _polygons(geometry, place)]
    if not polygons:
        raise ValueError("it has no Polygon and no MultiPolygon")
    return _area_of(shapely.union_all(polygons))


def _geometries(node: Any, place: str) -> list[tuple[str, Mapping[str, Any]]]:
    kind = node.get("type") if isinstance(node, Mapping) else None
    lists = {"FeatureCollection": "features", "GeometryCollection": "geometries"}
    if kind in lists:
        members = node.get(lists[kind])
        if not isinstance(members, list):
            raise ValueError(f"{place or 'document'}: {kind} without {lists[kind]}")
        return [
            found for i, member in enumerate(members) for found in _geometries(member, f"{place}{lists[kind]}[{i}].")
        ]
    if kind == "Feature":
        return [] if node.get("geometry") is None else _geometries(node["geometry"], f"{place}geometry.")
    if kind in ("Polygon", "MultiPolygon"):
        return [(place, node)]
    if kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise ValueError(f"{place or 'document'}: {kind}; an area is made of Polygon and MultiPolygon")
    raise ValueError(f"{place or 'document'}: not a GeoJSON object (type {str(kind)[:40]!r})")


def _polygons(geometry: Mapping[str, Any], place: str) -> list[BaseGeometry]:
    coordinates = geometry.get("coordinates")
    parts = [coordinates] if geometry["type"] == "Polygon" else coordinates
    if not isinstance(parts, list) or not all(isinstance(p, list) and p for p in parts):
        raise ValueError(f"{place}coordinates: not a list of rings")
    polygons = []
    for i, rings in enumerate(parts):
        solid = []
        for j, ring in enumerate(rings):
            where = f"{place}coordinates, polygon {i}, ring {j}"
            try:
                points = [(float(point[0]), float(point[1])) for point in ring]
            except (TypeError, ValueError, IndexError, KeyError):
                raise ValueError(f"{where}: expected pairs of numbers") from None
            solid.append(_ring_polygon([_checked(lon, lat, where) for lon, lat in points], where))
        polygons.append(shapely.difference(solid[0], shapely.union_all(solid[1:])))
    return polygons


def _checked(lon: float, lat: float, where: str) -> tuple[float, float]:
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(f"{where}: {lon}, {lat} is not a longitude and latitude in degrees")
    return lon, lat


def _ring_polygon(ring: list[tuple[float, float]], where: str) -> Polygon:
    if len(set(ring)) < 3:
        raise ValueError(f"{where}: {len(set(ring))} different points; a ring has at least 3")
    polygon = Polygon(ring)
    if not polygon.is_valid:
        raise ValueError(f"{where}: {shapely.is_valid_reason(polygon)}; draw it without crossing itself")
    return polygon


def _area_of(geometry: BaseGeometry) -> BaseGeometry:
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon" and part.area > 0]
    if not parts:
        raise ValueError("nothing remains of its rings when the holes are cut out")
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
