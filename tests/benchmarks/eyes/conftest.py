"""Bundle and pixels of the benchmarks of the eyes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detectors.segmentation import Bundle

#: A shipped bundle's name or a directory; the shipped one of buildings by default.
VARIABLE = "MAPGAP_BENCH_BUNDLE"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.load(os.environ.get(VARIABLE) or "building")


@pytest.fixture(scope="session")
def tiles(data: Path) -> Path:
    """Directory of real image tiles."""
    directory = data / "buildings" / "kampala" / "tiles"
    if not directory.is_dir():
        pytest.skip(f"no {directory}")
    return directory
