"""The whole of config.toml."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, model_validator

from daemon.sections.detectors import Detectors
from daemon.sections.ground import Client, Imagery, Mosaic, Tiling, permission_problems_of
from daemon.sections.osm import Area, Osm, Replication
from daemon.sections.osmose import Osmose
from daemon.sections.publish import MapRoulette, Publish, Reviews
from daemon.sections.running import Log, Schedule
from daemon.sections.section import Section, knob
from daemon.sections.state import Database
from daemon.sections.web import Web


class Config(Section):
    """mapgap's configuration. A relative path is taken from the directory of the file it stands in."""

    data_dir: Path = knob(Path("mapgap-data"), "where the embedded database, caches and logs of crashes live")
    area: Area = Field(default_factory=Area)
    database: Database = Field(default_factory=Database)
    replication: Replication = Field(default_factory=Replication)
    osm: Osm = Field(default_factory=Osm)
    tiling: Tiling = Field(default_factory=Tiling)
    client: Client = Field(default_factory=Client)
    mosaic: Mosaic = Field(default_factory=Mosaic)
    imagery: tuple[Imagery, ...] = Field((), description="sources of imagery, each a table [[imagery]]")
    detectors: Detectors = Field(default_factory=Detectors)
    publish: Publish = Field(default_factory=Publish)
    maproulette: MapRoulette = Field(default_factory=MapRoulette)
    reviews: Reviews = Field(default_factory=Reviews)
    osmose: Osmose = Field(default_factory=Osmose)
    web: Web = Field(default_factory=Web)
    schedule: Schedule = Field(default_factory=Schedule)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="after")
    def _across_sections(self) -> Config:
        if self.replication.coarse and self.osm.source == "osm2pgsql":
            raise ValueError("replication.coarse: osm2pgsql's tables follow replication.url alone; leave it out")
        names = [source.name for source in self.imagery]
        for name in sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"imagery: two sources are called {name!r}; names must differ")
        if self.osmose.url and not re.fullmatch(r"[a-z][a-z_]*", self.osmose_country):
            raise ValueError(
                f"osmose.country: a frontend finds only names of a-z and _, and area.name {self.area.name!r} is none; "
                "give one"
            )
        if len({(len(source.bands), source.depth) for source in self.imagery}) > 1:
            told = ", ".join(f"{s.name} gives {len(s.bands)} of {s.depth} bits" for s in self.imagery)
            raise ValueError(f"imagery: all sources must give as many bands of the same depth, for they fill each "
                             f"other's gaps: {told}; see bands, depth and stretch")
        return self

    @property
    def osmose_country(self) -> str:
        """What the names of the sources at an Osmose frontend begin with."""
        return self.osmose.country or self.area.name

    def permission_problems(self) -> list[str]:
        """Imagery that must not be used: a line for each missing licence, attribution or permission."""
        return permission_problems_of([source.model_dump() for source in self.imagery])
