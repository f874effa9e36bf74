"""Where an extract comes from, and where following begins with it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from osm_world import node, write_extract

from daemon.config import server_of
from daemon.errors import PbfInvalid
from daemon.osm import Origin

MINUTE = "https://planet.openstreetmap.org/replication/minute"
WHEN = datetime(2024, 6, 1, 20, 21, 2, tzinfo=UTC)


def origin(tmp_path: Path, url: str = "", sequence: str = "", timestamp: str = "") -> Origin:
    said = {"base_url": url, "sequence_number": sequence, "timestamp": timestamp}
    header = {f"osmosis_replication_{key}": value for key, value in said.items() if value}
    return Origin.read(write_extract(tmp_path / "x.osm.pbf", [node(1, 10, 50)], header))


@pytest.mark.parametrize("url", [
    MINUTE, MINUTE + "/", "http://planet.openstreetmap.org/replication/minute", "https://planet.osm.org/replication/minute/",
])  # fmt: skip
def test_a_sequence_of_the_followed_server_is_where_following_begins(tmp_path: Path, url: str) -> None:
    found = origin(tmp_path, url, "6100000", "2024-06-01T20:21:02Z")
    assert (found.sequence_on(MINUTE), found.timestamp) == (6_100_000, WHEN)
    assert found.describe_start(MINUTE) == "following begins after sequence 6100000, as the file's header says"


def test_a_sequence_of_another_server_is_explained(tmp_path: Path) -> None:
    found = origin(tmp_path, "https://download.geofabrik.de/europe/andorra-updates", "4100", "2024-06-01T20:21:02Z")
    assert found.sequence_on(MINUTE) is None
    said = found.describe_start("https://joe:hunter2@planet.openstreetmap.org/replication/minute?key=hunter2")
    assert "another server, https://download.geofabrik.de/europe/andorra-updates (sequence 4100)" in said
    assert "found by time (2024-06-01 20:21 UTC" in said and "set replication.url to the file's" in said
    assert "hunter2" not in said


def test_a_file_that_says_little_is_explained(tmp_path: Path) -> None:
    assert "names no replication server: the start is found by time (that of its newest edit" in origin(
        tmp_path
    ).describe_start(MINUTE)
    assert "names the server, but no sequence" in origin(tmp_path, MINUTE).describe_start(MINUTE)


def test_what_is_no_osm_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.osm.pbf").write_text("nonsense")
    for name in ("x.osm.pbf", "none.osm.pbf", "x.docx"):
        with pytest.raises(PbfInvalid, match=name):
            Origin.read(tmp_path / name)


def test_servers_are_told_apart_by_what_matters_and_without_secrets() -> None:
    assert server_of("https://joe:pw@Example.org/a/b//?key=1#x") == "example.org/a/b"
    assert server_of("file:///srv/minute/") == "/srv/minute"
    assert server_of("https://planet.osm.org/replication/hour") == "planet.openstreetmap.org/replication/hour"
