"""A directory of tiles with building outlines, read into one mosaic.

    tiles/<name>-<x>-<y>-<z>.tif|png|jpg    XYZ tiles of any size; alpha, where there is one, says what is valid
    labels.geojson                          one Polygon a building, lon/lat
    curated_regions.geojson                 optional; properties.kind = ignore | natural_missing | natural_ghost

A region called `ignore` (doubtful) or `natural_missing` (roofs that the labels lack) is not learned from and not
scored; `natural_ghost` (an outline without a building) counts as background.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from shapely.geometry import shape

from detectors.base import EARTH_RADIUS_M, Frame
from detectors.datasets.place import Place
from detectors.errors import DatasetInvalid

TILE_NAME = re.compile(r"-(\d+)-(\d+)-(\d+)\.(?:tiff?|png|jpe?g)$", re.IGNORECASE)


def read_tiles(directory: Path, zoom: int, bands: int) -> Place:
    """Read the tiles of one zoom and the labels of a place.

    Raises:
        DatasetInvalid: no tiles of that zoom, tiles of different sizes or too few bands, no labels.
    """
    tiles = _find_tiles(directory, zoom)
    xs, ys = [x for x, _ in tiles], [y for _, y in tiles]
    first = _read_tile(next(iter(tiles.values())), bands)[0]
    side = first.shape[0]
    columns, rows = max(xs) - min(xs) + 1, max(ys) - min(ys) + 1
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
    if not buildings:
        raise DatasetInvalid(f"{directory}/labels.geojson: no polygons; labels are needed to train and to score")
    regions = directory / "curated_regions.geojson"
    curated = _read_polygons(regions, frame) if regions.exists() else []
    ghosts = shapely.union_all([g for kind, g in curated if kind == "natural_ghost"])
    kept = [g for g in buildings if g.intersection(ghosts).area < 0.5 * g.area]
    unsure = [g for kind, g in curated if kind in ("ignore", "natural_missing")]
    return Place(directory.name, pixels, valid, bounds, outlines=np.array(kept), unsure=np.array(unsure, dtype=object),
                 columns=columns)


def tile_bounds(z: int, x: int, y: int) -> tuple[float, float, float, float]:
    """(minx, miny, maxx, maxy) of XYZ tile z/x/y in EPSG:3857 metres (OGC 17-083r2, WebMercatorQuad)."""
    half = math.pi * EARTH_RADIUS_M
    size = 2 * half / 2**z
    return x * size - half, half - (y + 1) * size, (x + 1) * size - half, half - y * size


def _find_tiles(directory: Path, zoom: int) -> dict[tuple[int, int], Path]:
    if not (directory / "tiles").is_dir():
        raise DatasetInvalid(f"{directory}/tiles: no such directory; expected <name>-<x>-<y>-<z>.tif|png|jpg in it")
    tiles = {}
    for path in sorted((directory / "tiles").iterdir()):
        match = TILE_NAME.search(path.name)
        if match and int(match[3]) == zoom:
            tiles[int(match[1]), int(match[2])] = path
    if not tiles:
        raise DatasetInvalid(f"{directory}/tiles: no tile of zoom {zoom}")
    return tiles


def _read_tile(path: Path, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [H, W, bands], bool [H, W])"""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as image:
                if image.count < bands or image.dtypes[0] != "uint8":
                    raise DatasetInvalid(f"{path}: {image.count} bands of {image.dtypes[0]}, need {bands} of uint8")
                data = image.read()
    except RasterioIOError as error:
        raise DatasetInvalid(f"{path}: not a readable image: {error}") from error
    alpha = data[bands] > 0 if data.shape[0] == bands + 1 else np.ones(data.shape[1:], dtype=bool)
    return np.ascontiguousarray(data[:bands].transpose(1, 2, 0)), alpha


def _read_polygons(path: Path, frame: Frame) -> list[tuple[str, shapely.Polygon]]:
    """(kind, polygon in pixels) of every feature."""
    try:
        features = json.loads(path.read_text())["features"]
        pairs = [((f.get("properties") or {}).get("kind", ""), shape(f["geometry"])) for f in features if f["geometry"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetInvalid(f"{path}: not a readable FeatureCollection: {error}") from error
    found = []
    for kind, geometry in pairs:
        local = shapely.make_valid(frame.to_local(geometry))
        for part in shapely.get_parts(local):
            if part.geom_type == "Polygon" and part.area > 0:
                found.append((kind, shapely.transform(part, frame.local_to_pixels)))
    return found
