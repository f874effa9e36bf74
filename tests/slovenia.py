"""One square kilometre of Slovenia: Sentinel-2 imagery of several dates, and its land use as a map that can be spoilt.

The land use (`lulc.tif`) stands for a map without errors. It is cut into parcels, as people draw a wood in several
pieces, so that one can be left out or be said to be something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import rasterio
import shapely
from osm_world import Thing, node, relation, way
from rasterio.features import shapes
from rasterio.warp import transform_geom
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

#: The scenes' bands in the order of the model: all but the tenth, which shows clouds.
BAND_ORDER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13)
#: The shipped model was trained on scenes 2 and 3. It has not seen the clear scene 4; 0 and 1 are under cloud and haze.
UNSEEN, TRAINED_ON, CLOUDED = 4, (2, 3), 0
#: Number in lulc.tif -> what mappers tag.
TAGS: Mapping[int, Mapping[str, str]] = {
    1: {"landuse": "farmland"}, 2: {"natural": "wood"}, 3: {"landuse": "meadow"}, 4: {"natural": "scrub"},
    8: {"landuse": "residential"},
}
WOOD, MEADOW, BUILT_UP = 2, 3, 8
#: Somewhere in the middle, lon/lat.
MIDDLE = (14.5578, 45.8705)


@dataclass(frozen=True)
class Parcel:
    """A piece of ground of one cover.

    Attributes:
        code: as in lulc.tif.
        geometry: lon/lat.
        hectares: its size.
    """

    code: int
    geometry: BaseGeometry
    hectares: float


def directory(data: Path) -> Path:
    return data / "landcover" / "s2_slovenia"


def write_dates(data: Path, scenes: Sequence[int], out: Path, *, bands: Sequence[int] = BAND_ORDER) -> Path:
    """A GeoTIFF of these scenes, the bands of one date after those of the other."""
    with rasterio.open(directory(data) / f"scene{UNSEEN}_13band.tif") as one:
        profile = one.profile
    stacked = []
    for scene in scenes:
        with rasterio.open(directory(data) / f"scene{scene}_13band.tif") as file:
            stacked.append(file.read(list(bands)))
    pixels = np.concatenate(stacked)
    with rasterio.open(out, "w", **{**profile, "count": len(pixels)}) as file:
        file.write(pixels)
    return out


def parcels(data: Path, side_m: float = 250.0) -> list[Parcel]:
    """All ground as pieces of one cover each, cut along a grid of `side_m` metres."""
    found = []
    with rasterio.open(directory(data) / "lulc.tif") as file:
        codes, transform, system, bounds = file.read(1), file.transform, file.crs, file.bounds
    cells = [
        box(x, y, x + side_m, y + side_m)
        for x in np.arange(bounds.left, bounds.right, side_m) for y in np.arange(bounds.bottom, bounds.top, side_m)
    ]
    for outline, code in shapes(codes, codes > 0, transform=transform):
        for cell in cells:
            for piece in shapely.get_parts(shape(outline).intersection(cell)):
                if piece.area > 0:
                    lonlat = shape(transform_geom(system, "EPSG:4326", piece.__geo_interface__))
                    found.append(Parcel(int(code), lonlat, piece.area / 1e4))
    return found


def drawn(areas: Mapping[int, tuple[BaseGeometry, Mapping[str, str]]]) -> Iterator[Thing]:
    """Polygons (lon/lat) with their tags, by number, as OSM objects: ways, or relations where they have holes."""
    numbers = count(1000)
    for number, (area, tags) in areas.items():
        rings = []
        for ring in (area.exterior, *area.interiors):
            refs = []
            for lon, lat in ring.coords[:-1]:
                refs.append(next(numbers))
                yield node(refs[-1], lon, lat)
            rings.append([*refs, refs[0]])
        if len(rings) == 1:
            yield way(number, rings[0], tags=tags)
            continue
        members = []
        for i, refs in enumerate(rings):
            members.append(("w", next(numbers), "inner" if i else "outer"))
            yield way(members[-1][1], refs)
        yield relation(number, members, tags={"type": "multipolygon", **tags})
