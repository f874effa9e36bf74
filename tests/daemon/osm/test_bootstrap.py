"""Bootstrap: all or nothing, from sound files only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import osmium
import pytest
import shapely
from osm_world import EPOCH, node, rows_of, way, write_extract

from daemon.db import Database
from daemon.errors import AreaEmpty, OsmDataError, PbfInvalid
from daemon.osm import AreaOfInterest, OsmStore

VILLAGE = [
    node(1, 8.0, 47.0), node(2, 8.001, 47.0), node(3, 8.001, 47.001), node(4, 9.5, 47.0),
    way(1, [1, 2, 3, 1], tags={"building": "yes"}), way(2, [3, 4], changed=EPOCH + 99), way(3, [4, 77]),
]


def store(area: AreaOfInterest | None = None) -> OsmStore:
    return OsmStore(area, lambda tags: any(key in tags for key in ("building", "highway", "landuse", "natural")))


def place(db: Database) -> tuple:
    with db.transaction() as cursor:
        cursor.execute("SELECT sequence, timestamp, area FROM replication_state")
        return cursor.fetchone()


def test_the_header_says_where_the_data_stands(database: Database, tmp_path: Path) -> None:
    header = {
        "osmosis_replication_sequence_number": "4711", "osmosis_replication_timestamp": "2022-07-24T20:21:51Z",
        "osmosis_replication_base_url": "http://example.org/minute/",
    }
    path = write_extract(tmp_path / "a.osm.pbf", VILLAGE, header)
    report = store().bootstrap(database, path, replication_url="https://example.org/minute")
    when = datetime(2022, 7, 24, 20, 21, 51, tzinfo=UTC)
    assert (report.sequence, report.timestamp) == (4711, when)
    assert place(database) == (4711, when, {"world": True})
    report = store().bootstrap(database, path, force=True, replication_url="https://example.org/day")
    assert place(database) == (None, when, {"world": True}) and report.sequence is None


def test_without_a_header_the_newest_edit_tells_the_time(database: Database, tmp_path: Path) -> None:
    report = store().bootstrap(database, write_extract(tmp_path / "a.osm.pbf", VILLAGE))
    assert report.timestamp == datetime.fromtimestamp(EPOCH + 99, UTC)
    assert (report.nodes, report.ways, report.relations, report.features) == (4, 3, 0, 1)


def test_an_area_keeps_the_nodes_of_its_ways_but_no_ways_beyond(database: Database, tmp_path: Path) -> None:
    area = AreaOfInterest.from_bbox((7.9, 46.9, 8.1, 47.1), 100.0)
    report = store(area).bootstrap(database, write_extract(tmp_path / "a.osm.pbf", VILLAGE))
    assert (report.nodes, report.ways, report.features) == (4, 2, 1)
    assert place(database)[2] == area.describe()


def test_a_store_is_not_overwritten_unasked(database: Database, tmp_path: Path) -> None:
    path = write_extract(tmp_path / "a.osm.pbf", VILLAGE)
    store().bootstrap(database, path)
    before = rows_of(database)
    with pytest.raises(OsmDataError, match="bootstrapped already"):
        store().bootstrap(database, write_extract(tmp_path / "b.osm.pbf", VILLAGE[:3]))
    assert rows_of(database) == before
    assert store().bootstrap(database, path, force=True).ways == 3


def test_progress_ends_at_the_whole(database: Database, tmp_path: Path) -> None:
    path = write_extract(tmp_path / "a.osm.pbf", VILLAGE)
    seen: list[tuple[int, int]] = []
    store().bootstrap(database, path, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size) and seen == sorted(seen)


@pytest.mark.parametrize("area", [(20, 20, 21, 21), (8.002, 46.9, 8.1, 47.1)])
def test_a_file_with_nothing_in_the_area_is_refused(database: Database, tmp_path: Path, area: tuple) -> None:
    with pytest.raises(AreaEmpty, match="nothing inside the area"):
        store(AreaOfInterest.from_bbox(area, 500.0)).bootstrap(database, write_extract(tmp_path / "a.osm.pbf", VILLAGE))
    assert place(database) is None


def test_an_empty_file_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(AreaEmpty, match="no node"):
        store().bootstrap(database, write_extract(tmp_path / "a.osm.pbf", []))


def broken_files(folder: Path) -> dict[str, tuple[str, bytes]]:
    sound = write_extract(folder / "sound.osm.pbf", [node(i, i / 1e4, 1, tags={"n": str(i)}) for i in range(1, 9000)])
    content = sound.read_bytes()
    opl = "n1 v1 x1 y1\n"
    return {
        "truncated": ("a.osm.pbf", content[: len(content) * 2 // 3]),
        "not a PBF": ("a.osm.pbf", b"<html>not found</html>"),
        "nothing": ("a.osm.pbf", b""),
        "no OSM format": ("a.jpg", content),
        "unsorted": ("a.opl", b"n2 v1 x1 y1\nn1 v1 x1 y1\n"),
        "types mixed": ("a.opl", b"w1 v1 Nn1\nn1 v1 x1 y1\n"),
        "two versions": ("a.opl", (opl + opl.replace("v1", "v2")).encode()),
        "history": ("a.osh.opl", opl.encode()),
    }


@pytest.mark.parametrize("fault", ["truncated", "not a PBF", "nothing", "no OSM format", "unsorted", "types mixed",
                                   "two versions", "history"])
def test_a_broken_file_is_refused_and_the_old_store_stays(database: Database, tmp_path: Path, fault: str) -> None:
    store().bootstrap(database, write_extract(tmp_path / "good.osm.pbf", VILLAGE))
    before = rows_of(database)
    name, content = broken_files(tmp_path)[fault]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PbfInvalid, match=name):
        store().bootstrap(database, tmp_path / name, force=True)
    assert rows_of(database) == before


def test_a_missing_file_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(PbfInvalid, match="no such file"):
        store().bootstrap(database, tmp_path / "nowhere.osm.pbf")


def test_impossible_ids_and_places_are_left_out_and_counted(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "a.opl"
    path.write_text("n-5 v1 x1 y1\nn1 v1 x1 y1\nn2 v1 x200 y1\nn3 v1\nw-1 v1 Nn1\nw1 v1 Nn1,n-5\n")
    report = store().bootstrap(database, path)
    assert (report.nodes, report.ways, report.invalid) == (1, 1, 4)


def test_a_file_with_locations_on_ways_and_without_their_nodes_is_refused(database: Database, tmp_path: Path) -> None:
    source = write_extract(tmp_path / "a.osm.pbf", VILLAGE[:6])
    target = tmp_path / "low.osm.pbf"
    writer = osmium.SimpleWriter(osmium.io.File(str(target), "pbf,locations_on_ways=true"))
    for element in osmium.FileProcessor(str(source)).with_locations():
        if not element.is_node() or element.id == 1:
            writer.add(element)
    writer.close()
    with pytest.raises(PbfInvalid, match="locations on ways"):
        store().bootstrap(database, target)


@pytest.mark.parametrize("extract", ["monaco-2015-04-27", "helsinki_centre-2019-04-21", "gibraltar-2017-09-03"])
def test_areas_of_real_extracts_are_those_of_osmium(database: Database, data: Path, extract: str) -> None:
    path = data / "osm" / "extracts" / f"{extract}.osm.pbf"
    store().bootstrap(database, path)
    with database.transaction() as cursor:
        ours = {(f.type, f.id): f.geometry for f in store().features_in(cursor, (-180, -90, 180, 90))}
    factory = osmium.geom.WKBFactory()
    theirs = {}
    for area in osmium.FileProcessor(str(path)).with_areas():
        key = ("way" if area.from_way() else "relation", area.orig_id()) if area.is_area() else None
        if key in ours and area.num_rings()[0]:
            theirs[key] = shapely.from_wkb(factory.create_multipolygon(area))
    relations = [key for key in ours if key[0] == "relation"]
    assert relations and set(relations) <= set(theirs)
    keys = [key for key in theirs if ours[key].geom_type != "LineString"]
    assert len(keys) > 500
    mine, osmiums = np.array([ours[key] for key in keys]), np.array([theirs[key] for key in keys])
    assert shapely.equals(mine, osmiums).all()
