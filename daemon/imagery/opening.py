"""Settings -> sources: what is asked for what each kind needs, and who may be asked at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from daemon import __version__
from daemon.config import Config, Imagery
from daemon.errors import ImageInvalid, ImageryForbidden
from daemon.fetch import Fetcher
from daemon.imagery.address import Address, UrlTemplate
from daemon.imagery.cache import Cache
from daemon.imagery.dates import MetadataService
from daemon.imagery.directory import DirectoryTiles, local_path
from daemon.imagery.documents import Documents, is_url
from daemon.imagery.files import TileFiles
from daemon.imagery.footprint import Within
from daemon.imagery.geotiff import GeotiffSource
from daemon.imagery.http import HttpTiles
from daemon.imagery.index import Entry
from daemon.imagery.key import Key
from daemon.imagery.mbtiles import MbtilesFile
from daemon.imagery.postgis import PostgisSource
from daemon.imagery.raster_file import LocalPicture, RasterFile
from daemon.imagery.remote import RemoteTiff
from daemon.imagery.source import ImagerySource, TileImage
from daemon.imagery.stac import StacSource
from daemon.imagery.vrt import Vrt
from daemon.imagery.wms import WmsAddress
from daemon.imagery.wmts import WmtsAddress
from daemon.imagery.xyz import XyzSource
from daemon.sections.ground import permission_problems_of
from daemon.tiling.grid import Tile

_NO_CONTACT = "client.contact: empty; servers of imagery are not asked without saying who asks"
#: Kinds that are nothing but files or tables; of the others a url may lead to a server.
_WITHOUT_SERVERS = ("mbtiles", "vrt", "postgis", "index")


def asks_servers(settings: Imagery) -> bool:
    """Whether a source is certain to ask servers by HTTP."""
    url = is_url(settings.url) and settings.kind not in _WITHOUT_SERVERS
    return url or settings.kind in ("wms", "wmts") or bool(settings.date_url)


def refuse_forbidden(config: Config, sources: Sequence[Imagery]) -> None:
    """Whether all sources may be used, and asked.

    Raises:
        ImageryForbidden: a line for everything that is lacking.
    """
    problems = permission_problems_of([source.model_dump() for source in sources])
    contact = config.client.contact.strip()
    if any(asks_servers(source) for source in sources):
        if not contact:
            problems.append(_NO_CONTACT)
        elif not _is_fit(contact):
            problems.append(f"client.contact: {contact!r}; expected an e-mail address or URL in printable ASCII")
    if problems:
        raise ImageryForbidden("imagery refused:\n  - " + "\n  - ".join(problems))


def make_fetcher(config: Config, sources: Sequence[Imagery], stop: threading.Event | None) -> Fetcher | None:
    """Asks with the manners of [client], saying who asks; None where nobody is to be asked, or may be."""
    client = config.client
    # A STAC document of this machine may name files of servers.
    may_ask = any(asks_servers(source) or source.kind == "stac" for source in sources)
    if not may_ask or not _is_fit(client.contact):
        return None
    return Fetcher(
        f"mapgap/{__version__} (+{client.contact.strip()})",
        connections=client.connections,
        rate=client.rate,
        timeout=client.timeout,
        retries=client.retries,
        stop=stop,
    )


def _is_fit(contact: str) -> bool:
    contact = contact.strip()
    return bool(contact) and contact.isprintable() and contact.isascii()


def open_source(entry: Entry, config: Config, fetcher: Fetcher | None, cache: Cache) -> ImagerySource:
    """The source that an entry describes; servers are not asked yet.

    Raises:
        ImageInvalid: its location is wrong.
        ConfigError: its key is not to be had.
    """
    settings = entry.settings
    if settings.min_zoom > settings.max_zoom:
        raise ImageInvalid(f"min_zoom {settings.min_zoom} is above max_zoom {settings.max_zoom}")
    source = _Opening(settings, config, fetcher, cache).source()
    return source if entry.area is None else Within(source, entry.area)


class _Opening:
    """What one source is made with."""

    def __init__(self, settings: Imagery, config: Config, fetcher: Fetcher | None, cache: Cache):
        self._settings, self._config, self._fetcher, self._cache = settings, config, fetcher, cache
        self._key = Key.of(settings)
        self._documents = Documents(config.client.max_document, fetcher, cache, self._key)

    def source(self) -> ImagerySource:
        settings, client = self._settings, self._config.client
        match settings.kind:
            case "geotiff":
                return GeotiffSource(settings, self._tiff(settings.url, False), at_once=not is_url(settings.url))
            case "vrt":
                return GeotiffSource(settings, Vrt(local_path(settings.url)))
            case "stac":
                return StacSource(settings, self._documents, self._tiff, self._config.mosaic.ranking)
            case "postgis":
                return PostgisSource(settings, self._key, client.timeout)
            case "mbtiles":
                return self._of_files(MbtilesFile(settings.url, client.max_image))
            case "wms":
                address = WmsAddress(settings, self._documents)
                return self._of_files(self._http(address), address.warp)
            case "wmts":
                return self._of_files(self._http(WmtsAddress(settings, self._documents)))
        if is_url(settings.url):
            return self._of_files(self._http(UrlTemplate.of(settings)))
        from_south = settings.tms or settings.kind == "tms"
        return self._of_files(DirectoryTiles(settings.url, from_south, client.max_image))

    def _tiff(self, place: str, foreign: bool) -> RasterFile:
        if is_url(place):
            return RemoteTiff(place, self._asker, self._cache, self._key, foreign)
        return LocalPicture(local_path(place))

    def _http(self, address: Address) -> HttpTiles:
        settings = self._settings
        return HttpTiles(
            address, self._config.client.max_image, self._asker, self._cache, self._key,
            no_tile_header=settings.no_tile_header, date_header=settings.date_header,
        )

    @property
    def _asker(self) -> Fetcher:
        """Raises: ImageryForbidden: nobody says who asks."""
        if self._fetcher is None:
            raise ImageryForbidden(f"imagery refused:\n  - {_NO_CONTACT}")
        return self._fetcher

    def _of_files(
        self, tiles: TileFiles, warp: Callable[[TileImage, Tile], TileImage] | None = None
    ) -> XyzSource:
        settings = self._settings
        days = None
        if settings.date_url:
            template = UrlTemplate(settings.date_url, False, settings.subdomains, settings.time)
            days = MetadataService(template, settings.date_field, settings.date_zoom, self._documents)
        problem = tiles.problem or (days.problem if days else None)
        if problem:
            raise ImageInvalid(problem)
        return XyzSource(settings, tiles, self._config.client.max_pixels, days=days, warp=warp)
