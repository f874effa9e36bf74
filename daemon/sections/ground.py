"""How the ground is looked at: [tiling], [client], [[imagery]]."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field

from daemon.sections.section import Section, knob


class Tiling(Section):
    """How changed ground becomes work. The words are those of osm2pgsql's tile expiry."""

    zoom: int = knob(19, "zoom of the tiles that are looked at; 256 px tiles", "zoom level", ge=10, le=22)
    block: int = knob(4, "tiles along one side of a block that is judged as one image", "tiles", ge=1, le=16)
    margin: int = knob(96, "context around a block, segmented but not judged", "pixels", ge=0, le=256)
    mode: Literal["boundary_only", "full_area", "hybrid"] = knob(
        "hybrid", "what a changed polygon expires: its boundary, all its tiles, or all up to full_area_limit"
    )
    full_area_limit: float = knob(
        2000.0, "hybrid: a polygon whose bounding box is longer than this expires its boundary only", "metres", gt=0
    )
    buffer: float = knob(0.05, "tiles this near to changed geometry expire too", "tile widths", ge=0, le=2)
    max_tiles_geometry: int = knob(
        10_000, "one geometry expires at most so many tiles; logged when it bites", "tiles", ge=1
    )
    max_tiles_area: int = knob(
        2_000_000_000, "a back-fill of more tiles than this is refused", "tiles", ge=1
    )
    backfill_queue: int = knob(
        20_000, "tiles of a back-fill that are in the queue at once; changed tiles go before them", "tiles", ge=1
    )
    debounce: float = knob(0.0, "a tile rests this long after its last change before it is looked at", "seconds", ge=0)
    debounce_most: float = knob(900.0, "but no longer than this after its first change", "seconds", ge=0)
    lease: float = knob(600.0, "a worker that is silent for longer loses its block", "seconds", gt=0)
    attempts: int = knob(5, "a tile that failed so often is put aside with its reason", "tries", ge=1)
    retry_after: float = knob(30.0, "rest after the first failure; doubles with each further one", "seconds", gt=0)


class Client(Section):
    """Manners towards imagery servers."""

    contact: str = knob("", "e-mail or web page of whoever runs this; sent in the User-Agent, needed for HTTP imagery")
    connections: int = knob(2, "requests under way at once to one server", "connections", ge=1, le=32)
    rate: float = knob(10.0, "requests a second to one server at most", "requests per second", gt=0)
    timeout: float = knob(30.0, "patience with a server, for connecting and between two bytes", "seconds", gt=0)
    retries: int = knob(4, "further tries after a failure that may pass", "tries", ge=0, le=20)
    max_image: int = knob(16 * 1024**2, "a larger image is refused", "bytes", gt=0)
    max_pixels: int = knob(4096 * 4096, "an image with more pixels is refused before it is decoded", "pixels", gt=0)
    cache: int = knob(
        10 * 1024**3, "imagery and probabilities kept under data_dir; the least recently used go first", "bytes", ge=0
    )
    cache_days: float = knob(90.0, "an image older than this is asked for again", "days", gt=0)


class Imagery(Section):
    """One source of imagery. Sources are asked in the order given; the first that has pixels wins."""

    name: str = knob(..., "short name; appears in evidence and logs", pattern=r"^[a-z0-9_-]+$")
    kind: Literal["xyz", "geotiff"] = knob(..., "xyz: {z}/{x}/{y} tiles; geotiff: a GeoTIFF or COG file")
    url: str = knob(
        ..., "template with {z} {x} {y} over http(s)://, a directory or file:// template, or a GeoTIFF's path"
    )
    min_zoom: int = knob(0, "lowest zoom the source has", "zoom level", ge=0, le=24)
    max_zoom: int = knob(22, "highest zoom the source has", "zoom level", ge=0, le=24)
    tile_size: Literal[256, 512] = knob(256, "xyz: side of its images", "pixels")
    tms: bool = knob(False, "xyz: rows counted from the south")
    nodata: list[Annotated[int, Field(ge=0, le=255)]] | None = knob(
        None,
        "a pixel of exactly this colour is no imagery, e.g. [255, 255, 255]",
        "0..255 for red, green, blue",
        min_length=3,
        max_length=3,
    )
    mask_blank: bool = knob(True, "blank white or black areas that reach into a tile's corner are no imagery")
    acquired: date | None = knob(
        None, "day the imagery was taken; without it no 'gone' or 'misplaced' claim is made", "YYYY-MM-DD"
    )
    licence: str = knob("", "licence of the imagery, e.g. CC-BY-4.0; required")
    attribution: str = knob("", "whom to name; goes into every feed; required")
    osm_permission: str = knob("", "why it may be used to improve OSM: a URL, or a sentence; required")


def permission_problems_of(sources: list[dict[str, Any]]) -> list[str]:
    """What the sources of imagery, given as dictionaries of whatever, lack to be used at all."""
    return [
        f"imagery[{i}].{key} ({source.get('name', 'without a name')}): empty; imagery without {meaning} is refused"
        for i, source in enumerate(sources)
        for key, meaning in (
            ("licence", "a licence"),
            ("attribution", "attribution"),
            ("osm_permission", "permission to use it for OSM"),
        )
        if isinstance(text := source.get(key, ""), str) and not text.strip()
    ]
