"""Exports for somebody who asks: to a file, whole or not at all, or to standard output."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

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
    pages = {"source": config.osmose.source, "resource": config.osmose.resource}
    return ExportContext(config.area.name, datetime.now(UTC), credits, **pages)


def write_export(db: Database, fmt: str, out: Path | None, chosen: Filter, context: ExportContext) -> int:
    """Write an export to a file, or to standard output; returns how many discrepancies it holds.

    Raises:
        PublishError, StorageFull, BrokenPipeError: see `write_whole`.
    """
    return write_whole(out, lambda file: export(db, fmt, file, chosen, context))


def write_whole(out: Path | None, write: Callable[[BinaryIO], int]) -> int:
    """Let `write` write a file, or to standard output; returns what it returns.

    Raises:
        PublishError: it cannot be written; a file that was there before is as it was.
        StorageFull: no room for it; the same holds.
        BrokenPipeError: whoever read standard output went away.
    """
    try:
        if out is None:
            count = write(sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return count
        draft = out.with_name(f".{out.name}.new")
        try:
            with draft.open("wb") as file:
                count = write(file)
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
