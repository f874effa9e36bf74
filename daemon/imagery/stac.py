"""Imagery that a STAC document lists: an Item, an ItemCollection, or a Collection or Catalog with links to Items.
An API gives items page by page: its pages are followed.

Each item has its own day, place and file. Where several cover a place, the newest is taken and the others fill what it
lacks. Formats: STAC 1.0 and 1.1 (Item, Collection, Catalog), RFC 7946.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from daemon.config import Imagery
from daemon.errors import ImageInvalid
from daemon.imagery.dates import oldest_day
from daemon.imagery.decode import mask_nodata
from daemon.imagery.directory import local_path
from daemon.imagery.document import parse_json, shorten
from daemon.imagery.documents import Document, Documents, is_url
from daemon.imagery.footprint import tiles_touching, touches
from daemon.imagery.layout import Layout
from daemon.imagery.ranking import rank
from daemon.imagery.raster import ENLARGE_MOST, Raster
from daemon.imagery.raster_file import RasterFile
from daemon.imagery.source import Content, Here, TileImage, oldest, resolution_at
from daemon.imagery.wms import crs_told
from daemon.tiling.grid import Tile

log = logging.getLogger(__name__)

#: Items and documents that are read at most, and files that stay open.
MOST_ITEMS, MOST_DOCUMENTS, MOST_OPEN = 20_000, 2_000, 16
#: An asset of such a type is a raster that is read; in an item without types, the name's ending tells.
TYPES = ("image/tiff", "image/geotiff", "image/vnd.stac.geotiff", "image/jp2")
ENDINGS = (".tif", ".tiff", ".jp2")
#: Which asset is the picture, where several could be: by key, then by role.
VISUAL = ("visual", "image", "data", "ortho", "orthophoto")


@dataclass(frozen=True)
class Item:
    """One scene.

    Attributes:
        files: where its assets lie, in the order in which their bands are taken.
        foreign: they must not lead into a private network.
        area: its footprint in lon/lat.
        acquired: the oldest day on which it was taken.
        resolution: mercator metres of a pixel where the item says its ground sample distance, else None.
    """

    name: str
    files: tuple[str, ...]
    foreign: bool
    area: BaseGeometry
    acquired: date | None
    resolution: float | None

    def here(self, tile: Tile) -> Here | None:
        return Here(self.acquired, self.resolution or resolution_at(tile.z)) if touches(self.area, tile) else None


class StacSource:
    """The items of a document. See `ImagerySource` for what its methods mean.

    Args:
        open_file: a raster by path or URL, and whether that is foreign.
        ranking: as mosaic.ranking, among the items; "order" is the newest first here.
    """

    def __init__(
        self, settings: Imagery, documents: Documents, open_file: Callable[[str, bool], RasterFile], ranking: str
    ):
        self.name, self.licence, self.attribution = settings.name, settings.licence, settings.attribution
        self.acquired = settings.acquired
        self.min_zoom, self.max_zoom = settings.min_zoom, settings.max_zoom
        self.layout = Layout.of(settings)
        self._settings, self._documents, self._open_file = settings, documents, open_file
        self._ranking = "newest" if ranking == "order" else ranking
        self._lock = threading.Lock()
        self._read: Reading | None = None
        self._rasters: OrderedDict[str, Raster] = OrderedDict()
        self._resolution: float | None = None

    def tile(self, tile: Tile) -> TileImage | None:
        if not self.min_zoom <= tile.z <= self.max_zoom:
            return None
        pixels = valid = None
        days = set()
        for item in rank(self._around(tile), tile, self._ranking):
            image = self._image(item, tile)
            if image is None:
                continue
            if valid is None:
                pixels, valid = image.pixels.copy(), image.valid
                days.add(item.acquired or self.acquired)
            elif (gives := image.valid & ~valid).any():
                pixels[gives] = image.pixels[gives]
                valid = valid | gives
                days.add(item.acquired or self.acquired)
            if valid.all():
                break
        return None if pixels is None or valid is None else TileImage(pixels, valid, oldest(days))

    def here(self, tile: Tile) -> Here | None:
        found = rank(self._around(tile), tile, self._ranking)
        first = found[0].here(tile) if found and self.min_zoom <= tile.z <= self.max_zoom else None
        return None if first is None else Here(first.acquired or self.acquired, first.resolution)

    def coverage(self, zoom: int, since: float | None = None) -> set[Tile] | None:
        if not self._offers(zoom):
            return set()
        covered: set[Tile] = set()
        for item in self._items:
            found = tiles_touching(item.area, zoom)
            if found is None:
                return None
            covered |= found
        return covered

    def content(self, zoom: int) -> Content:
        return Content(self._reading().digest)

    def zooms(self) -> set[int]:
        return {zoom for zoom in range(self.min_zoom, self.max_zoom + 1) if self._offers(zoom)}

    def check(self) -> list[str]:
        """Also whether the licence is the one that the document states, where it states one."""
        reading = self._reading()
        if not reading.items:
            return [f"{reading.origin}: no item with an asset that can be read"]
        other = reading.licences - {"", "various", "proprietary", "other", self.licence}
        if other:
            return [f"licence is {self.licence!r}, but {reading.origin} states {shorten(', '.join(sorted(other)))!r}"]
        return []

    def close(self) -> None:
        with self._lock:
            for raster in self._rasters.values():
                raster.close()
            self._rasters.clear()

    @property
    def _items(self) -> list[Item]:
        return self._reading().items

    def _reading(self) -> Reading:
        with self._lock:
            if self._read is None:
                self._read = Reading(self._settings, self._documents)
            return self._read

    def _around(self, tile: Tile) -> list[Item]:
        return [item for item in self._items if touches(item.area, tile)]

    def _offers(self, zoom: int) -> bool:
        """By the first item's own resolution: tiles of pixels blown up too far are not made."""
        if not (self.min_zoom <= zoom <= self.max_zoom and self._items):
            return False
        if self._resolution is None:
            self._resolution = self._raster(self._items[0].files[0], self._items[0].foreign).extent.resolution
        return self._resolution <= ENLARGE_MOST * resolution_at(zoom)

    def _image(self, item: Item, tile: Tile) -> TileImage | None:
        rasters = [self._raster(file, item.foreign) for file in item.files]
        if not all(raster.offers(tile.z) for raster in rasters):
            return None
        image = rasters[0].tile(tile, self.layout) if len(rasters) == 1 else self._stacked(item, rasters, tile)
        if image is None:
            return None
        image = mask_nodata(image, self._settings.nodata, self._settings.mask_blank)
        return image if image.valid.any() else None

    def _stacked(self, item: Item, rasters: list[Raster], tile: Tile) -> TileImage | None:
        """Bands of several files; valid where all are."""
        parts = [raster.values(tile) for raster in rasters]
        for raster in rasters:
            self.layout.require(raster.bands.dtype, raster.file.origin, scaled=raster.bands.scaled)
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        values = np.concatenate([values for values, _ in found], axis=2)
        valid = np.logical_and.reduce([valid for _, valid in found])
        chosen = self.layout.choose(values.shape[2], f"item {item.name}")
        return TileImage(self.layout.convert(np.ascontiguousarray(values[:, :, chosen]), item.name), valid)

    def _raster(self, file: str, foreign: bool) -> Raster:
        with self._lock:
            if file not in self._rasters:
                self._rasters[file] = Raster(self._open_file(file, foreign), crs_told(self._settings))
                while len(self._rasters) > MOST_OPEN:
                    self._rasters.popitem(last=False)[1].close()
            self._rasters.move_to_end(file)
            return self._rasters[file]


class Reading:
    """What a document lists.

    Attributes:
        items: in its order.
        licences: what it and its items state.
        digest: another one as soon as anything is another.

    Raises:
        ImageInvalid: no STAC, or it names what must not be read.
        ImageryUnavailable: server or disk failing.
    """

    def __init__(self, settings: Imagery, documents: Documents):
        self._assets, self._documents = tuple(settings.assets), documents
        place = settings.url if is_url(settings.url) else local_path(settings.url)
        self._root = None if is_url(place) else Path(place).resolve().parent
        self.items: list[Item] = []
        self.licences: set[str] = set()
        self._digest = hashlib.sha256()
        self._without: list[str] = []
        self.origin = place
        self._waiting = deque([(place, False)])
        self._known = {place}
        while self._waiting:
            self._follow(*self._waiting.popleft())
        if self._without:
            log.info("%s: %d items without an asset that is read, e.g. %s", self.origin, len(self._without),
                     self._without[0])

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def _follow(self, place: str, foreign: bool) -> None:
        """Read one document, and note what it leads to."""
        if len(self._known) > MOST_DOCUMENTS:
            raise ImageInvalid(f"{self.origin}: more than {MOST_DOCUMENTS} documents; name a part of it")
        document = self._documents.read(place, foreign)
        if len(self._known) == 1:
            self.origin = document.origin
        self._digest.update(document.data)
        tree = parse_json(document.data, document.origin)
        kind = tree.get("type") if isinstance(tree, dict) else None
        if kind == "Feature":
            self._add(tree, document)
        elif kind == "FeatureCollection":
            for feature in _dicts(tree.get("features")):
                self._add(feature, document)
            self._note_links(tree, document, ("next",))  # an API gives its items page by page
        elif kind in ("Collection", "Catalog"):
            self.licences.add(_text(tree.get("license")))
            if not self._note_links(tree, document, ("item", "child")):
                self._note_links(tree, document, ("items",))
        else:
            raise ImageInvalid(f"{document.origin}: no STAC item, collection or catalogue, but type {kind!r}")

    def _note_links(self, tree: dict[str, Any], document: Document, kinds: tuple[str, ...]) -> bool:
        """Note what the links of these kinds lead to; whether there are any."""
        links = [link for link in _dicts(tree.get("links")) if link.get("rel") in kinds
                 and isinstance(link.get("href"), str) and link.get("method", "GET") == "GET"]
        for link in links:
            place = document.resolve(link["href"], self._root)
            if place not in self._known:
                self._known.add(place)
                self._waiting.append((place, document.foreign))
        return bool(links)

    def _add(self, feature: dict[str, Any], document: Document) -> None:
        name = shorten(_text(feature.get("id")) or "without an id")
        properties = feature.get("properties") if isinstance(feature.get("properties"), dict) else {}
        files = [document.resolve(href, self._root) for href in self._hrefs(feature, name, document.origin)]
        if not files:
            self._without.append(name)
            return
        if len(self.items) >= MOST_ITEMS:
            raise ImageInvalid(f"{document.origin}: more than {MOST_ITEMS} items; name a part of it")
        self.licences.add(_text(properties.get("license")))
        area = _area(feature, name, document.origin)
        days = [oldest_day(properties.get(key)) for key in ("start_datetime", "datetime")]
        told = [day for day in days if day is not None]
        gsd = properties.get("gsd")
        scale = 1 / np.cosh(np.arcsinh(np.tan(np.radians(area.centroid.y))))
        resolution = float(gsd) / scale if isinstance(gsd, (int, float)) and 0 < gsd < 1e6 else None
        self.items.append(
            Item(name, tuple(files), document.foreign, area, min(told, default=None), resolution)
        )

    def _hrefs(self, feature: dict[str, Any], name: str, origin: str) -> Iterator[str]:
        """Where the assets lie that are to be read."""
        assets = feature.get("assets")
        found = {key: a for key, a in assets.items() if isinstance(a, dict) and isinstance(a.get("href"), str)} \
            if isinstance(assets, dict) else {}
        if self._assets:
            for key in self._assets:
                if key not in found:
                    raise ImageInvalid(f"{origin}: item {name} has no asset {key!r}; "
                                       f"it has: {shorten(', '.join(found)) or 'none'}")
                yield found[key]["href"]
            return
        readable = {key: a for key, a in found.items() if _is_raster(a)}
        best = next((key for key in VISUAL if key in readable), None)
        for role in ("visual", "data"):
            best = best or next((key for key, a in readable.items() if role in (a.get("roles") or ())), None)
        if best or readable:
            yield readable[best or next(iter(readable))]["href"]


def _is_raster(asset: dict[str, Any]) -> bool:
    kind = _text(asset.get("type")).partition(";")[0].strip().lower()
    return kind in TYPES or (not kind and asset["href"].partition("?")[0].lower().endswith(ENDINGS))


def _area(feature: dict[str, Any], name: str, origin: str) -> BaseGeometry:
    """The footprint of an item, from its geometry or else its bounding box."""
    try:
        if isinstance(feature.get("geometry"), dict):
            area = shapely.make_valid(shape(feature["geometry"]))
        else:
            box = [float(edge) for edge in feature["bbox"]]
            area = shapely.box(box[0], box[1], *((box[3], box[4]) if len(box) == 6 else (box[2], box[3])))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, shapely.errors.ShapelyError):
        raise ImageInvalid(f"{origin}: item {name} does not say where it lies (geometry or bbox)") from None
    if area.is_empty:
        raise ImageInvalid(f"{origin}: item {name} covers nothing")
    return area


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
