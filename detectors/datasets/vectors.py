"""Labels as vectors: GeoJSON and GeoPackage files, brought into the pixels of a picture."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from detectors.datasets.picture import Picture, project
from detectors.errors import DatasetInvalid

#: Larger label files are not read.
MAX_BYTES = 1 << 29
LONLAT = CRS.from_epsg(4326)

Feature = tuple[Mapping[str, Any], BaseGeometry]


def read_vectors(path: Path) -> tuple[list[Feature], CRS]:
    """(properties, geometry) of every feature that has a geometry, and their coordinate system.

    GeoJSON is lon/lat (RFC 7946) unless it has the `crs` member of its 2008 form, which is heeded. Of a GeoPackage the
    first feature table is read.

    Raises:
        DatasetInvalid: unreadable, too large, or of another format.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DatasetInvalid(f"{path}: not readable: {error.strerror}") from error
    if size > MAX_BYTES:
        raise DatasetInvalid(f"{path}: {size} bytes; labels of {MAX_BYTES} at most are read, split the file")
    reader = {".gpkg": _read_geopackage, ".geojson": _read_geojson, ".json": _read_geojson}.get(path.suffix.lower())
    if reader is None:
        raise DatasetInvalid(f"{path}: vector labels are read from .geojson and .gpkg")
    features, crs = reader(path)
    for number, (_, geometry) in enumerate(features):
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise DatasetInvalid(f"{path}: feature {number} has coordinates that are no numbers")
    return features, crs


def to_pixels(geometry: BaseGeometry, crs: CRS, picture: Picture, path: Path) -> BaseGeometry:
    """A geometry of `crs` in pixel coordinates of a picture.

    Raises:
        DatasetInvalid: the picture does not say where it lies, or a point cannot be projected there.
    """
    return pixel_projection(crs, picture, path)(geometry)


def pixel_projection(crs: CRS, picture: Picture, path: Path) -> Callable[[BaseGeometry], BaseGeometry]:
    """The function from geometries of `crs` to pixel coordinates (column right, row down) of a picture; see above."""
    if picture.transform is None or picture.crs is None:
        raise DatasetInvalid(f"{path}: the image has no coordinate system, so vector labels cannot be put on it; give "
                             "a mask, or georeference the image")
    inverse = ~picture.transform

    def convert(points: np.ndarray) -> np.ndarray:
        there = project(crs, picture.crs, points)
        return np.column_stack([
            inverse.a * there[:, 0] + inverse.b * there[:, 1] + inverse.c,
            inverse.d * there[:, 0] + inverse.e * there[:, 1] + inverse.f,
        ])

    def onto(geometry: BaseGeometry) -> BaseGeometry:
        moved = shapely.transform(geometry, convert)
        if not np.isfinite(shapely.get_coordinates(moved)).all():
            raise DatasetInvalid(f"{path}: a feature lies where {crs} cannot be projected to the image's {picture.crs}")
        return moved

    return onto


def polygons_of(geometry: BaseGeometry) -> list[shapely.Polygon]:
    """The valid polygons with an area that a geometry is made of."""
    if geometry.geom_type not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        return []
    parts = shapely.get_parts(shapely.make_valid(geometry))
    flat = [piece for part in parts for piece in shapely.get_parts(part)]
    return [piece for piece in flat if piece.geom_type == "Polygon" and piece.area > 0]


def _read_geojson(path: Path) -> tuple[list[Feature], CRS]:
    try:
        document = json.loads(path.read_bytes())
        named = ((document.get("crs") or {}).get("properties") or {}).get("name")
        crs = _named(named) if named else LONLAT
        features = [
            (f.get("properties") or {}, shapely.force_2d(shape(f["geometry"])))
            for f in document["features"] if f.get("geometry")
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, CRSError,
            shapely.errors.ShapelyError) as error:
        raise DatasetInvalid(f"{path}: not a readable FeatureCollection: {error}") from error
    return features, crs


def _named(name: str) -> CRS:
    """CRS84 is lon/lat in that order, which is how rasterio takes EPSG:4326 as well."""
    return LONLAT if name.upper().endswith("CRS84") else CRS.from_user_input(name)


def _read_geopackage(path: Path) -> tuple[list[Feature], CRS]:
    """OGC 12-128r18: feature tables are listed in gpkg_geometry_columns; geometries are WKB after a header."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            db.row_factory = sqlite3.Row
            row = db.execute("""SELECT g.table_name, g.column_name, s.organization, s.organization_coordsys_id,
                                       s.definition
                                FROM gpkg_geometry_columns g JOIN gpkg_spatial_ref_sys s USING (srs_id)
                                ORDER BY g.table_name LIMIT 1""").fetchone()
            if row is None:
                raise DatasetInvalid(f"{path}: a GeoPackage without feature tables")
            table, column, organisation, number, definition = row
            crs = CRS.from_epsg(number) if organisation.upper() == "EPSG" else CRS.from_wkt(definition)
            quoted = table.replace('"', '""')
            features = []
            for record in db.execute(f'SELECT * FROM "{quoted}"'):
                blob = record[column]
                if blob is not None:
                    properties = {key: record[key] for key in record.keys() if key != column}  # noqa: SIM118
                    features.append((properties, shapely.force_2d(_unpack(blob))))
    except (sqlite3.Error, struct.error, IndexError, TypeError, AttributeError, CRSError,
            shapely.errors.ShapelyError) as error:
        raise DatasetInvalid(f"{path}: not a readable GeoPackage: {error}") from error
    return features, crs


def _unpack(blob: bytes) -> BaseGeometry:
    """GeoPackageBinary: "GP", version, flags (bits 1-3: kind of envelope), srs_id, envelope, WKB."""
    magic, flags = blob[:2], blob[3]
    if magic != b"GP":
        raise TypeError("a geometry without the GeoPackage header")
    envelope = (0, 32, 48, 48, 64)[flags >> 1 & 7]
    return shapely.from_wkb(blob[8 + envelope:])
