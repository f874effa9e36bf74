"""A back-fill looks at every tile of the area that can have imagery, each once; new imagery is looked at again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from installation import Installation

from daemon.backfill import Backfill, queue_area
from daemon.backfilling import in_words
from daemon.db import hold_daemon_lock
from daemon.demo.place import ORIGIN, Place
from daemon.errors import OsmDataError
from daemon.imagery import Imagery
from daemon.osm import AreaOfInterest
from daemon.tiling.grid import Block, Tile
from daemon.tiling.sweep import read_sweeps

TOWN = {Tile(19, ORIGIN.x + x, ORIGIN.y + y) for x in (0, 1) for y in (0, 1)}
NOW = datetime(2024, 7, 1, tzinfo=UTC)


def queue(installation: Installation, area: dict[str, Any] | None = None, **sections: Any) -> tuple[int, set[Tile]]:
    """How many it says it queued, and what is in the queue."""
    config = installation.configure(area=area or {}, **sections)
    with Imagery.open(config) as imagery:
        count = queue_area(config, installation.database, imagery, AreaOfInterest.of(config.area))
    return count, tiles_in_queue(installation, "backfill")


def tiles_in_queue(installation: Installation, reason: str) -> set[Tile]:
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT z, x, y FROM dirty_tile WHERE reason = %s AND state = 'queued'", (reason,))
        return {Tile(*row) for row in cursor}


def server_source(installation: Installation) -> dict[str, Any]:
    """Imagery that cannot say what it covers; it is not asked."""
    return installation.source(url="http://127.0.0.1:9/{z}/{x}/{y}.png")


def inside(tile: Tile) -> list[float]:
    """A box within one tile."""
    west, south, east, north = Block(tile.z, tile.x, tile.y, 1).lonlat()
    return [west + 1e-5, south + 1e-5, east - 1e-5, north - 1e-5]


def test_imagery_that_says_what_it_covers_is_queued_whole(installation: Installation) -> None:
    assert queue(installation) == (4, TOWN)
    assert queue(installation) == (4, TOWN), "asking again queues nothing twice"


def test_only_tiles_that_meet_the_area_are_queued(installation: Installation) -> None:
    assert queue(installation, {"bbox": inside(ORIGIN)}) == (1, {ORIGIN})


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
    installation.bootstrap()
    answer = installation.mapgap("backfill", "--queue-only")
    assert answer.exit_code == OsmDataError.exit_code and "tiling.max_tiles_area" in answer.stderr
    assert installation.state()["queue"] == []
    assert installation.mapgap("backfill", "--status").stdout == "no back-fill was ever begun\n"


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
    told = installation.mapgap("backfill", "--status").stdout
    assert told.startswith("back-fill: done; 4 of 4 tiles (100.0 %); 1 of 1 cells, 0 of them without imagery; begun ")


def spread(installation: Installation, columns: int) -> list[Tile]:
    """Imagery in several cells: the town's first tile again and again, a cell apart."""
    tiles = [Tile(19, ORIGIN.x + 64 * column, ORIGIN.y) for column in range(columns)]
    for tile in tiles[1:]:
        target = installation.imagery / "19" / str(tile.x) / f"{tile.y}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(installation.imagery / "19" / str(ORIGIN.x) / f"{ORIGIN.y}.jpg", target)
    return tiles


def test_a_large_area_goes_through_the_queue_in_portions_and_a_killed_run_goes_on(installation: Installation) -> None:
    spread(installation, 4)
    installation.bootstrap()
    installation.configure(tiling={"block": 2, "backfill_queue": 1})
    answer = installation.mapgap("backfill", "--queue-only")
    assert answer.stdout.endswith("tiles queued, 7 to be looked at in all\n"), answer.output
    with installation.pipeline() as pipeline:  # looks once, queues once, and is gone
        assert pipeline.look()
        assert not pipeline.sweep()
        left = 7 - looked_at(installation)
    assert 0 < left < 7
    told = installation.mapgap("backfill", "--status").stdout
    assert told.startswith(f"back-fill: running; {7 - left} of 7 tiles"), told
    answer = installation.mapgap("backfill")
    assert answer.exit_code == 0 and looked_at(installation) == 7
    assert installation.mapgap("backfill", "--status").stdout.startswith("back-fill: done; 7 of 7 tiles")
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM sweep")
        assert cursor.fetchone() == (1,), "the second command went on with the first one's"


def looked_at(installation: Installation) -> int:
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM looked_tile")
        return cursor.fetchone()[0]


def test_it_stops_and_goes_on_and_begins_anew_when_told(installation: Installation) -> None:
    installation.bootstrap()
    assert installation.mapgap("backfill", "--stop").stdout == "nothing is under way\n"
    installation.mapgap("backfill", "--queue-only")
    assert installation.mapgap("backfill", "--stop").stdout == "stopped: back-fill\n"
    assert installation.state()["queue"] == []
    assert installation.mapgap("once").exit_code == 0 and looked_at(installation) < 4
    assert installation.mapgap("backfill", "--status").stdout.startswith("back-fill: stopped;")
    assert installation.mapgap("backfill", "--queue-only").exit_code == 0
    assert {tile[:3] for tile in installation.state()["queue"]} <= {tuple(tile) for tile in TOWN}
    answer = installation.mapgap("backfill", "--restart")
    assert answer.exit_code == 0 and looked_at(installation) == 4
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT state::text FROM sweep ORDER BY id")
        assert cursor.fetchall() == [("replaced",), ("done",)]
    assert installation.mapgap("backfill", "--stop", "--status").exit_code == 2


def test_while_a_daemon_works_the_command_leaves_the_work_to_it(installation: Installation) -> None:
    installation.bootstrap()
    with hold_daemon_lock(installation.database):
        answer = installation.mapgap("backfill")
        assert answer.exit_code == 0 and answer.stdout.startswith("4 tiles to be looked at; another mapgap works")
        assert installation.state()["queue"] == []
    with installation.pipeline() as pipeline:
        assert not pipeline.sweep()
    assert tiles_in_queue(installation, "backfill") == TOWN


def test_another_zoom_or_area_is_another_backfill(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    installation.bootstrap()
    installation.mapgap("backfill", "--queue-only")
    installation.configure(tiling={"block": 2, "zoom": 18})
    with installation.pipeline() as pipeline, caplog.at_level("WARNING"):
        assert not pipeline.sweep() and not pipeline.sweep()
    assert caplog.text.count("the back-fill was begun for another area or tiling.zoom") == 1
    assert installation.mapgap("backfill", "--queue-only").stdout == "1 tiles queued\n"
    assert tiles_in_queue(installation, "backfill") == {Tile(18, ORIGIN.x // 2, ORIGIN.y // 2)}


def test_without_a_map_nothing_is_swept_for_all_would_be_missing_on_it(installation: Installation) -> None:
    answer = installation.mapgap("backfill")
    assert answer.exit_code == 5 and "the OSM store is empty; run `mapgap bootstrap" in answer.stderr
    assert installation.state()["queue"] == []


# -- new imagery ------------------------------------------------------------------------------------------------------


@pytest.fixture
def swept(installation: Installation) -> Installation:
    """Everything was looked at once."""
    installation.bootstrap()
    answer = installation.mapgap("backfill")
    assert answer.exit_code == 0, answer.stderr
    return installation


def notice(installation: Installation, at: datetime | None = None) -> list[str]:
    """What a daemon that starts finds changed."""
    config = installation.config
    with Imagery.open(config) as imagery:
        backfill = Backfill(config, installation.database, imagery, AreaOfInterest.of(config.area))
        now = at or datetime.now(UTC)
        names = [sweep.name for sweep in backfill.notice_imagery(now)]
        backfill.advance(now)
    return names


def replace_file(installation: Installation, tile: Tile) -> None:
    """Another image under the same name, with the times of a file that was written long ago and copied here now."""
    path = installation.imagery / str(tile.z) / str(tile.x) / f"{tile.y}.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, (1_600_000_000, 1_600_000_000))


def test_imagery_that_stays_is_not_looked_at_again(swept: Installation) -> None:
    assert notice(swept) == notice(swept) == []
    swept.configure(imagery=[swept.source(licence="CC0-1.0", attribution="somebody else")])
    assert notice(swept) == [] and swept.state()["queue"] == []


DIFFERENT: dict[str, Callable[[Installation], dict[str, Any]]] = {
    "the day": lambda installation: installation.source(acquired="2024-06-20"),
    "what is no imagery": lambda installation: installation.source(nodata=[0, 0, 0]),
    "the place": lambda installation: installation.source(
        url=str(shutil.copytree(installation.imagery, installation.directory / "other"))
    ),
    "the name": lambda installation: installation.source(name="ortho"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_source_that_is_another_is_looked_at_again(swept: Installation, what: str) -> None:
    source = DIFFERENT[what](swept)
    swept.configure(imagery=[source])
    assert notice(swept) == [f"imagery {source['name']}"]
    assert tiles_in_queue(swept, "imagery") == TOWN
    assert notice(swept) == [], "once"
    assert swept.mapgap("once").exit_code == 0
    assert swept.state()["queue"] == []


def test_of_a_directory_only_the_files_that_are_others_are_looked_at_again(swept: Installation) -> None:
    replace_file(swept, ORIGIN)
    assert notice(swept) == ["imagery rendered"]
    assert tiles_in_queue(swept, "imagery") == {ORIGIN}


def test_imagery_of_new_ground_is_looked_at(swept: Installation) -> None:
    new = spread(swept, 3)[1:]
    assert notice(swept) == ["imagery rendered"]
    assert tiles_in_queue(swept, "imagery") == set(new)


def test_where_no_backfill_ever_was_new_imagery_asks_only_for_what_was_looked_at(installation: Installation) -> None:
    installation.bootstrap()
    assert notice(installation) == [], "the first sight is no change"
    with installation.database.transaction() as cursor:
        cursor.execute("INSERT INTO looked_tile VALUES (19, %s, %s, 'judged', %s)", (*ORIGIN[1:], NOW))
    installation.configure(imagery=[installation.source(acquired="2024-06-20")])
    assert notice(installation) == ["imagery rendered"]
    assert tiles_in_queue(installation, "imagery") == {ORIGIN}


def test_a_server_that_comes_in_front_is_looked_at_and_one_that_comes_last_only_where_nothing_was(
    swept: Installation,
) -> None:
    last = server_source(swept) | {"name": "fallback"}
    with swept.database.transaction() as cursor:
        cursor.execute("UPDATE looked_tile SET result = 'no_imagery' WHERE x = %s AND y = %s", ORIGIN[1:])
    swept.configure(imagery=[swept.source(), last])
    assert notice(swept) == ["imagery fallback"]
    assert tiles_in_queue(swept, "imagery") == {ORIGIN}, "what has imagery shows that as before"
    first = server_source(swept) | {"name": "drone"}
    swept.configure(imagery=[first, swept.source(), last])
    assert notice(swept) == ["imagery drone"]
    assert tiles_in_queue(swept, "imagery") == TOWN


def test_a_change_in_the_middle_of_an_earlier_one_covers_both(swept: Installation) -> None:
    swept.configure(tiling={"block": 2, "backfill_queue": 1}, imagery=[swept.source(acquired="2024-06-20")])
    spread(swept, 3)
    assert notice(swept) == ["imagery rendered"]
    queued = tiles_in_queue(swept, "imagery")
    replace_file(swept, ORIGIN)
    assert notice(swept) == ["imagery rendered"]
    swept.configure(imagery=[swept.source(acquired="2024-06-20")])
    notice(swept)
    assert tiles_in_queue(swept, "imagery") >= TOWN | queued
    with swept.database.transaction() as cursor:
        assert [sweep.state for sweep in read_sweeps(cursor) if sweep.source] == ["running"]


def test_a_source_whose_disk_is_away_is_not_taken_for_another(
    swept: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    config = swept.config
    with Imagery.open(config) as imagery:
        swept.imagery.rename(swept.directory / "unmounted")
        backfill = Backfill(config, swept.database, imagery, None)
        assert backfill.notice_imagery(datetime.now(UTC)) == []
        (swept.directory / "unmounted").rename(swept.imagery)
    assert "cannot see whether rendered has changed" in caplog.text
    assert notice(swept) == []


def test_told_which_imagery_it_asks_for_what_was_not_judged_with_it(swept: Installation) -> None:
    answer = swept.mapgap("backfill", "--imagery", "rendered", "--queue-only")
    assert (answer.exit_code, answer.stdout) == (0, "0 tiles queued, 4 to be looked at in all\n")
    with swept.database.transaction() as cursor:
        cursor.execute("UPDATE looked_tile SET acquired = '2020-01-01' WHERE x = %s AND y = %s", ORIGIN[1:])
    answer = swept.mapgap("backfill", "--imagery", "rendered")
    assert answer.exit_code == 0 and answer.stdout.startswith("1 tiles queued")
    assert swept.state()["queue"] == []
    answer = swept.mapgap("backfill", "--imagery", "ortho")
    assert answer.exit_code == 2 and "no source is called 'ortho'; there are: rendered" in answer.stderr


def test_imagery_goes_before_the_rest_of_a_backfill(swept: Installation) -> None:
    swept.configure(tiling={"block": 2, "backfill_queue": 1})
    spread(swept, 2)
    assert notice(swept, datetime.now(UTC) + timedelta(seconds=1)) == ["imagery rendered"]
    swept.mapgap("backfill", "--queue-only")
    assert tiles_in_queue(swept, "imagery") and not tiles_in_queue(swept, "backfill")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "an unknown time"), (0, "about 0 seconds"), (119, "about 119 seconds"), (600, "about 10 minutes"),
     (3 * 3600, "about 3 hours"), (40 * 86_400, "about 40 days")],
)
def test_times_are_told_roughly(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words
