"""People are told the same in each language, whole, and in the words of their own mappers."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from detectors.catalogue import Wording, read_kinds
from detectors.errors import PluginInvalid
from detectors.registry import CATALOGUE, registry

LANGUAGES = {"en", "fr", "de", "es"}
#: Longest title that a list has room for, in characters.
TITLE = 40
#: What each language calls the things of OSM that the texts speak of.
TERMS = {"en": "closed way", "fr": "chemin fermé", "de": "geschlossenen Weg", "es": "vía cerrada"}
KINDS = [
    pytest.param(path, kind, id=f"{path.stem}-{kind}") for path in sorted(CATALOGUE.glob("*.toml"))
    for kind in read_kinds(path)
]


def texts(words: Wording) -> dict[str, str]:
    return {field.name: getattr(words, field.name) for field in dataclasses.fields(words)}


@pytest.mark.parametrize(("path", "kind"), KINDS)
def test_every_language_has_every_text(path, kind):
    wording = read_kinds(path)[kind].wording
    assert wording.keys() == LANGUAGES
    there = {language: {name for name, text in texts(words).items() if text} for language, words in wording.items()}
    assert all(names == there["en"] for names in there.values())


@pytest.mark.parametrize(("path", "kind"), KINDS)
def test_titles_are_short_and_nothing_is_left_to_be_filled_in(path, kind):
    for language, words in read_kinds(path)[kind].wording.items():
        assert len(words.title) <= TITLE and "\n" not in words.title, (language, words.title)
        assert not words.title.endswith(".") and len(words.subtitle) <= TITLE
        for name, text in texts(words).items():
            allowed = {"subtitle": r"\{(area|shift)\}", "instruction": r"\{\{\w+\}\}"}.get(name, r"(?!)")
            assert not re.search(r"[{}]|TODO|XXX|\?\?", re.sub(allowed, "", text)), (language, name)
            assert "\t" not in text and "  " not in text


@pytest.mark.parametrize(("path", "kind"), KINDS)
def test_no_text_is_left_in_english_and_tags_stay_as_they_are(path, kind):
    wording = read_kinds(path)[kind].wording
    tag = re.compile(r"`[a-z:_]+=[^`]+`")
    for language in LANGUAGES - {"en"}:
        for name, text in texts(wording[language]).items():
            english = getattr(wording["en"], name)
            assert text != english or not text, (language, name)
            assert sorted(tag.findall(text)) == sorted(tag.findall(english)), (language, name)
            steps = re.findall(r"^\d\. ", english, re.MULTILINE)
            assert re.findall(r"^\d\. ", text, re.MULTILINE) == steps, (language, name)


def test_a_missing_building_is_to_be_drawn_as_a_closed_way_in_the_terms_of_each_language():
    wording = registry().kinds()["building", "missing"].wording
    for language, term in TERMS.items():
        assert term in wording[language].fix and "building=*" in wording[language].fix


def test_words_come_in_the_first_language_that_there_is():
    kind = registry().kinds()["building", "gone"]
    assert kind.words("it", "de", "fr") is kind.wording["de"] and kind.words("it") is kind.wording["en"]


def test_a_subtitle_that_asks_for_what_nobody_gives_is_refused(tmp_path: Path):
    text = (CATALOGUE / "building.toml").read_text(encoding="utf-8")
    path = tmp_path / "other.toml"
    path.write_text(text.replace("Mapped outline of about {area}", "Mapped outline of {width}"), encoding="utf-8")
    with pytest.raises(PluginInvalid, match=r"gone.en\] subtitle"):
        read_kinds(path)
