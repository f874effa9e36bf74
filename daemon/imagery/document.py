"""Descriptions written in XML and JSON, taken for hostile: what capabilities, metadata services and catalogues send.

XML is read by expat itself, with no entity but the five that XML has: a document that declares its own can grow without
end ("billion laughs") or name files of this machine. A DOCTYPE alone is no harm, and WMS 1.1.1 writes one; what it
points to is never fetched.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from daemon.errors import ImageInvalid

#: Elements within elements; honest capabilities have about a dozen.
DEEPEST = 64
#: Characters of a server's own words that are passed on.
EXCERPT = 200


class _Refused(Exception):
    """Why a document is not read on."""


def parse_xml(data: bytes, origin: str) -> Element:
    """The tree of a document; names of elements and attributes come without their namespaces.

    Args:
        origin: file or URL (without secrets) for messages.

    Raises:
        ImageInvalid: not well-formed, declares entities, or is nested beyond reason.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise _Refused(f"more than {DEEPEST} elements within each other")
        builder.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(name))

    def refuse(*declared: Any) -> None:
        raise _Refused("declares entities of its own; refused")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except _Refused as refused:
        raise ImageInvalid(f"{origin}: XML that {refused}") from None
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ImageInvalid(f"{origin}: not XML that can be read ({error}){_beginning(data)}") from None


def parse_json(data: bytes, origin: str) -> Any:
    """What a JSON document holds.

    Raises:
        ImageInvalid: it is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageInvalid(f"{origin}: not JSON that can be read ({error}){_beginning(data)}") from None


def service_error(data: bytes, origin: str) -> str | None:
    """What an OGC service says went wrong, where an answer is an exception (OGC 06-042, 06-121r3)."""
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return None
    try:
        root = parse_xml(data, origin)
    except ImageInvalid:
        return None
    if root.tag not in ("ServiceExceptionReport", "ServiceException", "ExceptionReport"):
        return None
    codes = [e.get("code") or e.get("exceptionCode") for e in root.iter()]
    return shorten(" ".join([*filter(None, codes), *root.itertext()])) or "without saying why"


def shorten(text: str) -> str:
    """Somebody else's words in one printable line."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return line if len(line) <= EXCERPT else line[:EXCERPT] + " ..."


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _beginning(data: bytes) -> str:
    return f"; it begins {shorten(data[:60].decode('utf-8', 'replace'))!r}" if data else "; it is empty"
