"""sd_notify over real sockets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from daemon.notify import Notifier


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_states_arrive_as_systemd_reads_them(tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@mapgap-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name.replace("@", "\0", 1))
        server.settimeout(10)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})
        notifier.ready()
        notifier.status("two\nlines, one ümlaut")
        notifier.ping()
        notifier.stopping()
        received = [server.recv(4096).decode() for _ in range(4)]
    assert received == ["READY=1", "STATUS=two lines, one ümlaut", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize(
    "address", ["", "relative/path", "vsock:2:1", "/no/such/socket", "@no-such-mapgap", "/" + "x" * 300]
)
def test_nobody_to_tell_is_no_failure(address: str) -> None:
    Notifier(address).ready()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_only_when_it_means_this_process(
    environment: dict[str, str], expected: float | None
) -> None:
    assert Notifier.from_environment(environment).watchdog == expected
