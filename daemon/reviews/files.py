"""Verdicts in files: for people who work without MapRoulette, and as training data.

    CSV         a heading, then a line a verdict; evidence and detail as JSON, the geometry as WKT
    JSON lines  an object a line
    GeoJSON     a FeatureCollection of what was judged, each feature with its verdict; only written

A line must have a `key` and a `verdict`; it may have `who`, `reason`, `at` (ISO 8601 with a time zone) and `came_by`.
What else is there is not read, so that what was written can be read elsewhere. Nothing of a file is taken if any line
of it is wrong. Read twice, it changes nothing the second time; that holds for lines without a time as well, of which
the same verdict of the same person counts once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from psycopg2.extensions import cursor as Cursor

from daemon.db import query
from daemon.discrepancies.life import lock_ledger
from daemon.errors import ReviewsInvalid
from daemon.publish.feed import encode, geometry_json
from daemon.reviews.intake import AskedMap, take_verdict
from daemon.reviews.reading import Kept
from daemon.reviews.verdicts import Verdict
from daemon.sections.publish import Reviews

#: How verdicts of a file came, where it does not say otherwise.
CAME_BY = "file"
#: Problems that are told, of however many there are.
TOLD_AT_MOST = 50
#: Characters of a text that is kept.
LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """A verdict of a file; `at` is None where the file does not say."""

    number: int
    key: str
    verdict: Verdict
    who: str | None
    reason: str | None
    at: datetime | None
    came_by: str


class Taken(NamedTuple):
    """What became of the lines of a file."""

    recorded: int
    known: int
    """Told before."""
    overturned: int
    """Left out: the file says that they were taken back."""


def take_file(
    cursor: Cursor, current_map: AskedMap, config: Reviews, path: Path, now: datetime
) -> Taken:
    """Take in all verdicts of a file, the oldest first, or none.

    Raises:
        ReviewsInvalid: names every line that cannot be taken; nothing was.
        OSError: it cannot be read.
    """
    lock_ledger(cursor)
    lines, overturned = _check(cursor, path, now)
    recorded = 0
    for line in sorted(lines, key=lambda line: (line.at or now, line.number)):
        told = {"key": line.key, "verdict": line.verdict, "came_by": line.came_by, "who": line.who}
        if line.at is None:
            cursor.execute(query("is_told"), told)
            if cursor.fetchone() is not None:
                continue
        review = take_verdict(
            cursor, current_map, config, line.key, line.verdict, line.who, line.reason, line.came_by, line.at or now,
            {"file": path.name}, now=now,
        )
        recorded += review.recorded
    return Taken(recorded, len(lines) - recorded, overturned)


def _check(cursor: Cursor, path: Path, now: datetime) -> tuple[list[Line], int]:
    """The lines that are to be taken, and how many the file says were taken back."""
    lines: list[Line] = []
    problems: list[tuple[int, str]] = []
    overturned = 0
    for number, fields in _rows(path):
        if isinstance(fields, str):
            problems.append((number, fields))
        elif fields.get("overturned"):
            overturned += 1
        else:
            wrong, line = _line(number, fields, now)
            problems += [(number, problem) for problem in wrong]
            lines += [line] if line else []
    cursor.execute(query("keys_taken"), {"keys": sorted({line.key for line in lines})})
    known = {key for (key,) in cursor.fetchall()}
    problems += [
        (line.number, f"no discrepancy has the key {line.key!r}") for line in lines if line.key not in known
    ]
    if problems:
        raise ReviewsInvalid(_told(path, sorted(problems)))
    return lines, overturned


def _told(path: Path, problems: list[tuple[int, str]]) -> str:
    told = [f"{path}: {len(problems)} problem{'s' if len(problems) != 1 else ''}; nothing was taken"]
    told += [f"line {number}: {problem}" for number, problem in problems[:TOLD_AT_MOST]]
    if len(problems) > TOLD_AT_MOST:
        told.append(f"and {len(problems) - TOLD_AT_MOST} more")
    return "\n  - ".join(told)


def _line(number: int, fields: Mapping[str, Any], now: datetime) -> tuple[list[str], Line | None]:
    """What is wrong with a line, or the line."""
    problems: list[str] = []

    def text(name: str) -> str | None:
        value = fields.get(name)
        if value is None or isinstance(value, str):
            return (value or "").replace("\x00", "").strip()[:LONGEST] or None
        problems.append(f"{name} = {value!r:.40}, expected text")
        return None

    key, verdict, who, reason, at, came_by = (text(n) for n in ("key", "verdict", "who", "reason", "at", "came_by"))
    if key is None:
        problems.append("no key")
    given = next((one for one in Verdict if one.value == verdict), None)
    if given is None:
        problems.append(f"verdict {verdict!r}, expected one of {', '.join(Verdict)}")
    when = None
    if at is not None:
        try:
            when = datetime.fromisoformat(at)
        except ValueError:
            problems.append(f"at = {at!r:.40}, expected a time such as 2026-11-22T05:08:49Z")
        else:
            if when.tzinfo is None:
                problems.append(f"at = {at!r} has no time zone; write e.g. {at}Z")
            elif when > now:
                problems.append(f"at = {at!r} is still to come")
    if problems or key is None or given is None:
        return problems, None
    return [], Line(number, key, given, who, reason, when, came_by or CAME_BY)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """(number of the line, its fields, or what is wrong with it)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReviewsInvalid(f"{path} is not UTF-8 (byte {error.start}); nothing was taken") from None
    return _json_rows(text) if text.lstrip().startswith("{") else _csv_rows(path, text)


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            yield number, f"is not JSON: {error}"
            continue
        yield number, fields if isinstance(fields, dict) else f"is {line.strip()[:40]}, expected a JSON object"


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        heading = [name.strip() for name in next(reader, [])]
        if not {"key", "verdict"} <= set(heading):
            raise ReviewsInvalid(
                f"{path}: the first line should name the columns, key and verdict among them, and is "
                f"{','.join(heading)[:80]!r}; nothing was taken"
            )
        for row in reader:
            if any(cell.strip() for cell in row):
                wrong = len(row) != len(heading)
                yield reader.line_num, (
                    f"has {len(row)} cells, the heading has {len(heading)}" if wrong
                    else dict(zip(heading, row, strict=True))
                )
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {error}"


# -- writing -----------------------------------------------------------------------------------------------------------


def write_csv(reviews: Iterable[Kept], out: BinaryIO, attribution: str) -> int:
    count = 0
    for kept in reviews:
        count += 1
        facts = _facts(kept, attribution) | {"geometry": kept.geometry.wkt}
        if count == 1:
            out.write(_csv_line(facts))
        out.write(_csv_line(json.dumps(v) if isinstance(v, dict) else v for v in facts.values()))
    if count == 0:
        out.write(_csv_line(["key", "verdict", "who", "reason", "at"]))
    return count


def write_jsonl(reviews: Iterable[Kept], out: BinaryIO, attribution: str) -> int:
    count = 0
    for kept in reviews:
        count += 1
        out.write(encode(_facts(kept, attribution) | {"geometry": geometry_json(kept.geometry)}) + b"\n")
    return count


def write_geojson(reviews: Iterable[Kept], out: BinaryIO, attribution: str) -> int:
    count = 0
    out.write(b'{"type":"FeatureCollection","attribution":' + encode(attribution) + b',"features":[')
    for kept in reviews:
        count += 1
        feature = {
            "type": "Feature", "id": kept.id, "geometry": geometry_json(kept.geometry), "properties": kept.facts(),
        }
        out.write((b"\n" if count == 1 else b",\n") + encode(feature))
    out.write(b"\n]}\n")
    return count


#: Format -> what writes verdicts in it, with whom to name for them; returns how many there were.
WRITERS: Mapping[str, Callable[[Iterable[Kept], BinaryIO, str], int]] = {
    "csv": write_csv, "jsonl": write_jsonl, "geojson": write_geojson,
}


def _facts(kept: Kept, attribution: str) -> dict[str, Any]:
    return kept.facts() | {"attribution": attribution}


def _csv_line(cells: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(list(cells))
    return text.getvalue().encode()
