"""Osmose's analyser XML: a snapshot of all that one source has to say, class by class.

What the server makes of it, which decides what may be in it:

* for each class that is declared, what it had from this source and is not in the file is deleted; so all classes that
  were asked for are declared, also the empty ones, and no others. An <analyser> without any class would block the
  server for everybody: with no class to declare the document has none;
* an error's identity is (source, class, subclass, elements), and the same twice is refused: the subclass is a hash of
  the discrepancy's key, never of its geometry, so that it is the same thing in every snapshot;
* each error has exactly one location; `infos` is never sent; a missing building gets no fix, because the server can
  only offer a point where an outline is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import BinaryIO
from xml.sax.saxutils import quoteattr

from daemon import __version__
from daemon.discrepancies.model import Discrepancy, utc
from daemon.publish.feed import ExportContext
from daemon.publish.osmose.identity import subclass_of
from daemon.publish.osmose.subtitle import subtitle
from detectors.catalogue import Kind

#: Version of what the classes mean.
ANALYSER_VERSION = 1

_NOT_XML = re.compile("[^\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(
    discrepancies: Iterable[Discrepancy], out: BinaryIO, context: ExportContext, *, kinds: tuple[str, ...] | None = None
) -> int:
    """Write a snapshot; returns the number of errors in it.

    Args:
        kinds: the kinds asked for; only their classes are declared. None: all.
    """
    declared = {pair: kind for pair, kind in context.kinds.items() if kinds is None or pair[1] in kinds}
    out.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<analysers>\n')
    count = 0
    if declared:
        out.write(_encode(
            f' <analyser timestamp="{utc(context.generated)}" analyser_version="{ANALYSER_VERSION}" '
            f'version="mapgap-{__version__}">\n'
        ))
        for kind in declared.values():
            out.write(_encode(_class(kind)))
        used: set[tuple[int, int]] = set()
        for discrepancy in discrepancies:
            kind = declared.get((discrepancy.detector, discrepancy.kind))
            if kind is not None:
                out.write(_encode(_error(discrepancy, kind, used)))
                count += 1
        out.write(b" </analyser>\n")
    out.write(b"</analysers>\n")
    return count


def _class(kind: Kind) -> str:
    topics = _quote(",".join(kind.topics))
    lines = [f'  <class id="{kind.number}" item="{kind.item}" level="{kind.level}" tag={topics}>']
    for language, words in kind.wording.items():
        texts = [("classtext", words.title), ("detail", words.detail), ("fix", words.fix), ("trap", words.trap)]
        texts += [("example", words.example)] if words.example else []
        lines += [f'   <{element} lang="{language}" title={_quote(text)}/>' for element, text in texts]
    return "\n".join([*lines, "  </class>\n"])


def _error(discrepancy: Discrepancy, kind: Kind, used: set[tuple[int, int]]) -> str:
    salt = 0
    while (identity := (kind.number, subclass_of(discrepancy.key, salt))) in used:
        salt += 1
    used.add(identity)
    lon, lat = discrepancy.point
    lines = [
        f'  <error class="{kind.number}" subclass="{identity[1]}">',
        f'   <location lat="{lat:.7f}" lon="{lon:.7f}"/>',
    ]
    if discrepancy.osm:
        element, _, number = discrepancy.osm.partition("/")
        lines.append(f'   <{element} id="{int(number)}"/>')
    lines.append(f'   <text lang="en" value={_quote(subtitle(discrepancy))}/>')
    return "\n".join([*lines, "  </error>\n"])


def _quote(text: str) -> str:
    """A quoted attribute; characters that XML 1.0 cannot hold are left out."""
    return quoteattr(_NOT_XML.sub("", text))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")
