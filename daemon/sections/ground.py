"""How the ground is looked at: [tiling], [client], [mosaic], [[imagery]]."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

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
    max_document: int = knob(
        16 * 1024**2, "a larger description is refused: capabilities, STAC, imagery index", "bytes", gt=0
    )
    cache: int = knob(
        10 * 1024**3, "imagery and probabilities kept under data_dir; the least recently used go first", "bytes", ge=0
    )
    cache_days: float = knob(90.0, "an image older than this is asked for again", "days", gt=0)


class Mosaic(Section):
    """Which imagery is looked at where several sources have it; what one lacks, the next fills."""

    ranking: Literal["order", "newest", "finest"] = knob(
        "order", "who goes first at each place: the source named first, the newest there, or the finest there"
    )


class Imagery(Section):
    """One source of imagery; docs/imagery.md has an example of each kind. [mosaic] says which goes first."""

    name: str = knob(..., "short name; appears in evidence and logs", pattern=r"^[a-z0-9_-]+$")
    kind: Literal["xyz", "tms", "wms", "wmts", "mbtiles", "geotiff", "vrt", "stac", "postgis", "index"] = knob(
        ..., "what the url leads to: tiles, a service, a file, a table, or an entry of an imagery index"
    )
    url: str = knob(
        ..., "template with {z} {x} {y} or {quadkey}; a directory of tiles; a file; a service's address; postgresql://"
    )
    layer: str = knob("", "wms: its layers, comma between; wmts: its layer; postgis: schema.table")
    style: str = knob("", "wms, wmts: style; empty: the server's default")
    version: Literal["", "1.1.1", "1.3.0"] = knob("", "wms: version to speak; empty: what the server does")
    format: str = knob("", "wms, wmts: type of the images, e.g. image/jpeg; empty: PNG where there is, for its mask")
    matrix_set: str = knob("", "wmts: TileMatrixSet; empty: the first on the web-mercator grid")
    crs: str = knob(
        "", "wms: coordinate system to ask in; a raster that does not say its own: what it is in; e.g. EPSG:32645",
        pattern=r"^(|EPSG:\d{4,6}|CRS:84)$",
    )
    time: str = knob("", "stands for {time} in the url; wms, wmts: the time to ask for")
    entry: str = knob("", "index: id of the entry")
    assets: list[str] = knob(
        [], "stac: assets whose bands are taken, one after the other; empty: the visual one", max_length=64
    )
    column: str = knob("rast", "postgis: column of the raster")
    date_column: str = knob("", "postgis: column of the day on which a raster was taken")
    key_env: str = knob("", "environment variable that holds the key for {apikey} in the url, or a database's password")
    subdomains: list[str] = knob(["a", "b", "c"], "what {s} in the url stands for, by turns", min_length=1)
    min_zoom: int = knob(0, "lowest zoom the source has", "zoom level", ge=0, le=24)
    max_zoom: int = knob(22, "highest zoom the source has", "zoom level", ge=0, le=24)
    tile_size: Literal[256, 512] = knob(256, "xyz, tms, mbtiles, wms: side of its images", "pixels")
    tms: bool = knob(False, "xyz: rows counted from the south, as kind tms does")
    bands: list[Annotated[int, Field(ge=1, le=999)]] = knob(
        [1, 2, 3], "bands to take, counted from 1, in the order of the model; a grey image serves for all three",
        min_length=1, max_length=64,
    )
    depth: Literal[8, 16] = knob(8, "what comes out of the source; must be that of the model", "bits a band")
    stretch: list[float] | None = knob(
        None, "values that become 0 and the largest of `depth`; in the units of the file's scale and offset",
        "lowest, highest", min_length=2, max_length=2,
    )
    nodata: list[Annotated[int, Field(ge=0, le=65535)]] | None = knob(
        None,
        "a pixel of exactly this colour is no imagery, e.g. [255, 255, 255]",
        "a number for each of `bands`",
        min_length=1,
        max_length=64,
    )
    mask_blank: bool = knob(True, "blank white or black areas that reach into a tile's corner are no imagery")
    no_tile_header: str = knob("", "an answer with this header is no imagery, e.g. X-VE-Tile-Info: no-tile")
    acquired: date | None = knob(
        None, "day the imagery was taken; without it no 'gone' or 'misplaced' claim is made", "YYYY-MM-DD"
    )
    date_header: str = knob("", "header of each tile that tells its day or days, e.g. X-VE-TILEMETA-CAPTUREDATESRANGE")
    date_url: str = knob("", "JSON or XML that tells a tile's days; with {z} {x} {y}, {quadkey}, {lon} {lat}")
    date_field: str = knob("", "name of the field, or element, of date_url that holds the day; of several the oldest")
    date_zoom: int = knob(16, "date_url is asked for the tile of this zoom above the one that is read", "zoom level",
                          ge=0, le=24)
    licence: str = knob("", "licence of the imagery, e.g. CC-BY-4.0; required, but for index, where the entry tells it")
    attribution: str = knob("", "whom to name; goes into every feed; required as the licence is")
    osm_permission: str = knob("", "why it may be used to improve OSM: a URL, or a sentence; required likewise")

    @field_validator("subdomains", "assets")
    @classmethod
    def _plain(cls, values: list[str]) -> list[str]:
        if not all(value and value.isprintable() for value in values):
            raise ValueError("expected texts that are not empty")
        return values

    @field_validator("stretch")
    @classmethod
    def _ascending(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and not values[0] < values[1]:
            raise ValueError("expected [lowest, highest]")
        return values

    @field_validator("nodata")
    @classmethod
    def _of_bands(cls, values: list[int] | None, info: ValidationInfo) -> list[int] | None:
        bands, depth = info.data.get("bands", values), info.data.get("depth", 16)
        if values is not None and len(values) != len(bands or ()):
            raise ValueError(f"expected a number for each of {len(bands or ())} bands")
        if values is not None and max(values) >= 1 << depth:
            raise ValueError(f"expected numbers of {depth} bits; see depth")
        return values

    @model_validator(mode="after")
    def _fitting(self) -> Imagery:
        if bool(self.date_url) != bool(self.date_field):
            raise ValueError("date_url and date_field: one needs the other")
        try:
            secret = self.kind == "postgis" and urlsplit(self.url).password is not None
        except ValueError:
            secret = False
        if secret:
            raise ValueError("url: holds a password; put it into an environment variable and name that in key_env")
        return self


#: What a source must state before it is used, and what it means.
PERMISSIONS = {
    "licence": "a licence", "attribution": "attribution", "osm_permission": "permission to use it for OSM",
}


def permission_problems_of(sources: list[dict[str, Any]]) -> list[str]:
    """What the sources of imagery, given as dictionaries of whatever, lack to be used at all.

    The entry of an imagery index brings them itself: what it lacks is told when it is opened.
    """
    return [
        f"imagery[{i}].{key} ({source.get('name', 'without a name')}): empty; imagery without {meaning} is refused"
        for i, source in enumerate(sources)
        for key, meaning in PERMISSIONS.items()
        if isinstance(text := source.get(key, ""), str) and not text.strip() and source.get("kind") != "index"
    ]
