"""What mapgap says while it works: one line an event on stderr, as text for people or JSON for machines.

Facts of an event are passed as `extra=` and stay fields of their own:

    log.info("applied", extra={"sequence": 466354})
    text   2026-09-10T12:00:00.123Z INFO    daemon.pipeline: applied [sequence=466354]
    json   {"time": "...", "level": "info", "logger": "daemon.pipeline", "message": "applied", "sequence": 466354}
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from daemon.config import Log

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET = re.compile(
    r"""(?ix) \b ( (?:\w*[_-])? (?:password|passwd|token|secret|signature|api[_-]?key|apikey|access[_-]?key) )
        ( ["']? \s* [=:] \s* ) (?: "[^"]*" | '[^']*' | [^\s&,;"')\]}]+ )"""
)


def without_secrets(text: str) -> str:
    """Blot out user:password@ in URLs and the values of password=, token=, api_key= and the like: the last line of
    defence, for messages of libraries; mapgap's own never hold them."""
    return _SECRET.sub(r"\1\2***", _USERINFO.sub("***@", text))


class _OneLine(logging.Formatter):
    """Turns a record into its facts; the two formats below write them down."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            message = record.getMessage()
        except (TypeError, ValueError) as error:  # a wrong format string must not cost the event
            message = f"{record.msg} (could not be formatted with {record.args!r}: {error})"
        extra = {k: v for k, v in vars(record).items() if k not in _OWN_FIELDS and not k.startswith("_")}
        trace = "".join(traceback.format_exception(*record.exc_info)).rstrip() if record.exc_info else ""
        return self.write(time, record.levelname, record.name, message, extra, trace)

    def write(self, time: str, level: str, logger: str, message: str, extra: dict[str, Any], trace: str) -> str:
        facts = " ".join(f"{name}={value}" for name, value in extra.items())
        line = f"{time} {level:<7} {logger}: {message}" + (f" [{facts}]" if facts else "")
        line = without_secrets(line + (f" | {trace}" if trace else ""))
        if line.isprintable():
            return line
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class _Json(_OneLine):
    def write(self, time: str, level: str, logger: str, message: str, extra: dict[str, Any], trace: str) -> str:
        event = {"time": time, "level": level.lower(), "logger": logger, "message": without_secrets(message)}
        for name, value in extra.items():
            plain = value if value is None or isinstance(value, bool | int | float) else without_secrets(str(value))
            event[name if name not in event else f"{name}_"] = plain
        if trace:
            event["error"] = without_secrets(trace)
        return json.dumps(event, ensure_ascii=False)


def set_up_log(log: Log, stream: TextIO | None = None) -> None:
    """Let every logger of the process speak as configured, to stderr unless told otherwise. May be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if log.format == "json" else _OneLine())
    root = logging.getLogger()
    for old in [h for h in root.handlers if getattr(h, "mapgap", False)]:
        root.removeHandler(old)
    handler.mapgap = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(log.level.upper())
    # The errors of jobs are logged here anyhow, and a client that speaks no HTTP is nothing to warn of.
    for chatty in ("apscheduler", "uvicorn", "urllib3", "rasterio", "PIL", "matplotlib"):
        quiet = chatty in ("apscheduler", "uvicorn")
        logging.getLogger(chatty).setLevel(logging.ERROR if quiet else logging.WARNING)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a reader that went away must not stop the daemon
