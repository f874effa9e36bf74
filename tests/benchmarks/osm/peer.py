"""osm2pgsql, the program to be measured against: with its slim tables, its default style, and tile expiry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from memory import Watch
from psycopg2.extensions import parse_dsn

#: Programs to measure, separated by colons; without it, the one on the PATH.
VARIABLE = "MAPGAP_OSM2PGSQL"
#: Zoom of the tiles that it expires.
ZOOM = 18
EMPTY = '<?xml version="1.0"?>\n<osmChange version="0.6" generator="nobody">\n</osmChange>\n'


@dataclass(frozen=True)
class Run:
    """What one run of osm2pgsql took.

    Attributes:
        seconds: of the whole process.
        peak_mb: its peak resident memory.
        relations: seconds that it says it spent on relations which changes touched, to the second.
        tiles: how many it expired.
    """

    seconds: float
    peak_mb: float
    relations: float = 0.0
    tiles: int = 0


@dataclass(frozen=True)
class Osm2pgsql:
    """One installed osm2pgsql."""

    program: str
    version: str

    @property
    def name(self) -> str:
        return f"osm2pgsql {self.version}"

    def load(self, dsn: str, extract: Path) -> Run:
        """Import an extract into a database with PostGIS."""
        return self._run(dsn, "--create", str(extract))

    def append(self, dsn: str, changes: Path) -> Run:
        """Apply a sorted change file, and list the expired tiles."""
        with TemporaryDirectory() as directory:
            tiles = Path(directory) / "tiles.txt"
            run = self._run(dsn, "--append", f"-e{ZOOM}", "-o", str(tiles), str(changes))
            count = tiles.read_text().count("\n") if tiles.exists() else 0
            return replace(run, tiles=count)

    def start_up(self, dsn: str) -> Run:
        """What a change file without any object costs: to start, to connect, to look around."""
        with TemporaryDirectory() as directory:
            nothing = Path(directory) / "nothing.osc"
            nothing.write_text(EMPTY)
            return self.append(dsn, nothing)

    def _run(self, dsn: str, *arguments: str) -> Run:
        place = parse_dsn(dsn)
        command = [
            self.program, "--slim", "-d", place["dbname"], "-H", place["host"], "-U", place["user"], *self._style,
            *arguments,
        ]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            watch = Watch(process.pid)
            said = process.stdout.read()
            process.wait()
        seconds = time.perf_counter() - begun
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {said[-2000:]}")
        pending = re.search(r"pending relations took (\d+)s", said)
        return Run(seconds, watch.peak_mb()[0], float(pending[1]) if pending else 0.0)

    @property
    def _style(self) -> list[str]:
        """The style that came with the program, where it lies beside it."""
        style = Path(self.program).resolve().parents[1] / "share" / "osm2pgsql" / "default.style"
        return ["--style", str(style)] if style.exists() else []


def find_peers() -> list[Osm2pgsql]:
    """Those that the environment names, else the one on the PATH; none where there is none."""
    named = os.environ.get(VARIABLE, "")
    programs = [name for name in named.split(":") if name] or [found for found in [shutil.which("osm2pgsql")] if found]
    peers = []
    for program in programs:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"version (\S+)", said.stdout + said.stderr)
        peers.append(Osm2pgsql(program, version[1] if version else "of unknown version"))
    return peers
