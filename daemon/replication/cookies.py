"""The cookie of a server with a login, read from `replication.cookie_file` and sent to nobody else.

Two forms are understood: the Netscape/Mozilla cookie file of curl, wget and pyosmium, and a line as it stands in a
Cookie or Set-Cookie header, which belongs to the host of replication.url. Geofabrik's `oauth_cookie_client.py` writes
either (--format netscape or http), see https://github.com/geofabrik/sendfile_osm_oauth_protector, doc/client.md. Who
may see a cookie: RFC 6265, 5.1.3 (domain), 5.1.4 (path) and 5.4 (secure). The file is read again when it changes, so
that it may be renewed under a running daemon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from daemon.config import read_secret
from daemon.errors import ConfigError, LoginRequired

KEY = "replication.cookie_file"
RENEW = "renew the cookie, e.g. with Geofabrik's oauth_cookie_client.py"
#: What stands in a Set-Cookie line beside the cookie itself.
ATTRIBUTES = frozenset({"path", "domain", "expires", "max-age", "secure", "httponly", "samesite", "version", "comment"})


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie and where it may go.

    Attributes:
        pair: "name=value", as it is sent.
        host: the only host that may see it; those below it, too, where `subdomains`.
        path: and there only what lies below.
        secure: by https:// only.
        expires: seconds since 1970; None where it does not say.
    """

    pair: str = field(repr=False)
    host: str
    subdomains: bool = False
    path: str = "/"
    secure: bool = False
    expires: float | None = None

    def may_go_to(self, url: str) -> bool:
        parts = urlsplit(url)
        host, path = (parts.hostname or "").lower(), parts.path or "/"
        return (
            (host == self.host or (self.subdomains and host.endswith(f".{self.host}")))
            and (path == self.path or path.startswith(self.path.rstrip("/") + "/"))
            and (parts.scheme == "https" or not self.secure)
        )


class CookieFile:
    """The cookies of a file. Safe to share between threads.

    Args:
        path: the file, mode 0600.
        home: the URL to which a cookie belongs that does not say itself.
        now: seconds since 1970.

    Raises:
        ConfigError: missing, readable by others, no cookie file, or without a cookie for `home`.
    """

    def __init__(self, path: Path, home: str, now: Callable[[], float] = time.time):
        self.path = path
        self._home = home
        self._now = now
        self._read: tuple[int, list[Cookie]] = (-1, [])
        if not any(cookie.may_go_to(home) for cookie in self._cookies()):
            raise ConfigError(KEY, [f"{path} holds no cookie for {_host(home)}; {RENEW}"])

    def header(self, url: str) -> dict[str, str]:
        """The Cookie header for a request, {} where none of the cookies belongs there.

        Raises:
            LoginRequired: those that do are all expired.
            ConfigError: the file has become unusable.
        """
        ours = [cookie for cookie in self._cookies() if cookie.may_go_to(url)]
        valid = [cookie for cookie in ours if cookie.expires is None or cookie.expires > self._now()]
        if ours and not valid:
            last = datetime.fromtimestamp(max(cookie.expires or 0.0 for cookie in ours), UTC)
            when = f"{last:%Y-%m-%d %H:%M} UTC"
            raise LoginRequired(f"{self.path}: the cookie for {_host(url)} expired on {when}; {RENEW}")
        return {"Cookie": "; ".join(cookie.pair for cookie in valid)} if valid else {}

    def _cookies(self) -> list[Cookie]:
        try:
            changed = self.path.stat().st_mtime_ns
        except OSError as error:
            raise ConfigError(KEY, [f"cannot be read: {error}"]) from None
        known, cookies = self._read
        if changed != known:
            cookies = list(parse_cookies(read_secret(self.path, KEY), _host(self._home)))
            if not cookies:
                raise ConfigError(KEY, [f"{self.path} holds no cookie; expected a Netscape cookie file or name=value"])
            self._read = changed, cookies
        return cookies


def parse_cookies(text: str, home: str) -> Iterator[Cookie]:
    """The cookies of a file; what is no cookie is passed over.

    Args:
        text: its content.
        home: host of those that name none.
    """
    for line in text.splitlines():
        line = line.strip("\r\n ")
        fields = line.removeprefix("#HttpOnly_").split("\t")
        if len(fields) == 7 and (not line.startswith("#") or line.startswith("#HttpOnly_")):
            yield from _from_netscape(fields)
        elif line and not line.startswith("#"):
            yield from _from_header(line, home)


def _from_netscape(fields: list[str]) -> Iterator[Cookie]:
    """host, whether those below it, too, path, whether by https:// only, when it expires (0: never), name, value."""
    host, subdomains, path, secure, expires, name, value = fields
    if _is_sendable(f"{name}={value}") and name:
        until = float(expires) if expires.isascii() and expires.isdigit() and int(expires) else None
        yield Cookie(
            f"{name}={value}", host.lstrip(".").lower(), subdomains.upper() == "TRUE", path or "/",
            secure.upper() == "TRUE", until,
        )


def _from_header(line: str, home: str) -> Iterator[Cookie]:
    for prefix in ("set-cookie:", "cookie:"):
        if line.lower().startswith(prefix):
            line = line[len(prefix) :]
    pairs: list[str] = []
    said: dict[str, str] = {}
    for part in line.split(";"):
        name, is_pair, value = part.strip().partition("=")
        if name.lower() in ATTRIBUTES:
            said[name.lower()] = value.strip()
        elif is_pair and name and _is_sendable(part.strip()):
            pairs.append(part.strip())
    for pair in pairs:
        domain = said.get("domain", "").lstrip(".").lower()
        yield Cookie(pair, domain or home, bool(domain), said.get("path") or "/", "secure" in said, _moment(said))


def _moment(said: dict[str, str]) -> float | None:
    try:
        return parsedate_to_datetime(said["expires"]).timestamp()
    except (KeyError, ValueError):
        return None


def _is_sendable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()
