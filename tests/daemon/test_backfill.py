"""A back-fill queues every tile of the area that can have imagery, each once, and what is queued survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from installation import Installation

from daemon import backfill
from daemon.backfill import queue_area
from daemon.demo.place import ORIGIN, Place
from daemon.errors import OsmDataError
from daemon.imagery import Imagery
from daemon.osm import AreaOfInterest
from daemon.tiling.grid import Block, Tile

TOWN = {Tile(19, ORIGIN.x + x, ORIGIN.y + y) for x in (0, 1) for y in (0, 1)}


def queue(installation: Installation, area: dict[str, Any] | None = None, **sections: Any) -> tuple[int, set[Tile]]:
    """How many it says it queued, and what is in the queue."""
    config = installation.configure(area=area or {}, **sections)
    with Imagery.open(config) as imagery:
        count = queue_area(config, installation.database, imagery, AreaOfInterest.of(config.area))
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT z, x, y FROM dirty_tile WHERE reason = 'backfill' AND state = 'queued'")
        return count, {Tile(*row) for row in cursor}


def server_source(installation: Installation) -> dict[str, Any]:
    """Imagery that cannot say what it covers; it is not asked."""
    return installation.source(url="http://127.0.0.1:9/{z}/{x}/{y}.png")


def test_imagery_that_says_what_it_covers_is_queued_whole(installation: Installation) -> None:
    assert queue(installation) == (4, TOWN)
    assert queue(installation) == (4, TOWN), "asking again queues nothing twice"


def test_only_tiles_that_meet_the_area_are_queued(installation: Installation) -> None:
    west, south, east, north = Block(19, ORIGIN.x, ORIGIN.y, 1).lonlat()
    inner = [west + 1e-5, south + 1e-5, east - 1e-5, north - 1e-5]
    assert queue(installation, {"bbox": inner}) == (1, {ORIGIN})


def test_a_server_is_swept_over_the_box_of_the_area(installation: Installation) -> None:
    west, south, east, north = Place(2, 2).bbox
    box = [west + 1e-5, south + 1e-5, east - 1e-5, north - 1e-5]
    assert queue(installation, {"bbox": box}, imagery=[server_source(installation)]) == (4, TOWN)


def test_a_polygon_leaves_out_what_lies_in_its_box_only(installation: Installation) -> None:
    west, _, _, north = Place(2, 2).bbox
    inset = 1e-5
    triangle: Path = installation.directory / "half.poly"
    corners = [(west + inset, north - inset), (west + inset, north - inset * 50), (west + inset * 50, north - inset)]
    triangle.write_text("half\n1\n" + "".join(f"  {x} {y}\n" for x, y in [*corners, corners[0]]) + "END\nEND\n")
    area = {"polygon": str(triangle)}
    assert queue(installation, area, imagery=[server_source(installation)])[1] == {ORIGIN}


def test_the_whole_world_is_not_swept(installation: Installation) -> None:
    with pytest.raises(OsmDataError, match=r"area\.bbox or area\.polygon"):
        queue(installation, imagery=[server_source(installation)])
    with pytest.raises(OsmDataError, match=r"more than \d+: use imagery that says what it covers"):
        queue(installation, {"bbox": [-170.0, -80.0, 170.0, 80.0]}, imagery=[server_source(installation)])
    assert installation.state()["queue"] == []


def test_large_areas_go_to_the_database_in_portions(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "BATCH", 3)
    assert queue(installation) == (4, TOWN)


def test_queued_only_they_wait_for_the_next_cycle(installation: Installation) -> None:
    installation.bootstrap()
    answer = installation.mapgap("backfill", "--queue-only")
    assert (answer.exit_code, answer.stdout) == (0, "4 tiles queued\n")
    assert len(installation.state()["queue"]) == 4
    assert installation.mapgap("once").exit_code == 0
    state = installation.state()
    assert state["queue"] == [] and len(state["ledger"]) > 5
    assert len(list(installation.feed.iterdir())) == 3


def test_a_backfill_looks_and_publishes(installation: Installation) -> None:
    installation.bootstrap()
    answer = installation.mapgap("backfill")
    assert answer.exit_code == 0, answer.stderr
    assert installation.state()["queue"] == [] and (installation.feed / "osmose.xml").exists()
    assert installation.position() is None, "following is not its work"
