"""`mapgap check` finds each single thing that is wrong, says what to do, and goes on with the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_maproulette import FakeMapRoulette
from installation import Installation

from daemon.check import Finding, check
from daemon.demo.place import Place
from detectors.segmentation import Bundle

TOWN = {"bbox": Place(2, 2).bbox}
PARTS = ["area", "data directory", "publish directory", "database", "replication", "imagery", "model", "web"]


def findings(installation: Installation, **sections: Any) -> dict[str, Finding]:
    config = installation.configure(**{"area": TOWN, **sections})
    return {finding.what: finding for finding in check(config)}


def only_failure(found: dict[str, Finding]) -> Finding:
    """Everything was checked, and one thing is wrong."""
    assert list(found) == PARTS
    (failure,) = [finding for finding in found.values() if finding.error is not None]
    return failure


def test_all_is_well(installation: Installation) -> None:
    found = findings(installation)
    assert list(found) == PARTS and all(finding.error is None for finding in found.values())
    assert "`mapgap bootstrap FILE.osm.pbf` comes next" in found["database"].message
    assert "newest is sequence 4 of 2024-06-01 00:04 UTC" in found["replication"].message
    assert "a tile read from each" in found["imagery"].message
    assert found["model"].message.startswith("building: building@")
    assert "can listen on 127.0.0.1" in found["web"].message
    installation.bootstrap()
    assert "the store stands at" in findings(installation)["database"].message


def test_it_changes_nothing_but_the_schema(installation: Installation) -> None:
    before = installation.state()
    findings(installation)
    assert installation.state() == before and list(installation.feed.iterdir()) == []


@pytest.mark.parametrize(
    ("sections", "what", "code", "said"),
    [
        ({"area": {"polygon": "absent.poly", "bbox": None}}, "area", None, "absent.poly"),
        ({"data_dir": "file/data"}, "data directory", 10, "data_dir"),
        ({"publish": {"dir": "file/feed"}}, "publish directory", 10, "publish.dir"),
        ({"database": {"dsn": "host=/nowhere dbname=x user=me"}}, "database", 3, "database (host=/nowhere"),
        ({"database": {"password_env": "MAPGAP_NO_SUCH_VARIABLE"}}, "database", 2, "is not set"),
        ({"replication": {"url": "file:///nowhere"}}, "replication", 4, "file:///nowhere/state.txt: no such file"),
        ({"web": {"token_env": "MAPGAP_NO_SUCH_VARIABLE"}}, "web", 2, "is not set"),
        ({"web": {"host": "192.0.2.1", "token_env": "PATH"}}, "web", 13, "web.host '192.0.2.1'"),
        ({"imagery": []}, "imagery", 6, "no [[imagery]] source"),
        ({"client": {"contact": ""}, "imagery": "web"}, "imagery", 6, "client.contact: empty"),
        ({"tiling": {"zoom": 16}}, "imagery", 6, "nothing at tiling.zoom = 16; zooms it has: 19"),
        ({"detectors": {"building": {"model": "castle"}}}, "model", 7, "neither a directory"),
        ({"detectors": {"building": {"enabled": False}}}, "model", 2, "no detector is enabled"),
    ],
)
def test_each_thing_that_is_wrong_is_found(
    installation: Installation, sections: dict[str, Any], what: str, code: int | None, said: str
) -> None:
    (installation.directory / "file").write_text("a regular file")
    if sections.get("imagery") == "web":
        sections = {**sections, "imagery": [installation.source(url="http://127.0.0.1:9/{z}/{x}/{y}.png")]}
    found = findings(installation, **sections)
    failure = found[what]
    assert list(found) == PARTS and said in failure.message
    assert failure.error is not None and (code is None or getattr(failure.error, "exit_code", 1) == code)
    answer = installation.mapgap("check")
    first = next(finding.error for finding in found.values() if finding.error is not None)
    assert answer.exit_code == getattr(first, "exit_code", 1)
    assert f"FAIL {what}" in answer.stdout and "Traceback" not in answer.output


def test_a_server_without_replication_files_is_found(installation: Installation, web: Any) -> None:
    failure = only_failure(findings(installation, replication={"url": web.url("/minute")}))
    assert failure.what == "replication" and "404" in failure.message
    assert failure.error.exit_code == 4  # type: ignore[union-attr]


def test_imagery_that_lies_elsewhere_is_found(installation: Installation) -> None:
    failure = only_failure(findings(installation, area={"bbox": [9.5, 47.0, 9.51, 47.01]}, detectors={
        "building": {"model": "building"}
    }) | {"model": Finding("model", "")})
    assert failure.what == "imagery" and "lies in the area" in failure.message


def test_a_changed_model_is_found(installation: Installation) -> None:
    bundle = installation.directory / "bundle"
    shutil.copytree(Bundle.load("building").directory, bundle)
    (bundle / "model.onnx").write_bytes(b"something else")
    failure = only_failure(findings(installation, detectors={"building": {"model": str(bundle)}}))
    assert failure.what == "model" and "sha256" in failure.message
    assert failure.error.exit_code == 7  # type: ignore[union-attr]


@pytest.mark.parametrize(("gsd", "zoom"), [(0.5337, 18), (0.1334, 20)])
def test_a_resolution_that_the_model_was_not_made_for_names_the_zoom_to_set(
    installation: Installation, gsd: float, zoom: int
) -> None:
    bundle = installation.directory / "bundle"
    shutil.copytree(Bundle.load("building").directory, bundle)
    path: Path = bundle / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "gsd_m": gsd, "gsd_range_m": [gsd * 0.8, gsd * 1.2]}))
    failure = only_failure(findings(installation, detectors={"building": {"model": str(bundle)}}))
    assert failure.what == "model" and failure.message.endswith(f"set tiling.zoom = {zoom}")


@pytest.mark.parametrize(
    ("source", "bands", "said"),
    [
        ({"depth": 16, "stretch": [0, 1]}, [], "takes 3 bands of uint8, it is given 3 of uint16"),
        ({"bands": [1]}, [], "takes 3 bands of uint8, it is given 1 of uint8"),
        ({}, [1, 2], "it is given 2 of uint8"),
        ({}, [2, 3, 4], "detectors.building.bands asks for band 4, imagery gives 3"),
    ],
)
def test_a_model_that_takes_other_bands_is_named(
    installation: Installation, source: dict[str, Any], bands: list[int], said: str
) -> None:
    found = findings(
        installation, imagery=[installation.source(**source)], detectors={"building": {"bands": bands}})
    assert said in found["model"].message and found["model"].error.exit_code == 7  # type: ignore[union-attr]


def test_imagery_that_tells_its_days_itself_is_not_undated(installation: Installation) -> None:
    found = findings(installation, imagery=[installation.source(acquired=None, date_header="X-Day")])
    assert found["imagery"].error is None and "no date" not in found["imagery"].message


def test_undated_imagery_is_mentioned(installation: Installation) -> None:
    found = findings(installation, imagery=[installation.source(acquired=None)])
    assert found["imagery"].error is None and "no date for rendered" in found["imagery"].message


def test_an_embedded_database_is_started_for_it_and_stopped(installation: Installation) -> None:
    found = findings(installation, database={"dsn": ""})
    assert found["database"].message.startswith("embedded server runs")
    assert not (installation.directory / "mapgap-data" / "postgres" / "data" / "postmaster.pid").exists()


def test_maproulette_is_asked_whose_the_key_is_where_it_is_enabled(
    installation: Installation, maproulette: FakeMapRoulette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAPGAP_TEST_KEY", maproulette.owner.key)
    knobs = {"enabled": True, "url": maproulette.url, "project": "town", "api_key_env": "MAPGAP_TEST_KEY", "retries": 0}
    found = findings(installation, maproulette=knobs)
    assert list(found) == [*PARTS[:-1], "MapRoulette", "web"]
    assert found["MapRoulette"].message == f"{maproulette.url}: the key is mapgap-bot's, project 'town' will be made"
    assert maproulette.writes == []
    maproulette.lenient = True
    for key, code, said in (("12|wrongwrong", 12, "put a new one in place"), (None, 2, "MAPGAP_TEST_KEY is not set")):
        if key is None:
            monkeypatch.delenv("MAPGAP_TEST_KEY")
        else:
            monkeypatch.setenv("MAPGAP_TEST_KEY", key)
        (failure,) = [one for one in findings(installation, maproulette=knobs).values() if one.error is not None]
        assert (failure.what, failure.error.exit_code) == ("MapRoulette", code)
        assert said in failure.message and "wrongwrong" not in failure.message
