"""What a WMS or WMTS says of itself, as far as it matters here.

Formats: OGC 01-068r3 (WMS 1.1.1), 06-042 (WMS 1.3.0), 07-057r7 (WMTS 1.0.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit
from xml.etree.ElementTree import Element

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.document import parse_xml, service_error, shorten
from daemon.imagery.documents import Document, Documents

#: Taken in this order: PNG and WebP may say where there is no imagery, JPEG cannot.
PREFERRED_FORMATS = ("image/png", "image/webp", "image/jpeg", "image/png; mode=8bit", "image/png8", "image/jpg")


@dataclass(frozen=True, slots=True)
class WmsLayer:
    """Attributes: systems: coordinate systems it comes in, its own and those it inherits, upper case."""

    name: str
    systems: frozenset[str]


@dataclass(frozen=True, slots=True)
class WmsCapabilities:
    """Attributes: formats: of GetMap; layers: by name."""

    version: str
    formats: tuple[str, ...]
    layers: dict[str, WmsLayer]


@dataclass(frozen=True, slots=True)
class Matrix:
    """One zoom of a WMTS.

    Attributes:
        denominator: of the scale at pixels of 0.28 mm.
        corner: upper left, as its coordinate system orders axes.
        tile, size: (width, height) of a tile in pixels, of the matrix in tiles.
    """

    name: str
    denominator: float
    corner: tuple[float, float]
    tile: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """First and last row and column that a layer has of a matrix, both included."""

    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True, slots=True)
class WmtsLayer:
    """Attributes: limits: by matrix set and matrix; templates: (format, URL) of REST; dimensions: name to default."""

    name: str
    formats: tuple[str, ...]
    styles: tuple[str, ...]
    limits: dict[str, dict[str, Limits]]
    templates: tuple[tuple[str, str], ...]
    dimensions: dict[str, str]


@dataclass(frozen=True, slots=True)
class WmtsCapabilities:
    """Attributes: get_tile: URL of GetTile by key-value pairs, "" for none; sets: name to (system, matrices)."""

    get_tile: str
    layers: dict[str, WmtsLayer]
    sets: dict[str, tuple[str, tuple[Matrix, ...]]]


Told = TypeVar("Told")


def read_capabilities(
    documents: Documents, url: str, parse: Callable[[Element, str], Told]
) -> tuple[Told, Document]:
    """A service's own description; one that is of no use is not kept.

    Args:
        parse: what is made of it.

    Raises:
        ImageInvalid: it is none, or larger than client.max_document.
        ImageryUnavailable: the service does not answer, or with an error.
    """
    document = documents.read(url)
    try:
        told = service_error(document.data, document.origin)
        if told is not None:
            raise ImageryUnavailable(f"{document.origin}: the server answers with an error: {documents.key.hide(told)}")
        return parse(parse_xml(document.data, document.origin), document.origin), document
    except (ImageInvalid, ImageryUnavailable):
        documents.forget(document)
        raise


def parse_wms(root: Element, origin: str) -> WmsCapabilities:
    """Raises: ImageInvalid: not the capabilities of a WMS."""
    if root.tag not in ("WMS_Capabilities", "WMT_MS_Capabilities"):
        raise ImageInvalid(f"{origin}: not the capabilities of a WMS but a document {shorten(root.tag)!r}")
    formats = tuple(_text(e) for e in root.iterfind("Capability/Request/GetMap/Format"))
    layers: dict[str, WmsLayer] = {}
    for top in root.iterfind("Capability/Layer"):
        layers |= {layer.name: layer for layer in _wms_layers(top, frozenset())}
    return WmsCapabilities(root.get("version", ""), formats, layers)


def _wms_layers(element: Element, inherited: frozenset[str]) -> Iterator[WmsLayer]:
    own = {word.upper() for tag in ("CRS", "SRS") for e in element.iterfind(tag) for word in _text(e).split()}
    systems = inherited | own
    name = _text(element.find("Name"))
    if name:
        yield WmsLayer(name, systems)
    for child in element.iterfind("Layer"):
        yield from _wms_layers(child, systems)


def parse_wmts(root: Element, origin: str) -> WmtsCapabilities:
    """Raises: ImageInvalid: not the capabilities of a WMTS, or numbers in it are none."""
    contents = root.find("Contents")
    if root.tag != "Capabilities" or contents is None:
        raise ImageInvalid(f"{origin}: not the capabilities of a WMTS but a document {shorten(root.tag)!r}")
    try:
        layers = [_wmts_layer(e) for e in contents.iterfind("Layer")]
        sets = {
            _text(e.find("Identifier")): (_text(e.find("SupportedCRS")), tuple(map(_matrix, e.iterfind("TileMatrix"))))
            for e in contents.iterfind("TileMatrixSet")
        }
    except (ValueError, IndexError) as error:
        raise ImageInvalid(f"{origin}: capabilities with a number that is none ({error})") from None
    return WmtsCapabilities(_get_tile(root), {layer.name: layer for layer in layers}, sets)


def _wmts_layer(element: Element) -> WmtsLayer:
    limits: dict[str, dict[str, Limits]] = {}
    for link in element.iterfind("TileMatrixSetLink"):
        limits[_text(link.find("TileMatrixSet"))] = {
            _text(e.find("TileMatrix")): Limits(
                (int(_text(e.find("MinTileRow"))), int(_text(e.find("MaxTileRow")))),
                (int(_text(e.find("MinTileCol"))), int(_text(e.find("MaxTileCol")))),
            )
            for e in link.iterfind("TileMatrixSetLimits/TileMatrixLimits")
        }
    styles = sorted(element.iterfind("Style"), key=lambda e: e.get("isDefault") != "true")
    return WmtsLayer(
        _text(element.find("Identifier")),
        tuple(_text(e) for e in element.iterfind("Format")),
        tuple(_text(e.find("Identifier")) for e in styles),
        limits,
        tuple((e.get("format", ""), e.get("template", ""))
              for e in element.iterfind("ResourceURL") if e.get("resourceType") == "tile"),
        {_text(e.find("Identifier")): _text(e.find("Default")) for e in element.iterfind("Dimension")},
    )


def _matrix(element: Element) -> Matrix:
    x, y = map(float, _text(element.find("TopLeftCorner")).split())
    tile = int(_text(element.find("TileWidth"))), int(_text(element.find("TileHeight")))
    size = int(_text(element.find("MatrixWidth"))), int(_text(element.find("MatrixHeight")))
    scale = float(_text(element.find("ScaleDenominator")))
    return Matrix(_text(element.find("Identifier")), scale, (x, y), tile, size)


def _get_tile(root: Element) -> str:
    for operation in root.iterfind("OperationsMetadata/Operation"):
        if operation.get("name") == "GetTile":
            for get in operation.iterfind("DCP/HTTP/Get"):
                encodings = [_text(e) for e in get.iterfind("Constraint/AllowedValues/Value")]
                if not encodings or "KVP" in encodings:
                    return get.get("href", "")
    return ""


def with_query(url: str, reserved: dict[str, str]) -> str:
    """A URL with parameters in place of those of the same name, in whatever case; what else it has stays.

    Placeholders in braces are left alone.
    """
    parts = urlsplit(url)
    names = {name.upper() for name in reserved}
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0].upper() not in names]
    query = "&".join(f"{quote(k, safe='')}={quote(v, safe='{}:/,;')}" for k, v in [*kept, *reserved.items()])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def choose_format(wanted: str, offered: tuple[str, ...], origin: str) -> str:
    """The type of image to ask for.

    Raises:
        ImageInvalid: the wanted one is not offered, or none that is can be read.
    """
    if wanted:
        if offered and wanted not in offered:
            raise ImageInvalid(f"{origin}: does not offer format {wanted!r}; offered: {shorten(', '.join(offered))}")
        return wanted
    found = next((name for name in PREFERRED_FORMATS if name in offered), None)
    if found is None:
        there = shorten(", ".join(offered)) or "nothing"
        raise ImageInvalid(f"{origin}: offers no PNG, WebP or JPEG; offered: {there}")
    return found


def _text(element: Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""
