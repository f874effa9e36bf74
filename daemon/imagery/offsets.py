"""By how much imagery lies off the map, source by source and place by place.

A detector estimates the shift that a block's imagery and map share before it judges, and takes it off. What it found
is kept here: a mean of the looks at each place, in which old looks fade, and over neighbouring places where it is read.
A shift of exactly nothing is what detectors give where they had too little to go by; it is no observation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.tiling.grid import Block, fractional_tiles, tile_at
from detectors.base import Claim

#: Places are tiles of this zoom: some 600 m at the equator, about what one scene's error is alike over.
CELL_ZOOM = 16
#: A new look counts for at least a so-manieth part of the mean.
MEMORY = 16
#: How far a place is told by its neighbours, in places: standard deviation of a Gaussian, cut off at three of them.
REACH = 1.0
#: A place with more looks than this has no more say among its neighbours.
SURE = 8
#: Where a detector says what it found, (east, north) in metres from the map to the imagery.
EVIDENCE = "block_shift_m"


@dataclass(frozen=True, slots=True)
class Offset:
    """The offset of a source at one place.

    Attributes:
        x, y: the place, a tile of zoom `CELL_ZOOM`.
        east_m, north_m: from the map to the imagery, true metres.
        spread_m: by how much a look is usually off that.
        looks: how many there were; first_look, last_look: when (UTC).
    """

    source: str
    x: int
    y: int
    east_m: float
    north_m: float
    spread_m: float
    looks: int
    first_look: datetime
    last_look: datetime

    @property
    def length_m(self) -> float:
        return math.hypot(self.east_m, self.north_m)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be expected somewhere; weight: looks behind it, those of neighbours counting less."""

    east_m: float
    north_m: float
    weight: float


def note_offsets(cursor: Cursor, source: str, block: Block, claims: Iterable[Sequence[Claim]], now: datetime) -> int:
    """Take down the shifts that a look at a block found; returns how many.

    Args:
        claims: of each detector; all claims of one were made under one shift.
    """
    west, south, east, north = block.lonlat()
    place = tile_at((west + east) / 2, (south + north) / 2, CELL_ZOOM)
    noted = 0
    for made in claims:
        shift = next((shift for claim in made if (shift := _shift(claim)) is not None), None)
        if shift is not None:
            cursor.execute(query("note_offset"), {
                "source": source, "x": place.x, "y": place.y, "east": shift[0], "north": shift[1], "now": now,
                "memory": MEMORY,
            })
            noted += 1
    return noted


def read_offsets(cursor: Cursor, source: str | None = None) -> list[Offset]:
    """The offsets of one source, or of all, place by place as they were noted."""
    cursor.execute(query("read_offsets"), {"source": source})
    return [Offset(*row) for row in cursor]


def estimate(offsets: Sequence[Offset], lon: float, lat: float) -> Estimate | None:
    """What the offsets of one source say of a place in degrees, None where they are too far off."""
    x, y = fractional_tiles(np.array([lon]), np.array([lat]), CELL_ZOOM)
    return _around(offsets, float(x[0]) - 0.5, float(y[0]) - 0.5)


def smooth(offsets: Sequence[Offset]) -> list[tuple[Offset, Estimate]]:
    """Each place of one source with what it and its neighbours say together."""
    told = ((offset, _around(offsets, offset.x, offset.y)) for offset in offsets)
    return [(offset, expected) for offset, expected in told if expected is not None]


def _around(offsets: Sequence[Offset], x: float, y: float) -> Estimate | None:
    if not offsets:
        return None
    away = np.array([(one.x - x) ** 2 + (one.y - y) ** 2 for one in offsets])
    looks = np.array([min(one.looks, SURE) for one in offsets], float)
    weights = np.where(away <= (3 * REACH) ** 2, looks * np.exp(-away / (2 * REACH**2)), 0.0)
    total = float(weights.sum())
    if total <= 0:
        return None
    shifts = np.array([(one.east_m, one.north_m) for one in offsets])
    east, north = weights @ shifts / total
    return Estimate(float(east), float(north), total)


def _shift(claim: Claim) -> tuple[float, float] | None:
    found = claim.evidence.get(EVIDENCE)
    if not isinstance(found, (list, tuple)) or len(found) != 2:
        return None
    east, north = float(found[0]), float(found[1])
    return (east, north) if math.isfinite(east + north) and (east, north) != (0.0, 0.0) else None
