"""Telling systemd how the daemon does: sd_notify(3) over the socket that NOTIFY_SOCKET names.

Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html; lines NAME=value in one datagram.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Sends states to one notification socket; does nothing without one.

    Args:
        address: path of a unix datagram socket, or "@name" of an abstract one; "": there is nobody to tell.
        watchdog: seconds within which systemd wants a ping; None: it does not watch.
    """

    def __init__(self, address: str = "", watchdog: float | None = None):
        self._address = address
        self.watchdog = watchdog

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        """As systemd asks by NOTIFY_SOCKET, WATCHDOG_USEC (microseconds) and WATCHDOG_PID (whom it means)."""
        environment = os.environ if environment is None else environment
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        watched = usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid()))
        return cls(environment.get("NOTIFY_SOCKET", ""), int(usec) / 1e6 if watched else None)

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def ping(self) -> None:
        """Keep the watchdog quiet."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.sendto(state.encode(), address)
        except OSError as error:  # work is more important than telling of it
            log.debug("cannot notify %s: %s", self._address, error)
