"""The document that brings a frontend up to date on one source: the smallest that is right.

    nothing new                                  none
    mode = "snapshot", or anything in doubt      a snapshot of all classes
    mode = "change", only elements concerned     a change: deletes by element, then what is new or other
    mode = "change", else                        a snapshot of the classes that are concerned

A class that is none of ours any more (its detector is disabled, its plug-in gone) is declared once more without errors,
which empties it.
"""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import BinaryIO, Literal

from daemon.discrepancies.model import Discrepancy
from daemon.publish.osmose.sources import Issue, Source
from daemon.publish.osmose.xml import Block, closing, deletion, error, opening
from detectors.catalogue import Kind

#: A source that takes more bytes than this is kept on disk while it is made.
IN_MEMORY = 16 * 1024**2
#: Bytes of SHA-256 that stand for an <error> element.
DIGEST = 12


@dataclass(slots=True)
class Known:
    """What is known of a source before a document is made.

    Attributes:
        source: the source.
        classes: number -> <class> element, of those that the frontend has or may have.
        issues: by key, those that it is known to have.
    """

    source: Source
    classes: Mapping[int, bytes]
    issues: Mapping[str, Issue]


@dataclass(slots=True)
class Document:
    """One document, but for its time.

    Attributes:
        block: snapshot or change.
        declared: number -> <class> element, of the classes of ours in it.
        emptied: the same of those that are none of ours any more.
        deleted: elements ("way/123") of which all is deleted first.
        wanted: by key, the issues that the frontend has once it took this.
        added, changed, removed: keys, seen from what it is known to have.
        written: keys of the issues that the document holds.
    """

    block: Block
    declared: Mapping[int, bytes]
    emptied: Mapping[int, bytes]
    deleted: list[str]
    wanted: Mapping[str, Issue]
    added: list[str]
    changed: list[str]
    removed: list[str]
    written: list[str]
    _errors: _Errors

    def parts(self) -> Iterator[bytes]:
        """What is between the beginning and the end."""
        yield from {**self.declared, **self.emptied}.values()
        yield from map(deletion, self.deleted)
        yield from map(self._errors.read, self.written)

    def digest(self) -> str:
        """Of all but the time: two documents with the same digest do the same."""
        digest = hashlib.sha256(self.block.encode())
        for part in self.parts():
            digest.update(part)
        return digest.hexdigest()

    def packed(self, timestamp: datetime) -> bytes:
        """The document, gzip."""
        out = BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6, mtime=0) as packed:
            packed.write(opening(self.block, timestamp))
            for part in self.parts():
                packed.write(part)
            packed.write(closing(self.block))
        return out.getvalue()

    @property
    def renewed(self) -> dict[str, Issue]:
        """By key, the issues that are new or other than before."""
        return {key: self.wanted[key] for key in (*self.added, *self.changed)}

    def close(self) -> None:
        self._errors.close()


def compose(
    known: Known, discrepancies: Iterable[Discrepancy], kinds: Mapping[tuple[str, str], Kind],
    declarations: Mapping[int, bytes], *, mode: Literal["snapshot", "change"], again: bool = False,
) -> Document | None:
    """The document that is due, None where there is none; the caller closes it.

    Args:
        discrepancies: all that the source has to say now.
        kinds: (detector, kind) -> what people are told of it; what is not in it is left out.
        declarations: number -> <class> element, for each of the kinds.
        again: whether to send a snapshot even if nothing is new.
    """
    errors = _Errors()
    for discrepancy in discrepancies:
        kind = kinds.get((discrepancy.detector, discrepancy.kind))
        if kind is not None:
            errors.add(discrepancy, kind)
    wanted, had = errors.issues, known.issues
    added = [key for key in wanted if key not in had]
    changed = [key for key in wanted if key in had and wanted[key] != had[key]]
    removed = [key for key in had if key not in wanted]
    emptied = {number: text for number, text in known.classes.items() if number not in declarations}
    renamed = {number for number, text in declarations.items() if known.classes.get(number) != text}
    is_news = bool(added or changed or removed)
    never = known.source.sent is None  # a frontend need not hear of a source before there is something in it
    is_due = is_news or (not never and bool(emptied or renamed or again or known.source.in_doubt))
    if not is_due or not (declarations or emptied):
        errors.close()
        return None

    whole = Document("analyser", declarations, emptied, [], wanted, added, changed, removed, list(wanted), errors)
    if mode == "snapshot" or never or again or known.source.in_doubt:
        return whole
    concerned = renamed | {wanted[key].number for key in (*added, *changed)}
    concerned |= {had[key].number for key in (*changed, *removed)}
    if not emptied and not renamed and _are_about_elements(concerned, wanted, had):
        return _change(whole, concerned, had)
    whole.declared = {number: declarations[number] for number in sorted(concerned & declarations.keys())}
    whole.written = [key for key in wanted if wanted[key].number in concerned]
    return whole


def _are_about_elements(numbers: set[int], *issues: Mapping[str, Issue]) -> bool:
    """Whether all that there is and was in some classes is about an element, and so can be deleted by it."""
    return all(one.osm for several in issues for one in several.values() if one.number in numbers)


def _change(document: Document, concerned: set[int], had: Mapping[str, Issue]) -> Document:
    """The same as a change. An element's deletion takes all that the source says of it; what stays is said again."""
    moved = [key for key in document.changed if document.wanted[key].osm != had[key].osm]
    document.deleted = sorted({had[key].osm or "" for key in (*document.removed, *moved)})
    news, deleted = {*document.added, *document.changed}, set(document.deleted)
    document.block = "analyserChange"
    document.written = [key for key, one in document.wanted.items() if key in news or one.osm in deleted]
    concerned = concerned | {document.wanted[key].number for key in document.written}
    document.declared = {number: text for number, text in document.declared.items() if number in concerned}
    return document


def _spool() -> BinaryIO:
    return tempfile.SpooledTemporaryFile(IN_MEMORY)  # type: ignore[return-value]


@dataclass(slots=True)
class _Errors:
    """The <error> elements of a source, on disk where they are many, with what is to be known of each."""

    issues: dict[str, Issue] = field(default_factory=dict)
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)
    _file: BinaryIO = field(default_factory=_spool)
    _end: int = 0

    def add(self, discrepancy: Discrepancy, kind: Kind) -> None:
        text = error(discrepancy, kind)
        self.issues[discrepancy.key] = Issue(kind.number, discrepancy.osm, hashlib.sha256(text).digest()[:DIGEST])
        self._places[discrepancy.key] = (self._end, len(text))
        self._file.write(text)
        self._end += len(text)

    def read(self, key: str) -> bytes:
        start, length = self._places[key]
        self._file.seek(start)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()
