"""Seconds and memory of each detector for one block, after the probabilities, against the number of objects in it.

A block of 4 x 4 tiles is drawn with so many objects, a tenth of them missing on the map, a tenth of the map's made up,
a tenth beside their place. A detector takes part by a line in `GROUNDS`: how its ground is drawn.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import pytest
from shapely.affinity import translate
from shapely.geometry import LineString, box
from shapely.geometry.base import BaseGeometry

from daemon.tiling.grid import Block
from detectors.base import Chip, OsmFeature, Probabilities, Scene
from detectors.registry import registry
from detectors.vectorize.raster import Grid

pytestmark = pytest.mark.benchmark

COUNTS = (0, 30, 100, 300, 1000)
MARGIN = 96
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _scene(block: Block, shapes: list[BaseGeometry], tags: dict[str, str], off_m: float,
           paint: Callable[[Grid, list[BaseGeometry]], Probabilities]) -> Scene:
    side = block.side * 256 + 2 * MARGIN
    pixels = np.random.default_rng(1).integers(60, 160, (side, side, 3), dtype=np.uint8)
    chip = Chip(pixels, np.ones((side, side), bool), block.mercator(MARGIN), date(2024, 1, 1), "drawn")
    real = [shape for number, shape in enumerate(shapes) if number % 10 != 1]
    mapped = [
        translate(shape, 0, off_m) if number % 10 == 2 else shape for number, shape in enumerate(shapes)
        if number % 10 != 0
    ]
    features = [
        OsmFeature("way", number, 1, LONG_AGO, tags, chip.frame.to_lonlat(shape))
        for number, shape in enumerate(mapped, 1)
    ]
    return Scene(chip, paint(Grid.of(chip.frame), real), features, [], block.lonlat())


def _rows(count: int, room_m: float) -> list[tuple[float, float]]:
    """Places (east, north) of so many objects, evenly in a square of `room_m`."""
    side = max(1, int(np.ceil(np.sqrt(count))))
    pitch = room_m / side
    return [((n % side + 0.5) * pitch - room_m / 2, (n // side + 0.5) * pitch - room_m / 2) for n in range(count)]


def houses(count: int) -> Scene:
    """Houses of 5 m by 5 m; zoom 19, 0.27 m a pixel, 272 m a side."""
    def paint(grid: Grid, shapes: list[BaseGeometry]) -> Probabilities:
        roof = grid.cover(shapes)
        wall = grid.cover([shape.boundary.buffer(0.5) for shape in shapes]) & roof
        planes = np.stack([~roof, roof & ~wall, wall]).astype(np.float16)
        return Probabilities(planes, ("background", "building", "border"), "drawn@0")

    shapes = [box(x - 2.5, y - 2.5, x + 2.5, y + 2.5) for x, y in _rows(count, 260.0)]
    return _scene(Block(19, 96673, 55060, 4), shapes, {"building": "yes"}, 3.0, paint)


def streets(count: int) -> Scene:
    """Streets of 7 m, a block of houses long each; zoom 17, 0.9 m a pixel, 900 m a side."""
    def paint(grid: Grid, shapes: list[BaseGeometry]) -> Probabilities:
        road = grid.cover([shape.buffer(3.5) for shape in shapes]).astype(np.float16)
        return Probabilities(np.stack([1 - road, road]), ("background", "road"), "drawn@0")

    side = max(1, int(np.ceil(np.sqrt(count / 2))))
    pitch = 880.0 / side
    corners = [(x * pitch - 440, y * pitch - 440) for x in range(side) for y in range(side)]
    shapes = [LineString([(x, y), (x + dx * pitch, y + dy * pitch)]) for x, y in corners for dx, dy in ((1, 0), (0, 1))]
    return _scene(Block(17, 9894, 12129, 4), shapes[:count], {"highway": "residential"}, 9.0, paint)


def woods(count: int) -> Scene:
    """Woods of 4 ha; zoom 14, 9.6 m a pixel, 9.8 km a side."""
    def paint(grid: Grid, shapes: list[BaseGeometry]) -> Probabilities:
        wood = grid.cover(shapes).astype(np.float16)
        return Probabilities(np.stack([1 - wood, wood]), ("grass", "forest"), "drawn@0")

    shapes = [box(x - 100, y - 100, x + 100, y + 100) for x, y in _rows(count, 9600.0)]
    return _scene(Block(14, 2000, 2048, 4), shapes, {"natural": "wood"}, 15.0, paint)


#: Detector -> so many objects -> the scene it judges.
GROUNDS: dict[str, Callable[[int], Scene]] = {"building": houses, "road": streets, "landcover": woods}


@pytest.mark.parametrize("name", sorted(GROUNDS))
def test_cost_of_a_block_against_the_number_of_objects(name: str, show) -> None:
    detector = registry().plugins[name].make(trust_undated_imagery=False)
    detector.compare(GROUNDS[name](1))  # the first call imports and compiles
    rows = []
    for count in COUNTS:
        scene = GROUNDS[name](count)
        begun, used = time.perf_counter(), time.process_time()
        claims = detector.compare(scene)
        seconds, processor = time.perf_counter() - begun, time.process_time() - used
        tracemalloc.start()
        detector.compare(scene)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append((
            count, len(scene.features), len(claims), seconds, processor, 1000 * processor / max(count, 1), peak / 2**20,
        ))
    show(f"{name}: one block of 4 x 4 tiles, after the probabilities",
         ("objects", "on the map", "claims", "s a block", "of a processor", "ms an object", "peak MB"), rows)
