"""The files of the publishing directory, kept in step with the ledger.

What is open and sure enough is asked of the current map once more, then published, and is in the files; what is
published stays in them until it closes. A file that would hold the same as before is not touched.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from psycopg2.extensions import cursor as Cursor

from daemon.config import Publish
from daemon.db import Database, query
from daemon.discrepancies.life import close, lock_ledger, publish
from daemon.discrepancies.model import ClosedAs, Discrepancy, State
from daemon.errors import PublishError, StorageFull
from daemon.publish.export import Filter, write_export
from daemon.publish.feed import ExportContext

#: File name -> format.
FILES = {"discrepancies.geojson": "geojson", "maproulette.geojsonl": "maproulette", "osmose.xml": "osmose"}
#: Discrepancies that are asked about and published in one go.
AT_ONCE = 1000
#: Lines that begin so say when a file was made, not what is in it.
WHEN = b" <analyser "

#: Keys of those discrepancies that the current map no longer shows.
NoLongerHold = Callable[[Cursor, Sequence[Discrepancy]], set[str]]


@dataclass(frozen=True, slots=True)
class Published:
    """What a round of publishing did; in a dry run, what it would have done.

    Attributes:
        written, unchanged: files.
        shown: keys that became published.
        fixed: keys that the map no longer shows, closed instead of shown.
        count: discrepancies in the files.
    """

    dry_run: bool
    written: tuple[Path, ...] = ()
    unchanged: tuple[Path, ...] = ()
    shown: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    count: int = 0


def write_files(
    db: Database, config: Publish, context: ExportContext, *, no_longer_hold: NoLongerHold, sequence: int | None = None,
    elsewhere: bool = False,
) -> Published:
    """Publish what is due and bring the files up to date, all or nothing in the ledger; each file whole or as before.

    Args:
        no_longer_hold: asks the current map about what is to be shown for the first time.
        sequence: newest change file in the store, for the history.
        elsewhere: what is published is shown by other ways than files, too; so it is published without a directory.

    Raises:
        PublishError: the directory cannot be made or written.
        StorageFull: no space left; the files are as before.
    """
    if config.dir is None and not elsewhere:
        return Published(config.dry_run)
    with db.transaction() as cursor:
        lock_ledger(cursor)
        shown: list[str] = []
        fixed: list[str] = []
        while candidates := _candidates(cursor, config.min_confidence):
            wrong = no_longer_hold(cursor, candidates)
            outdated = [d.key for d in candidates if d.key in wrong]
            due = [d.key for d in candidates if d.key not in wrong]
            when = {"now": context.generated, "sequence": sequence}
            close(cursor, outdated, ClosedAs.FIXED, detail={"by": "publishing"}, **when)
            publish(cursor, due, **when)
            fixed += outdated
            shown += due
        written, unchanged, count = [], [], len(shown)
        if config.dir is not None:
            written, unchanged, count = _write_all(cursor, config.dir, context, dry_run=config.dry_run)
        if config.dry_run:
            cursor.connection.rollback()
    return Published(config.dry_run, tuple(written), tuple(unchanged), tuple(shown), tuple(fixed), count)


def _candidates(cursor: Cursor, min_confidence: float) -> list[Discrepancy]:
    cursor.execute(query("publishable_discrepancies"), {"min_confidence": min_confidence, "limit": AT_ONCE})
    return [Discrepancy.of(row) for row in cursor.fetchall()]


def _write_all(
    cursor: Cursor, directory: Path, context: ExportContext, *, dry_run: bool
) -> tuple[list[Path], list[Path], int]:
    written, unchanged, count = [], [], 0
    shown = Filter(states=(State.PUBLISHED,), shown_at=context.generated)
    with _named_failures(directory):
        if not dry_run:
            directory.mkdir(parents=True, exist_ok=True)
        for name, fmt in FILES.items():
            path = directory / name
            with _draft(path, dry_run=dry_run) as draft:
                number = write_export(cursor, fmt, draft, shown, context)
                draft.flush()
                count = max(count, number)
                if _says_the_same(draft, path):
                    unchanged.append(path)
                    continue
                written.append(path)
                if not dry_run:
                    os.fchmod(draft.fileno(), 0o644)
                    os.fsync(draft.fileno())
                    os.replace(draft.name, path)
                    _sync_directory(directory)
    return written, unchanged, count


@contextmanager
def _draft(path: Path, *, dry_run: bool) -> Iterator[BinaryIO]:
    """Where a file is written before it takes its place. Always of one name: what a crash left is reused."""
    if dry_run:
        with tempfile.TemporaryFile() as draft:
            yield draft
        return
    name = path.with_name(f".{path.name}.new")
    try:
        with open(name, "w+b") as draft:
            yield draft
    finally:
        with suppress(FileNotFoundError):
            name.unlink()


def _says_the_same(draft: BinaryIO, path: Path) -> bool:
    draft.seek(0)
    try:
        with open(path, "rb") as before:
            while True:
                new, old = draft.readline(), before.readline()
                if new != old and not (new.startswith(WHEN) and old.startswith(WHEN)):
                    return False
                if not new:
                    return True
    except FileNotFoundError:
        return False


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _named_failures(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"publish.dir {directory}: no space left on device; make room there") from error
        raise PublishError(
            f"publish.dir {directory}: cannot be written ({error.strerror or error}); let this user write there, or "
            "name another directory"
        ) from error
