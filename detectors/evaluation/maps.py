"""OSM as it is, as a row beside the model: what one would have without looking at the ground.

Where that comes from, the first that there is:

* a file that somebody names, or `osm.geojson` in the data set's directory: lon/lat polygons (GeoJSON or GeoPackage), or
  OSM data (.osm.pbf, .osm, .osc...), of which buildings are taken;
* for tiles whose labels are OSM's own, and were looked through by eye (`curated_regions.geojson`): the labels as they
  were before. Outlines that stand for nothing are its mistakes; the roofs that it lacks (`natural_missing`) count as
  buildings in the truth of this row, in the boxes that a person drew around them. The model is not scored there, since
  nobody drew those roofs.

Where the truth is OSM itself there is no such row: it would be perfect, and say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from detectors.building_tags import is_selected
from detectors.datasets import Place
from detectors.datasets.vectors import LONLAT, polygons_of, read_vectors
from detectors.errors import DatasetInvalid
from detectors.evaluation.ground import Ground

#: File beside a data set's imagery that holds the map of the same ground.
BESIDE = "osm.geojson"
MAP = "OSM as it is"
OSM_SUFFIXES = (".osm.pbf", ".pbf", ".osm", ".osm.gz", ".osm.bz2")


@dataclass(frozen=True, slots=True)
class MapRow:
    """What the map says about a place, or why that is not shown.

    Attributes:
        name: what the row is called.
        note: what it is, or why it is not there.
        outlines: polygons in pixel coordinates; None where there is no map to score.
        place: the place with the truth that the map is scored against.
    """

    name: str
    note: str
    outlines: np.ndarray | None = None
    place: Place | None = None


def map_of(ground: Ground, file: Path | None) -> MapRow:
    """The map of a place.

    Raises:
        DatasetInvalid: the file named, or osm.geojson, cannot be read.
    """
    beside = ground.directory / BESIDE
    west, south, _, _ = ground.place.bounds
    if west == south == 0 and (file or beside.is_file()):
        return MapRow(MAP, f"{ground.place.name}: not shown: the imagery does not say where on Earth it lies")
    path = file or (beside if beside.is_file() else None)
    if path is not None:
        outlines = on_place(read_map(path), ground.place)
        return MapRow(MAP, f"from {path.name}", outlines, ground.place)
    provenance = ground.place.provenance
    if provenance is None or not _is_osm(provenance.labels):
        return MapRow(MAP, f"not shown: no map of this ground is here; name one with --osm, or put {BESIDE} beside it")
    labels, regions = _curated(ground)
    if labels is None:
        return MapRow(f"{MAP}: is the truth", "not shown: the labels are OSM itself, so it would say nothing")
    missing, ghosts = (_of_kind(regions, kind, ground.place) for kind in ("natural_missing", "natural_ghost"))
    if not len(missing) and not len(ghosts):
        return MapRow(f"{MAP}: is the truth", "not shown: the labels are OSM itself, and no mistake is known")
    ignored = _of_kind(regions, "ignore", ground.place)
    place = replace(ground.place, outlines=np.concatenate([ground.place.outlines, missing]), unsure=ignored)
    note = (f"{ground.place.name}: the labels, which are OSM, before a person looked through them, against the same "
            f"afterwards: {len(missing)} boxes around roofs that OSM lacks and {len(ghosts)} regions with outlines of "
            "nothing. Whatever that person did not see counts as right, so this is an upper bound")
    return MapRow("OSM before curation", note, on_place([geometry for _, geometry in labels], ground.place), place)


def read_map(path: Path) -> list[BaseGeometry]:
    """Polygons of a map, lon/lat.

    Raises:
        DatasetInvalid: unreadable, or not in lon/lat.
    """
    if path.name.lower().endswith(OSM_SUFFIXES):
        return _read_osm(path)
    features, crs = read_vectors(path)
    if crs != LONLAT:
        raise DatasetInvalid(f"{path}: a map must be in lon/lat (EPSG:4326), this is in {crs}")
    return [geometry for _, geometry in features]


def on_place(geometries: Sequence[BaseGeometry], place: Place) -> np.ndarray:
    """Lon/lat geometries -> the polygons of them that touch a place, in its pixels."""
    frame = place.chip().frame
    height, width = place.valid.shape
    moved = [
        shapely.transform(part, frame.local_to_pixels)
        for geometry in geometries for part in polygons_of(frame.to_local(geometry))
    ]
    inside = shapely.box(0, 0, width, height)
    return np.array([part for part in moved if part.intersects(inside)], dtype=object)


def _read_osm(path: Path) -> list[BaseGeometry]:
    import osmium

    factory = osmium.geom.WKBFactory()
    found: list[BaseGeometry] = []
    try:
        for area in osmium.FileProcessor(str(path)).with_areas():
            if area.is_area() and is_selected(dict(area.tags)):
                found.append(shapely.from_wkb(factory.create_multipolygon(area)))
    except (RuntimeError, OSError, osmium.InvalidLocationError) as error:
        raise DatasetInvalid(f"{path}: not readable as OSM data: {error}") from error
    return found


def _curated(ground: Ground) -> tuple[list | None, list]:
    """(labels, regions) of a place of the reader of tiles; None where nobody has looked through them."""
    for directory in (ground.directory, ground.directory / ground.place.name):
        regions = directory / "curated_regions.geojson"
        if ground.source.reader == "tiles" and (directory / "tiles").is_dir() and regions.is_file():
            return read_vectors(directory / "labels.geojson")[0], read_vectors(regions)[0]
    return None, []


def _of_kind(regions: Sequence[tuple], kind: str, place: Place) -> np.ndarray:
    return on_place([geometry for properties, geometry in regions if properties.get("kind") == kind], place)


def _is_osm(labels: str) -> bool:
    return "openstreetmap" in labels.lower() or "osm" in labels.lower().replace("(", " ").split()
