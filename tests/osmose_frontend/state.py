"""What a frontend keeps, and what an upload does to it: all of it, or nothing."""

from __future__ import annotations

import copy
import gzip
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from osmose_frontend.parser import Block, Class, Error, Parser

#: A source that was silent for longer is not shown.
SILENT = timedelta(days=90)


class AlreadyUpToDate(Exception):
    """This source and timestamp came before."""


class Broken(Exception):
    """What the database says to a document that it cannot take."""


@dataclass
class Source:
    id: int
    code: str


@dataclass
class Update:
    timestamp: datetime
    version: str | None
    analyser_version: str | None


@dataclass
class Issue:
    source: int
    number: int
    item: int
    lat: float
    lon: float
    elements: list[tuple[str, int]]
    texts: dict[str, str]


@dataclass
class State:
    """The tables of a frontend.

    Attributes:
        sources: by (analyser, country).
        seen: (source, timestamp) of all updates.
        last: the last update by source.
        classes: by (item, class), as last declared.
        issues: what is open, by uuid.
        verdicts: done or false, by uuid.
        blocked: somebody sent a snapshot without classes, and nothing is taken until a restart.
    """

    clock: Callable[[], datetime]
    unlocked: bool = False
    sources: dict[tuple[str, str], Source] = field(default_factory=dict)
    seen: set[tuple[int, datetime]] = field(default_factory=set)
    last: dict[int, Update] = field(default_factory=dict)
    classes: dict[tuple[int, int], Class] = field(default_factory=dict)
    issues: dict[uuid.UUID, Issue] = field(default_factory=dict)
    verdicts: dict[uuid.UUID, str] = field(default_factory=dict)
    blocked: bool = False

    def register(self, analyser: str, country: str, code: str) -> int:
        """Let a source be known; returns its number."""
        number = len(self.sources) + 1
        self.sources[analyser, country] = Source(number, code)
        return number

    def source_of(self, analyser: str, country: str, code: str) -> int | None:
        known = self.sources.get((analyser, country))
        if known is not None and known.code == code:
            return known.id
        return self.register(analyser, country, code) if self.unlocked else None

    def upload(self, source: int, name: str, content: bytes) -> None:
        """Merge a document; an exception leaves all as it was."""
        if not name.endswith((".xml", ".gz", ".bz2")):
            raise Broken("406: FAIL: File extension not allowed.")
        text = gzip.decompress(content) if name.endswith(".gz") else content
        blocks = Parser(self.clock).parse(text)
        draft = copy.copy(self)
        for table in ("seen", "last", "classes", "issues"):  # their rows are replaced, never changed
            setattr(draft, table, copy.copy(getattr(self, table)))
        for i, block in enumerate(blocks):
            if i == 0:
                draft._note(source, block)
            draft._merge(source, block)
        for issue in list(draft.issues):
            if issue in draft.verdicts:
                del draft.issues[issue]
        for table in ("seen", "last", "classes", "issues", "blocked"):
            setattr(self, table, getattr(draft, table))

    def open_of(self, source: int) -> set[uuid.UUID]:
        return {key for key, issue in self.issues.items() if issue.source == source}

    def visible(self) -> dict[uuid.UUID, Issue]:
        """What lists and tiles show."""
        oldest = self.clock() - SILENT
        return {key: one for key, one in self.issues.items() if self.last[one.source].timestamp > oldest}

    def close(self, key: uuid.UUID, verdict: str) -> bool:
        """Give a verdict; False where there is no such issue."""
        if self.issues.pop(key, None) is None:
            return False
        self.verdicts[key] = verdict
        return True

    def _note(self, source: int, block: Block) -> None:
        timestamp = block.timestamp.astimezone(UTC)
        if (source, timestamp) in self.seen:
            raise AlreadyUpToDate
        self.seen.add((source, timestamp))
        self.last[source] = Update(timestamp, block.version, block.analyser_version)

    def _merge(self, source: int, block: Block) -> None:
        if self.blocked:
            raise Broken('asyncpg.exceptions.DuplicateTableError: relation "class_tmp" already exists')
        if block.name == "analyser" and not block.classes:
            self.blocked = True
            return
        for number, one in block.classes.items():
            self.classes[one.item, number] = one
        for element in block.deletes:
            for key in [k for k, i in self.issues.items() if i.source == source and element in i.elements]:
                del self.issues[key]
        there: dict[uuid.UUID, Issue] = {}
        for error in block.errors:
            for lat, lon in error.locations:
                key = _uuid(source, error)
                if key in there:
                    raise Broken("ON CONFLICT DO UPDATE command cannot affect row a second time")
                item = block.classes[error.number].item
                there[key] = Issue(source, error.number, item, lat, lon, error.elements, error.texts)
        if block.name == "analyser":
            for key in [k for k, i in self.issues.items() if i.source == source and i.number in block.classes]:
                del self.issues[key]
        self.issues |= there


def _uuid(source: int, error: Error) -> uuid.UUID:
    elements = "_".join(f"{name}{number}" for name, number in error.elements)
    text = f"{source}/{error.number}/{error.subclass}/{elements}"
    return uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])
