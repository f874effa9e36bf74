"""Who an Osmose issue is, on our side and on that of a server which takes our XML.

For what is about no element the subclass alone tells two issues of a class apart, and with it goes the verdict that
somebody gave. So it is a hash of the discrepancy's key, which stays the same for its whole life, and of nothing else:
never of the geometry, nor of what else there is. 63 bits of SHA-256 coincide once among three thousand million keys.
"""

from __future__ import annotations

import hashlib
import uuid


def subclass_of(key: str) -> int:
    """63 bits that stand for a key: 0 .. 2**63 - 1."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def uuid_of(source: int, number: int, subclass: int, osm: str | None) -> uuid.UUID:
    """The name that an Osmose server gives an issue: 16 bytes of SHA-256 over source, class, subclass and element.

    Args:
        source: number of the (analyser, country) in that server.
        number: of the class.
        osm: "way/123" of the element, None where the issue is about a place only.
    """
    element = "" if osm is None else osm.replace("/", "")
    return uuid.UUID(bytes=hashlib.sha256(f"{source}/{number}/{subclass}/{element}".encode()).digest()[:16])
