"""How imagery lies against the map: kept place by place, smoothed, told and drawn."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from shapely.geometry import Point

from daemon.imagery.offset_picture import draw_offsets
from daemon.imagery.offsets import CELL_ZOOM, MEMORY, estimate, note_offsets, read_offsets, smooth
from daemon.tiling.grid import Block, tile_at
from detectors.base import Claim

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = tile_at(85.525, 27.63, CELL_ZOOM)


def claims(east: float | None, north: float = 0.0) -> list[Claim]:
    """What a detector claimed of a block under a shift."""
    evidence = {} if east is None else {"block_shift_m": [east, north]}
    return [Claim("building", "missing", Point(0, 0), None, 0.5, None, evidence)] * 2


def block_at(column: int = 0, row: int = 0, inner: int = 0) -> Block:
    """A block of 4 x 4 tiles of zoom 19 in a place."""
    return Block(19, (PLACE.x + column) * 2 + inner % 2, (PLACE.y + row) * 2 + inner // 2, 4)


def test_looks_at_one_place_become_its_mean(database):
    with database.transaction() as cursor:
        for i, (east, north) in enumerate([(3.0, -1.0), (5.0, -3.0), (4.0, -2.0)]):
            when = NOW + timedelta(days=i)
            assert note_offsets(cursor, "town", block_at(inner=i), [claims(east, north), []], when) == 1
        (offset,) = read_offsets(cursor)
    assert (offset.source, offset.x, offset.y, offset.looks) == ("town", PLACE.x, PLACE.y, 3)
    assert (offset.east_m, offset.north_m) == pytest.approx((4.0, -2.0))
    assert 0 < offset.spread_m < 3 and offset.length_m == pytest.approx(20**0.5)
    assert (offset.first_look, offset.last_look) == (NOW, NOW + timedelta(days=2))


def test_old_looks_fade(database):
    with database.transaction() as cursor:
        for east in [10.0] * 100 + [2.0] * 100:
            note_offsets(cursor, "town", block_at(), [claims(east)], NOW)
        (offset,) = read_offsets(cursor)
    assert offset.looks == 200 and offset.east_m == pytest.approx(2 + 8 * (1 - 1 / MEMORY) ** 100)


def test_sources_and_places_are_kept_apart(database):
    with database.transaction() as cursor:
        note_offsets(cursor, "a", block_at(), [claims(1.0)], NOW)
        note_offsets(cursor, "b", block_at(), [claims(2.0)], NOW)
        note_offsets(cursor, "a", block_at(3), [claims(3.0)], NOW)
        assert [(o.source, o.x, o.east_m) for o in read_offsets(cursor)] == [
            ("a", PLACE.x, 1.0), ("a", PLACE.x + 3, 3.0), ("b", PLACE.x, 2.0)]
        assert [o.source for o in read_offsets(cursor, "b")] == ["b"]


@pytest.mark.parametrize("made", [[], [claims(None)], [claims(0.0, 0.0)], [claims(float("nan"))]])
def test_what_is_no_observation_is_not_noted(database, made):
    with database.transaction() as cursor:
        assert note_offsets(cursor, "town", block_at(), made, NOW) == 0 and read_offsets(cursor) == []


def test_neighbours_tell_of_a_place_and_far_ones_do_not(database):
    with database.transaction() as cursor:
        for column, east, looks in ((0, 4.0, 20), (1, 1.0, 1), (9, -50.0, 20)):
            for _ in range(looks):
                note_offsets(cursor, "town", block_at(column), [claims(east)], NOW)
        offsets = read_offsets(cursor)
    told = {offset.x - PLACE.x: expected for offset, expected in smooth(offsets)}
    assert 3.5 < told[0].east_m < 4.0, "the one look of a neighbour moves it little"
    assert 2.5 < told[1].east_m < 3.9, "the many looks of a neighbour move it much"
    assert told[9].east_m == pytest.approx(-50.0)
    west, south, east, north = Block(CELL_ZOOM, PLACE.x, PLACE.y, 1).lonlat()
    here = estimate(offsets, (west + east) / 2, (south + north) / 2)
    assert here is not None and here.east_m == pytest.approx(told[0].east_m, abs=0.01)
    assert estimate(offsets, 0.0, 0.0) is None and estimate([], 0.0, 0.0) is None


def test_the_picture_shows_where_to_the_arrows_point(database):
    with database.transaction() as cursor:
        for column in range(5):
            for row in range(4):
                note_offsets(cursor, "town", block_at(column, row), [claims(6.0, 0.0)], NOW)
                note_offsets(cursor, "other", block_at(column, row), [claims(0.0, 2.0 + column)], NOW)
        offsets = read_offsets(cursor)
    picture = draw_offsets([o for o in offsets if o.source == "town"])
    side = 96
    cell = picture[60 : 60 + side, 60 : 60 + side].max(axis=2).astype(int)
    bright = cell > 200
    assert bright[:, side // 2 + 20 :].sum() > bright[:, : side // 2 - 20].sum() > 0, "the head is in the east"
    rows = np.flatnonzero(bright.any(axis=1))
    assert rows.min() > side // 3 and rows.max() < 2 * side // 3, "it lies flat"
    both = draw_offsets(offsets)
    assert both.shape[0] > picture.shape[0] and both.shape[2] == 3 and both.dtype == np.uint8
    with pytest.raises(ValueError, match="no offset"):
        draw_offsets([])


def test_commands_tell_and_draw_them(installation):
    installation.configure(imagery=[installation.source()])
    empty = installation.mapgap("imagery", "offsets")
    assert empty.exit_code == 0 and "no offset was noted yet" in empty.stdout
    nothing = installation.mapgap("imagery", "offsets", "--png", str(installation.directory / "none.png"))
    assert nothing.exit_code != 0 and not (installation.directory / "none.png").exists()
    with installation.database.transaction() as cursor:
        note_offsets(cursor, "rendered", block_at(), [claims(3.0, 4.0)], NOW)
    png = installation.directory / "offsets.png"
    told = installation.mapgap("imagery", "offsets", "--png", str(png))
    assert told.exit_code == 0 and "rendered: 1 places, 1 looks; median +3.00 m east, +4.00 m north" in told.stdout
    assert cv2.imread(str(png)) is not None
    (place,) = json.loads(installation.mapgap("imagery", "offsets", "--json", "--source", "rendered").stdout)
    assert place["east_m"] == 3.0 and place["looks"] == 1 and place["bbox"][0] < 85.525 < place["bbox"][2]


def test_a_look_notes_what_its_detectors_found(installation):
    """From the evidence of the claims that a back-fill of the town made."""
    installation.bootstrap()
    installation.mapgap("backfill")
    with installation.database.transaction() as cursor:
        offsets = read_offsets(cursor)
        cursor.execute("SELECT count(*) FROM discrepancy")
        (found,) = cursor.fetchone()
    assert found and offsets and {o.source for o in offsets} == {"rendered"}
    assert all(o.length_m < 5 for o in offsets)


def test_the_sources_are_listed_with_their_rights(installation):
    installation.configure(imagery=[
        installation.source(),
        installation.source(name="later", acquired=None, kind="wms", url="https://user:pw@example.org/wms?k=1",
                            layer="a", date_header="X-Day"),
    ])
    told = installation.mapgap("imagery", "list").stdout
    for part in (
        "rendered: xyz", "licence     MIT", "attribution mapgap", "permission  made up", "date        2024-06-02",
        "later: wms https://example.org/wms?k=...", "by tile (header X-Day)", "bands 1, 2, 3 of 8 bits",
        "who goes first at each place: order",
    ):
        assert part in told, part
    assert "pw" not in told
    listed = json.loads(installation.mapgap("imagery", "list", "--json").stdout)
    assert [source["name"] for source in listed["sources"]] == ["rendered", "later"]
