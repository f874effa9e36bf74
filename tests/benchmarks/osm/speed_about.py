"""On what all of this is measured: machine, versions, settings."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest
from bench import Bench
from postgres import SETTINGS
from report import Report

pytestmark = pytest.mark.benchmark


def test_machine_and_settings(bench: Bench, report: Report) -> None:
    processor = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    report.text(
        "machine",
        f"on {len(os.sched_getaffinity(0))} CPUs ({processor}) and {memory:.0f} GiB of memory, with Python "
        f"{platform.python_version()}, pyosmium {version('osmium')}, PostgreSQL {bench.cluster.version} and "
        f"{', '.join(peer.name for peer in bench.peers)}.",
    )
    report.text("settings", "\n".join(["| setting | value |", "| --- | --- |",
                                       *(f"| {name} | {value or '(none)'} |" for name, value in SETTINGS.items())]))
