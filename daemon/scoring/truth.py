"""What every truth file has: places, and for each sequence what is an open discrepancy there; how claims are counted.

Kinds map as missing = missing, gone = ghost, misplaced = shifted. What is a right claim depends on what is looked for:
see `daemon.scoring.buildings` and `daemon.scoring.roads`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from daemon.errors import MapgapError

KINDS = {"missing": "missing", "gone": "ghost", "misplaced": "shifted"}

#: Tiles (x, y) of a truth's own zoom.
Tiles = frozenset[tuple[int, int]]


class TruthInvalid(MapgapError):
    """The truth file cannot be read as one."""


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
class Truth(ABC):
    """A truth file, read.

    Attributes:
        places: name -> what counts of it, lon/lat.
        tiles: name -> its tiles (x, y).
        objects, ghosts: what is there, and what was made up; by id, as in the file.
        open_by_sequence: sequence -> truth's kind -> ids that are a discrepancy then.
        tiles_by_sequence: sequence -> zoom -> tiles (x, y) that its change file touches.
        geometries: id -> true place of an object, or place of a ghost; lon/lat.
    """

    #: What a file of this kind calls its objects.
    subject: ClassVar[str]

    places: Mapping[str, BaseGeometry]
    tiles: Mapping[str, Tiles]
    objects: Mapping[int, dict[str, Any]]
    ghosts: Mapping[int, dict[str, Any]]
    open_by_sequence: Mapping[int, Mapping[str, list[int]]]
    tiles_by_sequence: Mapping[int, Mapping[int, Tiles]]
    geometries: Mapping[int, BaseGeometry] = field(repr=False)

    @staticmethod
    def load(path: Path) -> Truth:
        """Read a truth file, of whatever kind.

        Raises:
            TruthInvalid: missing, not JSON, or not in the form that its kind's module describes.
        """
        try:
            document = json.loads(path.read_text())
        except OSError as error:
            raise TruthInvalid(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise TruthInvalid(f"{path}: not a truth file: {type(error).__name__}: {error}") from None
        kinds = {kind.subject: kind for kind in Truth.__subclasses__()}
        found = next((kinds[name] for name in kinds if isinstance(document, dict) and name in document), None)
        if found is None:
            raise TruthInvalid(f"{path}: not a truth file: a JSON object with {' or '.join(sorted(kinds))} is expected")
        try:
            return found.of(document)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, ShapelyError) as error:
            what = f"a truth file of {found.subject}"
            raise TruthInvalid(f"{path}: not {what}: {type(error).__name__}: {error}") from None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From the JSON of a truth file; whatever it lacks is an error of Python's."""
        objects = {one["id"]: one for one in document[cls.subject]}
        ghosts = {ghost["id"]: ghost for ghost in document["ghosts"]}
        geometries = {
            **{i: shape(one["true_geometry"]) for i, one in objects.items()},
            **{i: shape(ghost["geometry"]) for i, ghost in ghosts.items()},
        }
        places, tiles = cls.ground(document, objects, geometries)
        opened = {document["sequence_start"]: document["initial_open"]}
        touched = {
            one["sequence"]: {int(z): frozenset(map(tuple, xy)) for z, xy in one.get("tiles_touched", {}).items()}
            for one in document["sequences"]
        }
        return cls(
            places=places, tiles=tiles, objects=objects, ghosts=ghosts, geometries=geometries,
            open_by_sequence=opened | {one["sequence"]: one["open_ids_after"] for one in document["sequences"]},
            tiles_by_sequence=touched, **cls.more(document),
        )

    @classmethod
    @abstractmethod
    def ground(
        cls, document: Mapping[str, Any], objects: Mapping[int, dict[str, Any]], geometries: Mapping[int, BaseGeometry]
    ) -> tuple[dict[str, BaseGeometry], dict[str, Tiles]]:
        """The places and tiles of a document."""

    @classmethod
    def more(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        """The further attributes of a kind."""
        return {}

    @abstractmethod
    def unseen_tiles(self, training: Mapping[str, Any], trained_on: Iterable[str]) -> Tiles:
        """The tiles that a model has not seen.

        Args:
            training: of the model's card.
            trained_on: names of the places that it was trained on.
        """

    @abstractmethod
    def count(
        self, kind: str, found: Sequence[Found], opened: Sequence[int], place: str, tiles: Tiles | None
    ) -> Counts:
        """The counts of one kind at one place; arguments as `score`, `opened` the ids that should be found."""

    def score(
        self, found: Iterable[Found], sequence: int, tiles: Tiles | None = None
    ) -> dict[str, dict[str, Counts]]:
        """Counts by place and kind after a sequence was applied.

        Args:
            found: what is open then.
            tiles: score only what lies on these tiles (x, y); None scores all.
        """
        found, opened = list(found), self.open_by_sequence[sequence]
        return {
            place: {kind: self.count(kind, found, opened[name], place, tiles) for kind, name in KINDS.items()}
            for place in self.places_on(tiles)
        }

    def places_on(self, tiles: Tiles | None) -> list[str]:
        """The places that are scored where only these tiles are."""
        return list(self.places)
