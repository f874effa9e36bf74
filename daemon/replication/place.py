"""Where replication files come from: a web server or a directory. Both fail in the same named ways."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from daemon.errors import (
    ChangeFileInvalid,
    LoginRequired,
    ReplicationError,
    ReplicationMissing,
    ReplicationRefused,
    ReplicationUnavailable,
    StateInvalid,
    StorageFull,
)
from daemon.fetch import Fetcher, FetchError, shown
from daemon.replication.cookies import RENEW, CookieFile

#: Bytes in which a web page shows itself.
PEEK = 1024
_PAGE = re.compile(rb"\A[\s\xef\xbb\xbf]*(<\?xml[^>]*>\s*)?<(!doctype html|html)\b", re.IGNORECASE)
_LOGIN = re.compile(r"(log|sign)[-_]?in\b|oauth|authorize|get_cookie|\bsso\b", re.IGNORECASE)


class Place(Protocol):
    """A directory of replication files.

    Both methods raise ReplicationMissing, ReplicationRefused or ReplicationUnavailable; `read` StateInvalid and
    `copy` ChangeFileInvalid where the file is larger than allowed, and `copy` StorageFull.
    """

    def name(self, relative: str) -> str:
        """The URL of a file, fit for messages."""

    def read(self, relative: str, max_bytes: int) -> bytes:
        """The content of a small file."""

    def copy(self, relative: str, path: Path, max_bytes: int) -> None:
        """Put a copy of the file at `path`."""


class WebPlace:
    """http:// and https://. A query in the URL (a key, say) is kept for every file.

    Raises LoginRequired, beside the others, where a server wants a cookie, or a newer one.
    """

    def __init__(self, url: str, fetcher: Fetcher, cookies: CookieFile | None = None):
        self._parts = urlsplit(url)
        self._fetcher = fetcher
        self._cookies = cookies

    def name(self, relative: str) -> str:
        return shown(self._url(relative))

    def read(self, relative: str, max_bytes: int) -> bytes:
        url = self._url(relative)
        try:
            fetched = self._fetcher.get(url, max_bytes=max_bytes, headers=self._header(url))
        except FetchError as error:
            raise self._named(error, StateInvalid) from None
        self._refuse_page(url, fetched.url, fetched.content[:PEEK], StateInvalid)
        return fetched.content

    def copy(self, relative: str, path: Path, max_bytes: int) -> None:
        url = self._url(relative)
        try:
            fetched = self._fetcher.download(url, path, max_bytes=max_bytes, headers=self._header(url))
            with path.open("rb") as file:
                start = file.read(PEEK)
        except FetchError as error:
            raise self._named(error, ChangeFileInvalid) from None
        except OSError as error:
            raise ReplicationRefused(f"{path}: cannot be written: {error.strerror}") from None
        self._refuse_page(url, fetched.url, start, ChangeFileInvalid)

    def _header(self, url: str) -> dict[str, str]:
        return self._cookies.header(url) if self._cookies else {}

    def _refuse_page(self, asked: str, came_from: str, start: bytes, wrong_content: type[ReplicationError]) -> None:
        """A server with a login sends a page, or sends on to one, instead of the file; so do captive portals."""
        if not _PAGE.search(start):
            return
        moved = shown(asked) != came_from
        where = f"{shown(asked)}: a web page" + (f", at {came_from}," if moved else "") + " instead of the file"
        if self._header(asked) or _LOGIN.search(urlsplit(came_from).path):
            raise LoginRequired(f"{where}; {self._advice(asked)}")
        if urlsplit(asked).netloc.rpartition("@")[2] != urlsplit(came_from).netloc:
            raise wrong_content(f"{where}: the files have moved, or a captive portal or proxy answers in their place")

    def _advice(self, url: str) -> str:
        if self._cookies and self._header(url):
            return f"the server does not accept the cookie in {self._cookies.path} (any more): {RENEW}"
        return "the server wants a login: set replication.cookie_file (or user and password in replication.url)"

    def _named(self, error: FetchError, wrong_content: type[ReplicationError]) -> ReplicationError:
        here = error.url or self._parts.geturl()
        unknown = error.status == 401 or (error.status == 403 and self._header(self._parts.geturl()))
        if unknown or (error.status and 400 <= error.status < 500 and _LOGIN.search(urlsplit(here).path)):
            return LoginRequired(f"{error}; {self._advice(self._parts.geturl())}")
        if error.status in (404, 410):
            return ReplicationMissing(str(error))
        if error.transient:
            return ReplicationUnavailable(str(error))
        if error.status is not None and 200 <= error.status < 300:
            return wrong_content(str(error))
        return ReplicationRefused(str(error))

    def _url(self, relative: str) -> str:
        return self._parts._replace(path=f"{self._parts.path.rstrip('/')}/{relative}", fragment="").geturl()


class LocalPlace:
    """file://"""

    def __init__(self, url: str):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or "%00" in parts.path:
            raise ReplicationRefused(f"{shown(url)}: expected file:// and an absolute path, like file:///srv/minute")
        self._directory = Path(url2pathname(parts.path))

    def name(self, relative: str) -> str:
        return f"file://{self._directory / relative}"

    def read(self, relative: str, max_bytes: int) -> bytes:
        with self._opened(relative, max_bytes, StateInvalid) as file:
            return file.read(max_bytes)

    def copy(self, relative: str, path: Path, max_bytes: int) -> None:
        name = self.name(relative)
        with self._opened(relative, max_bytes, ChangeFileInvalid) as file:
            try:
                with path.open("wb") as target:
                    shutil.copyfileobj(file, target)
            except OSError as error:
                path.unlink(missing_ok=True)
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StorageFull(f"{path}: {error.strerror}; make room in {path.parent}") from None
                raise ReplicationRefused(f"{name}: cannot be copied to {path}: {error.strerror}") from None

    @contextmanager
    def _opened(self, relative: str, max_bytes: int, too_large: type[ReplicationError]) -> Iterator[IO[bytes]]:
        name = self.name(relative)
        try:
            with open(self._directory / relative, "rb", opener=_open_at_once) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ReplicationRefused(f"{name}: not a regular file")
                if status.st_size > max_bytes:
                    raise too_large(f"{name}: {status.st_size} bytes, more than the {max_bytes} allowed; refused")
                yield file
        except (FileNotFoundError, NotADirectoryError):
            raise ReplicationMissing(f"{name}: no such file") from None
        except (PermissionError, IsADirectoryError) as error:
            raise ReplicationRefused(f"{name}: {error.strerror}") from None
        except OSError as error:
            raise ReplicationUnavailable(f"{name}: {error.strerror or error}") from None


def _open_at_once(path: str, flags: int) -> int:
    """Opening a named pipe would otherwise wait for a writer for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def open_place(url: str, fetcher: Fetcher | None, cookies: CookieFile | None = None) -> Place:
    """The place that `url` names.

    Raises:
        ReplicationRefused: a URL that cannot be used.
        ValueError: http(s):// without a fetcher.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise ReplicationRefused(f"{shown(url)}: {error}") from None
    if scheme == "file":
        return LocalPlace(url)
    if scheme not in ("http", "https"):
        raise ReplicationRefused(f"{shown(url)}: expected http://, https:// or file://")
    if fetcher is None:
        raise ValueError("a replication server needs a Fetcher")
    return WebPlace(url, fetcher, cookies)
