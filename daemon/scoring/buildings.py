"""Buildings found against buildings known.

A truth file (JSON) lists the buildings with their true geometry, objects that stand for nothing ("ghosts"), regions
judged by eye, and for each sequence which of them are an open discrepancy.

* `missing` is matched by place: one claim to one true building, best intersection over union first, from `MATCH_IOU`
  up.
* `gone` and `misplaced` are matched by the OSM object they name.
* What lies in a region marked `ignore`, or is right although the truth's labels lack it (`natural_missing`,
  `natural_ghost`), or whose building has its centroid outside the area, is scored neither way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from daemon.scoring.truth import Counts, Found, Tiles, Truth
from daemon.tiling.grid import tile_at
from detectors.vectorize.matching import match_outlines

#: A claimed building is a true one when they overlap at least so well (intersection over union).
MATCH_IOU = 0.3
#: Zoom of the tiles that count.
ZOOM = 19


@dataclass(frozen=True)
class BuildingTruth(Truth):
    """A truth file of buildings; its places are boxes, its tiles of zoom 19.

    Attributes:
        regions: (kind, lon/lat area) judged by eye.
    """

    subject: ClassVar[str] = "buildings"

    regions: Sequence[tuple[str, BaseGeometry]]

    @classmethod
    def ground(
        cls, document: Mapping[str, Any], objects: Mapping[int, dict[str, Any]], geometries: Mapping[int, BaseGeometry]
    ) -> tuple[dict[str, BaseGeometry], dict[str, Tiles]]:
        areas = document["areas"]
        tiles = {name: frozenset(map(tuple, area.get("z19_tiles", []))) for name, area in areas.items()}
        return {name: box(*area["bbox"]) for name, area in areas.items()}, tiles

    @classmethod
    def more(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        return {"regions": [(c["kind"], shape(c["geometry"])) for c in document.get("curated", [])]}

    def unseen_tiles(self, training: Mapping[str, Any], trained_on: Iterable[str]) -> Tiles:
        """The zoom 19 tiles that a model of a spatial fold has not seen.

        Args:
            training: of the model's card: `fold` and `columns_per_fold`; fold -1 held nothing out.
            trained_on: names of the places it was trained on; all tiles of other places are unseen.
        """
        unseen: set[tuple[int, int]] = set()
        for place, tiles in self.tiles.items():
            if place not in set(trained_on):
                unseen |= tiles
            elif training["fold"] >= 0:
                columns = sorted({x for x, _ in tiles})
                first = training["fold"] * training["columns_per_fold"]
                held_out = columns[first : first + training["columns_per_fold"]]
                unseen |= {tile for tile in tiles if tile[0] in held_out}
        return frozenset(unseen)

    def count(
        self, kind: str, found: Sequence[Found], opened: Sequence[int], place: str, tiles: Tiles | None
    ) -> Counts:
        """What counts lies with its centroid at the place, and on the tiles."""
        area = self.places[place]
        here = [f for f in found if area.intersects(f.geometry.centroid) and _on(tiles, f.geometry)]
        claims = [f for f in here if f.kind == kind]
        true = [i for i in opened if self._place_of(i) == place and _on(tiles, self.geometries[i])]
        scored = {i for i in true if self._is_scored(i)}
        counts = Counts()
        hits = _match_objects(claims, true) if kind != "missing" else self._match_places(claims, true)
        for claim in claims:
            hit = hits.get(claim.key)
            if hit in scored:
                counts.tp += 1
            elif hit is not None or self._is_excused(claim):
                counts.unscored += 1
            else:
                counts.fp += 1
        counts.fn = len(scored) - counts.tp
        return counts

    def _match_places(self, found: Sequence[Found], true: Sequence[int]) -> dict[str, int]:
        """Claim key -> true building."""
        outlines = [self.geometries[i] for i in true]
        matched = match_outlines([f.geometry for f in found], outlines, MATCH_IOU)
        return {found[i].key: true[j] for i, j in matched.items()}

    def _place_of(self, object_id: int) -> str | None:
        return (self.objects.get(object_id) or self.ghosts.get(object_id) or {}).get("place")

    def _is_scored(self, object_id: int) -> bool:
        centre = self.geometries[object_id].centroid
        in_area = self.objects.get(object_id, {}).get("in_area", True)
        return in_area and not any(kind == "ignore" and r.intersects(centre) for kind, r in self.regions)

    def _is_excused(self, claim: Found) -> bool:
        """Whether a claim that matches nothing is no mistake either."""
        right = {"missing": "natural_missing", "gone": "natural_ghost"}.get(claim.kind)
        centre = claim.geometry.centroid
        if any(kind in ("ignore", right) and region.intersects(centre) for kind, region in self.regions):
            return True
        if claim.kind == "gone" and claim.osm is not None:
            building = self.objects.get(int(claim.osm.partition("/")[2]), {})
            return building.get("initial") == "natural_ghost"
        return False


def _on(tiles: Tiles | None, geometry: BaseGeometry) -> bool:
    if tiles is None:
        return True
    centre = geometry.centroid
    return tuple(tile_at(centre.x, centre.y, ZOOM)[1:]) in tiles


def _match_objects(found: Sequence[Found], true: Sequence[int]) -> dict[str, int]:
    """Claim key -> true object it names; a second claim about the same object matches nothing."""
    left = {f"way/{i}": i for i in true}
    return {claim.key: left.pop(claim.osm) for claim in found if claim.osm in left}
