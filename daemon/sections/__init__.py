"""Every knob, declared once: unit, default, limits and meaning, section by section as in config.toml."""

from daemon.sections.config import Config
from daemon.sections.detectors import Detectors
from daemon.sections.ground import Client, Imagery, Mosaic, Tiling, permission_problems_of
from daemon.sections.osm import Area, Bbox, Osm, Replication, server_of
from daemon.sections.publish import Publish, Reviews
from daemon.sections.running import Log, Schedule
from daemon.sections.section import Section
from daemon.sections.state import Database

__all__ = [
    "Area", "Bbox", "Client", "Config", "Database", "Detectors", "Imagery", "Log", "Mosaic", "Osm",
    "Publish", "Replication", "Reviews", "Schedule", "Section", "Tiling", "permission_problems_of", "server_of",
]
