"""All that an analyser file must be, whether or not a frontend would notice."""

from __future__ import annotations

import gzip
import math
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from xml.etree import ElementTree

ELEMENTS = ("node", "way", "relation")
#: Attributes that an element of the file must have, and those that it may have.
ATTRIBUTES = {
    "analyser": ({"timestamp", "analyser_version", "version"}, set()),
    "analyserChange": ({"timestamp", "analyser_version", "version"}, set()),
    "class": ({"id", "item", "level", "tag"}, {"source", "resource"}),
    "classtext": ({"lang", "title"}, set()),
    "detail": ({"lang", "title"}, set()),
    "fix": ({"lang", "title"}, set()),
    "trap": ({"lang", "title"}, set()),
    "example": ({"lang", "title"}, set()),
    "error": ({"class", "subclass"}, set()),
    "location": ({"lat", "lon"}, set()),
    "text": ({"lang", "value"}, set()),
    "delete": ({"type", "id"}, set()),
    **{name: ({"id"}, {"user", "version"}) for name in ELEMENTS},
}
#: Longest title that lists have room for, in characters.
TITLE = 50
#: What XML 1.0 has no place for, written out or as a reference.
ILLEGAL = re.compile("[^\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Linted(NamedTuple):
    """What a sound file holds."""

    block: str
    """analyser or analyserChange; "" for a file without any."""
    timestamp: datetime | None
    classes: dict[int, int]
    """Number -> item."""
    errors: list[dict]
    deleted: list[tuple[str, int]]


def lint(content: bytes, *, newest: datetime | None = None) -> Linted:
    """Check a file, packed or not; AssertionError says what is wrong with it.

    Args:
        newest: the moment after which no document may be dated.
    """
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    text = content.decode("utf-8")  # strict
    assert not ILLEGAL.search(text), "a character that XML cannot hold"
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(content)
    assert root.tag == "analysers" and len(root) <= 1
    if not len(root):
        return Linted("", None, {}, [], [])
    (block,) = root
    assert block.tag in ("analyser", "analyserChange")
    for element in block.iter():
        must, may = ATTRIBUTES[element.tag]
        assert must <= set(element.keys()) <= must | may, f"attributes of {element.tag}: {sorted(element.keys())}"
        assert not (element.text or "").strip() and not (element.tail or "").strip(), "text outside of attributes"
    return Linted(block.tag, _timestamp(block, newest), *_content(block))


def _timestamp(block: ElementTree.Element, newest: datetime | None) -> datetime:
    timestamp = datetime.fromisoformat(block.get("timestamp"))
    assert timestamp.tzinfo is not None, "a time without zone"
    assert timestamp.microsecond == 0, "frontends keep whole seconds"
    assert timestamp <= (newest or datetime.now(UTC) + timedelta(days=366)), "dated into the future"
    assert re.fullmatch(r"[0-9]+", block.get("analyser_version"))
    return timestamp


def _content(block: ElementTree.Element) -> tuple[dict[int, int], list[dict], list[tuple[str, int]]]:
    classes: dict[int, int] = {}
    errors: list[dict] = []
    deleted: list[tuple[str, int]] = []
    for element in block:
        if element.tag == "class":
            assert not errors, "a class after an error"
            number, item = _class(element)
            assert number not in classes, f"class {number} twice"
            classes[number] = item
        elif element.tag == "delete":
            assert block.tag == "analyserChange" and not errors, "a deletion in a snapshot, or after an error"
            assert element.get("type") in ELEMENTS
            deleted.append((element.get("type"), int(element.get("id"))))
        else:
            assert element.tag == "error", f"unknown element {element.tag}"
            errors.append(_error(element, classes))
    assert classes, "a document without a class: a snapshot of that kind blocks the frontend for everybody"
    identities = {(e["class"], e["subclass"], tuple(e["elements"])) for e in errors}
    assert len(identities) == len(errors), "one identity twice"
    assert len(set(deleted)) == len(deleted)
    return classes, errors, deleted


def _class(element: ElementTree.Element) -> tuple[int, int]:
    number, item = int(element.get("id")), int(element.get("item"))
    assert 0 < number < 2**31 and 1000 <= item <= 9999 and element.get("level") in ("1", "2", "3")
    assert re.fullmatch(r"[a-z:_]+(,[a-z:_]+)*", element.get("tag"))
    texts = [(text.tag, text.get("lang")) for text in element]
    assert len(set(texts)) == len(texts), "a text twice in one language"
    for name in ("classtext", "detail", "fix", "trap"):
        assert (name, "en") in texts, f"class {number} has no English {name}"
    languages = {language for _, language in texts}
    assert {language for tag, language in texts if tag == "classtext"} == languages, "a language without title"
    for text in element:
        assert text.get("title").strip() and re.fullmatch(r"[a-z]{2,3}(_[A-Z]{2})?", text.get("lang"))
        assert text.tag != "classtext" or (len(text.get("title")) <= TITLE and "\n" not in text.get("title"))
    for name in ("source", "resource"):
        assert element.get(name) is None or re.match("https?://", element.get(name))
    return number, item


def _error(element: ElementTree.Element, classes: dict[int, int]) -> dict:
    number, subclass = int(element.get("class")), int(element.get("subclass"))
    assert number in classes, f"class {number} is not declared before its error"
    assert 0 <= subclass < 2**63
    assert {child.tag for child in element} <= {"location", "text", *ELEMENTS}, "infos and fixes have no place here"
    (location,) = element.findall("location")
    lat, lon = float(location.get("lat")), float(location.get("lon"))
    assert math.isfinite(lat) and math.isfinite(lon) and -90 <= lat <= 90 and -180 <= lon <= 180
    texts = {text.get("lang"): text.get("value") for text in element.findall("text")}
    assert len(texts) == len(element.findall("text")) and "en" in texts
    assert all(value.strip() and "\n" not in value for value in texts.values())
    elements = [(e.tag, int(e.get("id"))) for e in element if e.tag in ELEMENTS]
    assert all(0 < number < 2**63 for _, number in elements)
    return {
        "class": number, "subclass": subclass, "lon": lon, "lat": lat, "elements": elements, "text": texts["en"],
        "texts": texts,
    }
