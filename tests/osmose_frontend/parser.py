"""Analyser XML as the real frontend reads it: attributes only, in the order of the document, unknown things ignored."""

from __future__ import annotations

import xml.parsers.expat
from dataclasses import dataclass, field
from datetime import datetime

ELEMENTS = ("node", "way", "relation", "infos")


@dataclass
class Class:
    number: int
    item: int
    level: int
    tags: list[str]
    source: str | None
    resource: str | None
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """classtext, detail, fix, trap, example -> language -> text."""


@dataclass
class Error:
    number: int
    subclass: int
    locations: list[tuple[float, float]] = field(default_factory=list)
    elements: list[tuple[str, int]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    fixes: int = 0


@dataclass
class Block:
    """One <analyser> or <analyserChange>."""

    name: str
    timestamp: datetime
    version: str | None
    analyser_version: str | None
    classes: dict[int, Class] = field(default_factory=dict)
    errors: list[Error] = field(default_factory=list)
    deletes: list[tuple[str, int]] = field(default_factory=list)


class Parser:
    """Reads a document into blocks. KeyError, ValueError and ExpatError are what the real one stumbles over, too."""

    def __init__(self, clock):
        self.blocks: list[Block] = []
        self._clock = clock
        self._classes: dict[int, Class] = {}
        self._stack: list[str] = []
        self._in_fixes = False
        self._class: Class | None = None
        self._error: Error | None = None

    def parse(self, content: bytes) -> list[Block]:
        expat = xml.parsers.expat.ParserCreate()
        expat.StartElementHandler = self._start
        expat.EndElementHandler = self._end
        expat.Parse(content, True)
        return self.blocks

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name in ("analyser", "analyserChange"):
            given = attributes.get("timestamp")
            timestamp = datetime.fromisoformat(given) if given else self._clock()
            self.blocks.append(Block(name, timestamp, attributes.get("version"), attributes.get("analyser_version")))
        elif name == "class":
            number, item = int(attributes["id"]), int(attributes["item"])
            if number in self._classes and self._classes[number].item != item:
                raise ValueError(f"class {number} of two items: markers_counts_pkey")
            self._class = Class(
                number, item, int(attributes.get("level", 2)), attributes.get("tag", "").split(","),
                attributes.get("source"), attributes.get("resource"),
            )
            self._classes[number] = self.blocks[-1].classes[number] = self._class
        elif name in ("classtext", "detail", "trap", "example") or (name == "fix" and self._stack[-1] == "class"):
            self._class.texts.setdefault(name, {})[attributes["lang"]] = attributes["title"]
        elif name == "error":
            self._error = Error(int(attributes["class"]), int(attributes.get("subclass", "0")))
            if self._error.number not in self._classes:
                raise KeyError(self._error.number)
            if not -(2**63) <= self._error.subclass < 2**63:
                raise ValueError("value out of int64 range")
        elif name == "location":
            self._error.locations.append((float(attributes["lat"]), float(attributes["lon"])))
        elif name == "text":
            self._error.texts[attributes["lang"]] = attributes["value"].replace("\n", "%%")
        elif name == "fixes":
            self._in_fixes = True
        elif name == "fix" and self._stack[-1] == "fixes":
            self._error.fixes += 1
        elif name in ELEMENTS and not self._in_fixes:
            self._error.elements.append((name, int(attributes["id"])))
        elif name == "delete":
            self.blocks[-1].deletes.append((attributes["type"], int(attributes["id"])))
        self._stack.append(name)

    def _end(self, name: str) -> None:
        self._stack.pop()
        if name == "fixes":
            self._in_fixes = False
        elif name == "error":
            self.blocks[-1].errors.append(self._error)
