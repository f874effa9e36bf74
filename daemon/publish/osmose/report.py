"""What a round of the channel did, or in a dry run would do, source by source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from daemon.errors import PublishError
from daemon.publish.osmose.document import Document

Outcome = Literal["sent", "known", "nothing new", "would send", "rests", "waits for its parts", "failed"]


@dataclass(frozen=True, slots=True)
class Told:
    """What a round did about one source.

    Attributes:
        outcome: "known" where the frontend had the document already.
        issues: how many the frontend has afterwards; None where nothing was made.
        block: analyser or analyserChange, "" where nothing was made.
        timestamp: of the document.
        size: of the document, packed, bytes.
        error: why it failed, or what it rests after.
    """

    country: str
    outcome: Outcome
    issues: int | None = None
    added: int = 0
    changed: int = 0
    removed: int = 0
    block: str = ""
    timestamp: datetime | None = None
    size: int = 0
    error: PublishError | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did.

    Attributes:
        told: source by source.
        more: there is more to do at once.
        busy: another process sends at this moment; nothing was done.
    """

    told: tuple[Told, ...] = ()
    more: bool = False
    busy: bool = False

    @property
    def error(self) -> PublishError | None:
        """Why not all was told: the first failure of this round, else one that a source rests after."""
        failures = sorted((one for one in self.told if one.error), key=lambda one: one.outcome != "failed")
        return failures[0].error if failures else None


def told_of(country: str, outcome: Outcome, document: Document, timestamp: datetime, size: int) -> Told:
    """What was, or would be, done with a document."""
    return Told(
        country, outcome, len(document.wanted), len(document.added), len(document.changed), len(document.removed),
        document.block, timestamp, size,
    )


def in_words(told: Told) -> str:
    """One line about what a round did with a source."""
    if told.block:
        return (
            f"{told.country}: {told.outcome}: {told.issues} issues, {told.added} new, {told.changed} changed, "
            f"{told.removed} gone; {told.block} of {told.timestamp:%Y-%m-%d %H:%M:%S} UTC, {told.size} bytes"
        )
    return f"{told.country}: {told.outcome}" + (f": {told.error}" if told.error else "")
