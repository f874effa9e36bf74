"""`mapgap osmose`, `mapgap check` and the daemon's own stage: from the first look to a frontend, through the whole."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from osmose_frontend import Frontend
from osmose_frontend.lint import lint

from daemon.check import check
from daemon.config import ConfigError, parse
from daemon.publish.channels import open_channels

CODE = "town-code"


@pytest.fixture
def frontend():
    frontend = Frontend()
    frontend.state.register("mapgap", "town", CODE)
    yield frontend
    frontend.close()


@pytest.fixture
def town(installation, frontend, monkeypatch):
    """The town, told of the frontend."""
    monkeypatch.setenv("TOWN_CODE", CODE)
    installation.configure(osmose={"enabled": True, "url": frontend.url, "code_env": "TOWN_CODE"})
    return installation


def said(answer, code: int = 0) -> str:
    assert answer.exit_code == code, answer.output
    return answer.output


def test_what_is_found_is_at_the_frontend_and_every_file_of_it_is_sound(town, frontend):
    """Export, publishing directory, upload and what a replayed change file leads to: all are linted."""
    restore = town.withhold_after(1)
    town.bootstrap()
    said(town.mapgap("backfill"))
    said(town.mapgap("once"))
    kept = lint((town.feed / "osmose.xml").read_bytes())
    assert len(kept.errors) > 3 and len(frontend.state.issues) == len(kept.errors)
    restore()
    said(town.mapgap("once"))
    there = {one.number: [] for one in frontend.state.issues.values()}
    for one in frontend.state.issues.values():
        there[one.number].append((round(one.lat, 7), round(one.lon, 7)))
    exported = town.directory / "export.xml"
    said(town.mapgap("export", "--format", "osmose", "--state", "published", "--out", exported))
    for path in (town.feed / "osmose.xml", exported):
        here: dict[int, list] = {}
        for one in lint(path.read_bytes()).errors:
            here.setdefault(one["class"], []).append((one["lat"], one["lon"]))
        assert {k: sorted(v) for k, v in here.items()} == {k: sorted(v) for k, v in there.items()}
    assert frontend.faults == [] and [upload.status for upload in frontend.uploads][-1] == 200

    before = len(frontend.uploads)
    assert "nothing new" in said(town.mapgap("osmose", "upload"))
    assert len(frontend.uploads) == before
    assert "would send" in said(town.mapgap("osmose", "upload", "--dry-run", "--force"))
    assert len(frontend.uploads) == before
    assert "town: sent:" in said(town.mapgap("osmose", "upload", "--force"))
    assert lint(frontend.uploads[-1].content).errors and frontend.faults == []
    table = said(town.mapgap("osmose", "status"))
    assert "town" in table and "well" in table and "0 changes wait" in table
    assert CODE not in table
    assert gzip.decompress(frontend.uploads[-1].content).startswith(b"<?xml")


def test_what_is_wrong_is_said_with_what_to_do(town, frontend):
    frontend.state.sources.clear()
    with town.database.transaction() as cursor:
        cursor.execute("""
            INSERT INTO discrepancy (key, detector, kind, state, confidence, geometry, bbox, lon, lat, evidence, opened,
                updated, last_seen)
            VALUES ('bld-0123456789', 'building', 'missing', 'published', 0.9,
                '\\x0101000000000000000000f03f000000000000f03f', '((1,1),(1,1))', 1, 1, '{}', now(), now(), now())
        """)
    answer = said(town.mapgap("osmose", "upload"), 10)
    assert "AUTH FAIL" in answer and "register it" in answer and CODE not in answer
    assert "rests until" in said(town.mapgap("osmose", "status"))
    frontend.close()
    assert re.search("town: rests: .*AUTH FAIL", said(town.mapgap("osmose", "upload"), 10))
    assert "rests until" in said(town.mapgap("osmose", "status", "--offline"))
    assert "no such source" in said(town.mapgap("osmose", "divide", "elsewhere"), 10)
    assert "is divided into town_" in said(town.mapgap("osmose", "divide", "town"))


def test_without_a_frontend_or_a_code_the_commands_say_so(installation, frontend):
    assert "osmose.url" in said(installation.mapgap("osmose", "status"), 2)
    installation.configure(osmose={"url": frontend.url})
    assert "code_env" in said(installation.mapgap("osmose", "upload"), 2)
    assert "nothing new" in said(installation.mapgap("osmose", "upload", "--dry-run"))
    assert frontend.requests == []


def test_check_asks_the_frontend_and_sends_nothing(town, frontend, monkeypatch):
    def finding():
        return next(one for one in check(town.config) if one.what == "osmose")

    told = finding()
    assert told.error is None and "the frontend answers, and never took anything of it" in told.message
    assert "unencrypted" in told.message
    assert frontend.requests == ["GET /control/status/town/mapgap"]
    monkeypatch.delenv("TOWN_CODE")
    assert isinstance(finding().error, ConfigError) and "TOWN_CODE is not set" in finding().message
    monkeypatch.setenv("TOWN_CODE", CODE)
    frontend.close()
    assert finding().error is not None and CODE not in finding().message


@pytest.mark.parametrize(("section", "problem"), [
    ({"enabled": True}, "needs osmose.url"), ({"enabled": True, "url": "https://o.example"}, "code_env"),
    ({"url": "https://user:word@o.example"}, "osmose.url"), ({"url": "https://o.example/?code=1"}, "osmose.url"),
    ({"url": "ftp://o.example"}, "osmose.url"), ({"country": "Nepal"}, "osmose.country"),
    ({"refresh": 120}, "osmose.refresh"), ({"mode": "delta"}, "osmose.mode"),
])
def test_a_section_that_cannot_work_is_refused(section, problem):
    with pytest.raises(ConfigError, match=problem):
        parse({"osmose": section}, "test", Path())
    with pytest.raises(ConfigError, match=r"osmose\.country.*'area1'"):
        parse({"area": {"name": "area1"}, "osmose": {"url": "https://o.example"}}, "test", Path())


def test_nothing_is_sent_unasked(installation):
    config = parse({"osmose": {"url": "https://o.example", "code_env": "X"}}, "test", Path())
    assert open_channels(config, installation.database, None, None, None) == []
