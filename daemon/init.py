"""`mapgap init`: a first config.toml for a place."""

from __future__ import annotations

import math
import os
from datetime import date
from pathlib import Path

from daemon.config import Area, Bbox, Client, Config, Detectors, Imagery, Tiling, parse, render
from daemon.errors import ConfigError
from daemon.tiling.grid import ground_sample_distance
from detectors.segmentation import Bundle

#: The world-wide mosaic of OpenAerialMap: all of it is CC BY 4.0 and may be traced in OSM.
OPEN_AERIAL_MAP = Imagery(
    name="openaerialmap",
    kind="xyz",
    url="https://apps.kontur.io/raster-tiler/oam/mosaic/{z}/{x}/{y}.png",
    max_zoom=20,
    licence="CC-BY-4.0",
    attribution="© OpenAerialMap contributors",
    osm_permission="https://openaerialmap.org/about/: imagery may be traced in OpenStreetMap",
)


def first_config(
    bbox: Bbox,
    *,
    name: str = "area",
    contact: str = "",
    imagery: Imagery = OPEN_AERIAL_MAP,
) -> Config:
    """A configuration for a bounding box (west, south, east, north in degrees), all else at its default.

    Raises:
        ConfigError: the box, the name or the imagery is not usable.
    """
    values = {
        "area": {"bbox": bbox, "name": name},
        "client": {"contact": contact},
        "imagery": [imagery.model_dump(exclude_none=True)],
    }
    parse(values, "mapgap init", Path.cwd())
    tiling = Tiling(zoom=_fitting_zoom((bbox[1] + bbox[3]) / 2))
    return Config(area=Area(bbox=bbox, name=name), client=Client(contact=contact), tiling=tiling, imagery=(imagery,))


def _fitting_zoom(lat: float) -> int:
    """The zoom whose pixels are nearest to those that the shipped model was made for."""
    card = Bundle.load(Detectors().building.model).card
    return min(range(10, 23), key=lambda zoom: abs(math.log(ground_sample_distance(zoom, lat) / card.gsd_m)))


def example() -> Config:
    """The example at the root of the repository: the town of Banepa in Nepal."""
    return first_config(
        (85.50, 27.61, 85.55, 27.65),
        name="banepa",
        contact="https://example.org/who-runs-this",
        imagery=OPEN_AERIAL_MAP.model_copy(update={"acquired": date(2022, 7, 1)}),
    )


def write_config(config: Config, path: Path, force: bool = False) -> None:
    """Write a file, never over another one unasked.

    Raises:
        ConfigError: the file exists, or cannot be written.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
        with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(render(config))
    except FileExistsError:
        raise ConfigError(str(path), ["exists already; --force writes over it"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be written: {error.strerror}"]) from None
