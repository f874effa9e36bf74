"""What is measured, each job in a process of its own, so that its peak memory is its own too.

    python jobs.py '{"job": "read", "files": [...]}'

prints a JSON object: seconds of each file or of the whole, and counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import osmium
from memory import Watch
from minutes import moment

from daemon import pipeline as wiring
from daemon.config import Area, Config, Replication, Tiling
from daemon.db import Database, migrate
from daemon.osm import set_position
from daemon.pipeline import Pipeline
from daemon.replication import ChangeFile
from detectors.base import SHAPES, Claim, OsmFeature, Scene

REPOSITORY = Path(__file__).resolve().parents[3]


class Everything:
    """Stands for a detector that wants every tagged object, for a comparison with a program that keeps them all."""

    name = key_prefix = selection = "everything"
    shapes = frozenset(SHAPES)

    def selects(self, tags: Mapping[str, str]) -> bool:
        return bool(tags)

    def relevant(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        return tags

    def compare(self, scene: Scene) -> list[Claim]:
        return []

    def holds(self, claim: Claim, features: Sequence[OsmFeature]) -> bool:
        return True


def run_job(job: str, **arguments: Any) -> dict[str, Any]:
    """Do a job in a new process. Of its answer, `peak_mb` is the peak resident memory of it and its children, and
    `private_mb` that without pages of files.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    order = json.dumps({"job": job, **arguments}, default=str)
    with subprocess.Popen(
        [sys.executable, __file__, order], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        watch = Watch(process.pid)
        said, complained = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{order[:300]}: {complained[-3000:]}")
    peak, private = watch.peak_mb()
    return {**json.loads(said.splitlines()[-1]), "peak_mb": peak, "private_mb": private}


def read(files: Sequence[str], forms: Sequence[str] = ("iterator", "handler"), rounds: int = 1) -> dict[str, Any]:
    """Seconds of pyosmium alone for each file, the quickest of some rounds: as an iterator, and as a handler."""
    known = {"iterator": _iterate, "handler": _handle}
    return {form: [min(_timed(known[form], path) for _ in range(rounds)) for path in files] for form in forms}


def _iterate(path: str) -> None:
    for _ in osmium.FileProcessor(path):
        pass


def _handle(path: str) -> None:
    class Idle(osmium.SimpleHandler):
        def node(self, _: object) -> None: ...

        way = relation = node

    Idle().apply_file(path)


def bootstrap(dsn: str, path: str, selection: str, bbox: Sequence[float] | None = None) -> dict[str, Any]:
    """Seconds to load an extract into an empty database."""
    db = Database(dsn)
    migrate(db)
    db.close()
    with _pipeline(dsn, selection, 18, bbox) as pipeline:
        report = pipeline.store.bootstrap(pipeline.db, path)
        return {
            "seconds": report.seconds,
            "rows": {name: getattr(report, name) for name in ("nodes", "ways", "relations", "features")},
        }


def apply(
    dsn: str, files: Sequence[str], selection: str, zoom: int, after: int, bbox: Sequence[float] | None = None
) -> dict[str, Any]:
    """Seconds of `Pipeline.apply` for each file; the first has sequence `after` + 1."""
    found: dict[str, Any] = {"seconds": [], "features": [], "tiles": []}
    with _pipeline(dsn, selection, zoom, bbox) as pipeline:
        with pipeline.db.transaction() as cursor:
            set_position(cursor, after, moment(after))
        for sequence, path in enumerate(files, after + 1):
            file = ChangeFile(sequence, moment(sequence), Path(path))
            begun = time.perf_counter()
            applied = pipeline.apply(file)
            found["seconds"].append(time.perf_counter() - begun)
            found["features"].append(len(applied.delta.changes))
            found["tiles"].append(len(applied.expired.tiles))
    return found


def follow(dsn: str, url: str, after: int, selection: str = "building", zoom: int = 18) -> dict[str, Any]:
    """Seconds of `Pipeline.follow` until nothing is left on a replication server."""
    with _pipeline(dsn, selection, zoom, None, url) as pipeline:
        with pipeline.db.transaction() as cursor:
            set_position(cursor, after, moment(after))
        begun = time.perf_counter()
        while pipeline.follow():
            pass
        seconds = time.perf_counter() - begun
        with pipeline.db.transaction() as cursor:
            position = pipeline.store.position(cursor)
    return {"seconds": seconds, "files": position.sequence - after}


@contextmanager
def _pipeline(dsn: str, selection: str, zoom: int, bbox: Sequence[float] | None, url: str = "") -> Iterator[Pipeline]:
    """The real pipeline; with selection "everything" its store keeps all tagged objects, as osm2pgsql does."""
    with tempfile.TemporaryDirectory(prefix="mapgap-bench-") as scratch:
        area = Area(bbox=tuple(bbox)) if bbox else Area()
        config = Config(
            data_dir=Path(scratch), area=area, tiling=Tiling(zoom=zoom),
            replication=Replication(url=url or Path(scratch).as_uri()),
        )
        db = Database(dsn)
        if selection == "everything":  # this process does nothing else
            wiring.detectors_of = lambda _: [Everything()]
        with Pipeline(config, db) as pipeline:
            yield pipeline
        db.close()


def _timed(work: Callable[[str], None], path: str) -> float:
    begun = time.perf_counter()
    work(path)
    return time.perf_counter() - begun


JOBS = {job.__name__: job for job in (read, bootstrap, apply, follow)}

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(JOBS[order.pop("job")](**order)))
