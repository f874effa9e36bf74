"""Text within XML 1.0, which has no word for some characters: they are left out."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

_NOT_XML = re.compile("[^\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_of(text: str) -> str:
    """As the content of an element."""
    return escape(_NOT_XML.sub("", text))


def attribute_of(text: str) -> str:
    """As the value of an attribute, with its quotes."""
    return quoteattr(_NOT_XML.sub("", text))


def encode_xml(markup: str) -> bytes:
    """As UTF-8."""
    return markup.encode("utf-8", "replace")
