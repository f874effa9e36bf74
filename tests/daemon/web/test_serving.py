"""`mapgap serve` as a process, and the server within the daemon."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import requests
from claims import Ledger, house, missing
from test_scheduler import Toy
from web_server import backend_of, mapgap_serve, serving

from daemon.config import Config, parse
from daemon.db import Database, EmbeddedServer, check_schema, hold_daemon_lock
from daemon.errors import WebError
from daemon.facts import read_facts
from daemon.notify import Notifier
from daemon.scheduler import Runner
from daemon.web.server import WebCompanion, WebServer

#: What a server may take, bytes.
MEMORY = 300 * 1024**2
NETWORKS = ("mxnet", "openvino", "onnx", "onnxruntime", "torch")
#: Serves as the command does, and says in the end which of these were imported.
SERVE = f"""
import sys
from daemon.__main__ import main
try:
    main(["serve", *sys.argv[1:]], prog_name="mapgap")
finally:
    print("imported:", *[name for name in {NETWORKS!r} if name in sys.modules], file=sys.stderr, flush=True)
"""


def test_the_command_serves_without_networks_in_little_memory_and_leaves_in_order(
    ledger: Ledger, tmp_path: Path
) -> None:
    (key,) = ledger.open(missing(house(10, 10)))
    path = tmp_path / "config.toml"
    path.write_text(f'[database]\ndsn = "{ledger.database.dsn}"\n[web]\nport = 0\n')
    with mapgap_serve(path, program=SERVE) as (url, process):
        assert [one["key"] for one in ask(url, "/api/v1/discrepancies").json()["discrepancies"]] == [key]
        picture = f"/api/v1/discrepancies/{key}/picture.png?layers=osm,claim"
        for page in ("/", "/metrics", "/api/v1/openapi.json", picture, "/api/0.3/issues", "/api/0.3/items"):
            assert ask(url, page).status_code == 200, page
        metrics = ask(url, "/metrics").text
        (resident,) = [
            float(line.split()[1]) for line in metrics.splitlines()
            if line.startswith("process_resident_memory_bytes ")
        ]
        assert resident < MEMORY
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "imported:"


def test_the_embedded_database_is_shared_and_outlives_the_first_to_leave(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[web]\nport = 0\n")
    with EmbeddedServer(tmp_path / "mapgap-data", settings={"fsync": "off"}) as embedded:
        with mapgap_serve(path) as (url, process):
            assert ask(url, "/readyz").json() == {"ready": True, "reason": ""}
            process.terminate()
            _, said = process.communicate(timeout=30)
            assert process.returncode == 0, said
        with closing(Database(embedded.dsn)) as db:
            check_schema(db)


def ask(url: str, path: str) -> requests.Response:
    return requests.get(url + path, timeout=30)


def test_a_port_that_is_taken_is_named(database: Database, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WebError, match=f"web.port {port}"):
            WebServer(backend_of(database, tmp_path, port=port))


def config_of(database: Database, directory: Path, **web: object) -> Config:
    return parse(
        {"database": {"dsn": database.dsn}, "web": web, "schedule": {"look_interval": 0.1, "publish_interval": 0.1}},
        "a test", directory,
    )


def test_threads_change_hands_sooner_while_there_is_a_server(database: Database, tmp_path: Path) -> None:
    before, usual = sys.getswitchinterval(), 0.005  # another test's server may be there
    sys.setswitchinterval(usual)
    try:
        with serving(backend_of(database, tmp_path)) as served:
            assert served.get("/healthz").status_code == 200
            assert sys.getswitchinterval() < usual / 5
        assert sys.getswitchinterval() == usual
    finally:
        sys.setswitchinterval(before)


def test_the_daemon_serves_beside_its_stages_and_stops_both(database: Database, tmp_path: Path) -> None:
    port = free_port()
    config = config_of(database, tmp_path, port=port)
    stop, answers = threading.Event(), []

    def look() -> bool:
        try:
            answers.append(requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).json())
        except requests.ConnectionError:
            return False
        stop.set()
        return False

    with hold_daemon_lock(database) as lock:
        runner = Runner(config, database, lock, Toy(look=look), stop, Notifier(), [WebCompanion(config)])
        assert runner.run()
    assert answers == [{"status": "up"}]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30)


def test_a_server_that_cannot_serve_is_told_of_and_does_not_end_the_daemon(database: Database, tmp_path: Path) -> None:
    stop = threading.Event()

    def look() -> bool:
        with database.transaction() as cursor:
            facts = read_facts(cursor)
        if "web" in facts["errors"].value:
            stop.set()
        return False

    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        config = config_of(database, tmp_path, port=taken.getsockname()[1])
        with hold_daemon_lock(database) as lock:
            runner = Runner(config, database, lock, Toy(look=look), stop, Notifier(), [WebCompanion(config)])
            assert runner.run() and runner.fatal is None
    with database.transaction() as cursor:
        error = read_facts(cursor)["errors"].value["web"]
    assert error["kind"] == "WebError" and "cannot be listened on" in error["message"] and error["failures"] == 1


def test_a_server_that_serves_again_is_no_error_any_more(database: Database, tmp_path: Path) -> None:
    stop, tries = threading.Event(), []

    class Faltering:
        name = "web"

        def run(self, stop, works) -> None:
            tries.append(1)
            if len(tries) == 1:
                raise WebError("not yet")
            works()
            stop.set()

    config = config_of(database, tmp_path)
    with hold_daemon_lock(database) as lock:
        runner = Runner(config, database, lock, Toy(), stop, Notifier(), [Faltering()])
        assert runner.run()
    with database.transaction() as cursor:
        assert read_facts(cursor)["errors"].value == {}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]
