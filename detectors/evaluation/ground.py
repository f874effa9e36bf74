"""Where a bundle is scored: the ground that its card names, or data sets that somebody else names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from detectors.datasets import Place, Source, read_source
from detectors.errors import DatasetInvalid
from detectors.segmentation.bundle import Bundle

HELD_OUT, TRAINED_ON, UNSEEN, ASKED = "held_out", "trained_on", "unseen_places", "asked"


@dataclass(frozen=True, slots=True)
class Ground:
    """A place and the part of it that is scored.

    Attributes:
        group: "held_out", "trained_on" (proves nothing), "unseen_places", or "asked" where a person named it and the
            card does not know it.
        source: the data set it is of.
        directory: where the data set lies.
        mask: bool [H, W].
    """

    group: str
    source: Source
    directory: Path
    place: Place
    mask: np.ndarray


def card_ground(bundle: Bundle, data: Path, fold: int | None = None) -> Iterator[Ground]:
    """Held-out columns of the places that a bundle was trained on, and all of its test places.

    Args:
        fold: which columns; the card's own unless given.

    Raises:
        DatasetInvalid: a data set is unreadable, or the card names none.
    """
    sources = _sources(bundle)
    if not sources:
        raise DatasetInvalid(f"{bundle.directory}: its card names no data set; name a DATASET")
    for source in sources:
        yield from _of_source(bundle, Path(data), source, fold)


def asked_ground(bundle: Bundle, data: Path | None, datasets: Sequence[str | Path], *, fold: int | None = None,
                 **settings: Any) -> Iterator[Ground]:
    """The ground of data sets by name.

    A data set that the card names is read and held apart as the card says; what a person says goes before that.

    Args:
        datasets: directories below `data`, or anywhere.
        fold: score only these columns of data sets that the bundle was trained on.
        settings: keys of `Source` (reader, zoom, bands, ...); None counts as not given.

    Raises:
        DatasetInvalid: no such directory, it cannot be read, or there is no such setting.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    unstated = dict.fromkeys(("imagery", "imagery_licence", "labels", "labels_licence"), "not stated")
    sources = _sources(bundle)
    for name in map(str, datasets):
        root, path = _locate(data, name)
        known = [source.model_dump() for source in sources if source.path.strip("/") == path]
        for card in known or [{"path": path, "use": "test", "bands": _bands_of(bundle)}]:
            try:
                source = Source.model_validate({**unstated, **card, **given})
            except ValidationError as error:
                problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
                raise DatasetInvalid(f"{name}: {problems}") from error
            found = _of_source(bundle, root, source, fold)
            yield from found if known else (replace(ground, group=ASKED) for ground in found)


def _of_source(bundle: Bundle, data: Path, source: Source, fold: int | None) -> Iterator[Ground]:
    training = bundle.card.training
    fold = training.get("fold", -1) if fold is None else fold
    for place in read_source(data, source):
        whole = np.ones(place.valid.shape, dtype=bool)
        directory = data / source.path
        if source.use == "test":
            yield Ground(UNSEEN, source, directory, place, whole)
        elif fold < 0:
            yield Ground(TRAINED_ON, source, directory, place, whole)
        else:
            mask = place.held_out(fold, training.get("columns_per_fold", 1))
            group = HELD_OUT if fold == training.get("fold", -1) else TRAINED_ON
            if mask.any():
                yield Ground(group, source, directory, place, mask)


def _sources(bundle: Bundle) -> list[Source]:
    config = bundle.card.training.get("config", {})
    return [Source.model_validate(source) for source in config.get("sources", ())]


def _bands_of(bundle: Bundle) -> int:
    """Bands that the imagery must have; those drawn from OSM are not of the imagery."""
    return bundle.card.bands - len(bundle.card.osm_bands)


def _locate(data: Path | None, name: str) -> tuple[Path, str]:
    """(root, path below it) of a data set: below the data root first, else anywhere."""
    if data is not None and not Path(name).is_absolute() and (Path(data) / name).exists():
        return Path(data), name.strip("/")
    path = Path(name).expanduser()
    if not path.exists():
        where = f"below {data} nor anywhere else" if data is not None else "here; --data names where data lies"
        raise DatasetInvalid(f"{name}: no such data set {where}")
    resolved = path.resolve()
    if data is not None and resolved.is_relative_to(Path(data).resolve()):
        return Path(data), str(resolved.relative_to(Path(data).resolve()))
    return resolved.parent, resolved.name
