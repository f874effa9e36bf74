"""What a data set holds: how much of each class, of no data and of the unknown, and under which licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from detectors.datasets.place import UNKNOWN, Place

#: Colours of the bars, RGB, taken in turn.
PALETTE = (
    (110, 110, 110), (202, 84, 60), (64, 120, 192), (84, 154, 74), (216, 164, 48), (134, 88, 164), (72, 170, 170),
)
WIDTH, ROW, LABEL = 900, 30, 250


@dataclass(slots=True)
class Balance:
    """Counts over places; they add up.

    Attributes:
        pixels: of each class, by name, where there is imagery and somebody knows.
        no_data, unknown: pixels without imagery; with imagery, but of no known class.
        gsd_m: finest and coarsest, metres a pixel.
        forms: "3 bands of uint8" -> places.
        provenance: (what, whose, licence) -> places.
        objects: outlines, for places that have them.
        bare: places in which one class alone occurs.
    """

    places: int = 0
    pixels: Counter[str] = field(default_factory=Counter)
    no_data: int = 0
    unknown: int = 0
    gsd_m: tuple[float, float] = (float("inf"), 0.0)
    forms: Counter[str] = field(default_factory=Counter)
    provenance: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    objects: int = 0
    bare: int = 0

    @property
    def total(self) -> int:
        return sum(self.pixels.values()) + self.no_data + self.unknown

    def add(self, place: Place) -> None:
        truth = place.truth()
        counts = np.bincount(truth.ravel(), minlength=256)
        self.places += 1
        for index, name in enumerate(place.classes):
            self.pixels[name] += int(counts[index])
        self.bare += int(np.count_nonzero(counts[:UNKNOWN]) == 1)
        without = int((~place.valid).sum())
        self.no_data += without
        self.unknown += int(counts[UNKNOWN]) - without
        self.gsd_m = min(self.gsd_m[0], place.gsd), max(self.gsd_m[1], place.gsd)
        self.forms[f"{place.pixels.shape[2]} bands of {place.pixels.dtype}"] += 1
        self.objects += len(place.outlines)
        if place.provenance:
            whose = place.provenance
            self.provenance["imagery", whose.imagery, whose.imagery_licence] += 1
            self.provenance["labels", whose.labels, whose.labels_licence] += 1

    def rows(self) -> list[tuple[str, int, float]]:
        """(name, pixels, share of all pixels) of each class, then of the unknown and of no data."""
        named = [*self.pixels.items(), ("(unknown)", self.unknown), ("(no data)", self.no_data)]
        return [(name, count, count / self.total if self.total else 0.0) for name, count in named]

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "places": self.places, "objects": self.objects, "bare": self.bare, "pixels": dict(self.pixels),
            "unknown": self.unknown, "no_data": self.no_data, "gsd_m": list(self.gsd_m) if self.places else [],
            "forms": dict(self.forms),
            "licences": [
                {"of": what, "whose": whose, "licence": licence, "places": count}
                for (what, whose, licence), count in self.provenance.items()
            ],
        }


def measure(places: Iterable[Place], each: Callable[[int], None] | None = None) -> Balance:
    """Go through places, one in memory at a time; `each` is told how many are done."""
    balance = Balance()
    for number, place in enumerate(places, 1):
        balance.add(place)
        if each:
            each(number)
    return balance


def describe(balances: Mapping[str, Balance]) -> str:
    """The balances of named splits as text."""
    lines: list[str] = []
    for name, balance in balances.items():
        low, high = balance.gsd_m
        reach = f"{low:.3g}" if high - low < 0.005 * high else f"{low:.3g} to {high:.3g}"
        lines.append(f"{name}: {balance.places} places" + (f", {reach} m a pixel" if balance.places else ""))
        lines += [f"  {form}: {count} places" for form, count in balance.forms.items()]
        if balance.objects:
            lines.append(f"  {balance.objects} outlines")
        lines += [f"  {what:24} {count:>14} px {100 * share:7.2f} %" for what, count, share in balance.rows()]
        if balance.bare:
            lines.append(f"  {balance.bare} places show one class alone: so it is, or nobody mapped the rest")
        for (what, whose, licence), count in balance.provenance.items():
            lines.append(f"  {what}: {whose}; licence: {licence} ({count} places)")
    return "\n".join(lines)


def draw(balances: Mapping[str, Balance]) -> np.ndarray:
    """The same as bars, uint8 RGB [H, W, 3]."""
    rows = sum(len(balance.rows()) + len(balance.provenance) + 2 for balance in balances.values())
    image = np.full((rows * ROW + ROW, WIDTH, 3), 255, np.uint8)
    top = ROW
    for name, balance in balances.items():
        _write(image, f"{name}: {balance.places} places", (10, top), 0.6, bold=True)
        top += ROW
        for index, (what, _, share) in enumerate(balance.rows()):
            _write(image, what[:28], (24, top), 0.5)
            length = round(share * (WIDTH - LABEL - 110))
            corner = (LABEL + max(1, length), top + 4)
            cv2.rectangle(image, (LABEL, top - 14), corner, PALETTE[index % len(PALETTE)], -1)
            _write(image, f"{100 * share:.2f} %", (LABEL + length + 8, top), 0.5)
            top += ROW
        for what, whose, licence in balance.provenance:
            _write(image, f"{what}: {whose}; licence: {licence}"[:100], (24, top), 0.45)
            top += ROW
        top += ROW
    return image


def _write(image: np.ndarray, text: str, at: tuple[int, int], size: float, bold: bool = False) -> None:
    plain = text.replace("©", "(c)").encode("ascii", "replace").decode()
    cv2.putText(image, plain, at, cv2.FONT_HERSHEY_SIMPLEX, size, (30, 30, 30), 2 if bold else 1, cv2.LINE_AA)
