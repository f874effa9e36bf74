"""The OSM store: from extracts and change files to features and what changed of them.

Read store.py first (what the other stages call), then apply.py (a change file) and bootstrap.py (an extract). area.py
is which part of the world, changes.py and extract.py read files, elements.py holds objects, geometry.py and features.py
build what detectors see, guard.py decides what is news, passing.py finds what was there for a moment only, rows.py
speaks with the tables.
"""

from daemon.osm.area import AreaOfInterest
from daemon.osm.store import OsmStore, set_position
from daemon.osm.values import BootstrapReport, Change, Delta, Position

__all__ = ["AreaOfInterest", "BootstrapReport", "Change", "Delta", "OsmStore", "Position", "set_position"]
