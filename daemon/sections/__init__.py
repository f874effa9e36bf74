"""Every knob, declared once: unit, default, limits and meaning, section by section as in config.toml."""

from daemon.sections.config import Config
from daemon.sections.detectors import Detectors
from daemon.sections.ground import Client, Imagery, Mosaic, Tiling, permission_problems_of
from daemon.sections.osm import Area, Bbox, Osm, Replication, server_of
from daemon.sections.osmose import Osmose
from daemon.sections.publish import MapRoulette, Publish, Reviews
from daemon.sections.running import Log, Schedule
from daemon.sections.section import Section
from daemon.sections.state import Database
from daemon.sections.web import Web

__all__ = [
    "Area", "Bbox", "Client", "Config", "Database", "Detectors", "Imagery", "Log", "MapRoulette", "Mosaic", "Osm",
    "Osmose", "Publish", "Replication", "Reviews", "Schedule", "Section", "Tiling", "Web", "permission_problems_of",
    "server_of",
]
