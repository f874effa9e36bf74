"""state.txt, and where the files of a sequence lie.

Format: a Java properties file as Osmosis writes it, see https://wiki.openstreetmap.org/wiki/Osmosis/Replication and
https://wiki.openstreetmap.org/wiki/Planet.osm/diffs. Only `sequenceNumber` and `timestamp` matter here; the others
(txnMaxQueried, txnActiveList, ...) are Osmosis' own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from daemon.errors import StateInvalid

#: The highest sequence that the layout 999/999/999 can hold.
LAST_SEQUENCE = 999_999_999
#: State files have about 100 bytes, a few thousand with the transaction lists of Osmosis; more is something else.
MAX_STATE_BYTES = 256 * 1024

_PAIR = re.compile(r"\s*((?:\\.|[^\\=:\s])+)\s*[=:\s]\s*(.*)")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})?")


@dataclass(frozen=True, slots=True)
class State:
    """Up to where a server, or one of its change files, has got.

    Attributes:
        sequence: number of the change file, 0 to LAST_SEQUENCE.
        timestamp: aware, UTC; all edits before it are in this change file or an earlier one.
    """

    sequence: int
    timestamp: datetime

    def as_json(self) -> dict[str, int | str]:
        """The two of them, the time in ISO 8601."""
        return {"sequence": self.sequence, "timestamp": self.timestamp.isoformat()}


def parse_state(content: bytes, origin: str) -> State:
    """Read a state file.

    Args:
        content: the bytes of the file.
        origin: where it came from, for the message; without secrets.

    Raises:
        StateInvalid: it has no usable sequence number or timestamp, or is something else altogether.
    """
    if content.lstrip()[:1] == b"<":
        raise StateInvalid(f"{origin}: a web page or XML ({_quoted(content)}) where a state file is expected")
    values = _properties(content.removeprefix(b"\xef\xbb\xbf").decode("latin-1"))
    for key in ("sequenceNumber", "timestamp"):
        if key not in values:
            raise StateInvalid(f"{origin}: no {key}; found {_quoted(content)}")
    number, time = values["sequenceNumber"], values["timestamp"]
    if not re.fullmatch(r"0*[0-9]{1,9}", number, re.ASCII):
        raise StateInvalid(f"{origin}: sequenceNumber is {number[:40]!r}, expected 0 to {LAST_SEQUENCE}")
    if not _TIMESTAMP.fullmatch(time):
        raise StateInvalid(f"{origin}: timestamp is {time[:40]!r}, expected one like 2024-06-01T00\\:18\\:00Z")
    try:
        timestamp = as_utc(datetime.fromisoformat(time))
    except (ValueError, OverflowError) as error:
        raise StateInvalid(f"{origin}: timestamp is {time!r}: {error}") from None
    return State(int(number[-9:]), timestamp)


def as_utc(time: datetime) -> datetime:
    """`time` in UTC; a naive one is taken for UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def sequence_path(sequence: int) -> str:
    """4711 -> "000/004/711".

    Raises:
        ValueError: not within 0 to LAST_SEQUENCE.
    """
    if not 0 <= sequence <= LAST_SEQUENCE:
        raise ValueError(f"replication sequence {sequence} is not within 0 to {LAST_SEQUENCE}")
    digits = f"{sequence:09d}"
    return f"{digits[:3]}/{digits[3:6]}/{digits[6:]}"


def path_sequence(path: str) -> int:
    """The sequence of a file in the layout: "any/000/004/711.osc.gz" -> 4711.

    Raises:
        ValueError: no such path.
    """
    match = re.search(r"(?:^|/)(\d{3})/(\d{3})/(\d{3})(?:\.[a-z.]+)?$", path, re.ASCII)
    if match is None:
        raise ValueError(f"{path!r} does not end like 000/004/711.osc.gz")
    return int("".join(match.groups()))


def _properties(text: str) -> dict[str, str]:
    """Keys and values of a Java properties file; the last of two equal keys counts, as in Java."""
    values = {}
    for line in text.splitlines():
        if line.lstrip()[:1] not in ("", "#", "!") and (match := _PAIR.match(line)):
            values[_unescape(match[1])] = _unescape(match[2]).strip()
    return values


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _quoted(content: bytes) -> str:
    """The beginning of what was found, fit for a message."""
    start = content[:60].decode("ascii", "replace")
    return repr(start + ("..." if len(content) > 60 else "")) if content else "an empty file"
