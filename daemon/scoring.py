"""Found against known: precision, recall and F1 of discrepancies where the truth is given.

A truth file (JSON) lists the buildings with their true geometry, objects that stand for nothing ("ghosts"), regions
judged by eye, and for each sequence which of them are an open discrepancy. Kinds map as missing = missing, gone =
ghost, misplaced = shifted.

* `missing` is matched by place: one claim to one true building, best intersection over union first, from `MATCH_IOU`
  up.
* `gone` and `misplaced` are matched by the OSM object they name.
* What lies in a region marked `ignore`, or is right although the truth's labels lack it (`natural_missing`,
  `natural_ghost`), or whose building has its centroid outside the area, is scored neither way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shapely.errors import ShapelyError
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from daemon.errors import MapgapError
from daemon.tiling.grid import tile_at
from detectors.vectorize.matching import match_outlines

#: A claimed building is a true one when they overlap at least so well (intersection over union).
MATCH_IOU = 0.3

KINDS = {"missing": "missing", "gone": "ghost", "misplaced": "shifted"}


class TruthInvalid(MapgapError):
    """The truth file cannot be read as one."""


def read_truth_file(path: Path) -> dict[str, Any]:
    """The JSON of a truth file.

    Raises:
        TruthInvalid: missing, or not a JSON object.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise TruthInvalid(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TruthInvalid(f"{path}: not a truth file: {type(error).__name__}: {error}") from None
    if not isinstance(document, dict):
        raise TruthInvalid(f"{path}: not a truth file: a JSON object is expected")
    return document


def open_by_sequence(document: Mapping[str, Any]) -> dict[int, Mapping[str, list[int]]]:
    """Sequence -> truth's kind -> ids that are a discrepancy then, of a truth file."""
    opened = {document["sequence_start"]: document["initial_open"]}
    return opened | {one["sequence"]: one["open_ids_after"] for one in document["sequences"]}


def tiles_by_sequence(document: Mapping[str, Any]) -> dict[int, dict[int, frozenset[tuple[int, int]]]]:
    """Sequence -> zoom -> tiles (x, y) that its change file touches, of a truth file."""
    return {
        one["sequence"]: {int(z): frozenset(map(tuple, tiles)) for z, tiles in one.get("tiles_touched", {}).items()}
        for one in document["sequences"]
    }


@dataclass(slots=True)
class Counts:
    """True positives, false positives, false negatives, and claims not scored: how many, or metres of them."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    unscored: int = 0

    @property
    def precision(self) -> float | None:
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def f1(self) -> float | None:
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else None

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.unscored + other.unscored)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "precision": self.precision, "recall": self.recall, "f1": self.f1}


@dataclass(frozen=True, slots=True)
class Found:
    """One discrepancy as far as scoring needs it; geometry in lon/lat."""

    key: str
    kind: str
    geometry: BaseGeometry
    osm: str | None


@dataclass(frozen=True)
class Truth:
    """A truth file, read.

    Attributes:
        places: name -> area, lon/lat.
        tiles: name -> its zoom 19 tiles (x, y).
        buildings, ghosts: by id, as in the file.
        regions: (kind, lon/lat area) judged by eye.
        open_by_sequence: sequence -> truth's kind -> ids that are a discrepancy then.
        tiles_by_sequence: sequence -> zoom -> tiles (x, y) that its change file touches.
        geometries: id -> true place of a building, or place of a ghost; lon/lat.
    """

    places: Mapping[str, BaseGeometry]
    tiles: Mapping[str, frozenset[tuple[int, int]]]
    buildings: Mapping[int, dict[str, Any]]
    ghosts: Mapping[int, dict[str, Any]]
    regions: Sequence[tuple[str, BaseGeometry]]
    open_by_sequence: Mapping[int, Mapping[str, list[int]]]
    tiles_by_sequence: Mapping[int, Mapping[int, frozenset[tuple[int, int]]]]
    geometries: Mapping[int, BaseGeometry] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read a truth file.

        Raises:
            TruthInvalid: missing, not JSON, or not in the form described in the module's docstring.
        """
        return cls.of(read_truth_file(path), path)

    @classmethod
    def of(cls, document: Mapping[str, Any], path: Path) -> Truth:
        """From the JSON of a truth file.

        Raises:
            TruthInvalid: not in the form described in the module's docstring.
        """
        try:
            buildings = {b["id"]: b for b in document["buildings"]}
            ghosts = {g["id"]: g for g in document["ghosts"]}
            return cls(
                places={name: box(*area["bbox"]) for name, area in document["areas"].items()},
                tiles={
                    name: frozenset(map(tuple, area.get("z19_tiles", []))) for name, area in document["areas"].items()
                },
                buildings=buildings,
                ghosts=ghosts,
                regions=[(c["kind"], shape(c["geometry"])) for c in document.get("curated", [])],
                open_by_sequence=open_by_sequence(document),
                tiles_by_sequence=tiles_by_sequence(document),
                geometries={
                    **{i: shape(b["true_geometry"]) for i, b in buildings.items()},
                    **{i: shape(g["geometry"]) for i, g in ghosts.items()},
                },
            )
        except (ValueError, KeyError, TypeError, AttributeError, ShapelyError) as error:
            raise TruthInvalid(f"{path}: not a truth file: {type(error).__name__}: {error}") from None

    def unseen_tiles(self, training: Mapping[str, Any], trained_on: Iterable[str]) -> frozenset[tuple[int, int]]:
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

    def score(
        self, found: Iterable[Found], sequence: int, tiles: frozenset[tuple[int, int]] | None = None
    ) -> dict[str, dict[str, Counts]]:
        """Counts by place and kind after a sequence was applied.

        Args:
            found: what is open then.
            tiles: score only what has its centroid on these zoom 19 tiles (x, y); None scores all.
        """
        found = [f for f in found if _on(tiles, f.geometry)]
        opened = self.open_by_sequence[sequence]
        result = {}
        for place, area in self.places.items():
            here = [f for f in found if area.intersects(f.geometry.centroid)]
            result[place] = {
                kind: self._score_kind(kind, [f for f in here if f.kind == kind], opened[name], place, tiles)
                for kind, name in KINDS.items()
            }
        return result

    def _score_kind(
        self,
        kind: str,
        found: Sequence[Found],
        opened: Sequence[int],
        place: str,
        tiles: frozenset[tuple[int, int]] | None,
    ) -> Counts:
        true = [i for i in opened if self._place_of(i) == place and _on(tiles, self.geometries[i])]
        scored = {i for i in true if self._is_scored(i)}
        counts = Counts()
        hits = _match_objects(found, true) if kind != "missing" else self._match_places(found, true)
        for claim in found:
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
        return (self.buildings.get(object_id) or self.ghosts.get(object_id) or {}).get("place")

    def _is_scored(self, object_id: int) -> bool:
        centre = self.geometries[object_id].centroid
        in_area = self.buildings.get(object_id, {}).get("in_area", True)
        return in_area and not any(kind == "ignore" and r.intersects(centre) for kind, r in self.regions)

    def _is_excused(self, claim: Found) -> bool:
        """Whether a claim that matches nothing is no mistake either."""
        right = {"missing": "natural_missing", "gone": "natural_ghost"}.get(claim.kind)
        centre = claim.geometry.centroid
        if any(kind in ("ignore", right) and region.intersects(centre) for kind, region in self.regions):
            return True
        if claim.kind == "gone" and claim.osm is not None:
            building = self.buildings.get(int(claim.osm.partition("/")[2]), {})
            return building.get("initial") == "natural_ghost"
        return False


def _on(tiles: frozenset[tuple[int, int]] | None, geometry: BaseGeometry) -> bool:
    if tiles is None:
        return True
    centre = geometry.centroid
    return tuple(tile_at(centre.x, centre.y, 19)[1:]) in tiles


def _match_objects(found: Sequence[Found], true: Sequence[int]) -> dict[str, int]:
    """Claim key -> true object it names; a second claim about the same object matches nothing."""
    left = {f"way/{i}": i for i in true}
    return {claim.key: left.pop(claim.osm) for claim in found if claim.osm in left}
