"""Objects of an OSM file as columns; those that are wanted become Python objects.

The columns come from OPL text (opl.py), and keep of tags, refs and members only where in the text they stand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daemon.osm.elements import AREA_TYPES, NODE, Relation, Selects, Way

#: One of these is in the text of every area relation.
_AREAS = tuple(f"type={kind}".encode() for kind in AREA_TYPES)
_ESCAPED = re.compile(r"%([0-9a-f]+)%")


@dataclass(frozen=True)
class Elements:
    """Ways or relations, one a place in each array.

    Attributes:
        id, version: int64 [N]; version 0: the file did not say.
        changed: int64 [N], seconds since 1970; 0: the file did not say.
        visible: bool [N]; False: deleted.
        text: OPL, which holds the rest; `commas` are the places of all commas in it.
        tags, body: int64 [N, 2]: where in the text tags and refs (or members) begin and end.
    """

    id: np.ndarray
    version: np.ndarray
    changed: np.ndarray
    visible: np.ndarray
    text: bytes
    commas: np.ndarray
    tags: np.ndarray
    body: np.ndarray

    def __len__(self) -> int:
        return len(self.id)

    def pick(self, chosen: np.ndarray) -> Elements:
        """Those at these places, or where this is True."""
        return Elements(
            self.id[chosen], self.version[chosen], self.changed[chosen], self.visible[chosen], self.text,
            self.commas, self.tags[chosen], self.body[chosen],
        )

    @cached_property
    def refs(self) -> tuple[np.ndarray, np.ndarray]:
        """Node ids of all ways, int64 [M], and where each way's begin and the last one's end, int64 [N + 1]."""
        filled = self.body[:, 1] > self.body[:, 0]
        start, end = (np.searchsorted(self.commas, place) for place in self.body.T)
        counts = end - start + filled
        offsets = np.concatenate([[0], np.cumsum(counts)])
        numbers = b",".join(self.text[start:end] for start, end in self.body[filled].tolist()).replace(b"n", b"")
        refs = np.fromstring(numbers, np.int64, sep=",") if numbers else np.zeros(0, np.int64)
        return refs, offsets

    def tags_of(self, place: int) -> dict[str, str]:
        """The tags of one of them."""
        start, end = self.tags[place].tolist()
        if start == end:
            return {}
        text = self.text[start:end].decode()
        pairs = [tag.split("=") for tag in text.split(",")]
        return {_plain(key): _plain(value) for key, value in pairs} if "%" in text else dict(pairs)

    def members_of(self, place: int) -> list[tuple[str, int, str]]:
        """The members of a relation: type ("n", "w", "r"), ref, role."""
        start, end = self.body[place].tolist()
        members = self.text[start:end].decode().split(",") if end > start else []
        return [(m[0], int(ref[1:]), _plain(role)) for m in members for ref, _, role in [m.partition("@")]]


@dataclass(frozen=True, slots=True)
class Columns:
    """Some of the objects of a file.

    Attributes:
        nodes: NODE [N], in the order of the file; `inside` is False.
        sound: bool [N]: whether a node is deleted, or has a location on earth.
        ways, relations: in the order of the file.
        order: uint8, the types of all objects ("n", "w", "r") in the order of the file.
    """

    nodes: np.ndarray
    sound: np.ndarray
    ways: Elements
    relations: Elements
    order: np.ndarray


def concatenate(columns: Sequence[Columns]) -> Columns:
    """Several pieces of a file as one."""
    if len(columns) == 1:
        return columns[0]
    return Columns(
        np.concatenate([np.zeros(0, NODE), *(c.nodes for c in columns)]),
        np.concatenate([np.zeros(0, bool), *(c.sound for c in columns)]),
        join_elements([c.ways for c in columns]),
        join_elements([c.relations for c in columns]),
        np.concatenate([np.zeros(0, np.uint8), *(c.order for c in columns)]),
    )


def join_elements(some: Sequence[Elements]) -> Elements:
    """Several columns as one, with the text that they use and no more."""
    texts = [e.text[a:b] for e in some for a, b in zip(e.tags[:, 0].tolist(), e.body[:, 1].tolist(), strict=True)]
    begins = np.cumsum([0, *map(len, texts)])[:-1, None]
    empty = np.zeros(0, np.int64)
    columns = {
        name: np.concatenate([empty, *(getattr(e, name) for e in some)]) for name in ("id", "version", "changed")
    }
    shifts = begins - np.concatenate([empty, *(e.tags[:, 0] for e in some)])[:, None]
    tags, body = (np.concatenate([empty.reshape(0, 2), *(getattr(e, name) for e in some)]) for name in ("tags", "body"))
    visible = np.concatenate([empty.astype(bool), *(e.visible for e in some)])
    text = b"".join(texts)
    return Elements(
        **columns, visible=visible, text=text, commas=places_of(",", text), tags=tags + shifts, body=body + shifts
    )


def places_of(character: str, text: bytes) -> np.ndarray:
    """Where an ASCII character stands in a text, int64."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == ord(character))


def last_of(ids: np.ndarray, versions: np.ndarray) -> np.ndarray:
    """Places of the last word on each object, in order of id: of the highest version, and among equal ones the last."""
    order = np.argsort(ids, kind="stable")
    again = ids[order][1:] == ids[order][:-1]
    if not again.any():
        return order
    order = np.lexsort((np.arange(len(ids)), versions, ids))
    return order[~np.append(again, False)]


def to_ways(elements: Elements, selects: Selects) -> list[Way]:
    """Ways as Python objects; tags only where `selects` asks for them."""
    refs, offsets = elements.refs
    numbers, bounds = refs.tolist(), offsets.tolist()
    ways = []
    columns = (elements.id, elements.version, elements.changed, elements.visible)
    for i, (id_, version, changed, visible) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        tags = elements.tags_of(i) or None
        if tags is not None and not selects(tags):
            tags = None
        ways.append(Way(id_, version, changed, tags, numbers[bounds[i]:bounds[i + 1]], visible=visible))
    return ways


def to_relations(elements: Elements, selects: Selects) -> list[Relation]:
    """Relations as Python objects: invisible and without members where they are no area that a detector asks for."""
    relations = []
    maybe = [any(kind in elements.text[a:b] for kind in _AREAS) for a, b in elements.tags.tolist()]
    columns = (elements.id, elements.version, elements.changed, elements.visible)
    for i, (id_, version, changed, visible) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        tags = elements.tags_of(i) if visible and maybe[i] else {}
        wanted = tags.get("type") in AREA_TYPES and selects(tags)
        relations.append(
            Relation(id_, version, changed, tags, elements.members_of(i)) if wanted else
            Relation(id_, version, changed, {}, [], False)
        )
    return relations


def _plain(text: str) -> str:
    """Without escapes. What PostgreSQL cannot hold: NUL is dropped, half of a surrogate pair becomes U+FFFD."""
    return _ESCAPED.sub(_character, text)


def _character(escape: re.Match[str]) -> str:
    code = int(escape[1], 16)
    return "" if code == 0 else "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)
