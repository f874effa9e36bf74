"""The demo's scenario: deterministic, readable by any OSM tool, and true to its own truth after every minute."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import osmium
import pytest
from shapely.geometry import LineString, Polygon, box, shape

from daemon.demo.scenario import write_scenario
from daemon.errors import MapgapError
from daemon.tiling.grid import Block

MINUTES = 40
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory) -> Path:
    return write_scenario(tmp_path_factory.mktemp("demo") / "town", 5, MINUTES, columns=3, rows=2)


@pytest.fixture(scope="module")
def truth(scenario) -> dict:
    return json.loads((scenario / "truth.json").read_text())


class Reader:
    """The map as a reader sees it who knows nothing of how it was made: PBF first, then change files one by one."""

    def __init__(self, scenario: Path):
        self.scenario = scenario
        self.nodes: dict[int, tuple[float, float]] = {}
        self.versions: dict[tuple[str, int], int] = {}
        self.ways: dict[int, tuple[list[int], dict[str, str]]] = {}
        for element in osmium.FileProcessor(str(scenario / "base.osm.pbf")):
            if element.is_node():
                self.nodes[element.id] = (element.location.lon, element.location.lat)
            else:
                self.ways[element.id] = ([n.ref for n in element.nodes], dict(element.tags))
            self.versions[("node" if element.is_node() else "way", element.id)] = element.version
        self.deleted: set[tuple[str, int]] = set()

    def apply(self, sequence: int) -> None:
        path = self.scenario / f"replication/minute/000/000/{sequence:03d}.osc.gz"
        for heading in ElementTree.fromstring(gzip.decompress(path.read_bytes())):
            for element in heading:
                self._edit(heading.tag, element)

    def _edit(self, action: str, element: ElementTree.Element) -> None:
        key = (element.tag, int(element.get("id")))
        version = int(element.get("version"))
        assert version == self.versions.get(key, 0) + 1, f"{key} jumps to version {version}"
        assert (action == "create") == (version == 1)
        self.versions[key] = version
        (self.deleted.add if action == "delete" else self.deleted.discard)(key)
        kept = self.nodes if element.tag == "node" else self.ways
        if action == "delete":
            del kept[key[1]]
        elif element.tag == "node":
            self.nodes[key[1]] = (float(element.get("lon")), float(element.get("lat")))
        else:
            tags = {t.get("k"): t.get("v") for t in element.iter("tag")}
            self.ways[key[1]] = ([int(n.get("ref")) for n in element.iter("nd")], tags)

    def buildings(self) -> dict[int, Polygon]:
        return {
            way: Polygon([self.nodes[ref] for ref in refs])
            for way, (refs, tags) in self.ways.items() if "building" in tags
        }


def wrong(buildings: dict[int, Polygon], truth: dict) -> dict[str, set[int]]:
    """What a stranger with a ruler finds wrong: buildings that nothing stands for, or stands off, and ghost ways."""
    west, south, east, north = truth["areas"]["rendered"]["bbox"]
    metre = 1 / 111_320
    pairs = sorted(
        (shape(b["true_geometry"]).centroid.distance(drawn.centroid), b["id"], way)
        for b in truth["buildings"] for way, drawn in buildings.items()
        if shape(b["true_geometry"]).centroid.distance(drawn.centroid) < 8 * metre
        and 0.7 < shape(b["true_geometry"]).area / drawn.area < 1.4
    )
    stands: dict[int, tuple[int, float]] = {}
    used: set[int] = set()
    for distance, building, way in pairs:
        if building not in stands and way not in used:
            stands[building] = (way, distance)
            used.add(way)
    counted = [b["id"] for b in truth["buildings"] if b["in_area"]]
    inside = {way for way, drawn in buildings.items() if drawn.within(box(west, south, east, north))}
    return {
        "missing": {b for b in counted if b not in stands},
        "shifted": {b for b in counted if b in stands and stands[b][1] > 1.5 * metre},
        "ghost": {way for way in inside if way not in used},
    }


def test_the_same_seed_writes_the_same_bytes_in_any_process(tmp_path):
    write_scenario(tmp_path / "here", 7, 12, columns=1, rows=1)
    script = (
        "import sys, pathlib, daemon.demo.scenario as demo\n"
        "demo.write_scenario(pathlib.Path(sys.argv[1]), 7, 12, columns=1, rows=1)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there")], check=True, cwd=ROOT, env=environment)

    def digests(directory: Path) -> dict[str, str]:
        files = sorted(p for p in directory.rglob("*") if p.is_file())
        return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    assert digests(tmp_path / "here") == digests(tmp_path / "there")
    assert len(digests(tmp_path / "here")) == 1 + 1 + 1 + 12 * 2 + 2


def test_a_directory_in_use_is_left_alone(scenario):
    with pytest.raises(MapgapError, match="not empty"):
        write_scenario(scenario, 5, 1)


def test_the_map_read_by_a_stranger_is_wrong_where_the_truth_says_so(scenario, truth):
    reader = Reader(scenario)
    found = wrong(reader.buildings(), truth)
    initial = {kind: set(ids) for kind, ids in truth["initial_open"].items()}
    assert found["missing"] ^ initial["missing"] == set()
    assert found["shifted"] ^ initial["shifted"] == set()
    assert found["ghost"] ^ initial["ghost"] == set()
    for entry in truth["sequences"]:
        reader.apply(entry["sequence"])
    found = wrong(reader.buildings(), truth)
    final = {kind: set(ids) for kind, ids in truth["sequences"][-1]["open_ids_after"].items()}
    for kind in final:
        assert found[kind] ^ final[kind] == set(), kind


def test_ways_never_refer_to_nodes_that_are_not_there(scenario, truth):
    reader = Reader(scenario)
    for entry in truth["sequences"]:
        reader.apply(entry["sequence"])
        for way, (refs, _) in reader.ways.items():
            assert set(refs) <= reader.nodes.keys(), f"way {way} after minute {entry['sequence']}"


def test_touched_tiles_are_those_of_the_buildings_that_changed(scenario, truth):
    reader = Reader(scenario)
    before = reader.buildings()
    for entry in truth["sequences"]:
        reader.apply(entry["sequence"])
        after = reader.buildings()
        edited = [way for way in before.keys() | after.keys() if before.get(way) != after.get(way)]
        changed = [state[way] for way in edited for state in (before, after) if way in state]
        touched = {tuple(t) for t in entry["tiles_touched"]["19"]}
        for polygon in changed:
            corners = {t for t in touched if box(*Block(19, *t, 1).lonlat()).intersects(polygon)}
            assert corners, f"minute {entry['sequence']}: a changed building lies on no touched tile"
            rest = polygon
            for tile in corners:
                rest = rest.difference(box(*Block(19, *tile, 1).lonlat()))
            assert rest.area < 1e-15
        before = after


def test_books_balance_every_minute(truth):
    open_before = truth["initial_open"]
    for entry in truth["sequences"]:
        for kind, ids in open_before.items():
            expected = (set(ids) | set(entry["opened"][kind])) - set(entry["closed"][kind])
            assert expected == set(entry["open_ids_after"][kind])
            assert entry["open_after"][kind] == len(expected)
        open_before = entry["open_ids_after"]


def test_the_hour_holds_every_kind_of_edit(truth):
    ops = {op["op"] for entry in truth["sequences"] for op in entry["ops"]}
    assert {
        "none", "add_missing", "move_back", "move_away", "delete_real", "delete_ghost", "add_ghost", "tag_only",
        "delete_for_redraw", "redraw", "add_ghost_then_deleted", "restore_ghost", "edit_outside_imagery", "road_tag",
    } <= ops
    assert sum(entry["plan"] == "empty" for entry in truth["sequences"]) >= 2


def test_a_building_moved_by_its_nodes_is_not_itself_in_the_change_file(scenario, truth):
    moves = [(e["sequence"], op["way"]) for e in truth["sequences"] if e["plan"] == "move_away" for op in e["ops"]]
    assert moves
    for sequence, way in moves:
        text = gzip.decompress((scenario / f"replication/minute/000/000/{sequence:03d}.osc.gz").read_bytes()).decode()
        assert f'<way id="{way}"' not in text
        assert "<node" in text


def test_state_files_are_those_of_a_planet_server(scenario):
    directory = scenario / "replication/minute"
    first = datetime(2024, 6, 1)
    for sequence in range(MINUTES + 1):
        text = (directory / f"000/000/{sequence:03d}.state.txt").read_text()
        comment, number, timestamp = text.splitlines()
        assert re.fullmatch(r"#\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}", comment)
        assert number == f"sequenceNumber={sequence}"
        assert timestamp == "timestamp=" + f"{first + timedelta(minutes=sequence):%Y-%m-%dT%H\\:%M\\:%SZ}"
    assert (directory / "state.txt").read_text() == text


def test_osmium_reads_the_change_files_too(scenario, truth):
    for entry in truth["sequences"]:
        path = scenario / f"replication/minute/000/000/{entry['sequence']:03d}.osc.gz"
        count = sum(1 for _ in osmium.FileProcessor(str(path)))
        assert (count == 0) == (entry["ops"] == [{"op": "none"}])


def test_the_extract_has_streets_a_demolished_house_and_says_where_replication_goes_on(scenario):
    reader = Reader(scenario)
    tags = [tags for _, tags in reader.ways.values()]
    assert any("highway" in t for t in tags)
    assert sum("demolished:building" in t for t in tags) == 1
    assert all(len(LineString([reader.nodes[r] for r in refs]).coords) > 1 for refs, _ in reader.ways.values())
    header = osmium.io.Reader(str(scenario / "base.osm.pbf")).header()
    assert header.get("osmosis_replication_sequence_number") == "0"
    assert header.box().valid()


def test_every_tile_of_the_area_is_a_jpeg_of_256_pixels(scenario, truth):
    tiles = truth["areas"]["rendered"]["z19_tiles"]
    assert len(tiles) == 6
    for x, y in tiles:
        assert cv2.imread(str(scenario / f"imagery/19/{x}/{y}.jpg")).shape == (256, 256, 3)
    assert sum(1 for _ in (scenario / "imagery").rglob("*.jpg")) == 6


def test_the_truth_says_that_nothing_in_it_is_real(truth):
    assert truth["rendered"] is True
    assert "not imagery of a real place" in truth["imagery"]["attribution"]
    assert not any(b["id_is_real"] for b in truth["buildings"])
