"""MapRoulette's line-delimited GeoJSON: each line is a record separator (RFC 7464) and one FeatureCollection, a task.

What the server makes of it, which decides what may be in it:

* the first feature's `id` is the task's name and identity: the same key again updates the task, never makes a second;
* `properties["@id"]` = "way/123" lets editors select the object; a key never looks like such an id;
* `name`, `type`, `@type`, `@osm_type` and `maproulette` are given meanings, so that no property is called so; a
  priority rule splits "property.value" at the first dot, so that no name has a dot;
* the upload is decoded in whatever charset the server runs with, so that lines are ASCII;
* no task status is ever sent: it would overwrite what a mapper decided.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from shapely.geometry.base import BaseGeometry

from daemon.discrepancies.model import Discrepancy, utc
from daemon.publish.feed import ExportContext, area_m2, encode, fact, geometry_json

RECORD_SEPARATOR = b"\x1e"
#: Line colour (simplestyle) of what nothing is known of.
STROKE = "#ff00ff"
#: Line colour of what is on the map already.
MAPPED_STROKE = "#666666"
#: Property names that MapRoulette or its editors read as something of their own.
RESERVED = frozenset({"id", "@id", "osmid", "osm_id", "name", "type", "@type", "@osm_type", "maproulette"})
#: Prefix of the facts of a claim, which keeps them from ever being one of those.
EVIDENCE = "evidence_"

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_]+")


def write(discrepancies: Iterable[Discrepancy], out: BinaryIO, context: ExportContext) -> int:
    """Write one line a discrepancy; returns how many."""
    count = 0
    for discrepancy in discrepancies:
        out.write(line(task(discrepancy, context)))
        count += 1
    return count


def line(collection: Mapping[str, Any]) -> bytes:
    """A task as a line of a file."""
    return RECORD_SEPARATOR + encode(collection, ascii_only=True) + b"\n"


def task(discrepancy: Discrepancy, context: ExportContext, mapped: BaseGeometry | None = None) -> dict[str, Any]:
    """One discrepancy as a task: its place and facts, and what was seen there as a locked layer in the editor.

    Args:
        mapped: the outline that is on the map now (lon/lat), shown beside the place where it should be.
    """
    geometry = geometry_json(discrepancy.geometry)
    facts = properties(discrepancy, context)
    features = [{"type": "Feature", "id": discrepancy.key, "geometry": geometry, "properties": facts}]
    if mapped is not None:
        shared = {name: facts[name] for name in ("key", "kind", "confidence", "@id") if name in facts}
        style = {"shows": "as on the map", "stroke": MAPPED_STROKE, "stroke-width": "2"}
        features.append({"type": "Feature", "geometry": geometry_json(mapped), "properties": shared | style})
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if discrepancy.kind != "gone":
        collection["attachments"] = [{
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"mapgap:{discrepancy.key}")),
            "kind": "referenceLayer", "type": "geojson", "name": "as seen on the imagery",
            "data": {"type": "Feature", "properties": {}, "geometry": geometry},
        }]
    return collection


def properties(discrepancy: Discrepancy, context: ExportContext) -> dict[str, str]:
    """All facts as strings, under names that MapRoulette gives no meaning of its own."""
    known = context.kinds.get((discrepancy.detector, discrepancy.kind))
    stroke = known.colour if known else STROKE
    facts = {
        "key": discrepancy.key,
        "detector": discrepancy.detector,
        "kind": discrepancy.kind,
        "state": discrepancy.state.value,
        "confidence": f"{discrepancy.confidence:.3f}",
        "area_m2": f"{area_m2(discrepancy):.0f}",
        "opened": utc(discrepancy.opened),
        "updated": utc(discrepancy.updated),
        "attribution": "; ".join(context.attributions),
        "stroke": stroke,
        "stroke-width": "2",
        "fill": stroke,
        "fill-opacity": "0.1",
    }
    if discrepancy.osm:
        facts["@id"] = discrepancy.osm
    if discrepancy.shift_m:
        facts["shift_east_m"], facts["shift_north_m"] = (f"{metres:.2f}" for metres in discrepancy.shift_m)
    for name in sorted(discrepancy.evidence):
        if (value := fact(discrepancy.evidence, name)) is not None:
            facts[EVIDENCE + _NOT_A_NAME.sub("_", name)] = value
    return facts
