"""Exports for somebody who asks: to a file, whole or not at all, or to standard output."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from daemon.config import Config
from daemon.db import Database
from daemon.errors import PublishError, StorageFull
from daemon.imagery.index import entries_of
from daemon.publish import ExportContext, Filter, ImageryCredit, export


def context_of(config: Config) -> ExportContext:
    """Where an export of now comes from, and whom it must name.

    Raises:
        ImageInvalid, ImageryForbidden: a source's entry in an imagery index is gone, or may no longer be used.
    """
    sources = [entry.settings for entry in entries_of(config)]
    credits = tuple(ImageryCredit(s.name, s.attribution, s.licence) for s in sources)
    return ExportContext(config.area.name, datetime.now(UTC), credits)


def write_export(db: Database, fmt: str, out: Path | None, chosen: Filter, context: ExportContext) -> int:
    """Write an export to a file, or to standard output; returns how many discrepancies it holds.

    Raises:
        PublishError: it cannot be written; a file that was there before is as it was.
        StorageFull: no room for it; the same holds.
        BrokenPipeError: whoever read standard output went away.
    """
    try:
        if out is None:
            count = export(db, fmt, sys.stdout.buffer, chosen, context)
            sys.stdout.buffer.flush()
            return count
        draft = out.with_name(f".{out.name}.new")
        try:
            with draft.open("wb") as file:
                count = export(db, fmt, file, chosen, context)
            os.replace(draft, out)
        finally:
            with suppress(OSError):
                draft.unlink()
        return count
    except BrokenPipeError:
        raise
    except OSError as error:
        name = out or "standard output"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{name}: no space left on device; make room there") from None
        raise PublishError(f"{name}: cannot be written: {error.strerror}") from None
