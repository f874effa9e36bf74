"""Seconds to load an extract, beside osm2pgsql's import of the same file."""

from __future__ import annotations

import pytest
from bench import LARGE, SELECTIONS, Bench
from report import Report, verdict

pytestmark = pytest.mark.benchmark

#: mapgap may not be slower than this, as a share of osm2pgsql's speed.
BAR = 0.5


@pytest.mark.parametrize(("name", "copies"), [("bootstrap-country", 1), ("bootstrap-large", LARGE)])
def test_loading_an_extract(bench: Bench, report: Report, name: str, copies: int) -> None:
    path = bench.copies(0, copies)
    nodes, ways, relations = (copies * len(t) for t in (bench.world.nodes, bench.world.ways, bench.world.relations))
    objects = nodes + ways + relations
    peers = {peer.name: bench.peer_store(peer, path).load for peer in bench.peers}
    ours = {f"mapgap, {selection}": bench.store(path, selection).load for selection in SELECTIONS}
    (reading,) = bench.reading([path], forms=["iterator"])["iterator"]
    rows = []
    for what, load in {**peers, **ours}.items():
        speeds = [peer["seconds"] / load["seconds"] for peer in peers.values()]
        rows.append([
            what, load["seconds"], objects / load["seconds"] / 1000, *speeds, f">= {BAR}" if what in ours else "",
            verdict(min(speeds), BAR, most=False) if what in ours else "", load["peak_mb"],
        ])
    rows.append(["reading alone (pyosmium, an empty loop)", reading, objects / reading / 1000,
                 *(peer["seconds"] / reading for peer in peers.values()), "", "", ""])
    report.table(
        name, f"Loading {nodes:,} nodes, {ways:,} ways, {relations:,} relations",
        ["program", "s", "1000 objects/s", *(f"speed of {peer}" for peer in peers), "bar", "verdict", "peak MB"], rows,
    )
