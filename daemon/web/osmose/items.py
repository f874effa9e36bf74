"""What Osmose's clients can ask about besides issues: items and classes, topics, and how many of each there are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from daemon.db import Database
from daemon.web.osmose.feed import count_kinds, snapshot
from daemon.web.osmose.parameters import Kinds
from daemon.web.osmose.shapes import auto, menu
from detectors.catalogue import Kind

Json = dict[str, Any]

#: Counting a million issues takes a moment; so often it is done at most, in seconds.
COUNT_EVERY = 30.0
#: What each category of items is called.
CATEGORY = "mapgap"
LEVELS = (1, 2, 3)


class Totals:
    """How many issues of each kind are shown, as of a moment ago. Safe between threads."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.monotonic):
        self._db = db
        self._clock = clock
        self._lock = threading.Lock()
        self._counted = float("-inf")
        self._totals: Mapping[tuple[str, str], int] = {}

    def read(self) -> Mapping[tuple[str, str], int]:
        """(detector, kind) -> issues."""
        with self._lock:  # whoever comes while somebody counts waits for what is counted
            if self._clock() - self._counted >= COUNT_EVERY:
                with snapshot(self._db) as cursor:
                    self._totals = count_kinds(cursor)
                self._counted = self._clock()
            return self._totals


def category_of(item: int) -> int:
    """8540 -> 80."""
    return item // 1000 * 10


class Pages(NamedTuple):
    """Web pages shown with each class: about the program that finds such issues, and about what it finds them in."""

    source: str
    resource: str


def items(
    kinds: Kinds, totals: Mapping[tuple[str, str], int], languages: Sequence[str], pages: Pages
) -> Json:
    """Everything there is, by category and item."""
    categories: dict[int, list[Json]] = {}
    for item, members in sorted(_by_item(kinds).items()):
        counts = [
            sum(totals.get(pair, 0) for pair, kind in members.items() if kind.level == level) for level in LEVELS
        ]
        categories.setdefault(category_of(item), []).append({
            "item": item, "color": colour_of(kinds, item), "flag": "=", "title": _title(members),
            "levels": [{"level": level, "count": count} for level, count in zip(LEVELS, counts, strict=True)],
            "number": counts, "tags": topics(members.values()),
            "class": [_class(kind, languages, pages) for kind in members.values()], "categ": category_of(item),
        })
    return {"categories": [
        {"categ": number, "title": auto(CATEGORY), "items": found} for number, found in sorted(categories.items())
    ]}


def item_class(kinds: Kinds, item: int, number: int, languages: Sequence[str], pages: Pages) -> Json:
    """What people are told of one class. Of one that there is not: the same, with nothing in it.

    Editors ask for all the classes they know, and stop working at the first that is refused.
    """
    members = _by_item(kinds).get(item, {})
    found = [_class(kind, languages, pages) for kind in members.values() if kind.number == number]
    entries = [{
        "item": item, "categorie_id": category_of(item), "color": colour_of(kinds, item), "title": _title(members),
        "class": found,
    }] if members else []
    return {"categories": [{"id": category_of(item), "title": auto(CATEGORY), "items": entries}]}


def topics(kinds: Iterable[Kind]) -> list[str]:
    """All topics, each once."""
    return sorted({topic for kind in kinds for topic in kind.topics})


def colour_of(kinds: Kinds, item: int) -> str:
    """Of the first of its kinds; grey where it has none."""
    return next((kind.colour for kind in kinds.values() if kind.item == item), "#808080")


def _by_item(kinds: Kinds) -> dict[int, dict[tuple[str, str], Kind]]:
    found: dict[int, dict[tuple[str, str], Kind]] = {}
    for pair, kind in kinds.items():
        found.setdefault(kind.item, {})[pair] = kind
    return found


def _title(members: Mapping[tuple[str, str], Kind]) -> Json:
    detectors = dict.fromkeys(detector for detector, _ in members)
    return auto(", ".join(menu(detector) for detector in detectors))


def _class(kind: Kind, languages: Sequence[str], pages: Pages) -> Json:
    words = kind.words(*languages)
    return {
        "item": kind.item, "class": kind.number, "title": auto(words.title), "level": kind.level,
        "tags": list(kind.topics), "detail": auto(words.detail), "fix": auto(words.fix), "trap": auto(words.trap),
        "example": auto(words.example) if words.example else None,
        "source": pages.source or None, "resource": pages.resource or None,
    }
