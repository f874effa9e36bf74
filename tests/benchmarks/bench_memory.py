"""Peak resident memory of whole replays, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.demo.scenario import write_scenario

pytestmark = pytest.mark.benchmark

REPOSITORY = Path(__file__).resolve().parents[2]


def test_memory_of_replays(data: Path, tmp_path: Path, show) -> None:
    """The database server is a process apart and not counted."""
    rendered = write_scenario(tmp_path / "rendered", 7, 12, columns=4, rows=4)
    rows = []
    for name, directory in (("replay_buildings", data / "replay_buildings"), ("rendered 4 x 4 tiles", rendered)):
        if not directory.is_dir():
            continue
        done = subprocess.run(
            [sys.executable, "-m", "daemon", "replay", str(directory), "--json"], capture_output=True, text=True,
            check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        report = json.loads(done.stdout)
        rows.append([
            name, sum(m["blocks"] for m in report["minutes"]), len(report["minutes"]) - 1, report["seconds"],
            report["seconds_per_change_file"], report["seconds_per_block"], report["peak_memory_mb"],
        ])
    show("whole replays", ("replay", "blocks", "files", "s", "s / file", "s / block", "peak MB"), rows)
