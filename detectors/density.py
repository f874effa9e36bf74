"""Density: another data set as witness. Where lights burn and people live, something should be on the map.

Cells of a map, each with how much is mapped there and what a witness says of it (night lights, people, built-up
ground), are compared as a whole: how far the two go together (`correlation`), what is to be expected at each cell
(`monotone`), and how much each falls short. Cells that fall far short are looked at first, and those with next to
nothing on them are claimed as "empty".

The idea is that of O. Courtin's talk of 2018: light pollution against road density, commune by commune.

Nothing here looks at imagery, so that this detector is never asked about a block: its claims come from the report
`mapgap report density`, and only `holds` is asked when the map changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from detectors.base import SHAPES, Claim, OsmFeature, Scene, Shape, frame_around
from detectors.correlation import Correlation, pearson, spearman
from detectors.monotone import MonotoneFit, fit_monotone
from detectors.settings import DensitySettings

#: Ways that are no roads: not there yet, not there any more, or for walking only.
NO_ROADS = frozenset({
    "proposed", "planned", "construction", "razed", "abandoned", "disused", "dismantled", "no", "platform", "rest_area",
    "services", "footway", "path", "steps", "cycleway", "bridleway", "corridor", "via_ferrata", "elevator", "bus_stop",
})
NO_BUILDINGS = frozenset({"no", "proposed", "planned", "construction", "demolished", "razed", "destroyed"})
#: Neighbours in the order of the witness that a cell is compared with, on either side.
NEIGHBOURS = 25


class Quantity(NamedTuple):
    """What is measured of the map.

    Attributes:
        key: the OSM key that makes an object one of these.
        others: values of the key that do not.
        shape: what of its geometry counts.
        unit: of the amount, for people.
        scale: metres, square metres or objects in one unit.
    """

    key: str
    others: frozenset[str]
    shape: Shape
    unit: str
    scale: float

    def counts(self, tags: Mapping[str, str]) -> bool:
        """Whether an object with these tags is one."""
        return tags.get(self.key, "no") not in self.others


QUANTITIES = {
    "road_length": Quantity("highway", NO_ROADS, "line", "km", 1000.0),
    "building_area": Quantity("building", NO_BUILDINGS, "area", "ha", 10_000.0),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """All cells of one run, compared.

    Attributes:
        pearson, spearman: how far witness and map go together.
        fit: what is to be expected by the witness; None where no cell has both numbers.
        expected: float64 [N], amount for each square kilometre; NaN without a witness.
        missing: float64 [N], expected minus mapped, of the whole cell in the quantity's unit; NaN without a witness.
        order: int64 [M], cells with a witness that fall short, the one that lacks most first.
    """

    pearson: Correlation
    spearman: Correlation
    fit: MonotoneFit | None
    expected: np.ndarray
    missing: np.ndarray
    order: np.ndarray


def compare(witness: np.ndarray, mapped: np.ndarray, area_km2: np.ndarray) -> Comparison:
    """Compare cells.

    Args:
        witness: float [N], what the other data set says of each cell; NaN where it says nothing.
        mapped: float [N], what is mapped there, for each square kilometre.
        area_km2: float [N], size of each cell.
    """
    related = pearson(witness, mapped), spearman(witness, mapped)
    if not (np.isfinite(witness) & np.isfinite(mapped)).any():
        nothing = np.full(len(witness), np.nan)
        return Comparison(*related, None, nothing, nothing.copy(), np.zeros(0, np.int64))
    fit = fit_monotone(witness, mapped)
    expected = fit.expected(witness)
    missing = (expected - mapped) * area_km2
    order = np.argsort(-np.nan_to_num(missing, nan=-np.inf), kind="stable")
    return Comparison(*related, fit, expected, missing, order[np.nan_to_num(missing[order], nan=-1.0) > 0])


def surprise(witness: np.ndarray, is_empty: np.ndarray) -> np.ndarray:
    """How unusual it is that a cell is empty, 0..1 float64 [N]: the share of the cells with about as much light, or
    people, that are not. NaN without a witness."""
    known = np.flatnonzero(np.isfinite(witness))
    order = known[np.argsort(witness[known], kind="stable")]
    filled = np.concatenate([[0], np.cumsum(~is_empty[order])])
    place = np.arange(len(order))
    first, last = np.maximum(place - NEIGHBOURS, 0), np.minimum(place + NEIGHBOURS + 1, len(order))
    result = np.full(len(witness), np.nan)
    others = last - first - 1
    share = (filled[last] - filled[first] - ~is_empty[order]) / np.maximum(others, 1)
    result[order] = np.where(others > 0, share, 0.0)
    return result


def amount_in(cell: BaseGeometry, features: Sequence[OsmFeature], quantity: Quantity) -> float:
    """How much of a quantity lies in a cell (lon/lat polygon), in its unit."""
    shapes = [f.geometry for f in features if quantity.counts(f.tags)]
    if not shapes:
        return 0.0
    frame = frame_around(cell)
    here = shapely.intersection(np.array([frame.to_local(s) for s in shapes], dtype=object), frame.to_local(cell))
    dimension = shapely.get_dimensions(here)
    wanted = dimension == SHAPES.index(quantity.shape)
    measure = shapely.length if quantity.shape == "line" else shapely.area
    return float(measure(here[wanted]).sum()) / quantity.scale


class DensityDetector:
    """Says where next to nothing is mapped though a witness lets expect something (`detectors.base.Detector`)."""

    name = "density"
    key_prefix = "den"
    #: No edit is a reason to look at imagery again.
    shapes: frozenset[Shape] = frozenset()

    def __init__(self, settings: DensitySettings):
        self.settings = settings
        self.quantity = QUANTITIES[settings.quantity]
        self.selection = f"{settings.quantity}: {self.quantity.key} but {', '.join(sorted(self.quantity.others))}"

    def selects(self, tags: Mapping[str, str]) -> bool:
        return self.quantity.counts(tags)

    def relevant(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        return {key: value for key, value in tags.items() if key == self.quantity.key}

    def compare(self, scene: Scene) -> list[Claim]:
        return []

    def claims(
        self, cells: Sequence[BaseGeometry], witness: np.ndarray, mapped: np.ndarray, area_km2: np.ndarray, name: str
    ) -> list[Claim]:
        """The cells that are as good as empty though much is expected there.

        Args:
            cells: lon/lat polygons [N].
            witness, mapped, area_km2: as in `compare`.
            name: of the witness, for people.
        """
        compared = compare(witness, mapped, area_km2)
        is_empty = mapped <= self.settings.empty_share * np.nan_to_num(compared.expected)
        unusual = surprise(witness, is_empty)
        lacks = compared.missing >= self.settings.min_missing
        chosen = [i for i in compared.order if is_empty[i] and lacks[i] and unusual[i] >= self.settings.confidence]
        return [
            Claim(
                self.name, "empty", cells[i], None, round(float(unusual[i]), 4),
                evidence={
                    "quantity": self.settings.quantity, "unit": self.quantity.unit, "witness": name,
                    "witness_value": round(float(witness[i]), 3),
                    "mapped": round(float(mapped[i] * area_km2[i]), 3),
                    "expected": round(float(compared.expected[i] * area_km2[i]), 3),
                    "area_km2": round(float(area_km2[i]), 3),
                },
            )
            for i in chosen
        ]

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        """Until more than the share that counts as empty is mapped there."""
        expected = float(claim.evidence.get("expected") or 0.0)
        quantity = QUANTITIES.get(str(claim.evidence.get("quantity")), self.quantity)
        return amount_in(claim.geometry, features, quantity) <= self.settings.empty_share * expected
