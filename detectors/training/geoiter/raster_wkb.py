"""PostGIS rasters in their binary form, as `ST_AsBinary(rast)` gives and `ST_RastFromWKB` takes it.

Format: raster/doc/RFC2-WellKnownBinaryFormat of PostGIS. All numbers in the byte order that the first byte names (1 is
little-endian): version uint16 (0), bands uint16, then eight of a header (scale x/y, upper left x/y, skew x/y as
float64; srid int32; width and height uint16). Each band is a byte of flags and type, its no-data value, and its pixels
row by row, one of the type's numbers each: types of 1, 2 and 4 bits take a whole byte, too.

`ST_AsGDALRaster` would do as well, but its drivers are switched off where nobody switched them on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

#: Pixel types by their number; the first three hold 1, 2 and 4 bits a byte.
PIXEL_TYPES = {
    0: "u1", 1: "u1", 2: "u1", 3: "i1", 4: "u1", 5: "i2", 6: "u2", 7: "i4", 8: "u4", 10: "f4", 11: "f8",
}
NUMBERS = {"u1": 4, "i1": 3, "i2": 5, "u2": 6, "i4": 7, "u4": 8, "f4": 10, "f8": 11}
OFFLINE, HAS_NODATA, TYPE_BITS = 0x80, 0x40, 0x0F
#: More pixels, of all bands together, are nobody's training tile.
MOST_PIXELS = 1 << 28


class RasterInvalid(ValueError):
    """Bytes that are no such raster."""


@dataclass(frozen=True, slots=True)
class Band:
    """values: [H, W] of the band's type; nodata: the value that stands for no data, None where there is none."""

    values: np.ndarray
    nodata: float | None = None

    def known(self, part: tuple[slice, slice] = np.s_[:, :]) -> np.ndarray:
        """bool [H, W]: where there is data, in a part of the band."""
        values = self.values[part]
        if self.nodata is None:
            return np.ones(values.shape, dtype=bool)
        if np.isnan(self.nodata):
            return ~np.isnan(values)
        return values != np.asarray(self.nodata).astype(values.dtype)


@dataclass(frozen=True, slots=True)
class Raster:
    """A georeferenced raster.

    Attributes:
        shape: (height, width) in pixels.
        upper_left: x, y of the upper left corner of the upper left pixel, in units of `srid`.
        scale: width and height of a pixel in units of `srid`; north-up rasters have a negative height.
        skew: PostGIS's skew x and y; 0, 0 for north-up rasters.
        bands: all of `shape`.
    """

    shape: tuple[int, int]
    upper_left: tuple[float, float]
    scale: tuple[float, float]
    srid: int
    bands: tuple[Band, ...]
    skew: tuple[float, float] = (0.0, 0.0)


def read_raster(data: bytes | memoryview) -> Raster:
    """Decode a raster; its pixels are views of `data` where the byte order is this machine's.

    Raises:
        RasterInvalid: another version, an unknown pixel type, pixels kept outside of the database, too large, or not
            exactly as long as its header says.
    """
    data = memoryview(data).cast("B")
    if len(data) < 61:
        raise RasterInvalid(f"{len(data)} bytes are too few for the header of a raster")
    order = {0: ">", 1: "<"}.get(data[0])
    if order is None:
        raise RasterInvalid(f"byte order {data[0]}, expected 0 or 1")
    version, count, *floats, srid, width, height = struct.unpack_from(order + "HH6diHH", data, 1)
    if version != 0:
        raise RasterInvalid(f"version {version} of the raster format, only 0 is known")
    if count * width * height > MOST_PIXELS:
        raise RasterInvalid(f"{count} bands of {width} x {height} px are too large")
    bands, at = [], 61
    for number in range(1, count + 1):
        band, at = _read_band(data, at, order, (height, width), number)
        bands.append(band)
    if at != len(data):
        raise RasterInvalid(f"{len(data) - at} bytes after the last band")
    scale, corner, skew = floats[0:2], floats[2:4], floats[4:6]
    return Raster((height, width), tuple(corner), tuple(scale), srid, tuple(bands), tuple(skew))


def _read_band(data: memoryview, at: int, order: str, shape: tuple[int, int], number: int) -> tuple[Band, int]:
    if at >= len(data):
        raise RasterInvalid(f"band {number} is missing")
    flags = data[at]
    code = PIXEL_TYPES.get(flags & TYPE_BITS)
    if code is None:
        raise RasterInvalid(f"band {number} has the unknown pixel type {flags & TYPE_BITS}")
    if flags & OFFLINE:
        raise RasterInvalid(f"the pixels of band {number} lie outside of the database (out-db)")
    dtype = np.dtype(code).newbyteorder(order)
    first = at + 1 + dtype.itemsize
    end = first + shape[0] * shape[1] * dtype.itemsize
    if end > len(data):
        raise RasterInvalid(f"band {number} is cut short by {end - len(data)} bytes")
    nodata = np.frombuffer(data[at + 1 : first], dtype)[0].item() if flags & HAS_NODATA else None
    values = np.frombuffer(data[first:end], dtype).reshape(shape)
    return Band(values.astype(dtype.newbyteorder("="), copy=False), nodata), end


def write_raster(raster: Raster) -> bytes:
    """Encode a raster, little-endian; in SQL: `ST_RastFromWKB(%s)`.

    Raises:
        RasterInvalid: a band of another shape or of a type that PostGIS does not have.
    """
    height, width = raster.shape
    parts = [struct.pack("<BHH6diHH", 1, 0, len(raster.bands), *raster.scale, *raster.upper_left, *raster.skew,
                         raster.srid, width, height)]
    for band in raster.bands:
        number = NUMBERS.get(band.values.dtype.str[1:])
        if number is None or band.values.shape != raster.shape:
            raise RasterInvalid(f"a band of {band.values.dtype} {band.values.shape} in a raster of {raster.shape}")
        dtype = band.values.dtype.newbyteorder("<")
        flags = number | (0 if band.nodata is None else HAS_NODATA)
        parts.append(bytes([flags]) + np.asarray(band.nodata or 0).astype(dtype).tobytes())
        parts.append(np.ascontiguousarray(band.values, dtype).tobytes())
    return b"".join(parts)
