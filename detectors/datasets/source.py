"""A data set as a configuration names it: where it is, how it is read, what it is for and whose it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from detectors.datasets.coco import read_coco
from detectors.datasets.isprs import read_isprs
from detectors.datasets.labelmaker import read_labelmaker
from detectors.datasets.lazy import LazyPlaces, with_provenance
from detectors.datasets.paired import read_geotiff, read_massachusetts
from detectors.datasets.place import Place, Provenance
from detectors.datasets.raster import read_scenes
from detectors.datasets.records import read_records
from detectors.datasets.scenes import read_deepsat, read_eurosat
from detectors.datasets.spacenet import read_spacenet
from detectors.datasets.tiles import read_tiles
from detectors.errors import DatasetInvalid


def read_tile_places(directory: Path, source: Source) -> Sequence[Place]:
    """XYZ tiles/NAME-X-Y-Z.png with labels.geojson; one place, or one in each directory below"""
    if (directory / "tiles").is_dir() or not directory.is_dir():
        return [read_tiles(directory, source.zoom, source.bands)]
    below = sorted(path.parent for path in directory.glob("*/tiles") if path.is_dir())
    return LazyPlaces([lambda path=path: read_tiles(path, source.zoom, source.bands, empty=True) for path in below])


#: Name of a reader -> (directory, source) -> places. One reader a published format; others may be added.
READERS: dict[str, Callable[[Path, Source], Sequence[Place]]] = {
    "tiles": read_tile_places,
    "geotiff": read_geotiff,
    "massachusetts": read_massachusetts,
    "raster": read_scenes,
    "spacenet": read_spacenet,
    "isprs": read_isprs,
    "eurosat": read_eurosat,
    "deepsat": read_deepsat,
    "coco": read_coco,
    "labelmaker": read_labelmaker,
    "records": read_records,
}


class Source(BaseModel):
    """A data set.

    Attributes:
        path: below the data root.
        reader: the format, a key of READERS.
        use: "train": learned from, and scored in spatial folds; "test": scored, never learned from.
        zoom: for tiles: which; 0: the only one there is.
        bands: how many bands are taken, the first ones unless the format or `band_order` says otherwise.
        band_order: which bands are taken and in which order, counted from 1: [4, 1, 2].
        dtype: type that the pixels must have; not given, any that networks take.
        gsd_m: metres a pixel, for formats and files that do not say.
        images: which files are images, a glob below `path`; not given, those of the format.
        label_file: labels for all images, a raster or vectors, below `path`; of formats with a label file an image
            a glob that chooses among several.
        label_key: attribute of vector labels that names the class.
        label_classes: code or attribute of a label -> name of its class; the classes are numbered in this order.
        foreground: name of the class that binary masks and outlines stand for; not given, that of the format.
        width_m: width of roads whose centre lines do not say.
        columns: spatial folds hold out whole columns; every place of this source has so many (tiles have their own).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    reader: str = "tiles"
    use: Literal["train", "test"]
    zoom: int = Field(0, ge=0, le=24)
    bands: int = Field(3, ge=1, le=64)
    band_order: tuple[int, ...] = ()
    dtype: Literal["uint8", "uint16"] | None = None
    gsd_m: float = Field(0.0, ge=0)
    images: str = ""
    label_file: str = ""
    label_key: str = "class"
    label_classes: dict[str, str] = Field(default_factory=dict, max_length=255)
    foreground: str = ""
    width_m: float = Field(7.0, gt=0)
    columns: int = Field(1, ge=1)
    imagery: str
    imagery_licence: str
    labels: str
    labels_licence: str


def read_source(data: Path, source: Source) -> Sequence[Place]:
    """The places of a data set, at least one, all with the same classes and bands; large ones are read on access.

    Raises:
        DatasetInvalid: no such reader, nothing readable there, or what is there is no such data set. What is read on
            access may raise it then.
    """
    try:
        reader = READERS[source.reader]
    except KeyError:
        raise DatasetInvalid(f"{source.path}: no reader {source.reader!r}; there are {', '.join(READERS)}") from None
    directory = Path(data) / source.path
    places = reader(directory, source)
    if not places:
        raise DatasetInvalid(f"{directory}: no labelled imagery that reader {source.reader!r} understands")
    return with_provenance(places, Provenance(source.imagery, source.imagery_licence, source.labels,
                                              source.labels_licence))
