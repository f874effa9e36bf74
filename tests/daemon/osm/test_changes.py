"""Reading change files: the last word on each object, and broken files refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from osm_world import Thing, node, relation, way, write_changes

from daemon.errors import ChangeFileInvalid
from daemon.osm.changes import ChangeFile, read_changes
from daemon.osm.columns import to_relations, to_ways
from daemon.osm.elements import Relation, Way

HEAD = '<?xml version="1.0"?><osmChange version="0.6">'


def read(path: Path) -> ChangeFile:
    return read_changes(path)


def buildings(tags) -> bool:
    return "building" in tags


def ways_of(file: ChangeFile) -> dict[int, Way]:
    return {way.id: way for way in to_ways(file.ways, buildings)}


def relations_of(file: ChangeFile) -> dict[int, Relation]:
    return {relation.id: relation for relation in to_relations(file.relations, buildings)}


def test_the_highest_version_wins_whatever_the_order(tmp_path: Path) -> None:
    first = node(5, 8.0, 47.0)
    last = first.next(location=(8.1, 47.1))
    things = [last.next(), last, first, Thing("n", 4, 3, deleted=True), node(4, 1, 1, version=2), node(3, 2, 2)]
    file = read(write_changes(tmp_path / "a.osc", things))
    assert file.nodes["id"].tolist() == [3, 4, 5]
    assert file.nodes["version"].tolist() == [1, 3, 3]
    assert file.nodes["present"].tolist() == [True, False, True]
    assert file.nodes["lon"][2] == 81_000_000


def test_of_equal_versions_the_later_one_wins(tmp_path: Path) -> None:
    things = [way(1, [1, 2]), Thing("w", 1, 1, deleted=True), Thing("w", 2, 1, deleted=True), way(2, [3, 4])]
    file = read(write_changes(tmp_path / "a.osc.gz", things))
    ways = ways_of(file)
    assert not ways[1].visible
    assert ways[2].visible and list(ways[2].refs) == [3, 4]


def test_only_tags_that_are_asked_for_are_kept(tmp_path: Path) -> None:
    things = [
        way(1, [1, 2], tags={"building": "yes", "name": "Ü <&>"}), way(2, [1, 2], tags={"highway": "path"}),
        relation(3, [("w", 1, "outer")], tags={"type": "multipolygon", "building": "yes"}),
        relation(4, [("w", 1, "")], tags={"type": "route", "building": "yes"}),
        relation(5, [("w", 1, "")], tags={"type": "multipolygon"}),
    ]
    file = read(write_changes(tmp_path / "a.osc", things))
    ways, relations = ways_of(file), relations_of(file)
    assert ways[1].tags == {"building": "yes", "name": "Ü <&>"} and ways[2].tags is None
    assert [relations[id_].visible for id_ in (3, 4, 5)] == [True, False, False]


def test_impossible_ids_and_places_are_put_aside_and_counted(tmp_path: Path) -> None:
    body = (
        '<create><node id="-1" version="1" lat="1" lon="1"/><node id="0" version="1" lat="1" lon="1"/>'
        '<node id="1" version="1" lat="91" lon="0"/><node id="2" version="1" lat="0" lon="180.5"/>'
        '<node id="3" version="1"/><node id="4" version="1" lat="-90" lon="180"/><way id="-2" version="1"/></create>'
    )
    path = tmp_path / "a.osc"
    path.write_text(f"{HEAD}{body}</osmChange>")
    file = read(path)
    assert file.invalid == 6
    assert file.nodes["present"].tolist() == [False, False, False, True]
    assert not len(file.ways)


@pytest.mark.parametrize("name", ["change.osc.gz", "download.part", "x.pbf"])
def test_what_a_file_is_its_content_tells_not_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(write_changes(tmp_path / "a.osc", [node(1, 2, 3)]).read_bytes()))
    assert read(path).nodes["id"].tolist() == [1]


def test_an_empty_change_file_is_sound(tmp_path: Path) -> None:
    file = read(write_changes(tmp_path / "a.osc.gz", []))
    assert len(file.nodes) == len(file.ways) == len(file.relations) == file.invalid == 0


SOUND = HEAD + '<create><node id="1" version="1" lat="1" lon="1"/></create></osmChange>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b",
        gzip.compress(b""),
        gzip.compress(SOUND.encode())[:-6],
        gzip.compress(SOUND.encode())[:40],
        SOUND.encode()[:-5],
        b"<html><body>Not Found</body></html>",
        b"\x89PNG\r\n\x1a\n",
        b'<?xml version="1.0"?><osm version="0.6"><node id="1" version="1" lat="1" lon="1"/></osm>',
        SOUND.replace('lat="1"', 'lat="north"').encode(),
        SOUND.replace('lat="1"', 'lat="nan"').encode(),
        SOUND.replace('version="1" ', 'version="x" ').encode(),
        SOUND.replace('version="1" ', 'version="1" timestamp="yesterday" ').encode(),
        SOUND.replace('version="1" ', 'version="1" user="\xff" ').encode("latin-1"),
        SOUND.replace("/></create>", '><tag k="a" v="&#1;"/></node></create>').encode(),
        SOUND.replace("<node", '<relation id="1"><member type="area" ref="1" role=""/></relation><node').encode(),
        SOUND.replace('id="1"', 'id="99999999999999999999"').encode(),
        SOUND.replace("?>", '?><!DOCTYPE x [<!ENTITY a "b">]>').encode(),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "000.osc.gz"
    path.write_bytes(content)
    with pytest.raises(ChangeFileInvalid, match=r"000\.osc\.gz"):
        read(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ChangeFileInvalid, match=r"nothing\.osc"):
        read(tmp_path / "nothing.osc")
