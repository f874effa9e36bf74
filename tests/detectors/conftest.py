"""A small made-up place on disk, and a small network trained on it: quick, and real in every step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

from detectors.base import Frame
from detectors.segmentation import Bundle

ZOOM, FIRST_X, FIRST_Y, COLUMNS, SIDE = 19, 300000, 262100, 3, 256

RECIPE = """
seed = 5
[model]
name = "tiny"
bands = 3
widths = [8, 16, 16]
gsd_m = 0.2986
gsd_range_m = [0.2, 0.4]
mean = [100.0, 100.0, 100.0]
std = [50.0, 50.0, 50.0]
limits = ["Knows bright rectangles only."]
[[sources]]
path = "town"
zoom = 19
use = "train"
imagery = "drawn by the test"
imagery_licence = "MIT"
labels = "drawn by the test"
labels_licence = "MIT"
[split]
folds = 3
columns = 1
[crops]
size = 64
[optimiser]
steps = 40
batch = 4
rate = 5e-3
warmup = 4
ema = 0.8
"""


@dataclass(frozen=True)
class Workshop:
    """Where the made-up place and its recipe lie."""

    data: Path
    recipe: Path


def draw_place(directory: Path, seed: int = 1) -> None:
    """Three tiles side by side with bright roofs on dark noisy ground, and their outlines as labels.geojson."""
    random = np.random.default_rng(seed)
    width = COLUMNS * SIDE
    image = random.normal(70, 12, (SIDE, width, 3))
    rectangles = []
    for left in range(12, width - 40, 48):
        for top in range(10, SIDE - 40, 48):
            right, bottom = left + int(random.integers(18, 34)), top + int(random.integers(18, 34))
            image[top:bottom, left:right] = random.normal(175, 10, (bottom - top, right - left, 3))
            rectangles.append((left, top, right, bottom))
    image = np.clip(image, 0, 255).astype(np.uint8)
    (directory / "tiles").mkdir(parents=True)
    for column in range(COLUMNS):
        name = directory / "tiles" / f"test-{FIRST_X + column}-{FIRST_Y}-{ZOOM}.png"
        cv2.imwrite(str(name), image[:, column * SIDE : (column + 1) * SIDE, ::-1])
    frame = Frame(mosaic_bounds(), (SIDE, width))
    features = []
    for left, top, right, bottom in rectangles:
        ring = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], dtype=float)
        outline = frame.to_lonlat(shapely.Polygon(frame.pixels_to_local(ring)))
        features.append({"type": "Feature", "properties": {"building": "yes"}, "geometry": outline.__geo_interface__})
    (directory / "labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def mosaic_bounds() -> tuple[float, float, float, float]:
    """Mercator bounds of the made-up place."""
    half = np.pi * 6378137.0
    size = 2 * half / 2**ZOOM
    west, north = FIRST_X * size - half, half - FIRST_Y * size
    return west, north - size, west + COLUMNS * size, north


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A made-up place and a recipe for a tiny network."""
    root = tmp_path_factory.mktemp("workshop")
    draw_place(root / "town")
    recipe = root / "tiny.toml"
    recipe.write_text(RECIPE)
    return Workshop(root, recipe)


@pytest.fixture(scope="session")
def tiny_bundle(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle trained for a few seconds on two of the three columns of the made-up place."""
    from detectors.training import train

    return train(workshop.recipe, data=workshop.data, out=tmp_path_factory.mktemp("tiny"), fold=2, progress=False)
