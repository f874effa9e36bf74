"""Fetcher: one request with its redirects and its further tries; and one request of any method, for those who write.

What comes from the network is taken for hostile: sizes are capped on the wire and after decoding, redirects are
followed by hand and never from https to http nor into a private network, cookies and netrc are not used, and messages
show no user, password or query value. This is the one place that tries again: exponential back-off with full jitter,
Retry-After, and a circuit breaker for each server.

Proxies and certificate bundles are taken from the usual environment variables, as requests does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import get_auth_from_url

from daemon.errors import MapgapError
from daemon.fetch.body import Unwanted, decoder, drain, pieces, replacing
from daemon.fetch.courtesy import Resting, Server, backoff, retry_after
from daemon.fetch.wire import Adapter, GaveUp, Patience, Sending, explain, is_private, patience

MAX_REDIRECTS = 5
TRANSIENT_STATUSES = frozenset({408, 425, 429})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class FetchError(MapgapError):
    """A request that failed, after all the tries it was worth.

    Attributes:
        status: HTTP status, None where there was no answer.
        transient: the same request may succeed later.
        retry_after: seconds after which to ask again, where the server said so or is being left alone.
        url: where the last request went, after redirects, as `shown`; "" where none went out.
        said: what a server wrote with its refusal, undecoded; empty where that was nothing, or too much.
    """

    def __init__(
        self, message: str, status: int | None = None, transient: bool = False, retry_after: float | None = None,
        url: str = "", said: bytes = b"",
    ):
        super().__init__(message)
        self.status = status
        self.transient = transient
        self.retry_after = retry_after
        self.url = url
        self.said = said


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: 2xx, or 304 where the caller sent If-None-Match or If-Modified-Since.

    Attributes:
        status: HTTP status.
        headers: case-insensitive.
        content: the body, decoded; empty after `Fetcher.download`.
        url: where it came from in the end, after redirects, as `shown`.
        private: it came from an address that is not on the open internet (False behind a proxy, which is not known).
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str
    private: bool = False


def shown(url: str) -> str:
    """`url` fit for messages and logs: without user and password, with the values of the query replaced by `...`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    query = "&".join(f"{key}=..." if is_pair else "..." for key, is_pair, _ in _pairs(parts.query))
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{query}" if query else "")
    return "".join(c if c.isprintable() else "?" for c in text)


def _pairs(query: str) -> Iterator[tuple[str, str, str]]:
    return (pair.partition("=") for pair in query.split("&") if pair)


class Fetcher:
    """Gets things by http:// and https://. Safe to share between threads.

    Args:
        user_agent: who asks, with a contact.
        connections: requests under way at once to one server.
        rate: requests a second to one server.
        timeout: patience in seconds, for connecting and between two bytes; a transfer that lasts longer must reach
            `wire.SLOWEST` bytes per second on average.
        retries: further tries after a failure that may pass.
        stop: when set, waits and transfers end at once with a FetchError.
        sleep: waits for so many seconds; by default until `stop` is set at the longest.
        clock: monotonic seconds, by which turns, rests and the breaker go.
        private: says of an IP address whether redirects from elsewhere must not lead to it.
    """

    def __init__(
        self,
        user_agent: str,
        *,
        connections: int,
        rate: float,
        timeout: float,
        retries: int,
        stop: threading.Event | None = None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        private: Callable[[str], bool] = is_private,
    ):
        self._connections, self._rate, self._timeout, self._retries = connections, rate, timeout, retries
        self._stop = stop or threading.Event()
        self._sleep = sleep or self._stop.wait
        self._clock = clock
        self._private = private
        self._lock = threading.Lock()
        self._servers: dict[str, Server] = {}
        self._session = _Session()
        self._session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "identity"})
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Adapter(pool_connections=16, pool_maxsize=connections))

    def get(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None, foreign: bool = False
    ) -> Fetched:
        """The body of `url` in memory; gzip and deflate codings are undone.

        `max_bytes` is the most that is read from the wire, and the most that it may decode to. With an If-None-Match
        or If-Modified-Since among `headers`, the answer may have status 304 and no content; with a Range, 206.

        Args:
            foreign: the URL was found in something on the open internet, so it must not lead into a private network.

        Raises:
            FetchError: whatever went wrong.
        """

        def receive(response: requests.Response) -> bytes:
            return _content(response, max_bytes)

        return self._persist(url, lambda: self._follow(url, max_bytes, headers or {}, receive, foreign))

    def download(
        self, url: str, path: Path | str, *, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> Fetched:
        """The body of `url` in the file `path`, byte for byte as it came (codings are left alone).

        The file appears when it is complete; otherwise nothing is left and an older file stays as it is.

        Raises:
            FetchError: whatever went wrong with the transfer.
            StorageFull: the disk is full.
            OSError: the file cannot be written for another reason.
        """
        path = Path(path)

        def receive(response: requests.Response) -> bytes:
            with replacing(path) as file:
                for piece in pieces(response, max_bytes):
                    file.write(piece)
            return b""

        return self._persist(url, lambda: self._follow(url, max_bytes, headers or {}, receive, foreign=False))

    def send(
        self,
        method: str,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
        again: Callable[[Fetched], bool] | None = None,
        keep_rest: bool = False,
    ) -> Fetched:
        """One request of any method: the answer whatever its status, its coding undone. No redirect is followed.

        Args:
            timeout: as for the Fetcher, for this request alone.
            again: says of an answer whether another try may bring a better one. Without it there is but one try: the
                request must not be carried out twice.
            keep_rest: where there is but one try, the requests after it keep the rest that the server asks for. Not for
                those who look at Retry-After themselves.

        Raises:
            FetchError: there was no whole answer; what was asked for may have been done all the same.
        """
        patient = self._timeout if timeout is None else timeout
        answers: list[Fetched] = []

        def once() -> Fetched:
            limits = Patience(self._stop, patient, max_bytes)
            with self._asking(url, headers or {}, limits, method, body, any_status=True) as response:
                fetched = Fetched(response.status_code, response.headers, _content(response, max_bytes), shown(url))
                answers.append(fetched)
                if again is not None and again(fetched):
                    raise self._error(url, response, self._server(url), transient=True)
                if again is None and keep_rest and _is_transient(fetched.status):
                    self._server(url).rest(retry_after(response.headers.get("Retry-After")) or 0.0)
                return fetched

        try:
            return self._persist(url, once, 0 if again is None else self._retries)
        except FetchError as error:
            if error.status is None or not error.transient or not answers:
                raise
            return answers[-1]

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def _persist(self, url: str, once: Callable[[], Fetched], retries: int | None = None) -> Fetched:
        """What `once` brings, tried again where that may help: `retries` times, by default as often as configured."""
        last: FetchError | None = None
        for attempt in range((self._retries if retries is None else retries) + 1):
            if last is not None and not last.retry_after:
                self._rest(backoff(attempt - 1), url)
            server = self._server(url)
            try:
                return once()
            except Resting as resting:
                if last is not None:  # the reason that the server rests says more than that it does
                    break
                raise FetchError(
                    f"{shown(url)}: not asked: {resting}; next try in {resting.seconds:.0f} s",
                    None, transient=True, retry_after=resting.seconds,
                ) from None
            except FetchError as error:
                last = error
                if not error.transient or self._stop.is_set():
                    break
        assert last is not None
        if last.transient and not self._stop.is_set():
            server.failed()
            tries = f" (tried {attempt + 1} times)" if attempt else ""
            raise FetchError(f"{last}{tries}", last.status, True, last.retry_after, last.url, last.said) from None
        raise last

    def _follow(
        self, url: str, max_bytes: int, headers: Mapping[str, str], receive: Callable[[requests.Response], bytes],
        foreign: bool,
    ) -> Fetched:
        """One try, along the redirects."""
        here = url
        limits = Patience(self._stop, self._timeout, max_bytes, self._private if foreign else None)
        for _ in range(MAX_REDIRECTS + 1):
            with self._asking(here, headers, limits) as response:
                target = _redirect(response, here)
                if target is None:
                    content = b"" if response.status_code == 304 else receive(response)
                    private = limits.peer is not None and self._private(limits.peer)
                    return Fetched(response.status_code, response.headers, content, shown(here), private)
            first_is_private = limits.refuse is None and limits.peer is not None and self._private(limits.peer)
            limits = Patience(self._stop, self._timeout, max_bytes, None if first_is_private else self._private)
            if _origin(target) != _origin(here):
                headers = {k: v for k, v in headers.items() if k.lower() not in ("authorization", "cookie")}
            here = target
        raise FetchError(
            f"{shown(url)}: more than {MAX_REDIRECTS} redirects; the last led to {shown(here)}", url=shown(here)
        )

    @contextmanager
    def _asking(
        self,
        url: str,
        headers: Mapping[str, str],
        limits: Patience,
        method: str = "GET",
        body: bytes | None = None,
        any_status: bool = False,
    ) -> Iterator[requests.Response]:
        """The answer of one server to one request, its body still to be read, once its turn has come.

        Args:
            any_status: an answer that is an error is one to be read, too.

        Raises:
            FetchError: no answer, an answer that is an error, or the body broke off while it was read.
            Resting: the server is being left alone.
        """
        server = self._server(url)
        with self._slot(server, url):
            self._rest(server.turn(), url)
            limits.began = time.monotonic()
            try:
                with patience(limits), self._send(method, url, headers, body, limits) as response:
                    if body is not None:  # what it took to send it is not the answer's slowness
                        limits.began = time.monotonic()
                    status = response.status_code
                    unchanged = status == 304 and any(name.lower().startswith("if-") for name in headers)
                    if not (any_status or 200 <= status < 300 or unchanged or status in REDIRECTS):
                        raise self._error(url, response, server, said=drain(response))
                    yield response
                    if status in REDIRECTS and not any_status:
                        drain(response)
                server.succeeded()
            except GaveUp as gave_up:
                raise FetchError(f"{shown(url)}: {gave_up}", None, gave_up.transient) from None
            except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
                reason, transient = explain(error, limits.timeout)
                raise FetchError(f"{shown(url)}: {reason}", None, transient) from None
            except Unwanted as unwanted:
                server.succeeded()
                raise FetchError(f"{shown(url)}: {unwanted}", response.status_code) from None

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limits: Patience
    ) -> requests.Response:
        credentials = get_auth_from_url(url)
        return self._session.request(
            method,
            url,
            data=None if body is None else Sending(body, limits),
            headers=dict(headers),
            auth=credentials if any(credentials) else _no_netrc,
            timeout=limits.timeout,
            stream=True,
            allow_redirects=False,
        )

    def _error(
        self, url: str, response: requests.Response, server: Server, transient: bool | None = None,
        said: bytes = b"",
    ) -> FetchError:
        status = response.status_code
        if transient is None:
            transient = _is_transient(status)
        wait = retry_after(response.headers.get("Retry-After")) if transient else None
        if wait:
            server.rest(wait)
        reason = "".join(c for c in response.reason or "" if c.isprintable())[:80]
        later = f"; the server asks to come back in {wait:.0f} s" if wait else ""
        if not transient:
            server.succeeded()  # it is well, it only has nothing for us
        message = f"{shown(url)}: HTTP {status} {reason}".rstrip() + later
        return FetchError(message, status, transient, wait, shown(url), said)

    def _server(self, url: str) -> Server:
        name = _origin(url)
        with self._lock:
            if name not in self._servers:
                self._servers[name] = Server(name, self._connections, self._rate, self._clock)
            return self._servers[name]

    @contextmanager
    def _slot(self, server: Server, url: str) -> Iterator[None]:
        while not server.slots.acquire(timeout=0.2):
            self._rest(0, url)
        try:
            yield
        finally:
            server.slots.release()

    def _rest(self, seconds: float, url: str) -> None:
        if seconds > 0 and not self._stop.is_set():
            self._sleep(seconds)
        if self._stop.is_set():
            raise FetchError(f"{shown(url)}: given up because the daemon stops", None, transient=True)


class _Session(requests.Session):
    """requests looks ahead at redirects by reading the whole body, of whatever size; we look at them ourselves."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _is_transient(status: int) -> bool:
    return status in TRANSIENT_STATUSES or 500 <= status < 600


def _content(response: requests.Response, max_bytes: int) -> bytes:
    """The body with its coding undone, at most `max_bytes` before and after."""
    decode = decoder(response.headers.get("Content-Encoding", ""), max_bytes)
    content = [decode(piece) for piece in pieces(response, max_bytes)]
    return b"".join([*content, decode(b"")])


def _origin(url: str) -> str:
    """Scheme, host and port.

    Raises:
        FetchError: not an http:// or https:// URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        if not parts.hostname:
            raise ValueError
    except (ValueError, KeyError):
        raise FetchError(f"{shown(url)}: not a URL of the form http://host/... or https://host/...") from None
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _redirect(response: requests.Response, url: str) -> str | None:
    if response.status_code not in REDIRECTS:
        return None
    location = response.headers.get("Location")
    if not location:
        raise Unwanted(f"HTTP {response.status_code} without a Location")
    try:
        # http.client hands header bytes on as latin-1; what servers mean is UTF-8
        target = urljoin(url, location.encode("latin-1").decode("utf-8"))
        origin = _origin(target)
    except (ValueError, FetchError):
        raise Unwanted(f"redirects to {shown(location)}, which is no http:// or https:// URL") from None
    if url.startswith("https:") and origin.startswith("http:"):
        raise Unwanted(f"redirects from https to http ({shown(target)}); refused")
    return target


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Given as `auth`, keeps requests from looking for credentials in ~/.netrc."""
    return request
