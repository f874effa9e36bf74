"""Issues as JOSM loads them by its remote control."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.web.osmose.feed import Issue
from daemon.web.osmose.shapes import AROUND, LETTERS, element_of, point


def josm_link(issues: Iterable[Issue]) -> str:
    """Where JOSM, on the machine of who asks, loads the objects of these issues; the ground, where they have none."""
    objects, points = {}, []
    for issue in issues:
        points.append(point(issue.discrepancy))
        if element := element_of(issue.discrepancy):
            objects[f"{LETTERS[element[0]].lower()}{element[1]}"] = None
    if objects or not points:
        return f"http://localhost:8111/load_object?objects={','.join(objects)}"
    lons, lats = zip(*points, strict=True)
    return (
        f"http://localhost:8111/load_and_zoom?left={min(lons) - AROUND:.6f}&bottom={min(lats) - AROUND:.6f}"
        f"&right={max(lons) + AROUND:.6f}&top={max(lats) + AROUND:.6f}"
    )
