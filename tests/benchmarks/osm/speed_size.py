"""Room that the store takes, and what a country and the planet would take: on paper, from what was measured here."""

from __future__ import annotations

import pytest
from bench import LARGE, SELECTIONS, Bench
from report import Report

pytestmark = pytest.mark.benchmark

TABLES = """
SELECT c.relname, pg_table_size(c.oid), pg_indexes_size(c.oid), greatest(c.reltuples, 0)::bigint
FROM pg_class c WHERE c.relkind = 'r' AND c.relname = ANY(ARRAY['osm_node', 'osm_way', 'osm_relation', 'osm_feature'])
ORDER BY 2 DESC
"""
INDEXES = """
SELECT t.relname, i.relname, pg_relation_size(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relname = ANY(ARRAY['osm_node', 'osm_way', 'osm_relation', 'osm_feature']) ORDER BY 1, 3 DESC
"""
ALL = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'planet_osm%'"
#: Rows in millions, in round numbers as they were published in 2025: nodes, ways, and buildings with what else the
#: building detector asks for. Sources: OSM's own statistics page and taginfo for the planet; France's extract.
PLACES = {"France": (750, 110, 75), "the planet": (10_000, 1_120, 720)}
MB = 1e6


def test_size_of_the_store(bench: Bench, report: Report) -> None:
    path, ways = bench.copies(0, LARGE), LARGE * len(bench.world.ways) / 1e6
    rows, sizes = [], {}
    for selection in SELECTIONS:
        store = bench.store(path, selection)
        bench.ask(store, "ANALYZE")
        tables = bench.ask(store, TABLES)
        indexes = bench.ask(store, INDEXES)
        for table, size, of_indexes, count in tables:
            named = ", ".join(f"{name.removeprefix(table + '_')} {bytes_ / MB / ways:,.0f}"
                              for owner, name, bytes_ in indexes if owner == table)
            rows.append([f"{selection}: {table}", count, size / MB / ways, of_indexes / MB / ways, named])
        whole = sum(size + of_indexes for _, size, of_indexes, _ in tables)
        rows.append([f"{selection}: all", "", whole / MB / ways, "with indexes", ""])
        sizes[selection] = {table: (size + of_indexes) / max(count, 1) for table, size, of_indexes, count in tables}
    for peer in bench.peers:
        ((whole,),) = bench.ask(bench.peer_store(peer, path), ALL)
        rows.append([f"{peer.name}: all", "", float(whole) / MB / ways, "with indexes", ""])
    report.table(
        "size", f"MB for each million ways, in a store of {ways:.2f} million",
        ["table", "rows", "table MB", "indexes MB", "each index MB"], rows,
    )
    _show_paper(bench, report, sizes["building"])


def _show_paper(bench: Bench, report: Report, each: dict[str, float]) -> None:
    """`each`: bytes of a row, indexes included, of the store for the building detector."""
    load = bench.store(bench.copies(0, LARGE), "building").load
    objects = LARGE * sum(len(t) for t in (bench.world.nodes, bench.world.ways, bench.world.relations))
    rows = []
    for place, (nodes, ways, features) in PLACES.items():
        parts = [nodes * each["osm_node"], ways * each["osm_way"], features * each["osm_feature"]]
        hours = (nodes + ways) * 1e6 / (objects / load["seconds"]) / 3600
        rows.append([place, nodes, ways, features, *(part / 1000 for part in parts), sum(parts) / 1000, hours])
    report.table(
        "paper", "On paper: a country and the planet, GB with indexes",
        ["place", "million nodes", "million ways", "million features", "nodes GB", "ways GB", "features GB", "all GB",
         "bootstrap, hours"], rows,
    )
