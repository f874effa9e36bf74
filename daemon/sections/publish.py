"""What leaves the house: [publish]."""

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
