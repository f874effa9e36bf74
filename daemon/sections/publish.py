"""What leaves the house, and what comes back: [publish], [reviews]."""

from __future__ import annotations

from pathlib import Path

from daemon.sections.section import Section, knob


class Publish(Section):
    """What leaves the house. Files are written after every cycle; nothing is sent anywhere."""

    dir: Path | None = knob(
        None, "directory for discrepancies.geojson, maproulette.geojsonl and osmose.xml; none: not written"
    )
    dry_run: bool = knob(False, "say what would be written, write nothing")
    min_confidence: float = knob(0.5, "discrepancies below this stay in the house", "probability", ge=0, le=1)
    stale_days: float = knob(365.0, "an open discrepancy not seen for so long closes as stale", "days", gt=0)


class Reviews(Section):
    """What people's verdicts do. A false positive is silent for ever."""

    believe_fixed: float = knob(
        7.0, "what a mapper calls fixed is shown to nobody for so long; the map has to show it by then", "days", gt=0
    )
