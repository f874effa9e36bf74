"""Seconds for one change file, beside osm2pgsql appending the same file, and beside merely reading it.

What is measured of mapgap is all of `Pipeline.apply`: store, geometry, dirty tiles, asking the open discrepancies,
commit. Of osm2pgsql it is the whole process, which is how it is run every minute; what its start alone costs stands in
a line of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import pytest
from bench import LARGE, MIDDLE, SELECTIONS, Bench
from minutes import PLANET_MINUTE
from peer import ZOOM
from report import Report, verdict

pytestmark = pytest.mark.benchmark

#: Zoom of the tiles: as osm2pgsql expires them here, and one closer.
ZOOMS = (ZOOM, ZOOM + 1)
#: Files a round; the second round of mapgap, for the other zoom, has as many others.
ROUND = 3
#: mapgap may take so many times osm2pgsql's time: for a large file, for tiny ones.
LARGE_BAR, TINY_BAR = 0.3, 1.0
#: What nearly all lies outside the area may cost so many times reading alone.
OUTSIDE_BAR = 1.3
#: osm2pgsql builds all relations anew that a change touches, routes too, which mapgap has no use for: it is compared
#: with that part left out as well.
WITHOUT = "without touched relations"
#: A real minute lies outside the area whole, so it may come in so many times.
TIMES = 7
#: osm2pgsql appends so many of the daily files; each is a process.
FIRST = 40


@pytest.mark.parametrize(("name", "copies", "kind"), [("apply-large", LARGE, "planet"), ("apply-country", 1, "diff")])
def test_a_change_file(bench: Bench, report: Report, name: str, copies: int, kind: str) -> None:
    path = bench.copies(0, copies)
    files = bench.files(copies, kind)[: ROUND * len(ZOOMS)]
    peers, rows = {}, []
    for peer in bench.peers:
        store = bench.peer_store(peer, path)
        start = [peer.start_up(store.dsn).seconds for _ in range(ROUND)]
        runs = bench.append(peer, store, files[:ROUND])
        seconds, bare = [run.seconds for run in runs], [run.seconds - run.relations for run in runs]
        peers[f"of {peer.name}"], peers[f"of {peer.name} {WITHOUT}"] = median(seconds), median(bare)
        tiles = int(median(run.tiles for run in runs))
        rows += [[f"{peer.name}, z{ZOOM}", seconds, tiles], [f"{peer.name}, {WITHOUT}", bare, ""],
                 [f"{peer.name}, only to start", start, ""]]
    for selection in SELECTIONS:
        store = bench.store(path, selection)
        for zoom, first in zip(ZOOMS, range(0, ROUND * len(ZOOMS), ROUND), strict=True):
            found = bench.apply(store, files[first:first + ROUND], selection, zoom)
            rows.append([f"mapgap, {selection}, z{zoom}", found["seconds"], int(median(found["tiles"]))])
    for form, seconds in bench.reading(files[:ROUND], rounds=3).items():
        rows.append([f"reading alone (pyosmium, {form})", seconds, ""])
    report.table(
        name, f"A change file over {copies * len(bench.world.ways):,} ways, median of {ROUND}",
        ["program", "s", "from - to", *peers, "bar", "verdict", "dirty tiles"],
        [_compared(what, seconds, tiles, peers) for what, seconds, tiles in rows],
    )


def _compared(what: str, seconds: Sequence[float], tiles: object, peers: Mapping[str, float]) -> list[object]:
    middle = median(seconds)
    ratios = [middle / peer for peer in peers.values()]
    whole = max(middle / peer for name, peer in peers.items() if WITHOUT not in name)
    judged = (f"<= {LARGE_BAR}", verdict(whole, LARGE_BAR)) if what.startswith("mapgap") else ("", "")
    return [what, middle, f"{min(seconds):.3g} - {max(seconds):.3g}", *ratios, *judged, tiles]


@pytest.mark.parametrize("place", ["andorra", "monaco"])
def test_the_daily_files_of_a_country(bench: Bench, report: Report, place: str) -> None:
    base, files = bench.country(place)
    peers, ours, rows = {}, {}, []
    for peer in bench.peers:
        store = bench.peer_store(peer, base)
        start = median(peer.start_up(store.dsn).seconds for _ in range(ROUND))
        peers[peer.name] = sum(run.seconds for run in bench.append(peer, store, files[:FIRST]))
        rows.append([peer.name, peers[peer.name], 1e3 * peers[peer.name] / FIRST, "", ""])
        rows.append([f"{peer.name}, without its starts", net := peers[peer.name] - FIRST * start, 1e3 * net / FIRST,
                     "", ""])
    for selection in SELECTIONS:
        seconds = bench.apply(bench.store(base, selection), files, selection, ZOOM)["seconds"]
        ours[f"mapgap, {selection}"] = sum(seconds[:FIRST])
        rows.append([f"mapgap, {selection}", sum(seconds[:FIRST]), 1e3 * sum(seconds[:FIRST]) / FIRST, sum(seconds),
                     1e3 * sum(seconds) / len(files)])
    reading = bench.reading(files, forms=["iterator"], rounds=3)["iterator"]
    rows.append(["reading alone (pyosmium, iterator)", sum(reading[:FIRST]), 1e3 * sum(reading[:FIRST]) / FIRST,
                 sum(reading), 1e3 * sum(reading) / len(files)])
    for row in rows:
        ratios = [row[1] / seconds for seconds in peers.values()]
        row += [*ratios, *((f"<= {TINY_BAR}", verdict(max(ratios), TINY_BAR)) if row[0] in ours else ("", ""))]
    report.table(
        f"apply-{place}", f"{place.capitalize()}: {len(files)} daily files, z{ZOOM}",
        ["program", f"first {FIRST}: s", "ms a file", f"all {len(files)}: s", "ms a file",
         *(f"of {what}" for what in peers), "bar", "verdict"], rows,
    )


def test_a_minute_of_the_planet_outside_the_area(bench: Bench, report: Report) -> None:
    """One copy is looked after. Made up minutes come in, of all copies and of other copies only; and real ones."""
    copy = LARGE // 2
    path, bbox = bench.copies(copy, copy + 1), bench.world.bbox(copy)
    store = bench.store(path, "building", bbox)
    made_up = sum(PLANET_MINUTE.values())
    series = [
        (f"{made_up:,} objects, {1 / LARGE:.1%} inside", bench.files(LARGE, "planet")),
        (f"{made_up:,} objects, none inside", bench.files(MIDDLE, "planet")),
        *((f"real, {sum(bench.sizes_of(file).values()):,} objects", [file] * TIMES) for file in bench.real_minutes),
    ]
    rows = []
    for what, files in series:
        seconds = bench.apply(store, files, "building", ZOOM, bbox)["seconds"]
        reading = bench.reading(files, rounds=3)
        limits = [median(times) for times in reading.values()]
        ratios = [median(seconds) / limit for limit in limits]
        rows.append([what, 1e3 * median(seconds), *(1e3 * limit for limit in limits), *ratios,
                     *((f"<= {OUTSIDE_BAR}", verdict(max(ratios), OUTSIDE_BAR)) if "inside" in what else ("", ""))])
    report.table(
        "apply-outside", "A minute of the planet, nearly all of it outside the area; median",
        ["change file", "mapgap, ms", *(f"{form}, ms" for form in reading), *(f"of the {form}" for form in reading),
         "bar", "verdict"], rows,
    )
