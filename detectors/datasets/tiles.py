"""A directory of tiles with building outlines, read into one mosaic.

    tiles/<name>-<x>-<y>-<z>.tif|png|jpg    XYZ tiles of any size; alpha, where there is one, says what is valid
    labels.geojson                          one Polygon a building, lon/lat
    curated_regions.geojson                 optional; properties.kind = ignore | natural_missing | natural_ghost

A region called `ignore` (doubtful) or `natural_missing` (roofs that the labels lack) is not learned from and not
scored; `natural_ghost` (an outline without a building) counts as background.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import shapely

from detectors.base import EARTH_RADIUS_M, Frame
from detectors.datasets.picture import check_size, open_image
from detectors.datasets.place import Place
from detectors.datasets.vectors import LONLAT, read_vectors
from detectors.errors import DatasetInvalid

TILE_NAME = re.compile(r"-(\d+)-(\d+)-(\d+)\.(?:tiff?|png|jpe?g)$", re.IGNORECASE)


def read_tiles(directory: Path, zoom: int, bands: int, *, empty: bool = False) -> Place:
    """Read the tiles of one zoom and the labels of a place.

    Args:
        zoom: 0 takes the one zoom that the tiles have.
        empty: whether there may be no label at all, as in one of many places.

    Raises:
        DatasetInvalid: no tiles of that zoom, tiles of different sizes or too few bands, too far apart for one mosaic,
            no labels.
    """
    zoom, tiles = _find_tiles(directory, zoom)
    xs, ys = [x for x, _ in tiles], [y for _, y in tiles]
    first = _read_tile(next(iter(tiles.values())), bands)[0]
    side = first.shape[0]
    columns, rows = max(xs) - min(xs) + 1, max(ys) - min(ys) + 1
    check_size(directory / "tiles", rows * side, columns * side, bands)
    pixels = np.zeros((rows * side, columns * side, bands), dtype=np.uint8)
    valid = np.zeros(pixels.shape[:2], dtype=bool)
    for (x, y), path in tiles.items():
        image, alpha = _read_tile(path, bands)
        if image.shape[:2] != (side, side):
            raise DatasetInvalid(f"{path}: {image.shape[1]} x {image.shape[0]} px, but others have {side} x {side}")
        window = np.s_[(y - min(ys)) * side : (y - min(ys) + 1) * side, (x - min(xs)) * side : (x - min(xs) + 1) * side]
        pixels[window], valid[window] = image, alpha
    west, _, _, north = tile_bounds(zoom, min(xs), min(ys))
    _, south, east, _ = tile_bounds(zoom, max(xs), max(ys))
    bounds = (west, south, east, north)
    frame = Frame(bounds, valid.shape)
    buildings = [geometry for _, geometry in _read_polygons(directory / "labels.geojson", frame)]
    if not buildings and not empty:
        raise DatasetInvalid(f"{directory}/labels.geojson: no polygons; labels are needed to train and to score")
    regions = directory / "curated_regions.geojson"
    curated = _read_polygons(regions, frame) if regions.exists() else []
    ghosts = shapely.union_all([g for kind, g in curated if kind == "natural_ghost"])
    kept = [g for g in buildings if g.intersection(ghosts).area < 0.5 * g.area]
    unsure = [g for kind, g in curated if kind in ("ignore", "natural_missing")]
    return Place(directory.name, pixels, valid, bounds, outlines=np.array(kept, dtype=object),
                 unsure=np.array(unsure, dtype=object), columns=columns)


def tile_bounds(z: int, x: int, y: int) -> tuple[float, float, float, float]:
    """(minx, miny, maxx, maxy) of XYZ tile z/x/y in EPSG:3857 metres (OGC 17-083r2, WebMercatorQuad)."""
    half = math.pi * EARTH_RADIUS_M
    size = 2 * half / 2**z
    return x * size - half, half - (y + 1) * size, (x + 1) * size - half, half - y * size


def _find_tiles(directory: Path, zoom: int) -> tuple[int, dict[tuple[int, int], Path]]:
    if not (directory / "tiles").is_dir():
        raise DatasetInvalid(f"{directory}/tiles: no such directory; expected <name>-<x>-<y>-<z>.tif|png|jpg in it")
    found: dict[int, dict[tuple[int, int], Path]] = {}
    for path in sorted((directory / "tiles").iterdir()):
        match = TILE_NAME.search(path.name)
        if match:
            found.setdefault(int(match[3]), {})[int(match[1]), int(match[2])] = path
    if not zoom and len(found) > 1:
        zooms = ", ".join(map(str, sorted(found)))
        raise DatasetInvalid(f"{directory}/tiles: tiles of zoom {zooms}; say which by zoom")
    zoom = zoom or next(iter(found), 0)
    if zoom not in found or not 0 <= zoom <= 24:
        raise DatasetInvalid(f"{directory}/tiles: no tile of zoom {zoom or 'any'}")
    if any(max(position) >= 1 << zoom for position in found[zoom]):
        raise DatasetInvalid(f"{directory}/tiles: a tile beyond the {1 << zoom} columns and rows of zoom {zoom}")
    return zoom, found[zoom]


def _read_tile(path: Path, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [H, W, bands], bool [H, W])"""
    with open_image(path) as image:
        check_size(path, image.height, image.width, image.count)
        if image.count < bands or image.dtypes[0] != "uint8":
            raise DatasetInvalid(f"{path}: {image.count} bands of {image.dtypes[0]}, need {bands} of uint8")
        data = image.read()
    alpha = data[bands] > 0 if data.shape[0] == bands + 1 else np.ones(data.shape[1:], dtype=bool)
    return np.ascontiguousarray(data[:bands].transpose(1, 2, 0)), alpha


def _read_polygons(path: Path, frame: Frame) -> list[tuple[str, shapely.Polygon]]:
    """(kind, polygon in pixels) of every feature."""
    features, crs = read_vectors(path)
    if crs != LONLAT:
        raise DatasetInvalid(f"{path}: labels of tiles are in lon/lat (EPSG:4326), not in {crs}")
    found = []
    for properties, geometry in features:
        local = shapely.make_valid(frame.to_local(geometry))
        for part in shapely.get_parts(local):
            if part.geom_type == "Polygon" and part.area > 0:
                found.append((properties.get("kind", ""), shapely.transform(part, frame.local_to_pixels)))
    return found
