"""The page at the end of a replay: everything that was looked at, and what is open there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from daemon.page import write_page
from daemon.picture import View
from daemon.pipeline import Pipeline
from daemon.publish.export import Filter, read_discrepancies
from daemon.replay import Report
from daemon.tiling.grid import Block, blocks_of

OSM_CREDIT = "Map data: © OpenStreetMap contributors, ODbL 1.0, https://www.openstreetmap.org/copyright"
MADE_UP_CREDIT = "Map data: made up by mapgap"


def write_replay_page(pipeline: Pipeline, directory: Path, report: Report) -> list[Path]:
    """Draw all blocks with imagery as the map is now; see `daemon.page.write_page` for what is written.

    Whether the imagery is rendered, and whom to name for it, stands in the scenario's truth.json where it has one.

    Raises:
        ValueError: there is no imagery.
    """
    tiling = pipeline.config.tiling
    tiles = sorted(pipeline.imagery.coverage(tiling.zoom) or ())
    views = [view for block in blocks_of(tiles, tiling.block) for view in _views(pipeline, block)]
    truth = _truth(Path(report.directory))
    rendered = bool(truth.get("rendered"))
    credits = [f"{s.attribution} ({s.licence})" for s in pipeline.imagery.settings]
    stated = truth.get("imagery", {}).get("attribution")
    attribution = [f"Imagery: {line}" for line in ([stated] if stated else credits)]
    attribution.append(MADE_UP_CREDIT if rendered else OSM_CREDIT)
    title = "mapgap: a rendered town" if rendered else "mapgap: end of a replay"
    return write_page(directory, views, _summary(report), attribution, title=title, rendered=rendered)


def _truth(scenario: Path) -> dict[str, Any]:
    path = scenario / "truth.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _views(pipeline: Pipeline, block: Block) -> list[View]:
    """One view for each detector."""
    margin = pipeline.config.tiling.margin
    chip = pipeline.imagery.chip(block, margin)
    reach = block.lonlat(margin)
    with pipeline.db.transaction() as cursor:
        features = pipeline.store.features_in(cursor, reach)
        shown = list(read_discrepancies(cursor, Filter(bbox=reach)))
    return [
        View(
            chip, eye.look(chip), [f for f in features if eye.detector.selects(f.tags)],
            [d for d in shown if d.detector == eye.detector.name], eye.detector.name,
        )
        for eye in pipeline.eyes
    ]


def _summary(report: Report) -> dict[str, object]:
    changes = [m for m in report.minutes if m.sequence is not None]
    summary: dict[str, object] = {
        "model": report.model, "change files": len(changes), "seconds": round(report.seconds, 1),
    }
    scores = report.minutes[-1].scores if report.minutes else None
    if scores:
        summary["Found against known, at the end"] = [
            {
                "place": place, "kind": kind, "right": c.tp, "wrong": c.fp, "overlooked": c.fn,
                "precision": c.precision, "recall": c.recall, "F1": c.f1,
            }
            for place, kinds in scores.items() for kind, c in kinds.items()
        ]
    return summary
