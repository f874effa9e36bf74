"""The one line that says what is special about this instance of a class, in every language there are phrases for."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from daemon.discrepancies.model import Discrepancy
from daemon.publish.feed import area_m2, fact
from detectors.catalogue import Kind

PHRASES = Path(__file__).parent / "phrases.toml"


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language: how it writes numbers and dates, and what it says of imagery and confidence; see phrases.toml."""

    decimal: str
    group: str
    group_from: int
    date: str
    outline: str
    imagery: str
    imagery_of: str
    taken: str
    confidence: str

    def number(self, value: float, decimals: int) -> str:
        """E.g. 1,234.5 in English and 1.234,5 in German."""
        text = f"{value:,.{decimals}f}" if abs(value) >= self.group_from else f"{value:.{decimals}f}"
        whole, point, rest = text.partition(".")
        return whole.replace(",", self.group) + (self.decimal + rest if point else "")

    def day(self, text: str) -> str:
        """A date that is given as 2026-11-22; what is none stays as it is."""
        try:
            day = date.fromisoformat(text[:10])
        except ValueError:
            return text
        return self.date.format(day=day.day, month=day.month, year=day.year)


@cache
def phrases() -> dict[str, Phrases]:
    """By language; English is among them."""
    return {language: Phrases(**texts) for language, texts in tomllib.loads(PHRASES.read_text("utf-8")).items()}


def subtitle(discrepancy: Discrepancy, kind: Kind | None = None, language: str = "en") -> str:
    """One line, e.g. "Outline shifted 6.2 m, imagery aerial of 2025-06-14, confidence 0.93".

    Args:
        kind: what people are told of such claims; None: nothing is known of it.
        language: one of `phrases()`; in any other it is English.
    """
    return _line(_Facts.of(discrepancy), kind, language if language in phrases() else "en")


def subtitles(discrepancy: Discrepancy, kind: Kind) -> dict[str, str]:
    """The line by language: all in which the kind is described and there are phrases, English first."""
    facts = _Facts.of(discrepancy)
    languages = ["en", *(language for language in kind.wording if language != "en" and language in phrases())]
    return {language: _line(facts, kind, language) for language in languages}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the line says, in any language: square metres, metres (None: not shifted), imagery and its day."""

    area: float
    shift: float | None
    source: str | None
    taken: str | None
    confidence: float

    @classmethod
    def of(cls, discrepancy: Discrepancy) -> _Facts:
        evidence, shift = discrepancy.evidence, discrepancy.shift_m
        return cls(
            area_m2(discrepancy), math.hypot(*shift) if shift else None, fact(evidence, "imagery"),
            fact(evidence, "acquired"), discrepancy.confidence,
        )


def _line(facts: _Facts, kind: Kind | None, language: str) -> str:
    words = phrases()[language]
    template = kind.words(language).subtitle if kind else ""
    if not template or ("{shift}" in template and facts.shift is None):
        template = words.outline
    first = template.replace("{area}", words.number(facts.area, 0))
    first = first.replace("{shift}", words.number(facts.shift or 0.0, 1))
    confidence = words.confidence.format(confidence=words.number(facts.confidence, 2))
    return ", ".join(part for part in (first, _imagery(facts, words), confidence) if part)


def _imagery(facts: _Facts, words: Phrases) -> str:
    day = words.day(facts.taken) if facts.taken else None
    if facts.source and day:
        return words.imagery_of.format(source=facts.source, date=day)
    if facts.source:
        return words.imagery.format(source=facts.source)
    return words.taken.format(date=day) if day else ""
