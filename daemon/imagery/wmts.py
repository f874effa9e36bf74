"""A WMTS, by key-value pairs or REST: layer, matrix set and limits come from its capabilities.

Only matrix sets on the grid of web-mercator tiles are used; their tiles are the tiles that are wanted, under other
names. What other sets hold would have to be cut anew.
"""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from daemon.config import Imagery
from daemon.errors import ImageInvalid
from daemon.imagery.capabilities import (
    Limits,
    Matrix,
    WmtsCapabilities,
    WmtsLayer,
    choose_format,
    parse_wmts,
    read_capabilities,
    with_query,
)
from daemon.imagery.document import shorten
from daemon.imagery.documents import Document, Documents, is_url
from daemon.imagery.key import PLACEHOLDER
from daemon.tiling.grid import HALF_WORLD_M, Tile

#: Metres of a pixel at scale 1 (OGC 07-057r7, 6.1).
PIXEL_AT_SCALE_1_M = 0.00028
#: How far a matrix may be off the grid, in its own pixels, and by what share its scale may differ: servers round their
#: denominators, and no grid but this one is so near.
OFF_GRID_PX, OFF_SCALE = 0.5, 1e-5
_MERCATOR = re.compile(r"(?:3857|900913|102100|102113|3785)$")


@dataclass(frozen=True, slots=True)
class _Level:
    """A matrix on the grid.

    Attributes:
        column, row: the tile of the grid that its first tile is.
        limits: what the layer has of it, in its own rows and columns.
    """

    name: str
    column: int
    row: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Terms:
    """Attributes: template: a URL with {TileMatrix}, {TileRow}, {TileCol}; levels: by zoom of the grid."""

    template: str
    levels: dict[int, _Level]
    foreign: bool


class WmtsAddress:
    """GetTile requests. See `Address` for what its methods mean.

    The url is the service's address, or that of its capabilities.
    """

    def __init__(self, settings: Imagery, documents: Documents):
        self.text = settings.url
        self.problem = None if settings.layer else "layer is empty; name the layer"
        self._settings, self._documents = settings, documents
        self._lock = threading.Lock()
        self._agreed: _Terms | None = None

    @property
    def foreign(self) -> bool:
        return self._terms().foreign

    def fill(self, tile: Tile) -> str | None:
        terms = self._terms()
        level = terms.levels.get(tile.z)
        if level is None:
            return None
        row, column = tile.y - level.row, tile.x - level.column
        (first_row, last_row), (first_column, last_column) = level.limits.rows, level.limits.columns
        if not (first_row <= row <= last_row and first_column <= column <= last_column):
            return None
        values = {"tilematrix": quote(level.name, safe=""), "tilerow": str(row), "tilecol": str(column)}
        return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1].lower(), match[0]), terms.template)

    def zooms(self) -> set[int]:
        return set(self._terms().levels)

    def check(self) -> list[str]:
        self._terms()
        return []

    def _terms(self) -> _Terms:
        with self._lock:
            if self._agreed is None:
                url = self.text
                if not re.search(r"request=getcapabilities|\.xml$", urlsplit(url)._replace(fragment="").geturl(), re.I):
                    url = with_query(url, {"SERVICE": "WMTS", "REQUEST": "GetCapabilities", "VERSION": "1.0.0"})
                self._agreed = self._agree(*read_capabilities(self._documents, url, parse_wmts))
            return self._agreed

    def _agree(self, capabilities: WmtsCapabilities, document: Document) -> _Terms:
        """Raises: ImageInvalid: what is configured is not what the server has, or it has nothing that can be used."""
        settings, origin = self._settings, document.origin
        layer = capabilities.layers.get(settings.layer)
        if layer is None:
            there = shorten(", ".join(capabilities.layers))
            raise ImageInvalid(f"{origin}: has no layer {settings.layer!r}; set layer to one of: {there}")
        name, levels = self._levels(layer, capabilities, origin)
        template = self._template(layer, name, capabilities, document)
        same_server = urlsplit(template).netloc == urlsplit(document.place).netloc
        return _Terms(template, levels, document.foreign and not same_server)

    def _levels(
        self, layer: WmtsLayer, capabilities: WmtsCapabilities, origin: str
    ) -> tuple[str, dict[int, _Level]]:
        wanted = [self._settings.matrix_set] if self._settings.matrix_set else list(layer.limits)
        other_size: set[int] = set()
        for name in wanted:
            system, matrices = capabilities.sets.get(name, ("", ()))
            if name not in layer.limits or not _MERCATOR.search(system):
                continue
            levels: dict[int, _Level] = {}
            for matrix in matrices:
                if matrix.tile != (self._settings.tile_size,) * 2:
                    other_size.add(matrix.tile[0])
                    continue
                limits = layer.limits[name]
                placed = _place(matrix, limits.get(matrix.name) if limits else None)
                if placed is not None and not (limits and matrix.name not in limits):
                    levels[placed[0]] = placed[1]
            if levels:
                return name, levels
        hint = f"; its tiles have {min(other_size)} px: set tile_size" if other_size else ""
        there = shorten(", ".join(f"{n} ({capabilities.sets.get(n, ('?',))[0]})" for n in layer.limits))
        wants = f"{self._settings.matrix_set or ''} on the web-mercator grid of {self._settings.tile_size} px tiles"
        raise ImageInvalid(f"{origin}: layer {layer.name} has no TileMatrixSet {wants.lstrip()}; it has: "
                           f"{there or 'none'}{hint}; a server's WMS can be asked in other systems")

    def _template(self, layer: WmtsLayer, matrix_set: str, capabilities: WmtsCapabilities, document: Document) -> str:
        settings, origin = self._settings, document.origin
        told = [capabilities.get_tile, *(url for _, url in layer.templates), *layer.dimensions.values()]
        if any(PLACEHOLDER in unquote(text) for text in told):
            raise ImageInvalid(f"{origin}: asks for {PLACEHOLDER}, which goes only where the configuration sends it")
        dimensions = {k: settings.time if k.lower() == "time" and settings.time else v
                      for k, v in layer.dimensions.items()}
        style = settings.style or next(iter(layer.styles), "default")
        if settings.style and settings.style not in layer.styles:
            raise ImageInvalid(f"{origin}: layer {layer.name} has no style {style!r}; "
                               f"it has: {shorten(', '.join(layer.styles))}")
        if layer.templates:
            offered = tuple(kind for kind, _ in layer.templates)
            chosen = dict(layer.templates)[choose_format(settings.format, offered, origin)]
            values = {"tilematrixset": matrix_set, "style": style, "layer": layer.name}
            values |= {k.lower(): v for k, v in dimensions.items()}
            template = re.sub(r"\{(\w+)\}", lambda m: quote(values[m[1].lower()], safe="")
                              if m[1].lower() in values else m[0], chosen)
            left = set(re.findall(r"\{(\w+)\}", template.lower())) - {"tilematrix", "tilerow", "tilecol"}
            if left:
                raise ImageInvalid(f"{origin}: its REST addresses want {shorten(', '.join(sorted(left)))}, "
                                   "which the capabilities give no value for")
        elif capabilities.get_tile or not is_url(document.place):
            template = with_query(capabilities.get_tile, {
                "SERVICE": "WMTS", "REQUEST": "GetTile", "VERSION": "1.0.0", "LAYER": layer.name, "STYLE": style,
                "FORMAT": choose_format(settings.format, layer.formats, origin), "TILEMATRIXSET": matrix_set,
                "TILEMATRIX": "{TileMatrix}", "TILEROW": "{TileRow}", "TILECOL": "{TileCol}", **dimensions,
            })
        else:
            raise ImageInvalid(f"{origin}: says neither how to ask by key-value pairs nor by REST")
        if not is_url(template):
            raise ImageInvalid(f"{origin}: its tiles lie at {shorten(template)!r}, which is no http:// or https:// URL")
        return self._documents.key.hide(self._as_asked(template))

    def _as_asked(self, template: str) -> str:
        """On the server that was asked itself: by the same scheme, with what else was in the url (a key, a map file).

        Behind a proxy servers often think that they speak http, and few repeat a key in their capabilities.
        """
        asked, told = urlsplit(self.text), urlsplit(template)
        if told.hostname != asked.hostname:
            return template
        reserved = {"SERVICE", "REQUEST", "VERSION", *(name.upper() for name, _ in parse_qsl(told.query))}
        more = "&".join(pair for pair in asked.query.split("&") if pair and pair.split("=")[0].upper() not in reserved)
        query = "&".join(filter(None, (told.query, more)))
        netloc = asked.netloc if told.scheme != asked.scheme else told.netloc
        return urlunsplit((asked.scheme, netloc, told.path, query, ""))


def _place(matrix: Matrix, limits: Limits | None) -> tuple[int, _Level] | None:
    """Zoom and place of a matrix on the grid, None where it lies off it."""
    metres = matrix.denominator * PIXEL_AT_SCALE_1_M
    if not 0 < metres < math.inf:
        return None
    zoom = math.log2(2 * HALF_WORLD_M / (metres * matrix.tile[0]))
    level = round(zoom)
    if not 0 <= level <= 30:
        return None
    side = 2 * HALF_WORLD_M / (1 << level)
    column, row = (matrix.corner[0] + HALF_WORLD_M) / side, (HALF_WORLD_M - matrix.corner[1]) / side
    off = max(abs(column - round(column)), abs(row - round(row))) * matrix.tile[0]
    if off > OFF_GRID_PX or abs(2.0 ** (zoom - level) - 1) > OFF_SCALE:
        return None
    width, height = matrix.size
    whole = Limits((0, height - 1), (0, width - 1))
    return level, _Level(matrix.name, round(column), round(row), limits or whole)
