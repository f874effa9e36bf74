"""A whole evaluation: a model beside those who do not look, on every kind of ground, with tiles to look at.

Beside the model there are always two rows. "All background" shows what a measure gives for nothing (where every class
is something: the one class that scores best if it is said everywhere); "OSM as it is" what the map has already
(`detectors.evaluation.maps`). Both are scored on the same ground as the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detectors.datasets import UNKNOWN, Place, Provenance
from detectors.errors import DatasetInvalid
from detectors.evaluation.answers import ask_model, say_always, say_outlines
from detectors.evaluation.gallery import Gallery
from detectors.evaluation.ground import ASKED, HELD_OUT, TRAINED_ON, UNSEEN, Ground
from detectors.evaluation.legend import Legend
from detectors.evaluation.maps import MAP, MapRow, map_of
from detectors.evaluation.records import full_record
from detectors.evaluation.resolution import match_resolution
from detectors.evaluation.scoring import measure_thresholds, show_map
from detectors.evaluation.tally import Tally, cut_tiles, tally_answer
from detectors.segmentation.bundle import Bundle
from detectors.segmentation.engines import Engine

MODEL, NOTHING = "model", "all background"
#: Kinds of ground, the most telling first.
GROUPS: Mapping[str, str] = {
    UNSEEN: "places that the model has never seen",
    HELD_OUT: "columns of the training places that were held out of the training",
    ASKED: "data sets named by hand; the card does not say whether the model has seen them",
    TRAINED_ON: "ground that the model was trained on: proves nothing",
}


@dataclass(slots=True)
class Row:
    """One answer over all places of a group.

    Attributes:
        name: who answers.
        notes: what there is to know about it.
        tally: None where there was nothing to score.
        places: how many it was scored on.
    """

    name: str
    notes: list[str] = field(default_factory=list)
    tally: Tally | None = None
    places: int = 0

    def add(self, tally: Tally | None, note: str = "") -> None:
        if note and note not in self.notes:
            self.notes.append(note)
        if tally is not None:
            self.tally = tally if self.tally is None else self.tally + tally
            self.places += 1

    def record(self) -> dict[str, Any]:
        return {"notes": self.notes, "places": self.places, **(full_record(self.tally) if self.tally else {})}


@dataclass(slots=True)
class Section:
    """One kind of ground.

    Attributes:
        rows: model, one class everywhere, map.
        places: the model's tally of each place.
        constants: index of a class -> tally of whoever says it everywhere.
    """

    group: str
    rows: tuple[Row, Row, Row]
    places: dict[str, Tally] = field(default_factory=dict)
    constants: dict[int, Tally] = field(default_factory=dict)

    @property
    def model(self) -> Tally:
        """The model's tally over all places.

        Raises:
            ValueError: no place was added yet.
        """
        if (tally := self.rows[0].tally) is None:
            raise ValueError(f"nothing of {self.group} was scored")
        return tally

    @property
    def thresholds(self) -> dict[str, dict[str, dict[str, float]]]:
        """As `Card.thresholds`, measured here; empty where the model was trained."""
        return {} if self.group == TRAINED_ON else measure_thresholds([self.model])


@dataclass(slots=True)
class Report:
    """What `examine` found.

    Attributes:
        bundle: what was scored.
        engine: what ran it.
        legend: what is scored.
        sections: the most telling first.
        gallery: tiles to look at, of the most telling ground.
        sources: whose data it was.
        options: what was asked of `segment` beyond its defaults.
    """

    bundle: Bundle
    engine: str
    legend: Legend
    sections: list[Section]
    gallery: Gallery
    sources: list[Provenance]
    options: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """JSON-able: by group, by row, every measure; and the model's on each place."""
        return {
            "model": self.bundle.identity, "engine": self.engine, "options": self.options,
            "classes": list(self.legend.classes),
            "ground": {
                section.group: {
                    "what": GROUPS[section.group], "thresholds": section.thresholds,
                    "rows": {row.name: row.record() for row in section.rows},
                    "places": {name: full_record(tally) for name, tally in section.places.items()},
                }
                for section in self.sections
            },
        }


def examine(bundle: Bundle, engine: Engine, grounds: Iterable[Ground], *, osm: Path | None = None,
            pictures: bool = False, **options: Any) -> Report:
    """Score a bundle and both baselines.

    Args:
        osm: a file of the map, for every place; see `detectors.evaluation.maps`.
        pictures: keep tiles to look at.
        options: given to `segment`.

    Raises:
        DatasetInvalid: there is no ground, or nothing on it is known.
        BundleMismatch: the data does not fit the bundle.
    """
    legend = Legend.of(bundle)
    sections: dict[str, Section] = {}
    gallery, sources = Gallery(legend), []
    for ground in grounds:
        legend.truth_of(ground.place)  # complains of masks of another size before anything is cut
        place, mask = match_resolution(ground.place, ground.mask, bundle.card.gsd_range_m[0])
        ground = replace(ground, place=place, mask=mask)
        section = sections.setdefault(ground.group, Section(ground.group, (Row(MODEL), Row(NOTHING), Row(MAP))))
        _score(bundle, engine, ground, section, legend, osm, gallery if pictures else None, options)
        if place.provenance is not None and place.provenance not in sources:
            sources.append(place.provenance)
    if not sections:
        raise DatasetInvalid("no ground to score on: the data sets hold no place, or the fold holds out no column")
    ordered = [sections[group] for group in GROUPS if group in sections]
    for section in ordered:
        if not section.model.confusion.total:
            raise DatasetInvalid(f"{', '.join(section.places)}: nobody knows what is there; all labels are unknown, or "
                                 "mean nothing to the model")
        best = max(section.constants, key=lambda k: section.constants[k].confusion.accuracy)
        section.rows[1].name = f"all {legend.classes[best]}"
        section.rows[1].tally, section.rows[1].places = section.constants[best], section.rows[0].places
        drawn = section.rows[2]
        if drawn.tally is not None and drawn.places < section.rows[0].places:
            drawn.notes.append(f"on {drawn.places} of {section.rows[0].places} places only")
    return Report(bundle, f"{engine.name} on {engine.device}", legend, ordered, gallery, sources, options)


def _score(bundle: Bundle, engine: Engine, ground: Ground, section: Section, legend: Legend, osm: Path | None,
           gallery: Gallery | None, options: Mapping[str, Any]) -> None:
    place, mask = ground.place, ground.mask
    truth = legend.truth_of(place)
    answer = ask_model(bundle, engine, show_map(bundle, place), legend, **options)
    tally = tally_answer(place, answer, legend, truth, mask)
    model, _, drawn = section.rows
    model.add(tally)
    unknown = [name for name in place.classes if name not in legend.classes and name not in legend.footprint]
    if unknown:
        model.add(None, f"not scored, since the model has no such class: {', '.join(unknown)}")
    name = place.name if place.name not in section.places else f"{ground.source.path} {place.name}"
    section.places[name] = tally
    for k in range(len(legend.classes)) if legend.background is None else (legend.background,):
        said = tally_answer(place, say_always(place, legend, k), legend, truth, mask)
        section.constants[k] = section.constants[k] + said if k in section.constants else said
    says, of_map = _score_map(ground, legend, osm)
    drawn.name = says.name if drawn.tally is None or of_map is not None else drawn.name
    drawn.add(of_map, says.note)
    if gallery is not None:
        counted = mask & (truth != UNKNOWN)
        for tile in cut_tiles(answer.labels, truth, counted, legend.background):
            gallery.add(ground.group, place, tile, truth, answer.labels, counted)


def _score_map(ground: Ground, legend: Legend, osm: Path | None) -> tuple[MapRow, Tally | None]:
    index = _mapped_class(legend)
    if index is None:
        return MapRow(MAP, "not shown: a map's polygons do not say which of the classes they are"), None
    drawn = map_of(ground, osm)
    if drawn.outlines is None or drawn.place is None:
        return drawn, None
    scored: Place = drawn.place
    answer = say_outlines(scored, legend, drawn.outlines, index)
    return drawn, tally_answer(scored, answer, legend, legend.truth_of(scored), ground.mask)


def _mapped_class(legend: Legend) -> int | None:
    """Index of the class that a map's polygons stand for; None where more than that class needs to be known."""
    if legend.background is None:
        return None
    if legend.objects is not None:
        return legend.objects
    others = [k for k in range(len(legend.classes)) if k != legend.background]
    return others[0] if len(others) == 1 else None

