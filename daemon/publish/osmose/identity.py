"""Who an Osmose issue is, on our side and on that of a server which takes our XML."""

from __future__ import annotations

import hashlib
import uuid


def subclass_of(key: str, salt: int = 0) -> int:
    """63 bits that stand for a key: 0 .. 2**63 - 1."""
    digest = hashlib.sha256(f"{key}#{salt}".encode() if salt else key.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def uuid_of(source: int, number: int, subclass: int, osm: str | None) -> uuid.UUID:
    """The name that an Osmose server gives an issue: 16 bytes of SHA-256 over source, class, subclass and elements.

    Args:
        source: number of the (analyser, country) in that server.
        number: of the class.
        osm: "way/123" of the element, None where the issue is about a place only.
    """
    elements = "" if osm is None else osm.replace("/", "")
    digest = hashlib.sha256(f"{source}/{number}/{subclass}/{elements}".encode()).digest()
    return uuid.UUID(bytes=digest[:16])
