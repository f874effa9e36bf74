"""GeoJSON (RFC 7946): one FeatureCollection, a Feature on each line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from daemon.discrepancies.model import Discrepancy, utc
from daemon.publish.feed import OSM_ATTRIBUTION, ExportContext, encode, geometry_json


def write(discrepancies: Iterable[Discrepancy], out: BinaryIO, context: ExportContext) -> int:
    """Write a FeatureCollection; returns the number of Features."""
    count = -2  # the first line is the head, the last one the end
    for line in lines(discrepancies, context):
        out.write(line)
        count += 1
    return count


def lines(discrepancies: Iterable[Discrepancy], context: ExportContext) -> Iterator[bytes]:
    """A FeatureCollection with whom to name as foreign members: its head, each Feature, its end."""
    head = encode({
        "type": "FeatureCollection",
        "name": context.area,
        "attribution": context.attributions,
        "licence": {"osm": OSM_ATTRIBUTION, **{source.name: source.licence for source in context.imagery}},
    })
    yield head[:-1] + b',"features":['
    separator = b"\n"
    for discrepancy in discrepancies:
        yield separator + encode(feature(discrepancy))
        separator = b",\n"
    yield b"]}\n" if separator == b"\n" else b"\n]}\n"


def feature(discrepancy: Discrepancy) -> dict[str, Any]:
    """One discrepancy as a Feature."""
    return {
        "type": "Feature",
        "id": discrepancy.key,
        "geometry": geometry_json(discrepancy.geometry),
        "properties": {
            "key": discrepancy.key,
            "detector": discrepancy.detector,
            "kind": discrepancy.kind,
            "state": discrepancy.state.value,
            "closed_as": discrepancy.closed_as.value if discrepancy.closed_as else None,
            "confidence": round(discrepancy.confidence, 4),
            "osm": discrepancy.osm,
            "shift_m": None if discrepancy.shift_m is None else [round(s, 2) for s in discrepancy.shift_m],
            "evidence": discrepancy.evidence,
            "opened": utc(discrepancy.opened),
            "updated": utc(discrepancy.updated),
            "closed": utc(discrepancy.closed) if discrepancy.closed else None,
        },
    }
