"""The server answers while the daemon lives through change files, and what is fixed is gone from the feed at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from http_server import Web
from installation import Installation, wait_until
from test_run import publish
from web_server import mapgap_serve

from daemon.db import Database


def issues(url: str) -> dict[str, dict[str, Any]]:
    """The open issues of Osmose's feed, by name."""
    answer = requests.get(f"{url}/api/0.3/issues?full=true&limit=0", timeout=60)
    assert answer.status_code == 200, answer.text
    return {issue["id"]: issue for issue in answer.json()["issues"]}


def discrepancies(url: str, search: str) -> set[str]:
    answer = requests.get(f"{url}/api/v1/discrepancies?limit=1000&{search}", timeout=60)
    assert answer.status_code == 200, answer.text
    return {one["key"] for one in answer.json()["discrepancies"]}


def test_serve_answers_beside_the_daemon_and_an_issue_goes_with_its_fix(installation: Installation, web: Web) -> None:
    installation.bootstrap()
    installation.configure(
        replication={"url": web.url("/minute"), "poll_interval": 1.0, "fresh_within": 1e10},
        schedule={"look_interval": 0.1, "publish_interval": 0.2}, web={"port": 0},
    )
    publish(web, installation, 0, 2)
    with mapgap_serve(installation.config_path) as (url, server):
        daemon = installation.popen("run")
        try:
            wait_until(lambda: installation.position() == 2 and not installation.state()["queue"])
            before = wait_until(lambda: issues(url) if not discrepancies(url, "state=open") else None)
            shown = discrepancies(url, "state=published")
            assert len(before) == len(shown) > 0
            picture = requests.get(f"{url}/api/v1/discrepancies/{min(shown)}/picture.png", timeout=60)
            assert picture.status_code == 200, picture.text
            assert picture.headers["X-Layers"] == "imagery,mask,osm,claim"  # the daemon's networks have looked there
            publish(web, installation, 3, 4)
            wait_until(lambda: installation.position() == 4)
            # In the very transaction that applied the change file: no cycle of anything is waited for.
            fixed = discrepancies(url, "state=closed&closed_as=fixed")
            assert fixed & shown
            for key in fixed & shown:
                uuid = uuid_of(installation, key)
                assert uuid in before and uuid not in issues(url)
                assert requests.get(f"{url}/api/0.3/issue/{uuid}", timeout=60).status_code == 410
            told = requests.get(f"{url}/api/v1/status", timeout=60).json()
            assert (told["running"], told["sequence"]) == (True, 4)
            metrics = requests.get(f"{url}/metrics", timeout=60).text
            assert "mapgap_replication_sequence 4.0" in metrics and 'looked_tiles_total{result="judged"}' in metrics
            daemon.terminate()
            _, said = daemon.communicate(timeout=20)
            assert daemon.returncode == 0, said
            assert requests.get(f"{url}/readyz", timeout=60).json()["ready"]  # alone it goes on
            assert server.poll() is None
        finally:
            daemon.kill()
            daemon.communicate()


def uuid_of(installation: Installation, key: str) -> str:
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT uuid::text FROM discrepancy WHERE key = %s", (key,))
        return cursor.fetchone()[0]


def test_serve_answers_while_the_daemon_replays_real_ground_and_what_is_fixed_vanishes(
    data: Path, database: Database, web: Web, tmp_path: Path
) -> None:
    replayed = data / "replay_buildings"
    if not replayed.is_dir():
        pytest.skip(f"no {replayed}")
    for name in ("base.osm.pbf", "replication"):
        (tmp_path / name).symlink_to(replayed / name)
    for x, y in ((386690, 220242), (386691, 220242), (386690, 220243), (386691, 220243)):  # one block: looking is slow
        tile = Path("imagery", "19", str(x), f"{y}.jpg")
        (tmp_path / tile).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / tile).symlink_to(replayed / tile)
    installation = Installation(tmp_path, database)
    installation.configure(
        replication={"url": web.url("/minute"), "poll_interval": 1.0, "fresh_within": 1e10},
        schedule={"look_interval": 0.1, "publish_interval": 0.2},
        tiling={"block": 2, "debounce": 0.0, "debounce_most": 0.0},
    )
    installation.bootstrap()
    publish(web, installation, 0, 1)
    with mapgap_serve(installation.config_path) as (url, _):
        assert issues(url) == {}
        daemon = installation.popen("run")
        try:
            wait_until(lambda: installation.position() == 1 and not installation.state()["queue"])
            wait_until(lambda: not discrepancies(url, "state=open"))
            before = issues(url)
            publish(web, installation, 2, 10)  # the last of them maps buildings that were missing

            def is_there() -> bool:
                """Whatever the daemon is about: each answer is whole."""
                assert all(issue["title"]["auto"] for issue in issues(url).values())
                return installation.position() == 10

            wait_until(is_there)
            gone = {uuid_of(installation, key) for key in discrepancies(url, "state=closed&closed_as=fixed")}
            assert gone & before.keys()
            assert not gone & issues(url).keys()
            daemon.terminate()
            _, said = daemon.communicate(timeout=20)
            assert daemon.returncode == 0, said
        finally:
            daemon.kill()
            daemon.communicate()
