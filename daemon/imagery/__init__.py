"""Pixels of the ground: what the sources are, how they are asked, where answers are kept.

imagery    Imagery: all configured sources together; read this first
opening    settings -> sources: what each kind is made with, and who may be asked
source     what a source is: a tile's pixels or None, coverage, what is known of a place
chip       tiles put together to the chip of a block
layout     which bands, in which order, of which depth
ranking    who goes first at a place; dates: when it was taken there
offsets    how far imagery lies off the map; offset_picture draws it

xyz        tiles on the web-mercator grid, from ...
directory  ... a directory (template: its paths)
mbtiles    ... an MBTiles file
http       ... a server, at the addresses of
address    {z} {x} {y} and other placeholders of URLs
wms        GetMap requests, warped where need be (warp)
wmts       GetTile requests by KVP and REST
capabilities  what a WMS or WMTS says of itself

geotiff    one raster, warped to tiles by `raster`:
remote     a COG on a server, in parts
vrt        a mosaic of local files
stac       many rasters that a document lists
postgis    rasters of a table

index      an entry of an imagery index as settings; footprint: where a source has anything
key        secrets that stay where they are; kinds: what a url most likely is
documents  descriptions, from a file or server; document: XML and JSON, taken for hostile
decode     image file -> pixels with mask; header (is it whole?), blank (is it imagery?)
cache      files kept, within a quota
"""

from daemon.imagery.cache import Cache
from daemon.imagery.imagery import Imagery
from daemon.imagery.source import ImagerySource, TileImage

__all__ = ["Cache", "Imagery", "ImagerySource", "TileImage"]
