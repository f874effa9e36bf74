"""What is followed, and where: [area], [replication], [osm]."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from daemon.sections.section import Section, knob

Bbox = tuple[float, float, float, float]


def _check_bbox(bbox: Bbox) -> Bbox:
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError("expected [west, south, east, north] in degrees with west < east and south < north")
    return bbox


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
