"""Labelled imagery: what it is, and readers of the forms in which people have it."""

from __future__ import annotations

from detectors.datasets.lazy import LazyPlaces
from detectors.datasets.place import DTYPES, UNKNOWN, Place, Provenance, equator_bounds
from detectors.datasets.source import READERS, Source, read_source

__all__ = [
    "DTYPES", "READERS", "UNKNOWN", "LazyPlaces", "Place", "Provenance", "Source", "equator_bounds", "read_source",
]
