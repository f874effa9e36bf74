"""Tiles a second and memory of each engine and precision: the bare loop, and all the way from files to footprints.

`make bench-eyes` prints the table; MAPGAP_BENCH_BUNDLE names another bundle than the shipped one of buildings. Each row
is a process of its own. The bars: pixels -> probabilities at 0.9 of the bare loop or more; against plain MXNet float32
with as many threads as there are cores, bf16 at 2.8 times or more, and the default of the bundle at 4.5.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detectors.segmentation import Bundle
from detectors.segmentation.engines.base import allowed_precisions
from detectors.segmentation.engines.choice import ENGINES, PRECISIONS
from detectors.segmentation.mxnet_runtime import usable_cpus

pytestmark = pytest.mark.benchmark

COLUMNS = ("engine", "bare", "chip -> probabilities", "of bare", "files -> footprints", "of bare", "classify",
           "of MXNet f32", "peak MB", "of it model")
#: Blocks in one measurement, and measurements; the fastest counts.
BLOCKS, ROUNDS = 3, int(os.environ.get("MAPGAP_BENCH_ROUNDS", "5"))


def test_engines_and_precisions(bundle: Bundle, tiles: Path, show) -> None:
    images = sorted(str(path) for path in tiles.glob("*-19.png"))
    allowed = allowed_precisions(bundle.card)
    results = {}
    for engine in sorted(ENGINES):
        for precision in reversed(PRECISIONS[engine]):
            if precision in allowed:
                results[engine, precision] = race(bundle, engine, precision, images)
    assert ("mxnet", "f32") in results and all(results.values()), "an engine did not answer"
    plain = results["mxnet", "f32"]["bare"]
    rows = [
        [f"{engine} {precision} on {r['device']}", r["bare"], r["segment"], r["segment"] / r["bare"], r["whole"],
         r["whole"] / r["bare"], r["classify"], r["segment"] / plain, round(r["peak_mb"]),
         round(r["peak_mb"] - r["base_mb"])]
        for (engine, precision), r in results.items()
    ]
    title = (f"{bundle.identity}, default {bundle.card.precision}: tiles of 256 px a second, blocks of 1216 px, "
             f"{usable_cpus()} threads")
    show(title, COLUMNS, rows)


def race(bundle: Bundle, engine: str, precision: str, images: list[str]) -> dict:
    job = {"bundle": str(bundle.directory), "engine": engine, "precision": precision, "threads": usable_cpus(),
           "images": images, "rounds": ROUNDS, "blocks": BLOCKS}
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "OMP_NUM_THREADS": str(usable_cpus()), "PYTHONPATH": str(here.parents[2]),
                   "PYTHONWARNINGS": "ignore"}
    run = subprocess.run([sys.executable, str(here / "race.py")], input=json.dumps(job), env=environment,
                         capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)
