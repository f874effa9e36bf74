"""A WMS, asked for one image a tile.

Web mercator is asked for where the server has it; else an image of the ground under the tile in another coordinate
system, which is then warped. WMS 1.3.0 writes a bounding box in the order of the axes of its coordinate system, which
for EPSG:4326 and many national grids is north first; 1.1.1 always east first.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlsplit

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import from_bounds
from rasterio.warp import transform_bounds

from daemon.config import Imagery
from daemon.errors import ImageInvalid
from daemon.imagery.address import UrlTemplate
from daemon.imagery.capabilities import WmsCapabilities, choose_format, parse_wms, read_capabilities, with_query
from daemon.imagery.document import shorten
from daemon.imagery.documents import Documents
from daemon.imagery.source import TileImage
from daemon.imagery.warp import MERCATOR, to_tile
from daemon.tiling.grid import Block, Tile

#: Names of web mercator, old ones too.
MERCATOR_NAMES = ("EPSG:3857", "EPSG:900913", "EPSG:102100", "EPSG:102113", "EPSG:3785")
#: Taken where there is no mercator, in this order; after them whatever is known here.
DEGREES = ("EPSG:4326", "CRS:84")
#: Pixels more than the tile on each side, where an image is warped.
RIM_PX = 2
_OF_TEMPLATES = ("bbox", "width", "height", "proj", "crs", "srs", "wkid", "w", "n", "e")


@dataclass(frozen=True, slots=True)
class _Terms:
    """How the server is asked."""

    version: str
    system: str
    format: str


class WmsAddress:
    """GetMap requests. See `Address` for what its methods mean.

    The url is the service's address, or a whole GetMap request with {bbox} in it, as editors' indexes have them.
    """

    foreign = False

    def __init__(self, settings: Imagery, documents: Documents):
        self.text = settings.url
        self._settings, self._documents = settings, documents
        self._is_template = "{bbox}" in settings.url or "{w}" in settings.url
        self._lock = threading.Lock()
        self._agreed: _Terms | None = None
        self.problem = self._problem()

    def fill(self, tile: Tile) -> str:
        terms, size = self._terms(), self._settings.tile_size
        west, south, east, north = self._bounds(tile, terms.system)
        swapped = terms.version == "1.3.0" and north_first(terms.system)
        box = (south, west, north, east) if swapped else (west, south, east, north)
        text = ",".join(f"{edge:.12g}" for edge in box)
        if self._is_template:
            values = {
                "bbox": text, "width": str(size), "height": str(size), "proj": terms.system, "crs": terms.system,
                "srs": terms.system, "wkid": terms.system.rpartition(":")[2],
                "time": quote(self._settings.time, safe=""),
            }
            if "{w}" in self.text:  # then {s} is the south, and no subdomain
                values |= {k: f"{v:.12g}" for k, v in (("w", west), ("s", south), ("e", east), ("n", north))}
            url = re.sub(r"\{([a-z]+)\}", lambda match: values.get(match[1], match[0]), self.text)
            return self._by_turns(url, tile)
        request = {
            "SERVICE": "WMS", "VERSION": terms.version, "REQUEST": "GetMap", "LAYERS": self._settings.layer,
            "STYLES": self._settings.style, "CRS" if terms.version == "1.3.0" else "SRS": terms.system, "BBOX": text,
            "WIDTH": str(size), "HEIGHT": str(size), "FORMAT": terms.format, "TRANSPARENT": "TRUE",
        }
        return with_query(self.text, request | ({"TIME": self._settings.time} if self._settings.time else {}))

    def warp(self, image: TileImage, tile: Tile) -> TileImage:
        """An answer as the tile that it was asked for."""
        system = self._terms().system
        if system in MERCATOR_NAMES:
            return image
        height, width = image.valid.shape
        transform = from_bounds(*self._bounds(tile, system), width, height)
        return to_tile(image, transform, crs_of(system), tile, self._settings.tile_size)

    def zooms(self) -> set[int] | None:
        return None

    def check(self) -> list[str]:
        """Whether layers, coordinate system and format are what the server has; asks it, unless all is in the url."""
        if not self._is_template:
            self._agree(*self._capabilities())
        return []

    def _by_turns(self, url: str, tile: Tile) -> str:
        return UrlTemplate(url, subdomains=self._settings.subdomains).fill(tile) if "{" in url else url

    def _terms(self) -> _Terms:
        settings = self._settings
        with self._lock:
            if self._agreed is None:
                if self._is_template:
                    given = {k.upper(): v for k, v in parse_qsl(urlsplit(self.text).query)}
                    named = given.get("CRS") or given.get("SRS") or ""
                    system = settings.crs or ("" if "{" in named else named.upper()) or "EPSG:3857"
                    self._agreed = _Terms(settings.version or given.get("VERSION", "1.1.1"), system, "")
                elif settings.version and settings.crs and settings.format:
                    self._agreed = _Terms(settings.version, settings.crs, settings.format)
                else:
                    self._agreed = self._agree(*self._capabilities())
            return self._agreed

    def _capabilities(self) -> tuple[WmsCapabilities, str]:
        request = {"SERVICE": "WMS", "REQUEST": "GetCapabilities"}
        if self._settings.version:
            request["VERSION"] = self._settings.version
        capabilities, document = read_capabilities(self._documents, with_query(self.text, request), parse_wms)
        return capabilities, document.origin

    def _agree(self, capabilities: WmsCapabilities, origin: str) -> _Terms:
        """Raises: ImageInvalid: what is configured is not what the server has."""
        settings = self._settings
        names = settings.layer.split(",")
        lacking = [name for name in names if name not in capabilities.layers]
        if lacking:
            there = shorten(", ".join(capabilities.layers))
            raise ImageInvalid(f"{origin}: has no layer {lacking[0]!r}; set layer to one of: {there}")
        systems = frozenset.intersection(*(capabilities.layers[name].systems for name in names))
        version = settings.version or ("1.1.1" if capabilities.version.startswith("1.1") else "1.3.0")
        chosen = settings.crs or next((name for name in (*MERCATOR_NAMES, *DEGREES) if name in systems), None)
        if chosen is None:
            chosen = next((name for name in sorted(systems) if _is_known(name)), None)
        if chosen is None or (chosen not in systems and systems):
            raise ImageInvalid(f"{origin}: layer {settings.layer} does not come in {settings.crs or 'any known crs'}; "
                               f"offered: {shorten(', '.join(sorted(systems))) or 'none'}")
        return _Terms(version, chosen, choose_format(settings.format, capabilities.formats, origin))

    def _bounds(self, tile: Tile, system: str) -> tuple[float, float, float, float]:
        """(west, south, east, north) of the image for a tile, in units of the coordinate system."""
        box = Block(tile.z, tile.x, tile.y, 1).mercator()
        if system in MERCATOR_NAMES:
            return box
        west, south, east, north = transform_bounds(MERCATOR, crs_of(system), *box, densify_pts=21)
        across = RIM_PX * (east - west) / self._settings.tile_size
        along = RIM_PX * (north - south) / self._settings.tile_size
        return west - across, south - along, east + across, north + along

    def _problem(self) -> str | None:
        if self._settings.crs and not _is_known(self._settings.crs):
            return f"crs: coordinate system {self._settings.crs!r} is not known"
        if not self._is_template:
            if not self._settings.layer:
                return "layer is empty; name the layer, or several with commas between"
            if "{" in self.text.replace("{apikey}", ""):
                return "has placeholders but no {bbox}; give the address of the service, or a whole GetMap request"
            return None
        rest = self.text
        for name in _OF_TEMPLATES:
            rest = rest.replace(f"{{{name}}}", "")
        return UrlTemplate(rest + "{z}{x}{y}", time=self._settings.time).problem


@lru_cache(maxsize=64)
def crs_of(system: str) -> CRS:
    """The coordinate system of a name such as "EPSG:4326".

    Raises:
        ImageInvalid: it is not known here.
    """
    try:
        return CRS.from_string("OGC:CRS84" if system == "CRS:84" else system)
    except CRSError:
        raise ImageInvalid(f"coordinate system {system!r} is not known") from None


def crs_told(settings: Imagery) -> CRS | None:
    """The coordinate system that a source's `crs` names; None where it names none.

    Raises:
        ImageInvalid: as `crs_of`.
    """
    return crs_of(settings.crs) if settings.crs else None


@lru_cache(maxsize=64)
def north_first(system: str) -> bool:
    """Whether the first axis of a coordinate system runs north (or south)."""
    if system == "CRS:84" or system in MERCATOR_NAMES:
        return False
    first = re.search(r'AXIS\["[^"]*",\s*(\w+)', crs_of(system).to_wkt(version="WKT2_2019"))
    return first is not None and first[1].lower() in ("north", "south")


def _is_known(system: str) -> bool:
    try:
        crs_of(system)
    except ImageInvalid:
        return False
    return True


