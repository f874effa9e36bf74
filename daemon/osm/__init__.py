"""The OSM store: from extracts and change files to features and what changed of them.

Read store.py first (what the other stages call), then apply.py (a change file) and bootstrap.py (an extract). area.py
is which part of the world, changes.py and extract.py read files, elements.py holds objects, geometry.py and features.py
build what detectors see, guard.py decides what is news, header.py says where an extract comes from, passing.py finds
what was there for a moment only, rows.py speaks with the tables. osm2pgsql/ is the same store over a database that
osm2pgsql keeps.
"""

from __future__ import annotations

from daemon.config import Config
from daemon.osm.area import AreaOfInterest
from daemon.osm.elements import Selects
from daemon.osm.header import Origin
from daemon.osm.osm2pgsql import Osm2pgsqlStore
from daemon.osm.store import OsmStore, set_position
from daemon.osm.values import BootstrapReport, Change, Delta, Position

__all__ = [
    "AreaOfInterest", "BootstrapReport", "Change", "Delta", "Origin", "Osm2pgsqlStore", "OsmStore", "Position",
    "open_store", "set_position",
]


def open_store(config: Config, selects: Selects) -> OsmStore:
    """The store that the configuration names; to be closed.

    Raises:
        ConfigError: the area's polygon, or the database of osm2pgsql, cannot be used as configured.
    """
    area = AreaOfInterest.of(config.area)
    return Osm2pgsqlStore(config, area, selects) if config.osm.source == "osm2pgsql" else OsmStore(area, selects)
