"""Server, world and report of the OSM benchmarks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench import Bench
from peer import find_peers
from postgres import Cluster, find_programs
from report import Report

#: A directory that outlives the run: the world's files are made once for many runs. The databases are made anew.
DIRECTORY = "MAPGAP_BENCH_DIR"


@pytest.fixture(scope="session")
def bench(data: Path) -> Iterator[Bench]:
    """The session's world; skips where PostgreSQL with PostGIS, or osm2pgsql, is not installed."""
    programs, peers = find_programs(), find_peers()
    if programs is None:
        pytest.skip("no PostgreSQL server programs; apt-get install postgresql-15 postgresql-15-postgis-3")
    if not peers:
        pytest.skip("no osm2pgsql on the PATH, and MAPGAP_OSM2PGSQL names none; apt-get install osm2pgsql")
    kept = os.environ.get(DIRECTORY)
    directory = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="mapgap-bench-"))
    (directory / "files").mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # the server of root runs as another user
    scratch = Path(tempfile.mkdtemp(prefix="server-", dir=directory))
    scratch.chmod(0o755)
    cluster = Cluster(programs, scratch)
    try:
        yield Bench(directory, cluster, data, peers)
    finally:
        cluster.close()
        shutil.rmtree(scratch if kept else directory)


@pytest.fixture
def report(show: Callable[..., None]) -> Report:
    return Report(show)
