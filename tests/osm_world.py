"""A small OSM world for tests: objects in memory, written as extracts or change files, and what a store holds."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import quoteattr

import osmium
import shapely
from osmium.osm.mutable import Node, Relation, Way
from shapely.geometry.base import BaseGeometry

from daemon.db import Database

#: Raw objects and features. osm_removed and osm_gone are memories, which a fresh bootstrap does not have.
STATE = ("osm_node", "osm_way", "osm_relation", "osm_feature")
#: The first second of these worlds.
EPOCH = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Thing:
    """A node (location), way (refs) or relation (members), in one version."""

    kind: str
    id: int
    version: int = 1
    changed: int = EPOCH
    tags: Mapping[str, str] = field(default_factory=dict)
    location: tuple[float, float] | None = None
    refs: Sequence[int] = ()
    members: Sequence[tuple[str, int, str]] = ()
    deleted: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return self.kind, self.id

    def next(self, seconds: int = 60, **what: object) -> Thing:
        """Its next version."""
        following = {"version": self.version + 1, "changed": self.changed + seconds, "deleted": False}
        return replace(self, **{**following, **what})


def node(id_: int, lon: float, lat: float, **more: object) -> Thing:
    return Thing("n", id_, location=(lon, lat), **more)


def way(id_: int, refs: Sequence[int], **more: object) -> Thing:
    return Thing("w", id_, refs=tuple(refs), **more)


def relation(id_: int, members: Sequence[tuple[str, int, str]], **more: object) -> Thing:
    return Thing("r", id_, members=tuple(members), **more)


def write_extract(
    path: Path, things: Iterable[Thing], header: Mapping[str, str] | None = None, *, compressed: bool = True
) -> Path:
    """The objects that are not deleted, sorted, in the format of the suffix. Only PBF may be not `compressed`."""
    made = osmium.io.Header()
    for key, value in (header or {}).items():
        made.set(key, value)
    path.unlink(missing_ok=True)
    file = osmium.io.File(str(path)) if compressed else osmium.io.File(str(path), "pbf,pbf_compression=none")
    with osmium.SimpleWriter(file, header=made) as writer:
        for thing in sorted(things, key=lambda t: ("nwr".index(t.kind), t.id)):
            if thing.deleted:
                continue
            common = {
                "id": thing.id, "version": thing.version, "tags": dict(thing.tags),
                "timestamp": datetime.fromtimestamp(thing.changed, UTC),
            }
            if thing.kind == "n":
                writer.add_node(Node(location=thing.location, **common))
            elif thing.kind == "w":
                writer.add_way(Way(nodes=list(thing.refs), **common))
            else:
                writer.add_relation(Relation(members=list(thing.members), **common))
    return path


def write_changes(path: Path, things: Iterable[Thing]) -> Path:
    """An osmChange file that holds the objects in the order given; gzipped where the suffix says so."""
    blocks = []
    for thing in things:
        action = "delete" if thing.deleted else "create" if thing.version == 1 else "modify"
        blocks.append(f"<{action}>{_element(thing)}</{action}>")
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<osmChange version="0.6">{"".join(blocks)}</osmChange>\n'
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def _element(thing: Thing) -> str:
    name = {"n": "node", "w": "way", "r": "relation"}[thing.kind]
    moment = datetime.fromtimestamp(thing.changed, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    place = f' lon="{thing.location[0]:.7f}" lat="{thing.location[1]:.7f}"' if thing.location else ""
    inner = ""
    if not thing.deleted:
        inner += "".join(f'<nd ref="{ref}"/>' for ref in thing.refs)
        inner += "".join(
            f'<member type="{ {"n": "node", "w": "way", "r": "relation"}[kind] }" ref="{ref}" role={quoteattr(role)}/>'
            for kind, ref, role in thing.members
        )
        inner += "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in thing.tags.items())
    return f'<{name} id="{thing.id}" version="{thing.version}" timestamp="{moment}"{place}>{inner}</{name}>'


def end_state(base: Path, changes: Sequence[Path], out: Path) -> Path:
    """The extract after all changes, made without the store: the last version of each object that is not deleted."""
    last: dict[tuple[str, int], Thing] = {}
    for path in (base, *changes):
        for element in osmium.FileProcessor(str(path)):
            kind = element.type_str()
            last[kind, element.id] = Thing(
                kind, element.id, element.version, int(element.timestamp.timestamp()), dict(element.tags),
                (element.lon, element.lat) if kind == "n" and element.location.valid() else None,
                [node.ref for node in element.nodes] if kind == "w" else (),
                [(member.type, member.ref, member.role) for member in element.members] if kind == "r" else (),
                element.deleted,
            )
    return write_extract(out, last.values())


def areas_of(path: Path) -> dict[str, BaseGeometry]:
    """What osmium's area assembler makes of the relations of an OSM file: "relation/5" -> normalised geometry."""
    factory = osmium.geom.WKBFactory()
    return {
        f"relation/{area.orig_id()}": plain(shapely.from_wkb(factory.create_multipolygon(area)))
        for area in osmium.FileProcessor(str(path)).with_areas()
        if area.is_area() and not area.from_way() and area.num_rings()[0]  # without rings: it could not close one
    }


def plain(geometry: BaseGeometry) -> BaseGeometry:
    """Rings and parts in one order, and a single part as a Polygon: equal areas are then equal to the last bit."""
    parts = shapely.get_parts(geometry)
    return shapely.normalize(parts[0] if len(parts) == 1 else geometry)


def rows_of(db: Database, tables: Sequence[str] = STATE) -> dict[str, list[str]]:
    """All rows of the tables, every column as text, sorted: equal means equal to the last bit."""
    with db.transaction() as cursor:
        rows = {}
        for table in tables:
            cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")
            rows[table] = [row for (row,) in cursor]
        return rows


def wrote(cursor) -> bool:
    """Whether the transaction has written any row so far: PostgreSQL gives it a number at its first one."""
    cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    return cursor.fetchone()[0]
