"""Peak resident memory of every job that the other benchmarks ran, each in a process of its own."""

from __future__ import annotations

import pytest
from bench import Bench
from report import Report, verdict

pytestmark = pytest.mark.benchmark

#: MB, without a model.
BAR = 600


def test_peak_memory(bench: Bench, report: Report) -> None:
    rows = [[what, peak, private, f"<= {BAR}", verdict(peak, BAR)] for what, peak, private in bench.peaks]
    assert rows, "run it after the others"
    report.table("memory", "Peak resident memory of mapgap and its child processes",
                 ["job", "MB", "without file pages", "bar", "verdict"], rows)
