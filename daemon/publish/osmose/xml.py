"""Osmose's analyser XML: a snapshot of all that one source has to say about some classes, or a change of it.

What the server makes of it, which decides what may be in it:

* a snapshot (<analyser>) deletes, for each class that it declares, what the server had from this source and is not in
  it; so all classes that were asked for are declared, also the empty ones, and no others. One without any class would
  block the server for everybody: with no class to declare the document has none;
* a change (<analyserChange>) only adds and renews, and deletes whatever this source says of an element; what is about
  no element cannot be deleted by it;
* an error's identity is (source, class, subclass, elements), and the same twice is refused: see `identity`;
* each error has exactly one location; `infos` is never sent, as it breaks the server's lists.

No error has a fix. Osmose's fixes change tags, from a web page and without a look at any imagery. For a missing
building there the server can only offer a point where an outline is needed; no tag moves an outline; and for a building
that is gone, be it by removing building=* or by renaming it to demolished:building=*, one click would take it off every
map on the word of a program. Each of these claims needs somebody who looks first: the texts say what to do then.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import BinaryIO, Literal

from daemon import __version__
from daemon.discrepancies.model import Discrepancy, utc
from daemon.publish.feed import ExportContext
from daemon.publish.markup import attribute_of, encode_xml
from daemon.publish.osmose.identity import subclass_of
from daemon.publish.osmose.subtitle import subtitles
from detectors.catalogue import Kind

#: Version of what the classes mean.
ANALYSER_VERSION = 1
#: A snapshot, or a change.
Block = Literal["analyser", "analyserChange"]


def write(
    discrepancies: Iterable[Discrepancy], out: BinaryIO, context: ExportContext, *, kinds: tuple[str, ...] | None = None
) -> int:
    """Write a snapshot; returns the number of errors in it.

    Args:
        kinds: the kinds asked for; only their classes are declared. None: all.
    """
    declared = {pair: kind for pair, kind in context.kinds.items() if kinds is None or pair[1] in kinds}
    if not declared:
        out.write(_HEAD + _FOOT)
        return 0
    count = 0
    out.write(opening("analyser", context.generated))
    for kind in declared.values():
        out.write(declaration(kind, context))
    for discrepancy in discrepancies:
        kind = declared.get((discrepancy.detector, discrepancy.kind))
        if kind is not None:
            out.write(error(discrepancy, kind))
            count += 1
    out.write(closing("analyser"))
    return count


def opening(block: Block, timestamp: datetime) -> bytes:
    """How a document with one block begins; ValueError for a time without zone."""
    versions = f'analyser_version="{ANALYSER_VERSION}" version="mapgap-{__version__}"'
    return _HEAD + encode_xml(f' <{block} timestamp="{utc(timestamp)}" {versions}>\n')


def closing(block: Block) -> bytes:
    """How it ends."""
    return encode_xml(f" </{block}>\n") + _FOOT


def declaration(kind: Kind, context: ExportContext) -> bytes:
    """A <class> with all that people are told of it."""
    facts = {"tag": ",".join(kind.topics), "source": context.source, "resource": context.resource}
    attributes = "".join(f" {name}={attribute_of(value)}" for name, value in facts.items() if value)
    lines = [f'  <class id="{kind.number}" item="{kind.item}" level="{kind.level}"{attributes}>']
    for language, words in kind.wording.items():
        texts = [("classtext", words.title), ("detail", words.detail), ("fix", words.fix), ("trap", words.trap)]
        texts += [("example", words.example)] if words.example else []
        lines += [f'   <{element} lang="{language}" title={attribute_of(text)}/>' for element, text in texts]
    return encode_xml("\n".join([*lines, "  </class>\n"]))


def error(discrepancy: Discrepancy, kind: Kind) -> bytes:
    """An <error>: one issue."""
    lon, lat = discrepancy.point
    lines = [
        f'  <error class="{kind.number}" subclass="{subclass_of(discrepancy.key)}">',
        f'   <location lat="{lat:.7f}" lon="{lon:.7f}"/>',
    ]
    if discrepancy.osm:
        lines.append(f"   <{_element(discrepancy.osm)}/>")
    lines += [
        f'   <text lang="{language}" value={attribute_of(text)}/>'
        for language, text in subtitles(discrepancy, kind).items()
    ]
    return encode_xml("\n".join([*lines, "  </error>\n"]))


def deletion(osm: str) -> bytes:
    """A <delete>, in a change: all that the source says of an element ("way/123") goes."""
    name, _, number = osm.partition("/")
    return encode_xml(f'  <delete type="{name}" id="{int(number)}"/>\n')


def _element(osm: str) -> str:
    name, _, number = osm.partition("/")
    return f'{name} id="{int(number)}"'


_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n<analysers>\n'
_FOOT = b"</analysers>\n"
