"""The knobs of detectors. The daemon makes a table of config.toml of each class, so that a knob is declared once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def setting(default: Any, doc: str, unit: str | None = None, **limits: Any) -> Any:
    """A knob: a field of a frozen dataclass, with one line of meaning and its unit.

    Args:
        limits: gt, ge, lt, le and what else pydantic's Field takes; checked where the configuration is read.
    """
    return field(default=default, metadata={"doc": doc, "unit": unit, "limits": limits})


@dataclass(frozen=True, slots=True)
class BuildingSettings:
    """The detector of buildings."""

    min_area: float = setting(
        16.0, "smaller buildings are neither claimed missing nor gone", "square metres", gt=0
    )
    missing: float = setting(
        0.50, "mean probability that a footprint must reach to be claimed missing", "probability", gt=0, lt=1
    )
    gone: float = setting(
        0.25, "mean probability under a mapped building below which it is claimed gone", "probability", gt=0, lt=1
    )
    min_shift: float = setting(2.0, "smaller shifts are not claimed misplaced", "metres", gt=0)
    max_shift: float = setting(6.5, "larger shifts are not looked for", "metres", gt=0)
    confidence: float = setting(0.35, "claims with less confidence are dropped", "probability", ge=0, le=1)
    #: Not a knob of its own: detectors.unknown_date says it for all detectors.
    trust_undated_imagery: bool = False


@dataclass(frozen=True, slots=True)
class RoadSettings:
    """The detector of roads."""

    min_length: float = setting(
        30.0, "shorter stretches are neither claimed missing, gone nor misplaced", "metres", gt=0
    )
    missing: float = setting(
        0.50, "mean probability that a stretch must reach to be claimed missing", "probability", gt=0, lt=1
    )
    gone: float = setting(
        0.25, "mean probability along a mapped road below which it is claimed gone", "probability", gt=0, lt=1
    )
    min_shift: float = setting(5.0, "smaller shifts are not claimed misplaced", "metres", gt=0)
    max_shift: float = setting(18.0, "larger shifts are not looked for", "metres", gt=0)
    confidence: float = setting(0.35, "claims with less confidence are dropped", "probability", ge=0, le=1)
    #: Not a knob of its own: detectors.unknown_date says it for all detectors.
    trust_undated_imagery: bool = False


@dataclass(frozen=True, slots=True)
class DensitySettings:
    """Cells that are as good as empty though lights or people let expect something: `mapgap report density`."""

    quantity: Literal["road_length", "building_area"] = setting(
        "road_length", "what is measured of the map: road_length or building_area"
    )
    empty_share: float = setting(
        0.1, "a cell with no more than this part of what is expected counts as empty", "share", ge=0, lt=1
    )
    min_missing: float = setting(
        1.0, "cells that lack less are not claimed", "km of roads, or hectares of buildings", gt=0
    )
    confidence: float = setting(
        0.5, "share of the cells alike that are not empty, below which nothing is claimed", "share", ge=0, le=1
    )


@dataclass(frozen=True, slots=True)
class LandcoverSettings:
    """The detector of land cover, for imagery of some 10 m a pixel (tiling.zoom 13 or 14)."""

    missing: float = setting(
        0.7, "probability on every date from which a pixel shows a cover", "probability", gt=0, lt=1
    )
    gone: float = setting(
        0.2, "probability on any date below which a pixel shows that a cover is not there", "probability", gt=0, lt=1
    )
    min_water: float = setting(0.5, "smaller waters are neither claimed missing nor gone", "hectares", gt=0)
    min_area: float = setting(2.0, "smaller woods and fields are neither claimed missing nor gone", "hectares", gt=0)
    min_settlement: float = setting(1.0, "smaller built-up ground is no settlement", "hectares", gt=0)
    min_width: float = setting(40.0, "what is narrower is not claimed", "metres", gt=0)
    tolerance: float = setting(25.0, "a strip so wide along what is mapped is no question", "metres", ge=0)
    confidence: float = setting(0.35, "claims with less confidence are dropped", "probability", ge=0, le=1)
    #: Not a knob of its own: detectors.unknown_date says it for all detectors.
    trust_undated_imagery: bool = False
