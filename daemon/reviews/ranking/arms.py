"""The arms of the bandit: claims of one detector, kind, band of confidence and area are taken to be alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daemon.discrepancies.model import Discrepancy
from daemon.tiling.grid import Tile, fractional_tiles

#: Bands of confidence: this many of equal width in 0..1.
BANDS = 10
#: Zoom of the tiles that are the areas: some ten kilometres wide at the equator, a town.
AREA_ZOOM = 12
#: Zoom of the tiles within which claims are handed out together: some 300 m, a street or two.
STREET_ZOOM = 17


class Arm(NamedTuple):
    """What is learned about together."""

    detector: str
    kind: str
    band: int
    """0 .. BANDS - 1."""
    area: str
    """A tile, "z/x/y"."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A discrepancy that may be shown.

    Attributes:
        confidence: how likely a mapper would agree, as the detector says, 0..1.
        lon, lat: of its representative point, in degrees.
        model: identity of the model that claims it, "" where the evidence names none.
        passed: how often mappers have passed it on, as too hard or skipped.
    """

    key: str
    detector: str
    kind: str
    confidence: float
    lon: float
    lat: float
    model: str = ""
    passed: int = 0

    @classmethod
    def of(cls, discrepancy: Discrepancy) -> Candidate:
        """From a row of the ledger; how often it was passed on is read by `choose`."""
        return cls(
            discrepancy.key, discrepancy.detector, discrepancy.kind, discrepancy.confidence, *discrepancy.point,
            model=str(discrepancy.evidence.get("model") or ""),
        )


class Place(NamedTuple):
    """Where a candidate stands among the others."""

    arm: Arm
    street: Tile
    """The neighbourhood in which it is shown together with others."""


def places_of(candidates: Sequence[Candidate]) -> list[Place]:
    """The arm and the street of each candidate."""
    tiles = _tiles_at([c.lon for c in candidates], [c.lat for c in candidates], STREET_ZOOM)
    up = STREET_ZOOM - AREA_ZOOM
    areas = {tile: str(Tile(AREA_ZOOM, tile.x >> up, tile.y >> up)) for tile in set(tiles)}
    return [
        Place(Arm(c.detector, c.kind, band_of(c.confidence), areas[tile]), tile)
        for c, tile in zip(candidates, tiles, strict=True)
    ]


def areas_at(lons: Sequence[float], lats: Sequence[float]) -> list[str]:
    """The areas that places (degrees) belong to."""
    return [str(tile) for tile in _tiles_at(lons, lats, AREA_ZOOM)]


def band_of(confidence: float) -> int:
    """The band of a confidence in 0..1."""
    return min(int(confidence * BANDS), BANDS - 1)


def _tiles_at(lons: Sequence[float], lats: Sequence[float], zoom: int) -> list[Tile]:
    """The tiles that hold points, as `daemon.tiling.grid.tile_at` has them, but for many at once."""
    columns, rows = fractional_tiles(np.array(lons, dtype=np.float64), np.array(lats, dtype=np.float64), zoom)
    last = (1 << zoom) - 1
    whole = np.minimum(np.column_stack([columns, rows]).astype(np.int64), last)
    return [Tile(zoom, x, y) for x, y in whole.tolist()]
