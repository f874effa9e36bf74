"""How a raster is opened: what files of this machine and of servers have in common, and those of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import rasterio

from daemon.errors import ImageInvalid, ImageryUnavailable
from daemon.imagery.source import Content

#: How files begin that are one picture and name no other file, and GDAL's driver for each.
DRIVERS = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff", b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG", b"\0\0\0\x0cjP  ": "JP2OpenJPEG", b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}

Done = TypeVar("Done")


class RasterFile(Protocol):
    """How a raster is opened."""

    #: Its path, or URL without secrets, and what it should be, for messages.
    origin: str
    kind: str
    #: It lies on this machine, so that all of it may be read.
    near: bool

    def open(self, **options: Any) -> rasterio.DatasetReader:
        """Another dataset of the file.

        Args:
            options: GDAL's open options.
        """
        ...

    def run(self, work: Callable[[], Done]) -> Done:
        """Do something with its datasets, where that can be done."""
        ...

    def content(self) -> Content:
        """The state of the file.

        Raises:
            ImageryUnavailable: it is gone.
        """
        ...

    def failure(self) -> Exception | None:
        """Why reading failed, where the file knows better than GDAL; told once."""
        ...

    def close(self) -> None:
        """Called when no dataset of it is open any more."""
        ...


class LocalRaster:
    """What rasters of this machine have in common. See `RasterFile`."""

    near = True

    def run(self, work: Callable[[], Done]) -> Done:
        return work()

    def close(self) -> None:
        """Nothing is kept open."""


class LocalPicture(LocalRaster):
    """A GeoTIFF on this machine, or a JPEG 2000, JPEG or PNG that says where it lies. See `RasterFile`.

    Raises:
        ImageInvalid: there is no such file, or it is none of these.
    """

    kind = "a GeoTIFF, JPEG 2000, JPEG or PNG"

    def __init__(self, path: str):
        self.origin = path
        if not Path(path).is_file():
            raise ImageInvalid(f"{path}: no such file")
        self._driver = driver_of(Path(path))
        if self._driver is None:
            raise ImageInvalid(f"{path}: not {self.kind}")

    def open(self, **options: Any) -> rasterio.DatasetReader:
        return rasterio.open(self.origin, driver=self._driver, **options)

    def content(self) -> Content:
        return content_of(Path(self.origin))

    def failure(self) -> Exception | None:
        if Path(self.origin).is_file():
            return None
        return ImageryUnavailable(f"{self.origin}: the file is gone; is its disk mounted?")


def driver_of(path: Path) -> str | None:
    """GDAL's driver for a file, by how it begins; None for what is not read here.

    Raises:
        ImageInvalid: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError as error:
        raise ImageInvalid(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    return next((driver for start, driver in DRIVERS.items() if beginning.startswith(start)), None)


def content_of(path: Path) -> Content:
    """The state of a file, by size and time.

    Raises:
        ImageryUnavailable: it is gone.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ImageryUnavailable(f"{path}: {error.strerror}; is its disk mounted?") from None
    return Content(f"{status.st_size} {status.st_mtime_ns}", max(status.st_mtime, status.st_ctime))
