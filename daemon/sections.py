"""Every knob, declared once: unit, default, limits and meaning, section by section as in config.toml."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

Bbox = tuple[float, float, float, float]


def _check_bbox(bbox: Bbox) -> Bbox:
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError("expected [west, south, east, north] in degrees with west < east and south < north")
    return bbox


def knob(default: Any, doc: str, unit: str | None = None, **limits: Any) -> Any:
    """A field of a section: default, one line of meaning, unit, limits for pydantic."""
    return Field(default, description=doc, json_schema_extra={"unit": unit} if unit else None, **limits)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("expected text without NUL characters")
        return value


class Area(Section):
    """What part of the world is looked after. Neither bbox nor polygon: all that the bootstrapped file holds."""

    name: str = knob("area", "short name; appears in exports and challenges", pattern=r"^[a-z0-9_]+$")
    bbox: Annotated[Bbox, AfterValidator(_check_bbox)] | None = knob(None, "[west, south, east, north]", "degrees")
    polygon: Path | None = knob(None, "a .poly or GeoJSON file instead of bbox")
    margin: float = knob(
        1000.0,
        "objects this far outside are kept too, so that those which move into the area are known",
        "metres",
        ge=0,
        le=100_000,
    )

    @model_validator(mode="after")
    def _one_of(self) -> Area:
        if self.bbox is not None and self.polygon is not None:
            raise ValueError("give either bbox or polygon, not both")
        return self


class Database(Section):
    """Where state is kept."""

    dsn: str = knob("", 'libpq connection string without password; "" runs an embedded PostgreSQL under data_dir')
    password_env: str = knob("", "environment variable that holds the password")
    password_file: Path | None = knob(None, "file with mode 0600 that holds the password")
    pool: int = knob(4, "connections kept open at most", "connections", ge=2, le=100)
    statement_timeout: float = knob(600.0, "a statement that takes longer is cancelled", "seconds", gt=0)


ReplicationUrl = Annotated[str, Field(pattern=r"^(https?|file)://")]


def server_of(url: str) -> str:
    """Whose sequences a replication URL speaks of: the URL without what may be written in several ways for one server
    (scheme, slashes at the end, upper case, either name of the planet's), and without user, password, query."""
    host, _, path = url.partition("://")[2].partition("?")[0].partition("#")[0].partition("/")
    name = f"{host.rpartition('@')[2]}/{path}".rstrip("/").lower()
    return re.sub(r"^planet\.osm\.org/", "planet.openstreetmap.org/", name)


class Replication(Section):
    """The server of change files that is followed."""

    url: ReplicationUrl = knob(
        "https://planet.openstreetmap.org/replication/minute",
        "directory with state.txt and 000/000/001.osc.gz below; http://, https:// or file://; minutes, hours or days",
    )
    coarse: tuple[ReplicationUrl, ...] = knob(
        (), "the same in larger files, followed while far behind; coarsest first, e.g. [\".../day\", \".../hour\"]"
    )
    step_back: float = knob(
        3600.0,
        "where only a time says where to begin, so much earlier; what is read twice changes nothing",
        "seconds",
        ge=0,
    )
    cookie_file: Path | None = knob(
        None, "file with mode 0600 that holds the cookie of a server with a login, e.g. Geofabrik's internal one"
    )
    poll_interval: float = knob(
        60.0, "least time between two looks for a new change file; hourly and daily servers are asked less", "seconds",
        ge=1,
    )
    catch_up: int = knob(120, "change files applied in one go before the other stages get their turn", "files", ge=1)
    timeout: float = knob(30.0, "patience with the server, for connecting and between two bytes", "seconds", gt=0)
    retries: int = knob(
        4, "further tries after a failure that may pass, with exponential back-off", "tries", ge=0, le=20
    )
    max_compressed: int = knob(512 * 1024**2, "a larger change file is refused", "bytes", gt=0)
    max_uncompressed: int = knob(8 * 1024**3, "a change file that unpacks to more is refused", "bytes", gt=0)
    max_objects: int = knob(
        25_000_000, "a change file with more is refused; a day of the planet has 4 million", "objects", gt=0
    )
    max_object: int = knob(
        32 * 1024**2, "a change file with a larger object, tag or comment is refused", "bytes of XML", ge=1024**2
    )
    fresh_within: float = knob(900.0, "a lag up to this counts as fresh in `mapgap status`", "seconds", gt=0)
    too_far_behind: float = knob(
        90.0, "further behind the server than this, `mapgap status` asks for a newer extract", "days", gt=0
    )

    @property
    def server(self) -> str:
        """Whose sequences are followed; see `server_of`."""
        return server_of(self.url)


class Osm(Section):
    """Where what is mapped is read from: mapgap's own store, or a database that osm2pgsql keeps (docs/osm2pgsql.md)."""

    source: Literal["store", "osm2pgsql"] = knob(
        "store", "store: raw objects loaded from an OSM file; osm2pgsql: the tables of such a database, read only"
    )
    dsn: str = knob("", "osm2pgsql: libpq connection string of its database, without password")
    password_env: str = knob("", "osm2pgsql: environment variable that holds the password")
    password_file: Path | None = knob(None, "osm2pgsql: file with mode 0600 that holds the password")
    output_schema: str = knob("public", "osm2pgsql: schema of its tables", min_length=1)
    middle_schema: str = knob("", "osm2pgsql: schema of its slim tables, where it was given --middle-schema")
    prefix: str = knob("planet_osm", "osm2pgsql: what its tables' names begin with", min_length=1)
    tables: tuple[str, ...] = knob(
        (), "osm2pgsql: the tables to read features from; none named: all with lines or polygons and ids"
    )

    @model_validator(mode="after")
    def _database_is_named(self) -> Osm:
        if self.source == "osm2pgsql" and not self.dsn:
            raise ValueError('source = "osm2pgsql" needs osm.dsn, the database that osm2pgsql imports into')
        return self


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


class Building(Section):
    """The detector of buildings."""

    enabled: bool = knob(True, "whether it runs")
    model: str = knob("building", "a shipped bundle's name, or the directory of one")
    min_area: float = knob(16.0, "smaller buildings are neither claimed missing nor gone", "square metres", gt=0)
    missing: float = knob(
        0.50, "mean probability that a footprint must reach to be claimed missing", "probability", gt=0, lt=1
    )
    gone: float = knob(
        0.25, "mean probability under a mapped building below which it is claimed gone", "probability", gt=0, lt=1
    )
    min_shift: float = knob(2.0, "smaller shifts are not claimed misplaced", "metres", gt=0)
    max_shift: float = knob(6.5, "larger shifts are not looked for", "metres", gt=0)
    confidence: float = knob(0.35, "claims with less confidence are dropped", "probability", ge=0, le=1)


class Detectors(Section):
    """What looks at the ground."""

    engine: Literal["auto", "openvino", "onnx", "mxnet"] = knob(
        "auto", "what runs the network; auto: the fastest here by a probe of two seconds, kept in data_dir"
    )
    threads: int = knob(0, "threads of the network; 0: as many as this process may use", "threads", ge=0)
    augment: bool = knob(False, "look at everything eight times, turned and mirrored: a little surer, 8 times as slow")
    unknown_date: Literal["trust_osm", "trust_imagery"] = knob(
        "trust_osm", "imagery without a date: make no claim against what is mapped (trust_osm), or claim all the same"
    )
    building: Building = Field(default_factory=Building)


class Publish(Section):
    """What leaves the house. Files are written after every cycle; nothing is sent anywhere."""

    dir: Path | None = knob(
        None, "directory for discrepancies.geojson, maproulette.geojsonl and osmose.xml; none: not written"
    )
    dry_run: bool = knob(False, "say what would be written, write nothing")
    min_confidence: float = knob(0.5, "discrepancies below this stay in the house", "probability", ge=0, le=1)
    stale_days: float = knob(365.0, "an open discrepancy not seen for so long closes as stale", "days", gt=0)


class Schedule(Section):
    """When the daemon's stages run. Following has its own rhythm: replication.poll_interval."""

    look_interval: float = knob(
        10.0, "time between two looks for due tiles; a change file wakes it at once", "seconds", ge=0.1
    )
    publish_interval: float = knob(
        60.0, "time between two writings of the files; findings wake it at once", "seconds", ge=0.1
    )
    retry_most: float = knob(
        900.0, "longest rest of a stage that fails; it grows from the stage's interval", "seconds", gt=0
    )
    stuck_after: float = knob(
        3600.0,
        "a stage without progress for longer silences the watchdog, so that systemd starts anew",
        "seconds",
        gt=0,
    )
    grace: float = knob(
        6.0,
        "told to stop, a stage may finish for so long; then its block is given back as it is",
        "seconds",
        ge=0,
        le=60,
    )


class Log(Section):
    """What the daemon says."""

    level: Literal["debug", "info", "warning", "error"] = knob("info", "debug, info, warning or error")
    format: Literal["text", "json"] = knob("text", "text for people, json for machines; one line an event on stderr")


class Config(Section):
    """mapgap's configuration. A relative path is taken from the directory of the file it stands in."""

    data_dir: Path = knob(Path("mapgap-data"), "where the embedded database, caches and logs of crashes live")
    area: Area = Field(default_factory=Area)
    database: Database = Field(default_factory=Database)
    replication: Replication = Field(default_factory=Replication)
    osm: Osm = Field(default_factory=Osm)
    tiling: Tiling = Field(default_factory=Tiling)
    client: Client = Field(default_factory=Client)
    imagery: tuple[Imagery, ...] = Field((), description="sources of imagery, each a table [[imagery]]")
    detectors: Detectors = Field(default_factory=Detectors)
    publish: Publish = Field(default_factory=Publish)
    schedule: Schedule = Field(default_factory=Schedule)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="after")
    def _across_sections(self) -> Config:
        if self.replication.coarse and self.osm.source == "osm2pgsql":
            raise ValueError("replication.coarse: osm2pgsql's tables follow replication.url alone; leave it out")
        names = [source.name for source in self.imagery]
        for name in sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"imagery: two sources are called {name!r}; names must differ")
        return self

    def permission_problems(self) -> list[str]:
        """Imagery that must not be used: a line for each missing licence, attribution or permission."""
        return permission_problems_of([source.model_dump() for source in self.imagery])


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
