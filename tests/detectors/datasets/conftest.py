"""Small files in the published formats, written by the tests."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from detectors.datasets import Place, Source, read_source

#: Swiss grid-like metres somewhere in UTM zone 33: where the test's images lie.
WEST, NORTH = 465000.0, 5080000.0


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Writes pixels [H, W] or [H, W, C] as a GeoTIFF (1 m, EPSG:32633 unless told), PNG or JPEG."""

    def write(path: Path, pixels: np.ndarray, *, crs: str | None = "EPSG:32633", step: float = 1.0,
              origin: tuple[float, float] = (WEST, NORTH), **more: Any) -> Path:
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        path.parent.mkdir(parents=True, exist_ok=True)
        driver = {".png": "PNG", ".jpg": "JPEG"}.get(path.suffix, "GTiff")
        where = {"crs": crs, "transform": from_origin(*origin, step, step)} if driver == "GTiff" and crs else {}
        height, width, bands = pixels.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", driver=driver, height=height, width=width, count=bands, dtype=pixels.dtype,
                               **where, **more) as file:
                file.write(pixels.transpose(2, 0, 1))
        return path

    return write


@pytest.fixture
def write_geojson() -> Callable[..., Path]:
    """Writes (properties, geometry) pairs, in EPSG:32633 unless told."""

    def write(path: Path, features: Sequence[tuple[Mapping[str, Any], BaseGeometry]], crs: str | None = "EPSG:32633"
              ) -> Path:
        document: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": [{"type": "Feature", "properties": dict(p), "geometry": mapping(g)} for p, g in features],
        }
        if crs:
            document["crs"] = {"type": "name", "properties": {"name": crs}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def read() -> Callable[..., list[Place]]:
    """Reads a directory with a reader and further keys of its source."""

    def read(directory: Path, reader: str, **keys: Any) -> list[Place]:
        whose = dict.fromkeys(("imagery", "imagery_licence", "labels", "labels_licence"), "the test's own")
        source = Source.model_validate({"path": directory.name, "reader": reader, "use": "train", **whose, **keys})
        return list(read_source(directory.parent, source))

    return read
