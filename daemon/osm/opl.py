"""OSM files as columns: osmium turns whatever it reads into OPL text, in C++; numpy takes the text apart.

OPL (https://osmcode.org/opl-file-format/) has one object a line, its fields in a fixed order, and no blank or comma
inside of a value, so that a field is found by counting blanks. Reading a file so takes no longer than letting osmium
hand out its objects to Python one by one, and what comes out are arrays: whoever wants only a few of the objects picks
them by number before any of them becomes a Python object.

    n1 v2 dV t2020-01-02T03:04:05Z Tname=x,building=yes x8.5 y47.1
    w1 v2 dV t2020-01-02T03:04:05Z Tbuilding=yes Nn1,n2,n3,n1
    r1 v2 dV t2020-01-02T03:04:05Z Ttype=multipolygon Mw1@outer,w2@inner
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import osmium

from daemon.osm import convert
from daemon.osm.columns import Columns, Elements, places_of
from daemon.osm.elements import MAX_LAT, MAX_LON, NODE

#: XML of at most so many bytes is turned to text in this process, where no other thread runs meanwhile. All else is by
#: a process of its own: osmium ends the process over text that is no UTF-8, which a PBF can carry and XML cannot.
SMALL = 2 * 1024**2
#: Bytes of text worked on at once.
PIECE = 8 * 1024**2
#: What osmium raises on broken input.
OSMIUM_FAILURES = (RuntimeError, ValueError, UnicodeDecodeError, osmium.InvalidLocationError)

_NODE, _WAY, _RELATION = b"nwr"
_BLANKS = {_NODE: 6, _WAY: 5, _RELATION: 5}


class Broken(ValueError):
    """osmium cannot read the file; says why."""


def read_columns(path: Path, kind: str = "", entities: str = "nwr") -> Iterator[Columns]:
    """The objects of a file, some hundred thousand at a time.

    Args:
        path: a local file.
        kind: osmium's name of its format; "": by the name of the file.
        entities: which types to read.

    Raises:
        Broken: osmium cannot read it.
    """
    rest = b""
    for piece in _text(path, kind, entities):
        whole, newline, tail = piece.rpartition(b"\n")
        if newline:
            yield parse(rest + whole + newline)
            rest = tail
        else:
            rest += tail
    if rest:
        raise Broken("the last object breaks off")


def parse(text: bytes) -> Columns:
    """Whole lines of OPL with the metadata version and timestamp.

    Raises:
        Broken: not what osmium writes.
    """
    raw = np.frombuffer(text, np.uint8)
    ends = places_of("\n", text)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    kinds = raw[starts]
    blanks = places_of(" ", text)
    counts = np.zeros(256, np.int64)
    counts[list(_BLANKS)] = list(_BLANKS.values())
    first = np.cumsum(counts[kinds])
    if (first[-1] if len(first) else 0) != len(blanks):
        raise Broken("objects that are neither node, way nor relation")
    first -= counts[kinds]

    def fields(kind: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the fields of the objects of a type begin (past the letter) and end, int64 [fields, N] each."""
        mine = kinds == kind
        between = blanks[first[mine] + np.arange(_BLANKS[kind])[:, None]]
        return np.vstack([starts[mine], between + 1]) + 1, np.vstack([between, ends[mine]])

    nodes, sound = _nodes(text, raw, *fields(_NODE))
    commas = places_of(",", text)
    ways, relations = (_elements(text, commas, raw, *fields(kind)) for kind in (_WAY, _RELATION))
    return Columns(nodes, sound, ways, relations, kinds)


def _nodes(text: bytes, raw: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nodes = np.zeros(start.shape[1], NODE)
    nodes["id"], nodes["version"] = _integers(raw, start[0], end[0]), _integers(raw, start[1], end[1])
    visible = raw[start[2]] == ord("V")
    nodes["changed"] = _times(raw, start[3], end[3])
    points = places_of(".", text)
    lon, lat = (_degrees(raw, points, start[field], end[field]) for field in (5, 6))
    there = (end[5] > start[5]) & (np.abs(lon) <= MAX_LON) & (np.abs(lat) <= MAX_LAT)
    nodes["lon"][there], nodes["lat"][there] = lon[there], lat[there]
    nodes["present"] = visible & there
    return nodes, there | ~visible


def _elements(
    text: bytes, commas: np.ndarray, raw: np.ndarray, start: np.ndarray, end: np.ndarray
) -> Elements:
    return Elements(
        _integers(raw, start[0], end[0]), _integers(raw, start[1], end[1]), _times(raw, start[3], end[3]),
        raw[start[2]] == ord("V"), text, commas, *(np.column_stack([start[field], end[field]]) for field in (4, 5)),
    )


def _integers(raw: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Decimal numbers with or without sign between the places; nothing is 0."""
    if not len(start):
        return np.zeros(0, np.int64)
    negative = (end > start) & (raw[np.minimum(start, len(raw) - 1)] == ord("-"))
    start = start + negative
    value = np.zeros(len(start), np.int64)
    for step in range(int((end - start).max())):
        at = start + step
        inside = at < end
        digit = raw[np.where(inside, at, start)].astype(np.int64) - ord("0")
        value = np.where(inside, value * 10 + digit, value)
    return np.where(negative, -value, value)


def _degrees(raw: np.ndarray, points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Degrees with at most seven decimals, in units of 1e-7 degrees; `points` are the places of all decimal points."""
    at = np.searchsorted(points, start)
    point = np.append(points, len(raw))[at]
    point = np.where(point < end, point, end)
    whole = _integers(raw, start, point)
    decimals = np.maximum(end - point - 1, 0)
    part = _integers(raw, np.minimum(point + 1, end), end) * 10 ** (7 - decimals)
    negative = raw[np.minimum(start, len(raw) - 1)] == ord("-")
    return np.where(negative, whole * 10**7 - part, whole * 10**7 + part)


def _times(raw: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Times like 2020-01-02T03:04:05Z in seconds since 1970; nothing is 0."""
    seconds = np.zeros(len(start), np.int64)
    there = end > start
    begin = start[there]

    def number(offset: int, width: int) -> np.ndarray:
        return _integers(raw, begin + offset, begin + offset + width)

    months = (number(0, 4) - 1970) * 12 + number(5, 2) - 1
    days = months.astype("M8[M]").astype("M8[D]").astype(np.int64) + number(8, 2) - 1
    seconds[there] = ((days * 24 + number(11, 2)) * 60 + number(14, 2)) * 60 + number(17, 2)
    return seconds


def _text(path: Path, kind: str, entities: str) -> Iterator[bytes]:
    here = (kind.startswith("osc") or path.suffix == ".osm") and path.stat().st_size <= SMALL
    return _text_here(path, kind, entities) if here else _text_of_process(path, kind, entities)


def _text_here(path: Path, kind: str, entities: str) -> Iterator[bytes]:
    handle = os.memfd_create("opl")
    with open(handle, "rb") as file:
        try:
            convert.to_opl(str(path), kind, entities, f"/proc/self/fd/{handle}")
        except OSMIUM_FAILURES as error:
            raise Broken(str(error)) from None
        if text := file.read():
            yield text


def _text_of_process(path: Path, kind: str, entities: str) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as complaint:
        # -P: the folder of the script is no place to import from
        command = [sys.executable, "-P", convert.__file__, str(path), kind, entities]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaint, stdin=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            try:
                while piece := process.stdout.read(PIECE):
                    yield piece
            finally:
                process.stdout.close()
                if process.poll() is None and sys.exc_info()[0] is not None:
                    process.kill()
        if process.returncode:
            complaint.seek(0)
            last = complaint.read().decode(errors="replace").strip().splitlines()[-1:]
            raise Broken(last[0] if last else f"the process that read it ended with {process.returncode}")
