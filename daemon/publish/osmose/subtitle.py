"""The one line that says what is special about this instance of a class."""

from __future__ import annotations

import math

from daemon.discrepancies.model import Discrepancy
from daemon.publish.feed import area_m2, fact


def subtitle(discrepancy: Discrepancy) -> str:
    """One line about this instance, e.g. "Outline shifted 6.2 m, imagery 2025-06-14, confidence 0.93"."""
    kind = discrepancy.kind
    parts = []
    if kind == "misplaced" and discrepancy.shift_m:
        parts.append(f"Outline shifted {math.hypot(*discrepancy.shift_m):.1f} m")
    else:
        seen = {"missing": "Building footprint", "gone": "Mapped outline"}.get(kind, "Outline")
        parts.append(f"{seen} of about {area_m2(discrepancy):.0f} m²")
    imagery = [fact(discrepancy.evidence, name) for name in ("imagery", "acquired")]
    if any(imagery):
        parts.append(" ".join(["imagery", *(word for word in imagery if word)]))
    parts.append(f"confidence {discrepancy.confidence:.2f}")
    return ", ".join(parts)
