"""Pixels of the ground: what the sources are, how they are asked, where answers are kept.

imagery    Imagery: all configured sources together; read this first
chip       tiles put together to the chip of a block
source     what a source is: a tile's pixels or None, coverage
xyz        {z}/{x}/{y} tiles, from ...
directory  ... a directory
http       ... or a server
geotiff    a GeoTIFF or COG
template   {z} {x} {y} in paths and URLs
decode     image file -> pixels with mask; header (is it whole?), blank (is it imagery?)
cache      files kept, within a quota
"""

from daemon.imagery.cache import Cache
from daemon.imagery.imagery import Imagery
from daemon.imagery.source import ImagerySource, TileImage

__all__ = ["Cache", "Imagery", "ImagerySource", "TileImage"]
