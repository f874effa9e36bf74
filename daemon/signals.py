"""Leaving in order on SIGTERM and SIGINT."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """For the length of the block SIGTERM and SIGINT set `stop`, and SIGHUP is ignored: the configuration is read once.

    The event is set by a thread, not in the signal handler: a handler runs in the midst of the main thread, and if that
    is just inside `stop.wait()`, then `stop.set()` waits for ever for a lock that the same thread holds.
    Must be entered in the main thread.
    """
    wake, sleeper = socket.socketpair()
    wake.setblocking(False)

    def listen() -> None:
        while number := sleeper.recv(1):
            if number[0] in (signal.SIGTERM, signal.SIGINT):
                stop.set()

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    before = {number: signal.signal(number, _heard) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before_fd = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        wake.close()
        listener.join()
        sleeper.close()


def _heard(number: int, frame: object) -> None:
    """Python writes the number to the wake-up descriptor before it comes here; there is nothing left to do."""
