"""HTTP connections that lose patience.

requests and urllib3 know a time-out between two bytes only: a server that drips one byte every few seconds, or never
ends its header, holds them for ever, and a blocked read cannot be called off. Every connection made through `Adapter`
reads through a `Patience`, which belongs to one request of one thread and gives up when the daemon is told to stop,
when nothing comes for `timeout`, when what comes is too slow on average, or when it is more than was bargained for.

The same place knows the address that a connection really ends at, so it is where a redirect into a private network is
refused: looking the name up beforehand would not do, as the name may say something else a moment later.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: Bytes per second below which a transfer that has lasted longer than the time-out is given up.
SLOWEST = 1024
#: Bytes that the header and the chunk framing of an answer may have on top of its body.
OVERHEAD = 256 * 1024
#: Seconds between two looks at the stop event while a read waits.
LOOK = 0.2


class GaveUp(Exception):
    """The transfer was ended from this side; the message says why. Not an OSError, so nothing below catches it."""

    def __init__(self, reason: str, transient: bool = True):
        super().__init__(reason)
        self.transient = transient


def is_private(address: str) -> bool:
    """True for an IP address that is not on the open internet: private, loopback, link-local, multicast, reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_multicast or not ip.is_global


class Patience:
    """What one request may cost. Used by the thread that makes the request only.

    Args:
        stop: set by whoever wants the request to end early.
        timeout: seconds without a byte, and seconds after which `SLOWEST` counts.
        max_bytes: largest body that is wanted, in bytes on the wire.
        refuse: addresses for which this is true are not connected to.
    """

    def __init__(
        self, stop: threading.Event, timeout: float, max_bytes: int, refuse: Callable[[str], bool] | None = None
    ):
        self.stop = stop
        self.timeout = timeout
        self.limit = 2 * max_bytes + OVERHEAD
        self.refuse = refuse
        #: IP address at the other end; None before there is a connection, and behind a proxy.
        self.peer: str | None = None
        self.received = 0
        #: The other side has hung up.
        self.ended = False
        self.began = time.monotonic()

    def meet(self, peer: str | None) -> None:
        """Take note of the address at the other end before anything is sent to it.

        Raises:
            GaveUp: it is an address to stay away from.
        """
        self.peer = peer
        if self.refuse is not None and peer is not None and self.refuse(peer):
            raise GaveUp("leads to a private address; refused", transient=False)

    def wait(self, sock: Any) -> None:
        """Return when `sock` has something to read (or has ended).

        Raises:
            GaveUp: on stop, silence or slowness.
        """
        silent_from = time.monotonic()
        while True:
            self.check_stop()
            now = time.monotonic()
            late = now - self.began - self.timeout
            if late > 0 and 0 < self.received < SLOWEST * late:
                raise GaveUp(f"slower than {SLOWEST} bytes/s: {self.received} bytes in {now - self.began:.1f} s")
            if now - silent_from > self.timeout:
                raise GaveUp(f"nothing came for {self.timeout:g} s")
            if getattr(sock, "pending", int)():  # bytes that TLS has decrypted already
                return
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            if poll.poll(1000 * min(LOOK, self.timeout)):
                return

    def check_stop(self) -> None:
        """Go on, or not.

        Raises:
            GaveUp: the daemon is told to stop.
        """
        if self.stop.is_set():
            raise GaveUp("given up because the daemon stops")

    def spend(self, count: int) -> None:
        """Account for bytes read.

        Raises:
            GaveUp: header, framing and body are more than an honest answer could have.
        """
        self.received += count
        self.ended = self.ended or count == 0
        if self.received > self.limit:
            raise GaveUp(f"more than {self.limit} bytes on the wire", transient=False)


_requests = threading.local()


@contextmanager
def patience(limits: Patience):
    """All that this thread reads within goes by `limits`."""
    _requests.limits = limits
    try:
        yield limits
    finally:
        _requests.limits = None


class Sending(io.BytesIO):
    """The body of a request, which is sent no further once the daemon is told to stop."""

    def __init__(self, body: bytes, limits: Patience):
        super().__init__(body)
        self._limits = limits

    def read(self, size: int | None = -1, /) -> bytes:
        self._limits.check_stop()
        return super().read(size)


class _Reader(io.RawIOBase):
    """The socket's own reader, asking `Patience` before and after each read."""

    def __init__(self, raw: io.RawIOBase, sock: Any, limits: Patience):
        self._raw, self._sock, self._limits = raw, sock, limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._limits.wait(self._sock)
        count = self._raw.readinto(buffer)
        self._limits.spend(count or 0)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any):
        super().__init__(sock, *args, **kwargs)
        limits = getattr(_requests, "limits", None)
        if limits is not None:
            self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock, limits))

    def begin(self) -> None:
        super().begin()
        limits = getattr(_requests, "limits", None)
        if limits is not None and limits.ended:  # http.client takes that for the end of the header, and goes on
            raise GaveUp("the answer broke off in its header")


class _Watched:
    """Mixed into urllib3's connections: patient answers, and no word to an address that is refused."""

    response_class = _Response
    _peer: str | None = None

    def _new_conn(self) -> Any:
        sock = super()._new_conn()  # type: ignore[misc]
        self._peer = sock.getpeername()[0] if self.proxy is None else None  # type: ignore[attr-defined]
        try:
            self._meet()
        except GaveUp:
            sock.close()
            raise
        return sock

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # type: ignore[attr-defined]  # kept alive from an earlier request
            self._meet()
        super().putrequest(*args, **kwargs)  # type: ignore[misc]

    def _meet(self) -> None:
        limits = getattr(_requests, "limits", None)
        if limits is not None:
            limits.meet(self._peer)


class _Http(_Watched, HTTPConnection):
    pass


class _Https(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class Adapter(HTTPAdapter):
    """requests' transport over watched connections, direct or through a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # below, it writes whole URLs, with what is secret in them
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager


def explain(error: BaseException, timeout: float) -> tuple[str, bool]:
    """What went wrong, in words that hold nothing of the URL, and whether it may pass."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not valid: {cause.verify_message}", False
        if isinstance(cause, socket.gaierror):
            return f"the host's name cannot be resolved ({cause.strerror})", True
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError)):
        return "not a valid URL", False
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[:1].lower() + cause.strerror[1:], True
    for cause in causes:
        if isinstance(cause, (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)):
            return f"no answer within {timeout:g} s", True
        if isinstance(cause, urllib3.exceptions.IncompleteRead):
            return f"the answer broke off after {cause.partial} bytes", True
    return f"the connection broke off or what came was not HTTP ({type(causes[-1]).__name__})", True


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those it wraps; requests and urllib3 put them in `args` and `reason`, too."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and not any(one is other for other in seen):
            seen.append(one)
            yield one
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
