"""A database that osm2pgsql keeps, as the source of what is mapped. mapgap only reads there.

mapgap's own database holds a copy of the features (osm_feature, osm_removed) and its own place in the replication, and
none of the raw objects. For each change file, once osm2pgsql has passed it, the objects that it affects are read anew
and compared with the copy: so what was there before never depends on who is quicker.

Read store.py first, then affected.py (which objects a change file affects), objects.py (reading them), copy.py (the
bootstrap). layout.py finds out what the tables look like, standing.py how far osm2pgsql is, snapshot.py holds both with
the transaction in which they are true.
"""

from daemon.osm.osm2pgsql.store import Osm2pgsqlStore

__all__ = ["Osm2pgsqlStore"]
