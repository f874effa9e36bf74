"""Turn an OSM file into OPL text. Imports nothing but osmium: for large files it runs as a process of its own.

    python convert.py FILE KIND ENTITIES        text to standard output; 1 and a complaint where osmium cannot read FILE
"""

from __future__ import annotations

import os
import sys

import osmium

#: OPL with as much of the metadata as the store keeps.
OPL = "opl,add_metadata=version+timestamp"
#: Bytes of objects written at a time: so many are turned to text while the next ones are read.
PORTION = 1024**2
ENTITIES = {"n": osmium.osm.NODE, "w": osmium.osm.WAY, "r": osmium.osm.RELATION}


def to_opl(source: str, kind: str, entities: str, target: str) -> None:
    """Write the objects of a file as OPL.

    Args:
        kind: osmium's name of the source's format; "": by its name. A change file ("osc...") has to be one.
        entities: types to write, some of "nwr".
        target: an open file's path.

    Raises:
        RuntimeError, ValueError, IndexError: osmium cannot read it, or its text is no UTF-8.
    """
    wanted = osmium.osm.NOTHING
    for letter in entities:
        wanted |= ENTITIES[letter]
    with (
        osmium.io.Reader(osmium.io.File(source, kind) if kind else osmium.io.File(source), wanted) as reader,
        osmium.SimpleWriter(osmium.io.File(target, OPL), bufsz=PORTION, overwrite=True) as writer,
    ):
        if kind.startswith("osc") and not reader.header().has_multiple_object_versions:
            raise ValueError("an OSM file of another kind, no osmChange")
        osmium.apply(reader, writer)


def main() -> int:
    source, kind, entities = sys.argv[1:]
    try:
        to_opl(source, kind, entities, "/proc/self/fd/1")
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)  # a writer that has failed cannot be closed, and would end the process in its own way
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
