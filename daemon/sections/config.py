"""The whole of config.toml."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from daemon.sections.detectors import Detectors
from daemon.sections.ground import Client, Imagery, Mosaic, Tiling, permission_problems_of
from daemon.sections.osm import Area, Osm, Replication
from daemon.sections.publish import Publish, Reviews
from daemon.sections.running import Log, Schedule
from daemon.sections.section import Section, knob
from daemon.sections.state import Database


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
    reviews: Reviews = Field(default_factory=Reviews)
    schedule: Schedule = Field(default_factory=Schedule)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="after")
    def _across_sections(self) -> Config:
        if self.replication.coarse and self.osm.source == "osm2pgsql":
            raise ValueError("replication.coarse: osm2pgsql's tables follow replication.url alone; leave it out")
        names = [source.name for source in self.imagery]
        for name in sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"imagery: two sources are called {name!r}; names must differ")
        if len({(len(source.bands), source.depth) for source in self.imagery}) > 1:
            told = ", ".join(f"{s.name} gives {len(s.bands)} of {s.depth} bits" for s in self.imagery)
            raise ValueError(f"imagery: all sources must give as many bands of the same depth, for they fill each "
                             f"other's gaps: {told}; see bands, depth and stretch")
        return self

    def permission_problems(self) -> list[str]:
        """Imagery that must not be used: a line for each missing licence, attribution or permission."""
        return permission_problems_of([source.model_dump() for source in self.imagery])
