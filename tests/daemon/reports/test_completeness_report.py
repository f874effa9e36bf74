"""The mapped share of what imagery shows, cell by cell, from a real ledger and a real store."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner, Result
from osm_world import node, way, write_extract
from shapely.geometry import box

from daemon.__main__ import main
from daemon.config import parse, render
from daemon.db import Database
from daemon.discrepancies.life import close
from daemon.discrepancies.reconcile import reconcile
from daemon.reviews import record_review
from daemon.tiling.grid import Block, Tile
from daemon.tiling.queue import complete, lease_blocks, mark_dirty
from detectors.base import Claim

NOW = datetime(2024, 6, 2, tzinfo=UTC)
#: The cell that is looked at; its neighbour to the east is not.
CELL = Block(15, 24168, 13765, 1)
M = 1 / 110_000


def house(i: int, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The i-th lot of ten metres in a cell."""
    west, south = bounds[0] + (5 + 30 * (i % 20)) * M, bounds[1] + (5 + 30 * (i // 20)) * M
    return west, south, west + 10 * M, south + 10 * M


class House:
    """A configuration, its store with 60 houses in the cell and 5 in the next, and the command."""

    def __init__(self, directory: Path, database: Database):
        self.directory, self.database = directory, database
        self.bounds = CELL.lonlat()
        east = Block(15, CELL.bx + 1, CELL.by, 1).lonlat()
        lots = [house(i, self.bounds) for i in range(60)] + [house(i, east) for i in range(5)]
        things = []
        for number, (w, s, e, n) in enumerate(lots, start=1):
            refs = [4 * number + i for i in range(4)]
            corners = [(w, s), (e, s), (e, n), (w, n)]
            things += [node(ref, lon, lat) for ref, (lon, lat) in zip(refs, corners, strict=True)]
            things.append(way(number, [*refs, refs[0]], tags={"building": "yes"}))
        write_extract(directory / "base.osm.pbf", things, {"osmosis_replication_timestamp": "2024-01-01T00:00:00Z"})
        inside = (1e-6, 1e-6, -1e-6, -1e-6)
        bbox = [a + b for a, b in zip((*self.bounds[:2], *east[2:]), inside, strict=True)]
        values = {
            "area": {"bbox": bbox, "name": "two_cells"}, "database": {"dsn": database.dsn},
            "replication": {"url": (directory / "none").as_uri()},
        }
        self.config = parse(values, "test", directory)
        self.config_path = directory / "config.toml"
        self.config_path.write_text(render(self.config))
        assert self.mapgap("bootstrap", directory / "base.osm.pbf").exit_code == 0

    def mapgap(self, *words: object) -> Result:
        return CliRunner().invoke(main, [*map(str, words), "--config", str(self.config_path)], prog_name="mapgap")

    def look(self) -> list[str]:
        """All tiles of the cell, with 20 buildings missing and 2 gone; keys of what is missing."""
        tiling = self.config.tiling
        tiles = [Tile(19, (CELL.bx << 4) + x, (CELL.by << 4) + y) for x in range(16) for y in range(16)]
        claims = [
            *(Claim("building", "missing", box(*house(i, self.bounds)), None, 0.8) for i in range(60, 80)),
            *(Claim("building", "gone", box(*house(i, self.bounds)), f"way/{i + 1}", 0.8) for i in range(2)),
        ]
        with self.database.transaction() as cursor:
            mark_dirty(cursor, tiles, 19, reason="backfill", sequence=None, now=NOW, config=tiling)
            for leased in lease_blocks(cursor, side=4, limit=99, worker="w", now=NOW, config=tiling):
                complete(cursor, leased, {tile: "judged" for tile, _ in leased.tiles}, NOW, "s", "m", None)
            outcome = reconcile(
                cursor, detector="building", key_prefix="bld", claims=claims, owned=self.bounds,
                judged=lambda *_: True, now=NOW,
            )
            cursor.execute("SELECT key FROM discrepancy WHERE kind = 'missing' ORDER BY key")
            keys = [key for (key,) in cursor.fetchall()]
        assert len(outcome.opened) == 22
        return keys

    def report(self, *words: object) -> dict[str, dict[str, str]]:
        done = self.mapgap("report", "completeness", "--zoom", 15, "--out", self.directory / "out", *words)
        assert done.exit_code == 0, done.output + str(done.exception)
        return {row["name"]: row for row in csv.DictReader(self.table.read_text().splitlines())}

    @property
    def table(self) -> Path:
        return self.directory / "out" / "completeness.csv"


@pytest.fixture
def home(tmp_path: Path, database: Database) -> House:
    return House(tmp_path, database)


@pytest.mark.parametrize("extent", ["area", "count"])
def test_a_cell_that_was_looked_at_is_judged_and_the_next_is_not(home, extent):
    home.look()
    rows = home.report("--by", extent)
    seen, unseen = rows[f"15/{CELL.bx}/{CELL.by}"], rows[f"15/{CELL.bx + 1}/{CELL.by}"]
    assert 0.6 < float(seen["low"]) < float(seen["share"]) < float(seen["high"]) < 0.95
    assert (seen["missing_claims"], seen["gone_claims"], float(seen["looked"])) == ("20", "2", 1.0)
    assert float(seen["mapped"]) == pytest.approx(60 if extent == "count" else 0.6, rel=0.15)
    assert unseen["share"] == "" and float(unseen["looked"]) == 0.0
    assert (seen["qod"] != "") == (extent == "area")
    feature = json.loads((home.directory / "out" / "completeness.geojson").read_text())["features"][0]
    assert set(feature["properties"]) >= {"share", "low", "high", "qod"}
    assert cv2.imread(str(home.directory / "out" / "completeness.png")) is not None


def test_cells_larger_than_what_was_looked_at_are_open_and_smaller_ones_are_not(home):
    home.look()
    done = home.mapgap("report", "completeness", "--zoom", 13)
    assert "of no cell was half looked at" in done.output and "not known" in done.output
    done = home.mapgap("report", "completeness", "--zoom", 17)
    assert done.exit_code == 0 and "of no cell" not in done.output


def test_verdicts_and_fixes_move_the_share_and_history_shows_it(home):
    keys = home.look()
    before = home.report()[f"15/{CELL.bx}/{CELL.by}"]
    with home.database.transaction() as cursor:
        for key in keys[:10]:
            record_review(cursor, key, "false_positive", who="a", reason=None, came_by="test", now=NOW)
    after = home.report()[f"15/{CELL.bx}/{CELL.by}"]
    assert float(after["share"]) > float(before["share"]) and after["missing_claims"] == "10"
    with home.database.transaction() as cursor:
        close(cursor, keys[10:], "fixed", now=NOW)
    assert float(home.report()[f"15/{CELL.bx}/{CELL.by}"]["share"]) > float(after["share"])
    with home.database.transaction() as cursor:
        cursor.execute("SELECT summary ->> 'share' FROM report_run WHERE report = 'completeness' ORDER BY id")
        shares = [float(share) for (share,) in cursor.fetchall()]
    assert shares == sorted(shares) and len(shares) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--by", "length"], "are measured by area, or counted"), (["--detector", "road"], "detectors.road")],
)
def test_wrong_words_are_answered_by_name(home, words, message):
    done = home.mapgap("report", "completeness", *words)
    assert done.exit_code == 2 and message in done.output
