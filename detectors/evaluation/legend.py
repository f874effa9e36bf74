"""Which classes are scored, and how the truth of a place and the answer of a model are brought to them by name.

A model of buildings answers with interior, wall and background; what people label, and what is scored, is the whole
footprint. Its classes are ("background", "building") therefore, whatever the network has. Every other model is scored
in its own classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.datasets import UNKNOWN, Place
from detectors.errors import DatasetInvalid
from detectors.segmentation.bundle import Bundle

#: Footprint probability from which a pixel counts as building.
THRESHOLD = 0.5
#: Names under which single things are labelled that have an outline, and names of what has a centreline.
OBJECTS = frozenset({"building", "buildings", "house", "roof"})
LINES = frozenset({"road", "roads", "highway", "street", "path", "railway", "waterway"})


@dataclass(frozen=True, slots=True)
class Legend:
    """What is scored of a bundle.

    Attributes:
        classes: K names.
        background: index of the class that says "nothing here"; None where every class is something.
        footprint: the model's classes that together are the second of ours; empty where classes are the model's own.
    """

    classes: tuple[str, ...]
    background: int | None = 0
    footprint: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundle: Bundle) -> Legend:
        card = bundle.card
        if card.footprint:
            return cls(("background", card.interior or "building"), 0, tuple(card.footprint))
        return cls(card.classes, card.classes.index("background") if "background" in card.classes else None)

    @property
    def objects(self) -> int | None:
        """Index of the class of single outlined things; None where there is none."""
        return 1 if self.footprint else self._first_of(OBJECTS)

    @property
    def lines(self) -> int | None:
        """Index of the class that has centrelines; None where there is none."""
        return self._first_of(LINES)

    def truth_of(self, place: Place) -> np.ndarray:
        """uint8 [H, W]: index of the scored class of each pixel; UNKNOWN where nobody knows, or the model has no word.

        Raises:
            DatasetInvalid: the mask has another size than the pixels, or numbers that the place has no class for, or
                place and model share no class but the background.
        """
        if place.mask is not None and place.mask.shape != place.valid.shape:
            raise DatasetInvalid(f"{place.name}: the mask has {list(place.mask.shape)} pixels, the imagery "
                                 f"{list(place.valid.shape)}")
        if place.pixels.shape[:2] != place.valid.shape:
            raise DatasetInvalid(f"{place.name}: {list(place.pixels.shape[:2])} pixels, but `valid` has "
                                 f"{list(place.valid.shape)}")
        truth = place.truth()
        table = np.full(256, UNKNOWN, dtype=np.uint8)
        for index, name in enumerate(place.classes):
            name = self.classes[1] if name in self.footprint else name
            if name in self.classes:
                table[index] = self.classes.index(name)
        if not set(table.tolist()) - {UNKNOWN, self.background}:
            raise DatasetInvalid(f"{place.name}: labels {', '.join(place.classes)}; the model knows "
                                 f"{', '.join(self.classes)}: nothing to compare")
        beyond = truth[(truth >= len(place.classes)) & (truth != UNKNOWN)]
        if beyond.size:
            raise DatasetInvalid(f"{place.name}: class {beyond.min()} in the mask, but there are only "
                                 f"{len(place.classes)}: {', '.join(place.classes)}")
        return table[truth]

    def planes_of(self, bundle: Bundle, values: np.ndarray) -> np.ndarray:
        """A model's answer [K', H, W] -> float32 [K, H, W] of the scored classes."""
        if not self.footprint:
            return values.astype(np.float32)
        inside = np.clip(bundle.footprint_of(values), 0, 1)
        return np.stack([1 - inside, inside])

    def labels_of(self, planes: np.ndarray) -> np.ndarray:
        """uint8 [H, W]: the likeliest class; of buildings, the footprint where its probability exceeds THRESHOLD."""
        if self.footprint:
            return (planes[1] > THRESHOLD).astype(np.uint8)
        return planes.argmax(axis=0).astype(np.uint8)

    def _first_of(self, names: frozenset[str]) -> int | None:
        return next((i for i, name in enumerate(self.classes) if name.lower() in names), None)
