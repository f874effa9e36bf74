"""A large OSM file made of a real extract, repeated at other places with other ids.

The extract is held as OPL, osmium's line format (https://osmcode.org/opl-file-format/): lines are quick to make in
Python, and osmium turns them into PBF or osmChange in C++.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import osmium

#: Ids of copy k are those of the extract and k times this: larger than any id there is, so that copies stay sorted.
OFFSET = 10_000_000_000
#: Copies stand in rows of so many, so many degrees apart, from the extract's own place to the east, then to the south.
IN_A_ROW, APART = 16, 10
#: Coordinates are in units of 1e-7 degrees.
PRECISION = 10**7


class Node(NamedTuple):
    """`tags` is OPL text here and below: key=value,key=value with its escapes."""

    id: int
    version: int
    changed: str
    tags: str
    lon: int
    lat: int
    visible: bool = True

    @property
    def line(self) -> str:
        return f"n{_common(self)} x{_degrees(self.lon)} y{_degrees(self.lat)}\n"


class Way(NamedTuple):
    id: int
    version: int
    changed: str
    tags: str
    refs: Sequence[int]
    visible: bool = True

    @property
    def line(self) -> str:
        return f"w{_common(self)} N{','.join(f'n{ref}' for ref in self.refs)}\n"


class Relation(NamedTuple):
    id: int
    version: int
    changed: str
    tags: str
    members: Sequence[tuple[str, int, str]]
    visible: bool = True

    @property
    def line(self) -> str:
        return f"r{_common(self)} M{','.join(f'{kind}{ref}@{role}' for kind, ref, role in self.members)}\n"


Thing = Node | Way | Relation


def signed(line: str, changeset: int, uid: int, user: str) -> str:
    """The line of a thing with who edited it, as change files have it."""
    return line.replace(" c0 ", f" c{changeset} ", 1).replace(" i0 u ", f" i{uid} u{user} ", 1)


def _common(thing: Thing) -> str:
    state = "V" if thing.visible else "D"
    return f"{thing.id} v{thing.version} d{state} c0 t{thing.changed} i0 u T{thing.tags if thing.visible else ''}"


def _degrees(units: int) -> str:
    whole, part = divmod(abs(units), PRECISION)
    return f"{'-' if units < 0 else ''}{whole}.{part:07d}"


def write_things(path: Path, lines: Iterable[str], header: osmium.io.Header | None = None) -> Path:
    """Sorted OPL lines as the format that the suffix of `path` names."""
    opl = path.with_name(path.name + ".opl")
    with opl.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    with osmium.io.Reader(str(opl)) as reader, osmium.SimpleWriter(
        str(path), header=header or osmium.io.Header(), overwrite=True
    ) as writer:
        osmium.apply(reader, writer)
    opl.unlink()
    return path


class World:
    """A real extract and its copies.

    Args:
        extract: a sorted OSM file of a small place east of Greenwich and north of the equator.
        copies: how many there are, itself included.
    """

    def __init__(self, extract: Path, copies: int):
        self.extract = extract
        self.copies = copies
        self.nodes: dict[int, Node] = {}
        self.ways: dict[int, Way] = {}
        self.relations: dict[int, Relation] = {}
        opl = osmium.io.File(str(extract))
        for thing in _read(opl):
            {Node: self.nodes, Way: self.ways, Relation: self.relations}[type(thing)][thing.id] = thing
        west, _, _, north = self.bbox(0)
        east = self.bbox(min(copies, IN_A_ROW) - 1)[2]
        if west < 0 or east >= 180 or self.bbox(copies - 1)[1] < 0 or north > 85:
            raise ValueError(f"{copies} copies of {extract} do not fit between Greenwich, equator and antimeridian")

    def shift(self, copy: int) -> tuple[int, int]:
        """How far a copy lies from the extract: whole degrees of longitude and latitude."""
        row, column = divmod(copy, IN_A_ROW)
        return APART * column, -APART * row

    def of_copy(self, thing: Thing, copy: int) -> Thing:
        """A thing of the extract as it is in a copy."""
        by = copy * OFFSET
        if isinstance(thing, Node):
            east, north = self.shift(copy)
            return thing._replace(
                id=thing.id + by, lon=thing.lon + east * PRECISION, lat=thing.lat + north * PRECISION
            )
        if isinstance(thing, Way):
            return thing._replace(id=thing.id + by, refs=[ref + by for ref in thing.refs])
        return thing._replace(id=thing.id + by, members=[(kind, ref + by, role) for kind, ref, role in thing.members])

    def bbox(self, copy: int) -> tuple[float, float, float, float]:
        """West, south, east, north of a copy's nodes in degrees."""
        east, north = self.shift(copy)
        west, south, right, top = self._bbox
        return west + east, south + north, right + east, top + north

    @cached_property
    def _bbox(self) -> tuple[float, float, float, float]:
        lon = [node.lon / PRECISION for node in self.nodes.values()]
        lat = [node.lat / PRECISION for node in self.nodes.values()]
        return min(lon), min(lat), max(lon), max(lat)

    def write(self, path: Path, only: Sequence[int] | None = None) -> Path:
        """All copies, or only these, as one sorted file with the extract's replication time in its header."""
        chosen = range(self.copies) if only is None else sorted(only)
        header = osmium.io.Header()
        header.set("generator", "mapgap benchmark")
        header.set("sorting", "Type_then_ID")
        with osmium.io.Reader(str(self.extract), osmium.osm.NOTHING) as reader:
            original = reader.header()
        for name in ("osmosis_replication_timestamp", "osmosis_replication_sequence_number", "timestamp"):
            if value := original.get(name):
                header.set(name, value)
        corners = [self.bbox(copy) for copy in chosen]
        header.add_box(osmium.osm.Box(
            min(c[0] for c in corners), min(c[1] for c in corners), max(c[2] for c in corners),
            max(c[3] for c in corners),
        ))
        return write_things(path, self._lines(chosen), header)

    def _lines(self, copies: Sequence[int]) -> Iterator[str]:
        for copy in copies:
            by, (east, north) = copy * OFFSET, self.shift(copy)
            for id_, middle, lon, lon_rest, lat, lat_rest in self._node_parts:
                yield f"n{id_ + by}{middle}{lon + east}{lon_rest}{lat + north}{lat_rest}"
        for things in (self.ways, self.relations):
            for copy in copies:
                for thing in things.values():
                    yield self.of_copy(thing, copy).line

    @cached_property
    def _node_parts(self) -> list[tuple[int, str, int, str, int, str]]:
        """Node lines cut where copies differ: the id, and whole degrees."""
        parts = []
        for node in self.nodes.values():
            (lon, lon_part), (lat, lat_part) = divmod(node.lon, PRECISION), divmod(node.lat, PRECISION)
            middle = _common(node).removeprefix(str(node.id)) + " x"
            parts.append((node.id, middle, lon, f".{lon_part:07d} y", lat, f".{lat_part:07d}\n"))
        return parts


def _read(file: osmium.io.File) -> Iterator[Thing]:
    for thing in osmium.FileProcessor(file):
        changed = thing.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ")
        tags = ",".join(f"{_escaped(k)}={_escaped(v)}" for k, v in thing.tags)
        common = thing.id, thing.version, changed, tags
        if thing.is_node():
            yield Node(*common, thing.location.x, thing.location.y)
        elif thing.is_way():
            yield Way(*common, [node.ref for node in thing.nodes])
        else:
            yield Relation(*common, [(m.type, m.ref, _escaped(m.role)) for m in thing.members])


def _escaped(text: str) -> str:
    """Text in OPL: what has a meaning there, spaces and what is not ASCII as %hex%."""
    return re.sub(r"[^A-Za-z0-9_.:;/+-]", lambda found: f"%{ord(found[0]):x}%", text)
