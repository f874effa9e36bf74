"""What people are told of each kind of claim: one TOML file a detector, all languages side by side.

    [missing]                       # a kind of claim
    item = 8540                     # Osmose's number of the subject
    class = 1                       # Osmose's number of the class; no two kinds have the same
    level = 3                       # 1 urgent .. 3 not
    topics = ["building"]           # Osmose's tags
    colour = "#ff00ff"              # on maps

    [missing.en]                    # English must be there; other languages may be, each whole
    title = "..."
    detail = "..."
    fix = "..."
    trap = "..."
    instruction = "..."
    example = "..."                 # may be left out
    subtitle = "{area} m²"          # may be left out
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from detectors.errors import PluginInvalid

_KNOBS = {"item": int, "class": int, "level": int, "topics": list, "colour": str}
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?")


@dataclass(frozen=True, slots=True)
class Wording:
    """What people are told of one kind of claim, in one language; markdown, but for the title.

    Attributes:
        title: a few words, a heading.
        detail: what is claimed, and that a program claims it.
        fix: what to do about it.
        trap: what to beware of.
        example: an example, "" where there is none.
        instruction: for somebody who sees nothing else, step by step; may hold {{property}} of a MapRoulette task.
        subtitle: how a line about one instance begins, plain text; {area} stands for square metres, {shift} for metres
            between the mapped and the right place. "" where there is none.
    """

    title: str
    detail: str
    fix: str
    trap: str
    instruction: str
    example: str = ""
    subtitle: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of claim as people meet it.

    Attributes:
        name: "missing", "gone", "misplaced" or what else a detector claims; [a-z_]+.
        item: Osmose's number of the subject, four digits.
        number: Osmose's number of the class, one for each kind of all detectors of an installation.
        level: Osmose's urgency, 1 (high) to 3 (low).
        topics: Osmose's tags, e.g. ("building", "fix:imagery").
        colour: "#rrggbb", for lines on maps.
        wording: by language code ("en", "de", "pt_BR"); English is always there.
    """

    name: str
    item: int
    number: int
    level: int
    topics: tuple[str, ...]
    colour: str
    wording: Mapping[str, Wording]

    def words(self, *languages: str) -> Wording:
        """In the first of the languages that there is, else in English."""
        return next((self.wording[language] for language in languages if language in self.wording), self.wording["en"])


@cache
def read_kinds(path: Path) -> Mapping[str, Kind]:
    """The kinds of a catalogue by name.

    Raises:
        PluginInvalid: the file cannot be read, or something in it is missing or wrong; says where.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PluginInvalid(f"catalogue {path}: {error}") from None
    kinds = {name: _kind(f"catalogue {path}: [{name}]", name, table) for name, table in tables.items()}
    if not kinds:
        raise PluginInvalid(f"catalogue {path}: holds no kind of claim")
    numbers = [kind.number for kind in kinds.values()]
    if len(set(numbers)) < len(numbers):
        raise PluginInvalid(f"catalogue {path}: two kinds have the same class")
    return kinds


def _kind(where: str, name: str, table: Any) -> Kind:
    if not re.fullmatch(r"[a-z][a-z_]{0,30}", name) or not isinstance(table, dict):
        raise PluginInvalid(f"{where}: expected a table, named in a-z and _")
    for knob, kind in _KNOBS.items():
        if not isinstance(table.get(knob), kind):
            raise PluginInvalid(f"{where} {knob}: expected {kind.__name__}, got {table.get(knob)!r}")
    if not 1000 <= table["item"] <= 9999 or not 1 <= table["level"] <= 3 or not 1 <= table["class"] < 2**31:
        raise PluginInvalid(f"{where}: item has four digits, level is 1 to 3, class is positive")
    if not re.fullmatch(r"#[0-9a-f]{6}", table["colour"]):
        raise PluginInvalid(f"{where} colour: expected #rrggbb, got {table['colour']!r}")
    languages = {key: value for key, value in table.items() if key not in _KNOBS}
    if "en" not in languages:
        raise PluginInvalid(f"{where}: no [{name}.en]; English must be there")
    wording = {language: _wording(f"{where[:-1]}.{language}]", language, text) for language, text in languages.items()}
    return Kind(
        name, table["item"], table["class"], table["level"], tuple(map(str, table["topics"])), table["colour"], wording
    )


def _wording(where: str, language: str, texts: Any) -> Wording:
    if not _LANGUAGE.fullmatch(language) or not isinstance(texts, dict):
        raise PluginInvalid(f"{where}: unknown key; languages are written en, pt_BR")
    names = {"title", "detail", "fix", "trap", "instruction"}
    more = {"example", "subtitle"}
    if not names <= texts.keys() <= names | more or not all(isinstance(t, str) for t in texts.values()):
        wanted, may_be = ", ".join(sorted(names)), ", ".join(sorted(more))
        raise PluginInvalid(f"{where}: expected the texts {wanted}, and perhaps {may_be}")
    if any(not texts[name].strip() for name in names):
        raise PluginInvalid(f"{where}: a text is empty")
    if "{" in texts.get("subtitle", "").replace("{area}", "").replace("{shift}", ""):
        raise PluginInvalid(f"{where} subtitle: holds something else in braces than area and shift")
    return Wording(**{name: text.strip() for name, text in texts.items()})
