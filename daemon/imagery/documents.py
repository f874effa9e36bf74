"""Where descriptions come from: a file, or a server, through the cache."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from daemon.errors import ImageInvalid, ImageryForbidden, ImageryUnavailable
from daemon.fetch import Fetcher, FetchError, shown
from daemon.imagery.cache import Cache
from daemon.imagery.directory import local_path
from daemon.imagery.key import PLACEHOLDER, Key

log = logging.getLogger(__name__)

#: A description is asked for again after this many seconds: a day.
LIFE = 86400.0


@dataclass(frozen=True, slots=True)
class Document:
    """A description.

    Attributes:
        data: its bytes.
        place: path or URL it was read from, with {apikey} in it.
        foreign: it comes from the open internet, so what it names must not lie in a private network.
    """

    data: bytes
    place: str
    foreign: bool

    @property
    def origin(self) -> str:
        """Its place, fit for messages."""
        return shown_place(self.place)

    def resolve(self, link: str, root: Path | None = None) -> str:
        """Where a link of it leads.

        Args:
            root: directory that files it names must lie in, for a local document.

        Raises:
            ImageInvalid: to a file of this machine although it comes from a server, out of `root`, or it asks for the
                key, which goes only where the configuration sends it.
        """
        if PLACEHOLDER in unquote(link):
            raise ImageInvalid(f"{self.origin}: names {shown_link(link)}; the key is not for those whom others name")
        if is_url(link):
            return link
        if is_url(self.place):
            target = urljoin(self.place, link)
            if not is_url(target) or link.lower().startswith("/vsi"):
                raise ImageInvalid(f"{self.origin}: names {shown_link(link)}, which is no http:// or https:// URL")
            return target
        path = (Path(self.place).parent / local_path(link)).resolve()
        outside = root is not None and not path.is_relative_to(root.resolve())
        if urlsplit(link).scheme not in ("", "file") or outside:
            raise ImageInvalid(f"{self.origin}: names {shown_link(link)}; only what lies in {root} is read")
        return str(path)


class Documents:
    """Reads descriptions.

    Args:
        max_bytes: a larger one is refused.
        fetcher: None where nothing is to be read from servers.
    """

    def __init__(self, max_bytes: int, fetcher: Fetcher | None, cache: Cache, key: Key):
        self._max_bytes, self._fetcher, self._cache, self.key = max_bytes, fetcher, cache, key

    def read(self, place: str, foreign: bool = False) -> Document:
        """The description at a path or URL.

        Args:
            foreign: the place was named by something on the open internet.

        Raises:
            ImageInvalid: missing, or too large.
            ImageryUnavailable: server or disk failing.
        """
        if is_url(place):
            return self._ask(place, foreign)
        path = Path(local_path(place))
        try:
            if path.stat().st_size > self._max_bytes:
                raise ImageInvalid(f"{path}: {path.stat().st_size} bytes, more than client.max_document = "
                                   f"{self._max_bytes}; refused")
            return Document(path.read_bytes(), str(path), False)
        except FileNotFoundError:
            raise ImageInvalid(f"{path}: no such file") from None
        except OSError as error:
            raise ImageryUnavailable(f"{path}: cannot be read: {error.strerror}") from None

    def _ask(self, url: str, foreign: bool) -> Document:
        key = f"document {url}"
        kept = self._cache.get(key)
        if kept is not None:
            return _unpack(kept, url)
        if self._fetcher is None:
            raise ImageryForbidden(f"{shown(url)}: not asked: client.contact is empty; servers want to know who asks")
        try:
            answer = self._fetcher.get(self.key.fill(url), max_bytes=self._max_bytes, foreign=foreign)
        except FetchError as error:
            old = self._cache.get_stale(key)
            if old is not None and error.transient:
                log.info("%s; an older copy is used", self.key.hide(str(error)))
                return _unpack(old, url)
            said = self.key.hide(str(error))
            if error.status is not None and 200 <= error.status < 300:
                raise ImageInvalid(f"{said} (client.max_document)") from None
            if error.status in (404, 410):
                raise ImageInvalid(said) from None
            raise ImageryUnavailable(f"{said}{self.key.hint(error.status)}") from None
        document = Document(answer.content, url, not answer.private)
        self._cache.put(key, json.dumps({"foreign": document.foreign}).encode() + b"\n" + document.data, LIFE)
        return document

    def forget(self, document: Document) -> None:
        """Ask for it again next time: it was of no use."""
        self._cache.drop(f"document {document.place}")


def is_url(place: str) -> bool:
    """Whether a place is a server's."""
    return place.lower().startswith(("http://", "https://"))


def shown_place(place: str) -> str:
    """A path as it is, a URL without its secrets."""
    return shown(place) if "://" in place else place


def shown_link(link: str) -> str:
    """A link of somebody else's, fit for messages."""
    return repr(link if len(link) <= 100 else link[:97] + "...")


def _unpack(kept: bytes, url: str) -> Document:
    head, _, data = kept.partition(b"\n")
    return Document(data, url, json.loads(head)["foreign"])
