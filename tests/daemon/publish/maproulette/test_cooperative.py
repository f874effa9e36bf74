"""Change files for JOSM: what they hold, byte by byte, and that they follow the map."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest
import requests
import shapely
from claims import house, misplaced, missing, moved
from desk import ALREADY_FIXED, CREATED, FIRST_WAY, Desk
from shapely.geometry import Polygon, box

from daemon.publish.maproulette import cooperative
from daemon.publish.maproulette.waiting import read_discrepancies

SHIFT = (3.0, -2.0)


def osc_of(desk: Desk, key: str) -> bytes:
    url = f"{desk.fake.url}/task/{desk.fake.task(key).id}/cooperative/change/x.osc"
    return requests.get(url, timeout=10).content


def drawn(desk: Desk, key: str) -> bytes:
    with desk.ledger.cursor() as cursor:
        return cooperative.create(read_discrepancies(cursor, [key])[key]).osc


def elements(osc: bytes) -> dict[str, list[ElementTree.Element]]:
    """What a change file holds, by action; parsed as an editor does."""
    root = ElementTree.fromstring(osc)
    assert (root.tag, root.get("version")) == ("osmChange", "0.6")
    return {action.tag: list(action) for action in root}


def test_a_sure_missing_building_comes_drawn_and_its_file_is_ours_byte_by_byte(desks) -> None:
    desk = desks(change_files=0.9)
    sure, unsure = desk.show(
        missing(desk.outline(0), 0.95, imagery='aerial <"&>', acquired="2026-06-14"), missing(desk.outline(1), 0.85)
    )
    desk.cycle()
    osc = osc_of(desk, sure)
    assert osc == drawn(desk, sure)
    found = elements(osc)
    assert set(found) == {"create"}
    *nodes, way = found["create"]
    assert {int(one.get("id")) for one in found["create"]} == {-1, -2, -3, -4, -5}
    refs = [int(nd.get("ref")) for nd in way.iter("nd")]
    assert refs[0] == refs[-1] and len(refs) == 5
    places = {int(n.get("id")): (float(n.get("lon")), float(n.get("lat"))) for n in nodes}
    assert shapely.equals_exact(
        Polygon([places[ref] for ref in refs]).normalize(), desk.outline(0).normalize(), tolerance=1e-7
    )
    tags = {tag.get("k"): tag.get("v") for tag in way.iter("tag")}
    assert tags == {"building": "yes", "source": 'aerial <"&>', "source:date": "2026-06-14"}
    assert desk.fake.task(unsure).cooperative_work is None
    types = {c.id: c.cooperative_type for c in desk.fake.world.challenges.values()}
    assert (types[desk.fake.task(sure).parent], types[desk.fake.task(unsure).parent]) == (2, 0)


def test_the_file_survives_being_closed_opened_and_brought_up_to_date(desks) -> None:
    desk = desks(change_files=0.7, bulk=2)
    first, second = desk.houses(2)  # by an upload, whose line holds it beside the features
    desk.cycle()
    before = osc_of(desk, first)
    drawing = desk.drawing(desk.outline(0))
    desk.apply(*drawing)
    desk.ledger.look(missing(moved(desk.outline(1), 1.5, 0)), now=desk.now, sequence=desk.sequence)
    desk.cycle()
    assert desk.statuses() == {first: ALREADY_FIXED, second: CREATED}
    assert osc_of(desk, first) == before
    assert osc_of(desk, second) == drawn(desk, second) != before


@pytest.mark.parametrize(
    "outline",
    [
        house(20, 20).difference(house(20, 20, 4, 4)),
        shapely.MultiPolygon([house(20, 20), house(40, 20)]),
    ],
)
def test_what_one_closed_way_cannot_say_comes_without_a_file(desks, outline) -> None:
    desk = desks(change_files=0.5)
    (key,) = desk.show(missing(outline))
    desk.cycle()
    assert desk.fake.task(key).cooperative_work is None


def test_a_misplaced_building_shows_the_mapped_outline_and_is_moved_only_where_that_is_wished(desks) -> None:
    for move_nodes in (False, True):
        desk = desks(move_nodes=move_nodes)
        desk.ledger.clear()
        desk.apply(*desk.drawing(house(30, 30)))
        (key,) = desk.show(misplaced(moved(house(30, 30), *SHIFT), f"way/{FIRST_WAY}", SHIFT))
        desk.cycle()
        task = desk.fake.task(key)
        claimed, mapped = task.geojson["features"]
        assert claimed["id"] == key and claimed["properties"]["@id"] == f"way/{FIRST_WAY}"
        there = Polygon(mapped["geometry"]["coordinates"])
        assert shapely.equals_exact(there.normalize(), house(30, 30).normalize(), tolerance=1e-7)
        assert (task.cooperative_work is not None) == move_nodes
        with desk.fake.world.lock:
            desk.fake.world.tasks.clear()
            desk.fake.world.challenges.clear()


def test_moved_nodes_have_current_versions_and_follow_when_the_map_moves_on(desks) -> None:
    desk = desks(move_nodes=True)
    drawing = desk.drawing(house(30, 30))
    desk.apply(*drawing)
    (key,) = desk.show(misplaced(moved(house(30, 30), *SHIFT), f"way/{FIRST_WAY}", SHIFT))
    desk.cycle()
    found = elements(osc_of(desk, key))
    assert set(found) == {"modify"}, "nothing is created, nothing deleted"
    assert {one.tag for one in found["modify"]} == {"node"}
    versions = {int(n.get("id")): n.get("version") for n in found["modify"]}
    assert versions == {FIRST_WAY + i: "1" for i in range(1, 5)}
    there = box(*shapely.MultiPoint([(float(n.get("lon")), float(n.get("lat"))) for n in found["modify"]]).bounds)
    assert shapely.equals_exact(there.normalize(), moved(house(30, 30), *SHIFT).normalize(), tolerance=2e-7)

    before = osc_of(desk, key)
    with desk.unchanged():
        desk.apply(*desk.drawing(house(100, 100), 7))  # somebody else's house
        desk.cycle()
    desk.apply(drawing[0].next(changed=drawing[0].changed + 60))
    desk.cycle()
    after = osc_of(desk, key)
    assert after != before and desk.fake.task(key).status == CREATED
    versions = {int(n.get("id")): n.get("version") for n in elements(after)["modify"]}
    assert versions == {FIRST_WAY + 1: "2", FIRST_WAY + 2: "1", FIRST_WAY + 3: "1", FIRST_WAY + 4: "1"}
    with desk.unchanged():
        desk.cycle()


def test_a_wall_that_two_buildings_share_is_moved_by_nobody(desks) -> None:
    desk = desks(move_nodes=True)
    first = desk.drawing(house(30, 30))
    neighbour = desk.drawing(house(40, 30), 1)
    shared = neighbour[-1].next(version=1, refs=(FIRST_WAY + 1, *neighbour[-1].refs[1:-1], FIRST_WAY + 1))
    desk.apply(*first, *neighbour[:-1], shared)
    (key,) = desk.show(misplaced(moved(house(30, 30), *SHIFT), f"way/{FIRST_WAY}", SHIFT))
    desk.cycle()
    assert desk.fake.task(key).cooperative_work is None


def test_a_bad_outline_is_for_a_mapper_to_draw(desks) -> None:
    desk = desks(move_nodes=True)
    desk.apply(*desk.drawing(house(30, 30)))
    (key,) = desk.show(misplaced(house(32, 30, 30, 30), f"way/{FIRST_WAY}", (2.0, 0.0), iou=0.3))
    desk.cycle()
    assert desk.fake.task(key).cooperative_work is None


def test_the_same_claim_gives_the_same_bytes(desk: Desk) -> None:
    (key,) = desk.houses(1)
    assert drawn(desk, key) == drawn(desk, key)
    work = cooperative.ChangeFile(drawn(desk, key)).work
    assert base64.b64decode(work["file"]["content"], validate=True) == drawn(desk, key)
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", work["file"]["content"])
