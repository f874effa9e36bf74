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
        return text.translate({ord(","): self.group, ord("."): self.decimal})

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
    known = phrases()
    words = known.get(language, known["en"])
    template = kind.words(language if language in known else "en").subtitle if kind else ""
    if not template or ("{shift}" in template and discrepancy.shift_m is None):
        template = words.outline
    shift = math.hypot(*discrepancy.shift_m) if discrepancy.shift_m else 0.0
    numbers = {"{area}": words.number(area_m2(discrepancy), 0), "{shift}": words.number(shift, 1)}
    for name, number in numbers.items():
        template = template.replace(name, number)
    parts = [template, _imagery(discrepancy, words)]
    parts.append(words.confidence.format(confidence=words.number(discrepancy.confidence, 2)))
    return ", ".join(part for part in parts if part)


def subtitles(discrepancy: Discrepancy, kind: Kind) -> dict[str, str]:
    """The line by language: all in which the kind is described and there are phrases, English first."""
    languages = ["en", *(language for language in kind.wording if language != "en" and language in phrases())]
    return {language: subtitle(discrepancy, kind, language) for language in languages}


def _imagery(discrepancy: Discrepancy, words: Phrases) -> str:
    source, taken = fact(discrepancy.evidence, "imagery"), fact(discrepancy.evidence, "acquired")
    day = words.day(taken) if taken else None
    if source and day:
        return words.imagery_of.format(source=source, date=day)
    if source:
        return words.imagery.format(source=source)
    return words.taken.format(date=day) if day else ""
