"""Roads found against roads known: by length what is missing, by object what is gone or misplaced; and path lengths.

A truth file (JSON) lists road edges with their true lines, made-up roads that stand for nothing ("ghosts"), the zoom 17
tiles that count, and for each sequence which of them are an open discrepancy; see its own `definitions`.

* `missing`: metres. Right is what of the true lines runs along a claimed one (within `NEAR_M`, in its direction),
  overlooked what does not; wrong is what of the claimed lines runs along no missing road.
* `gone` and `misplaced` are matched by the way that they name.
* What lies on other tiles, or is about an edge that is not in the area, is scored neither way.

Beside it stands how well one can drive on the map (`detectors.evaluation.paths`, near to APLS): on the map as it is,
and on the map as it would be if every claim were followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import shapely
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from daemon.scoring.truth import Counts, Found, Tiles, Truth
from daemon.tiling.grid import Block, lonlat_to_mercator
from detectors.base import Frame, OsmFeature
from detectors.conflation import Lines, unexplained_share
from detectors.evaluation.paths import compare_paths
from detectors.road_tags import may_be_judged
from detectors.vectorize.raster import Grid

#: A line runs along another within so many metres.
NEAR_M = 8.0
#: Zoom of the tiles that count.
ZOOM = 17
#: Lines are drawn for the comparison of paths with pixels of so many metres, and so wide.
PIXEL_M, DRAWN_M = 1.0, 3.0


@dataclass(frozen=True)
class RoadTruth(Truth):
    """A truth file of roads; its places are images, its tiles of zoom 17. "missing" is counted in metres."""

    subject: ClassVar[str] = "roads"

    @classmethod
    def ground(
        cls, document: Mapping[str, Any], objects: Mapping[int, dict[str, Any]], geometries: Mapping[int, BaseGeometry]
    ) -> tuple[dict[str, BaseGeometry], dict[str, Tiles]]:
        tiles = _tiles_of_places(document["tiles_z17"], objects, geometries)
        return {name: _ground(of_place) for name, of_place in tiles.items()}, tiles

    def unseen_tiles(self, training: Mapping[str, Any], trained_on: Iterable[str]) -> Tiles:
        """The tiles of images of which a model has seen nothing.

        Args:
            training: of the model's card; folds hold out nothing here.
            trained_on: names of the windows that it was trained on: "23279035_182_130" is one of image "23279035_15".
        """
        seen = {name.partition("_")[0] for name in trained_on}
        unseen = [tiles for place, tiles in self.tiles.items() if place.partition("_")[0] not in seen]
        return frozenset().union(*unseen)

    def places_on(self, tiles: Tiles | None) -> list[str]:
        return [place for place, of_place in self.tiles.items() if tiles is None or of_place & tiles]

    def count(
        self, kind: str, found: Sequence[Found], opened: Sequence[int], place: str, tiles: Tiles | None
    ) -> Counts:
        ground = _ground(self.tiles[place] if tiles is None else self.tiles[place] & tiles)
        if kind == "missing":
            return self._by_length(found, opened, ground)
        return self._by_object(kind, found, opened, ground)

    def paths(
        self, found: Iterable[Found], features: Iterable[OsmFeature], tiles: Tiles | None = None
    ) -> dict[str, dict[str, float]]:
        """Place -> how well one can drive on the "map" and on the "corrected" map, 0..1, against the true roads.

        Args:
            features: the map now.
        """
        found = list(found)
        drawn = {f.ref: f.geometry for f in features if may_be_judged(f.tags)}
        corrected = {ref: line for ref, line in drawn.items() if all(f.osm != ref for f in found)}
        lines = [*corrected.values(), *(f.geometry for f in found if f.kind != "gone")]
        result = {}
        true = [self.geometries[i] for i in self.objects]
        for place in self.places_on(tiles):
            ground = _ground(self.tiles[place] if tiles is None else self.tiles[place] & tiles)
            real = _draw(true, ground)
            result[place] = {
                "map": compare_paths(_draw(list(drawn.values()), ground), real, PIXEL_M).score,
                "corrected": compare_paths(_draw(lines, ground), real, PIXEL_M).score,
            }
        return result

    def _by_length(self, found: Sequence[Found], opened: Sequence[int], ground: BaseGeometry) -> Counts:
        frame = _frame(ground)
        claimed = _clipped([f.geometry for f in found if f.kind == "missing"], ground, frame)
        true = _clipped([self.geometries[i] for i in opened], ground, frame)
        overlooked, wrong = _not_along(true, claimed), _not_along(claimed, true)
        return Counts(
            tp=round(sum(line.length for line in true) - overlooked), fp=round(wrong), fn=round(overlooked)
        )

    def _by_object(self, kind: str, found: Sequence[Found], opened: Sequence[int], ground: BaseGeometry) -> Counts:
        true = {f"way/{i}" for i in opened if self.geometries[i].centroid.within(ground)}
        claimed = {f.osm for f in found if f.kind == kind and f.geometry.centroid.within(ground)}
        outside = {f"way/{i}" for i, road in self.objects.items() if not road["in_area"]} - true
        return Counts(
            tp=len(claimed & true), fp=len(claimed - true - outside), fn=len(true - claimed),
            unscored=len(claimed & outside),
        )


def _tiles_of_places(
    tiles: Sequence[Sequence[int]], roads: Mapping[int, dict[str, Any]], geometries: Mapping[int, BaseGeometry]
) -> dict[str, Tiles]:
    """Image -> its tiles: each belongs to the image of the road nearest to its middle."""
    ids = list(roads)
    tree = shapely.STRtree([geometries[i] for i in ids])
    places: dict[str, set[tuple[int, int]]] = {}
    for x, y in tiles:
        nearest = tree.nearest(box(*Block(ZOOM, x, y, 1).lonlat()).centroid)
        places.setdefault(roads[ids[int(nearest)]]["image"], set()).add((int(x), int(y)))
    return {name: frozenset(of_place) for name, of_place in sorted(places.items())}


@lru_cache(maxsize=64)
def _ground(tiles: Tiles) -> BaseGeometry:
    return shapely.union_all([box(*Block(ZOOM, x, y, 1).lonlat()).buffer(1e-9) for x, y in tiles])


def _frame(ground: BaseGeometry) -> Frame:
    """Local metres around the ground, with pixels of `PIXEL_M`."""
    west, south, east, north = ground.bounds
    (x0, y0), (x1, y1) = lonlat_to_mercator(west, south), lonlat_to_mercator(east, north)
    scale = math.cos(math.radians((south + north) / 2)) / PIXEL_M
    return Frame((x0, y0, x1, y1), (max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))))


def _clipped(lines: Sequence[BaseGeometry], ground: BaseGeometry, frame: Frame) -> list[BaseGeometry]:
    parts = [line.intersection(ground) for line in lines if line.intersects(ground)]
    return [frame.to_local(part) for part in parts if part.length > 0]


def _not_along(lines: Sequence[BaseGeometry], others: Sequence[BaseGeometry]) -> float:
    """Metres of lines that run along none of the others."""
    along = Lines(others, [NEAR_M] * len(others), [0.0] * len(others))
    return sum(line.length * unexplained_share(line, along) for line in lines)


def _draw(lines: Sequence[BaseGeometry], ground: BaseGeometry) -> np.ndarray:
    frame = _frame(ground)
    return Grid.of(frame).cover([line.buffer(DRAWN_M / 2) for line in _clipped(lines, ground, frame)])
