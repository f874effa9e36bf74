"""A data set as a configuration names it: where it is, how it is read, what it is for and whose it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from detectors.datasets.place import Place, Provenance
from detectors.datasets.tiles import read_tiles
from detectors.errors import DatasetInvalid

#: Name of a reader -> (directory, source) -> places. One reader a published format.
READERS: Mapping[str, Callable[[Path, Source], list[Place]]] = {
    "tiles": lambda directory, source: [read_tiles(directory, source.zoom, source.bands)],
}


class Source(BaseModel):
    """A data set.

    Attributes:
        path: below the data root.
        reader: the format, a key of READERS.
        use: "train": learned from, and scored in spatial folds; "test": scored, never learned from.
        zoom: for tiles: which.
        bands: how many bands are taken, the first ones unless the format says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    reader: str = "tiles"
    use: Literal["train", "test"]
    zoom: int = Field(0, ge=0, le=24)
    bands: int = Field(3, ge=1, le=64)
    imagery: str
    imagery_licence: str
    labels: str
    labels_licence: str


def read_source(data: Path, source: Source) -> list[Place]:
    """The places of a data set, at least one, all with the same classes and bands.

    Raises:
        DatasetInvalid: no such reader, nothing readable there, or what is there is no such data set.
    """
    try:
        reader = READERS[source.reader]
    except KeyError:
        raise DatasetInvalid(f"{source.path}: no reader {source.reader!r}; there are {', '.join(READERS)}") from None
    directory = Path(data) / source.path
    places = reader(directory, source)
    if not places:
        raise DatasetInvalid(f"{directory}: no labelled imagery that reader {source.reader!r} understands")
    provenance = Provenance(source.imagery, source.imagery_licence, source.labels, source.labels_licence)
    return [replace(place, provenance=place.provenance or provenance) for place in places]
