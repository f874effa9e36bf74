"""A whole installation of mapgap: a made-up town with its imagery, its map, and a replication server's files.

    config.toml, base.osm.pbf, imagery/19/{x}/{y}.jpg, replication/minute/..., feed/, mapgap-data/

The database is the test's own. What the network says of a picture is kept between the tests, as between real runs.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from osm_world import rows_of

from daemon.__main__ import main
from daemon.config import Config, load, parse, render
from daemon.db import Database
from daemon.demo.osm_files import sequence_path
from daemon.pipeline import Pipeline

REPOSITORY = Path(__file__).resolve().parent.parent
#: Change files that the town's server has.
MINUTES = 4
#: Sections with which changed tiles rest for so long that a cycle does not look at them: the queue stays to be seen.
RESTING: Mapping[str, Any] = {"tiling": {"debounce": 86_400.0, "debounce_most": 86_400.0}}
#: Seconds after which a test gives up waiting for something.
PATIENCE = 60.0


class Installation:
    """Files and configuration of one installation, and the commands a user gives it."""

    def __init__(self, directory: Path, database: Database):
        self.directory = directory
        self.database = database
        self.config_path = directory / "config.toml"
        self.replication = directory / "replication" / "minute"
        self.imagery = directory / "imagery"
        self.feed = directory / "feed"
        self.base = directory / "base.osm.pbf"
        self.configure()

    def configure(self, **sections: Mapping[str, Any]) -> Config:
        """Write config.toml: what this installation has, and what the sections given say otherwise."""
        values: dict[str, Any] = {
            "area": {"name": "town"},
            "database": {"dsn": self.database.dsn},
            "replication": {"url": self.replication.as_uri(), "retries": 0, "timeout": 5.0, "fresh_within": 1e10},
            "tiling": {"block": 2},
            "client": {"contact": "tests@example.org", "rate": 1e6, "retries": 0, "timeout": 5.0},
            "web": {"port": 0},
            "publish": {"dir": "feed", "min_confidence": 0.0},
            "imagery": [self.source()],
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, Mapping) else section
        self.config_path.write_text(render(parse(values, "installation", self.directory)))
        return load(self.config_path)

    def source(self, **others: Any) -> dict[str, Any]:
        """The town's imagery as a table [[imagery]]."""
        return {
            "name": "rendered", "kind": "xyz", "url": "imagery", "licence": "MIT", "attribution": "mapgap",
            "osm_permission": "made up", "acquired": "2024-06-02", **others,
        }

    @property
    def config(self) -> Config:
        return load(self.config_path)

    def mapgap(self, *words: object) -> Result:
        """Give a command, in this process; its exit code and what it said."""
        return CliRunner().invoke(main, [*map(str, words), "--config", str(self.config_path)], prog_name="mapgap")

    def popen(self, *words: object, **options: Any) -> subprocess.Popen[str]:
        """Give a command, in a process of its own."""
        command = [sys.executable, "-m", "daemon", *map(str, words), "--config", str(self.config_path)]
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
        return subprocess.Popen(command, **(piped | options))

    def pipeline(self) -> AbstractContextManager[Pipeline]:
        return Pipeline(self.config, self.database)

    def bootstrap(self) -> None:
        answer = self.mapgap("bootstrap", self.base)
        assert answer.exit_code == 0, answer.stderr

    def change_file(self, sequence: int) -> Path:
        return sequence_path(self.replication, sequence, ".osc.gz")

    def state_file(self, sequence: int | None = None) -> Path:
        """Of one sequence, or the newest."""
        if sequence is None:
            return self.replication / "state.txt"
        return sequence_path(self.replication, sequence, ".state.txt")

    def withhold_after(self, sequence: int) -> Callable[[], None]:
        """Let the server end at a sequence; returns what makes it whole again."""
        newest = self.state_file().read_bytes()
        self.state_file().write_bytes(self.state_file(sequence).read_bytes())
        return lambda: self.state_file().write_bytes(newest) and None

    def position(self) -> int | None:
        """Sequence of the newest change file in the store."""
        with self.database.transaction() as cursor:
            cursor.execute("SELECT sequence FROM replication_state")
            row = cursor.fetchone()
        return row[0] if row else None

    def state(self) -> dict[str, Any]:
        """All that must not be lost: where the store stands, a checksum of all it holds, the queue, the ledger."""
        with self.database.transaction() as cursor:
            cursor.execute("SELECT z, x, y, generation, state::text FROM dirty_tile ORDER BY 1, 2, 3")
            queue = cursor.fetchall()
            cursor.execute("SELECT key, kind, state::text, closed_as::text FROM discrepancy ORDER BY key")
            ledger = cursor.fetchall()
        return {"position": self.position(), "store": self.checksum(), "queue": queue, "ledger": ledger}

    def checksum(self) -> str:
        """Of every row of the OSM store."""
        return hashlib.sha256(json.dumps(rows_of(self.database), sort_keys=True).encode()).hexdigest()


def wait_until(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Ask until the answer is yes, and return it."""
    pause = threading.Event()
    for _ in range(round(patience / 0.05)):
        if answer := what():
            return answer
        pause.wait(0.05)
    raise AssertionError(f"not so within {patience:.0f} s")


