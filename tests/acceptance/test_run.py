"""The real daemon, as systemd starts it, against a web server that publishes one change file after another."""

from __future__ import annotations

import json
import os
import signal
import socket
import xml.etree.ElementTree as ElementTree

from http_server import Web
from installation import REPOSITORY, Installation, wait_until


def test_the_daemon_follows_looks_publishes_and_leaves_in_order(installation: Installation, web: Web) -> None:
    installation.bootstrap()
    installation.configure(
        replication={"url": web.url("/minute"), "poll_interval": 1.0, "fresh_within": 1e10},
        schedule={"look_interval": 0.1, "publish_interval": 0.2},
    )
    publish(web, installation, 0, 2)
    notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notifications.bind(str(installation.directory / "notify"))
    notifications.settimeout(60)
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "NOTIFY_SOCKET": str(installation.directory / "notify"), "PYTHONPATH": path}
    daemon = installation.popen("run", env=environment, cwd=installation.directory)
    try:
        while notifications.recv(4096) != b"READY=1":
            assert daemon.poll() is None
        wait_until(lambda: installation.position() == 2 and not installation.state()["queue"])
        publish(web, installation, 3, 4)
        wait_until(lambda: installation.position() == 4 and not installation.state()["queue"])
        live = wait_until(lambda: published(installation))
        told = json.loads(installation.mapgap("status", "--json").stdout)
        assert (told["verdict"], told["running"], told["sequence"]) == ("fresh", True, 4)
        daemon.send_signal(signal.SIGTERM)
        _, said = daemon.communicate(timeout=10)
        assert daemon.returncode == 0, said
        while notifications.recv(4096) != b"STOPPING=1":
            pass
    finally:
        daemon.kill()
        daemon.communicate()
        notifications.close()
    for sequence in range(1, 5):
        assert web.count(f"/minute/000/000/{sequence:03d}.osc.gz") == 1
    features = json.loads((installation.feed / "discrepancies.geojson").read_text())["features"]
    tasks = (installation.feed / "maproulette.geojsonl").read_bytes().splitlines()
    errors = ElementTree.parse(installation.feed / "osmose.xml").findall(".//error")
    assert len(features) == len(tasks) == len(errors) == len(live)
    with installation.database.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM dirty_tile")
        assert cursor.fetchone() == (0,)
    told = json.loads(installation.mapgap("status", "--json").stdout)
    assert not told["running"] and told["heartbeat"]["stopped"] and told["errors"] == {}


def publish(web: Web, installation: Installation, first: int, last: int) -> None:
    """The server gets these sequences, and says so after they are there."""
    for sequence in range(first, last + 1):
        for path in (installation.change_file(sequence), installation.state_file(sequence)):
            if path.exists():
                web.put(f"/minute/{path.relative_to(installation.replication)}", path.read_bytes())
    web.put("/minute/state.txt", installation.state_file(last).read_bytes())


def published(installation: Installation) -> list[str]:
    """Keys of all that is live, once all of it is published and in the file; [] before."""
    live = [(key, state) for key, _, state, _ in installation.state()["ledger"] if state != "closed"]
    path = installation.feed / "discrepancies.geojson"
    if not path.exists() or any(state != "published" for _, state in live):
        return []
    features = json.loads(path.read_text())["features"]
    return [key for key, _ in live] if len(features) == len(live) else []
