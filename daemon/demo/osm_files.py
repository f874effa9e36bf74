"""Writing what an OSM server would: a PBF extract, and a replication directory of change files with their states.

Formats: https://wiki.openstreetmap.org/wiki/OsmChange and https://wiki.openstreetmap.org/wiki/Planet.osm/diffs. The
change files hold everything a planet diff holds: several versions of an object, deletes after creates, empty minutes.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import quoteattr

import osmium
from osmium.osm import mutable

GENERATOR = "mapgap demo (made-up data)"
USER, UID = "mapgap-demo", 1


@dataclass(frozen=True, slots=True)
class Node:
    id: int
    version: int
    timestamp: datetime
    lonlat: tuple[float, float]
    visible: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Way:
    id: int
    version: int
    timestamp: datetime
    refs: tuple[int, ...]
    visible: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


Element = Node | Way


def action(element: Element) -> str:
    """Under which heading an OsmChange file lists this version of an element."""
    if not element.visible:
        return "delete"
    return "create" if element.version == 1 else "modify"


def write_pbf(
    path: Path, elements: Iterable[Element], bbox: tuple[float, float, float, float], timestamp: datetime
) -> None:
    """An extract in PBF; its header says that replication goes on after sequence 0."""
    header = osmium.io.Header()
    header.set("generator", GENERATOR)
    header.set("osmosis_replication_sequence_number", "0")
    header.set("osmosis_replication_timestamp", _iso(timestamp))
    header.add_box(osmium.osm.Box(*bbox))
    with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
        for element in sorted(elements, key=_order):
            common = {
                "id": element.id, "version": element.version, "timestamp": element.timestamp, "visible": True,
                "changeset": 1, "uid": UID, "user": USER, "tags": dict(element.tags),
            }
            if isinstance(element, Node):
                writer.add_node(mutable.Node(location=element.lonlat, **common))
            else:
                writer.add_way(mutable.Way(nodes=list(element.refs), **common))


def write_change(directory: Path, sequence: int, timestamp: datetime, elements: Iterable[Element]) -> None:
    """One minute: NNN.osc.gz and NNN.state.txt below `directory`, sorted by type, id and version like planet diffs."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<osmChange version="0.6" generator="{GENERATOR}">']
    for heading, group in groupby(sorted(elements, key=_order), key=action):
        lines += [f"  <{heading}>", *(line for element in group for line in _xml(element, sequence)), f"  </{heading}>"]
    lines.append("</osmChange>\n")
    path = sequence_path(directory, sequence, ".osc.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=int(timestamp.timestamp())) as packed:
        packed.write("\n".join(lines).encode())
    path.write_bytes(buffer.getvalue())
    write_state(directory, sequence, timestamp)


def write_state(directory: Path, sequence: int, timestamp: datetime) -> None:
    """The state of one sequence, which is also the newest so far."""
    escaped = _iso(timestamp).replace(":", r"\:")
    text = f"#{timestamp:%a %b %d %H:%M:%S UTC %Y}\nsequenceNumber={sequence}\ntimestamp={escaped}\n"
    path = sequence_path(directory, sequence, ".state.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")
    (directory / "state.txt").write_text(text, encoding="ascii")


def sequence_path(directory: Path, sequence: int, suffix: str) -> Path:
    """`directory`/000/001/234`suffix` of sequence 1234."""
    digits = f"{sequence:09d}"
    return directory / digits[:3] / digits[3:6] / f"{digits[6:]}{suffix}"


def _xml(element: Element, sequence: int) -> list[str]:
    kind = "node" if isinstance(element, Node) else "way"
    opening = (
        f'    <{kind} id="{element.id}" version="{element.version}" timestamp="{_iso(element.timestamp)}" '
        f'uid="{UID}" user="{USER}" changeset="{1000 + sequence}"'
    )
    inner: list[str] = []
    if isinstance(element, Node):
        opening += f' lat="{element.lonlat[1]:.7f}" lon="{element.lonlat[0]:.7f}"'
    elif element.visible:
        inner += [f'      <nd ref="{ref}"/>' for ref in element.refs]
    if element.visible:
        inner += [f"      <tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in sorted(element.tags.items())]
    return [f"{opening}>", *inner, f"    </{kind}>"] if inner else [f"{opening}/>"]


def _order(element: Element) -> tuple[int, int, int]:
    return (0 if isinstance(element, Node) else 1), element.id, element.version


def _iso(timestamp: datetime) -> str:
    return timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
