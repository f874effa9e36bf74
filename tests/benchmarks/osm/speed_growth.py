"""What a change file costs as the store grows: the same edits, spread over 1, 10 and 30 times as much."""

from __future__ import annotations

from statistics import median

import pytest
from bench import LARGE, MIDDLE, SIZES, SMALL, Bench
from peer import ZOOM
from plot import growth_plot
from report import Report, verdict

pytestmark = pytest.mark.benchmark

#: A file may cost so many times what it costs at the smallest store.
BAR = 1.5
#: Files measured of each kind, from the end of the series.
COUNTS = {"tiny": 30, "small": 15, "planet": 3}


def test_cost_as_the_store_grows(bench: Bench, report: Report) -> None:
    ways = {copies: copies * len(bench.world.ways) for copies in (SMALL, MIDDLE, LARGE)}
    seconds: dict[str, dict[int, list[float]]] = {kind: {} for kind in COUNTS}
    for copies in ways:
        store = bench.store(bench.copies(0, copies), "building")
        bench.cluster.settle(store.dsn)
        planet = bench.files(copies, "planet")[:-COUNTS["planet"]]
        bench.apply(store, planet[store.after:], "building", ZOOM)  # the largest has seen some; then all saw the same
        for kind, count in COUNTS.items():
            found = bench.apply(store, bench.files(copies, kind)[-count:], "building", ZOOM)
            seconds[kind][copies] = found["seconds"]
    rows = []
    for kind, found in seconds.items():
        first = median(found[SMALL])
        for copies, times in found.items():
            grown = median(times) / first
            rows.append([
                f"{sum(SIZES[kind].values()):,} objects", f"{ways[copies]:,}", 1e3 * median(times),
                f"{1e3 * min(times):.3g} - {1e3 * max(times):.3g}", grown, f"<= {BAR}", verdict(grown, BAR),
            ])
    report.table(
        "growth", "Cost of a change file by the size of the store (median; all of Pipeline.apply)",
        ["change file of", "ways in the store", "ms", "from - to", "of the smallest", "bar", "verdict"], rows,
    )
    lines = {
        f"{sum(SIZES[kind].values()):,} objects": [
            (ways[copies] / 1e3, median(times) / median(found[SMALL])) for copies, times in found.items()
        ]
        for kind, found in seconds.items()
    }
    report.plot("osm-growth", growth_plot(
        lines, BAR, title="Cost of a change file as the store grows",
        x_label="ways in the store, thousands (logarithmic)", y_label="time, relative to the smallest store",
    ))
