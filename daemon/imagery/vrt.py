"""A VRT: XML that puts rasters of this machine together to one.

To GDAL a VRT may name any file and any URL, run Python, and take what a source says of itself for the driver to open
it with. Here it may name GeoTIFF, JPEG 2000, JPEG and PNG files at or below its own directory, by path or through
further VRTs, and say where they go; anything else is refused. GDAL gets what was checked, not the file.

Format: GDAL's "VRT -- GDAL Virtual Format".
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

import rasterio

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.document import parse_xml, shorten
from daemon.imagery.raster_file import LocalRaster, content_of, driver_of
from daemon.imagery.source import Content

#: What a mosaic is made of.
ELEMENTS = frozenset({
    "VRTDataset", "SRS", "GeoTransform", "Metadata", "MDI", "OverviewList", "VRTRasterBand", "Description",
    "NoDataValue", "HideNoDataValue", "UnitType", "Offset", "Scale", "ColorInterp", "ColorTable", "Entry",
    "CategoryNames", "Category", "MaskBand", "Overview", "SimpleSource", "ComplexSource", "AveragedSource",
    "NoDataFromMaskSource", "MaskValueThreshold", "RemappedValue", "SourceFilename", "SourceBand", "SourceProperties",
    "SrcRect", "DstRect", "NODATA", "ScaleOffset", "ScaleRatio", "LUT", "Exponent", "SrcMin", "SrcMax", "DstMin",
    "DstMax", "ColorTableComponent", "UseMaskBand", "BlockXSize", "BlockYSize", "Histograms", "HistItem", "HistMin",
    "HistMax", "BucketCount", "IncludeOutOfRange", "Approximate", "HistCounts",
})
#: VRTs within VRTs, sources in all of them, and bytes of the XML of one.
DEEPEST, MOST_SOURCES, MOST_BYTES = 4, 100_000, 64 * 1024**2


class Vrt(LocalRaster):
    """A VRT, checked when it is opened. See `RasterFile`.

    Raises:
        ImageInvalid: no such file, no VRT, or one that does more than put rasters together.
    """

    kind = "a VRT"

    def __init__(self, path: str):
        self.origin = path
        self._path = Path(path)
        self._seen: dict[Path, str] = {}  # files it names; the checked XML of those that are VRTs
        self._nested = 0
        self._xml = self._checked(self._path, 0)

    def open(self, **options: Any) -> rasterio.DatasetReader:
        return rasterio.open(self._xml, driver="VRT", **options)

    def content(self) -> Content:
        """By the VRT and all that it names."""
        states = [content_of(path) for path in [self._path, *sorted(self._seen)]]
        digest = hashlib.sha256("\n".join(state.digest for state in states).encode()).hexdigest()
        return Content(digest, max(state.newest or 0.0 for state in states))

    def failure(self) -> Exception | None:
        gone = next((path for path in [self._path, *self._seen] if not path.is_file()), None)
        return ImageryUnavailable(f"{gone}: the file is gone; is its disk mounted?") if gone else None

    def _checked(self, path: Path, depth: int) -> str:
        """The XML of a VRT with the files it names by their whole paths."""
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ImageInvalid(f"{path}: more than {MOST_BYTES} bytes; refused")
            root = parse_xml(path.read_bytes(), str(path))
        except OSError as error:
            raise ImageInvalid(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
        if root.tag != "VRTDataset":
            raise ImageInvalid(f"{path}: not a VRT but a document {shorten(root.tag)!r}")
        for element in root.iter():
            if element.tag not in ELEMENTS or (element.tag != "Metadata" and "subClass" in element.attrib):
                what = element.get("subClass") or element.tag
                raise ImageInvalid(f"{path}: has {shorten(what)!r}; a VRT here puts rasters together and does no more; "
                                   "write it with gdalbuildvrt, or its result as GeoTIFF with gdal_translate")
            if element.tag == "SourceFilename":
                self._check_source(element, path, depth)
        return tostring(root, encoding="unicode")

    def _check_source(self, element: Element, path: Path, depth: int) -> None:
        named = (element.text or "").strip()
        root = self._path.resolve().parent
        target = (path.resolve().parent / named).resolve() if named and "\0" not in named else None
        if target is None or named.startswith("<") or not target.is_relative_to(root):
            raise ImageInvalid(f"{path}: names {shorten(named)!r}; only files at or below {root} are read")
        if len(self._seen) >= MOST_SOURCES:
            raise ImageInvalid(f"{path}: names more than {MOST_SOURCES} files")
        if target not in self._seen:
            self._seen[target] = self._kind(target, path, depth)
        inner = self._seen[target]
        self._nested += len(inner)
        if self._nested > MOST_BYTES:
            raise ImageInvalid(f"{path}: the VRTs within it are more than {MOST_BYTES} bytes; refused")
        element.text = inner or str(target)
        element.attrib.clear()
        element.set("relativeToVRT", "0")

    def _kind(self, target: Path, path: Path, depth: int) -> str:
        """The checked XML of a VRT, "" for a file of pixels.

        Raises:
            ImageInvalid: it is neither.
        """
        try:
            driver = driver_of(target)
        except ImageInvalid as error:
            raise ImageInvalid(f"{path}: names {error}") from None
        if driver is not None:
            return ""
        if target.suffix.lower() != ".vrt":
            raise ImageInvalid(f"{path}: names {target}, which is neither GeoTIFF, JPEG 2000, JPEG, PNG nor VRT")
        if depth >= DEEPEST:
            raise ImageInvalid(f"{path}: more than {DEEPEST} VRTs within each other")
        return self._checked(target, depth + 1)
